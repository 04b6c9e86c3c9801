/* Documents of the library as text and JSON, on stdout. */
#ifndef KVRUN_DOCS_SHOW_H
#define KVRUN_DOCS_SHOW_H

#include "library/library.h"

#include <stdbool.h>

extern const char docs_tool[]; /* "kvrun docs" */

/* A line each, and how much all take on stderr. */
kv_status docs_show_list(library *l, const library_list *all, bool json, kv_err *err);
/* Two lines each: name, and the place of the text. words: for a note where there are none. */
kv_status docs_show_found(const library_list *found, const char *words, bool json, kv_err *err);
/* All that is known of them. */
kv_status docs_show_facts(const library_list *found, bool json, kv_err *err);
/* A note of what a limit made go; the list is freed. */
void docs_note_gone(library_list *gone);
kv_status docs_flush(kv_err *err); /* KV_EIO: what was printed did not get out */

#endif
