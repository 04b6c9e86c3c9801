/* Seeds for hash tables that files fill. */
#ifndef KV_TABLE_SEED_H
#define KV_TABLE_SEED_H

#include <stdint.h>

/* A number that whoever wrote the file could not know, another one at every call: names that were chosen to meet in one slot
 * are strewn over all of them, and a table of n names takes time in proportion to n. Nothing but the order of slots may depend
 * on it. */
uint64_t table_seed(void);

#endif
