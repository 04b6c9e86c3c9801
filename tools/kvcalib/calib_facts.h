/* Whether facts survive a profile: what kveval facts measures, kept in the profile. */
#ifndef CALIB_FACTS_H
#define CALIB_FACTS_H

#include "measure/facts.h"

enum { FACTS_SEED = 1 }; /* as kveval facts has it, so that it can be measured again */

/* Documents, and what they are asked in. Starts as {0}; free with calib_facts_free. */
typedef struct calib_facts {
    ask_frame frame;
    facts_set set;
} calib_facts;

/* Hide facts in `docs` generated documents of 6,000 tokens; as many as m takes, where that is less. KV_ERANGE: that is too few
 * for a document (says how many it takes). */
kv_status calib_facts_new(const rt_model *m, uint32_t docs, calib_facts *out, kv_err *err);
void calib_facts_free(calib_facts *f);
/* Ask m for them with an f16 cache and with p, and note in p->facts how many answers were right. Takes minutes for every
 * document. progress as of facts_run. */
kv_status calib_facts_ask(const rt_model *m, const calib_facts *f, kv_progress progress, void *user, prof *p, kv_err *err);

#endif
