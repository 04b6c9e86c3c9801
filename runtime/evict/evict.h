/* Letting go of tokens: choosing (evict.c), what queries say of them (observe.c), folding into others (merge.c). */
#ifndef RT_EVICT_H
#define RT_EVICT_H

#include "cache/state.h"

/* Let go of tokens in the heads that are due, after a call that ended where they are. */
void kv_evict(const kv_job *j);
/* Fold those of slots lo .. hi-1 of a head that `keep` (a word a block) does not name into those that it does. By one thread.
 */
void kv_fold(const kv_job *j, int thread, uint32_t head, uint32_t lo, uint32_t hi, const uint64_t *keep);
/* After attention: add to the scores of body slots what the queries of this call gave them, where the policy asks for it. */
extern const kv_stage kv_observe;
/* Scores <- what queries as calibrated, after the tokens of this call, would give to the body slots of a head. */
void kv_expect(const kv_job *j, int thread, uint32_t head);

#endif
