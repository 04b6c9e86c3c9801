/* A session: ids of tokens, and a context that has read a beginning of them.
 *
 * Ids may be added and dropped at any time; what was not read yet is read when logits are wanted: after a decoded token, and
 * after a way back that the cache could not go. So going back is always exact, and costs the more the farther the nearest
 * checkpoint is. Places that were asked for keep their logits, too.
 */
#ifndef RT_SESSION_H
#define RT_SESSION_H

#include "base/progress.h"
#include "model/model.h"

typedef struct rt_session rt_session;

/* The model is borrowed, and so is the profile of cfg. Caller frees with rt_session_free. */
kv_status rt_session_new(const rt_model *m, const rt_ctx_cfg *cfg, rt_session **out, kv_err *err);
void rt_session_free(rt_session *s);
rt_ctx *rt_session_ctx(rt_session *s);                 /* borrowed */
const rt_model *rt_session_model(const rt_session *s); /* borrowed */
const rt_ctx_cfg *rt_session_cfg(const rt_session *s); /* that it was made with; borrowed */
/* What its cache takes at capacity, with its logits: not what it uses of others, nor its checkpoints, nor a workspace. */
size_t rt_session_bytes(const rt_session *s);

/* ---- ids ---- */

uint32_t rt_session_len(const rt_session *s);
const int32_t *rt_session_ids(const rt_session *s); /* borrowed until they change */
/* n more ids, which may be more than the context can read. KV_ENOMEM. */
kv_status rt_session_add(rt_session *s, const int32_t *ids, size_t n, kv_err *err);
/* Drop n ids, from `at` on; the context starts again, as what follows has read them. */
void rt_session_cut(rt_session *s, uint32_t at, uint32_t n);

/* ---- reading ---- */

/* Read what was not read yet. The callback is asked between batches. KV_EINVAL: there are no ids; KV_ERANGE: more than the
 * context has room for; KV_ECANCEL. */
kv_status rt_session_read(rt_session *s, kv_progress progress, void *user, kv_err *err);
bool rt_session_is_read(const rt_session *s);
/* rt_session_read, and in the same batch *n ids that may be said next: those that are, in their order, are read already. Sets
 * *n to how many were; 0 where so many do not fit, or more than a batch is unread. */
enum { RT_GUESSES = 15 };
kv_status rt_session_guess(rt_session *s, const int32_t *ids, uint32_t *n, kv_err *err);
uint32_t rt_session_guessed_right(const rt_session *s); /* of those of the last call, so far */
/* (n_vocab) after the last id, once all are read; borrowed until the next is. */
const float *rt_session_logits(const rt_session *s);
/* Add n ids, 1..n_batch, and read them in one batch: logits (n_out, n_vocab) of the last n_out of them; NULL with n_out 0. What
 * was not read before is read first. On failure nothing is added. */
kv_status rt_session_forward(rt_session *s, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits, kv_err *err);

/* ---- past the context ---- */

/* From now on whatever is read finds room: where the context is full, the oldest ids behind the first `keep` (and sinks) are
 * forgotten, for good, n at a time (rounded up to whole RoPE frames; 0: an eighth of the context) (kv_cache_shift); ids and
 * positions of the others move down. Depends on the ids alone, not on how they are read. Steps of a pool find room only for a
 * session whose context is full to the last token before. KV_EINVAL: the context is too short for that (says which would do);
 * KV_EUNSUPP. */
kv_status rt_session_endless(rt_session *s, uint32_t keep, uint32_t n, kv_err *err);
uint64_t
rt_session_forgotten(const rt_session *s); /* ids, since the session was made or its ids were given up from the first on */
/* Ids that are forgotten at once, and the first of them; both 0 before rt_session_endless. */
uint32_t rt_session_forgets(const rt_session *s, uint32_t *from);

/* ---- ways back ---- */

/* Keep the first n ids, n <= len. Returns how many of them need not be read again. */
uint32_t rt_session_go_back(rt_session *s, uint32_t n);
/* The same, or KV_EINVAL where some of them would have to be read again. */
kv_status rt_session_truncate(rt_session *s, uint32_t n, kv_err *err);
/* Make these the ids: as much as they have in common with those that are there stays read. *reused: how many that is. */
kv_status rt_session_prompt(rt_session *s, const int32_t *ids, size_t n, uint32_t *reused, kv_err *err);
/* Remember this place, which is read first: one comes back to it without reading anything. */
kv_status rt_session_checkpoint(rt_session *s, kv_err *err);

/* ---- sharing ---- */

/* How many of the first n ids need not be read again after going back to them, n <= len. */
uint32_t rt_session_reach(const rt_session *s, uint32_t n);
/* Make `to`, which is empty, hold the first n ids of `from`, or as many of them as need not be read again, which is
 * rt_session_reach but for models with a sliding window, where it may be less: *reached. It has read them then, to the bit, and
 * has the same checkpoints; whole blocks of them are not copied. As long as `to` uses them, `from` may go on, but not go back
 * behind rt_session_lent, nor be endless; it may be freed, and what is used stays there. KV_EINVAL: `to` is not empty, or its
 * cache is stored otherwise; KV_ERANGE: it has no room for what `from` holds; KV_ENOMEM. On failure `to` is empty. */
kv_status rt_session_share(rt_session *to, rt_session *from, uint32_t n, uint32_t *reached, kv_err *err);
uint32_t rt_session_lent(const rt_session *s);            /* first ids that others use; 0: nobody does */
const rt_session *rt_session_lender(const rt_session *s); /* whose blocks it uses itself; NULL: nobody's. To compare with */

/* ---- answers ---- */

/* Add an id, and say what text it completes: *text, *len bytes and a NUL, often none; borrowed until the next. */
kv_status rt_session_say(rt_session *s, int32_t id, const char **text, size_t *len, kv_err *err);
/* The end of an answer: bytes that make up no character. */
kv_status rt_session_said(rt_session *s, const char **text, size_t *len, kv_err *err);

/* ---- many at once ---- */

/* A workspace for the sessions that are made in it: they cost a cache each, and their tokens can be read in one step. For one
 * caller at a time. */
typedef struct rt_pool rt_pool;
kv_status rt_pool_new(const rt_model *m, uint32_t n_batch, rt_pool **out, kv_err *err); /* n_batch 0: RT_BATCH */
void rt_pool_free(rt_pool *p);                                                          /* after its sessions */
uint32_t rt_pool_n_batch(const rt_pool *p);
size_t rt_pool_bytes(const rt_pool *p); /* of the workspace, as it is now; it grows with what is done in it */
/* Whether the next steps keep what their rows come to after all layers and the last norm. KV_ENOMEM. */
kv_status rt_pool_keep_states(rt_pool *p, bool keep, kv_err *err);
const float *rt_pool_states(const rt_pool *p); /* of the last step, (rows, n_embd); borrowed until the next */
kv_status rt_session_new_in(rt_pool *p, const rt_ctx_cfg *cfg, rt_session **out, kv_err *err);

typedef struct rt_pool_row {
    rt_session *s; /* of this pool */
    int32_t id;
    bool logits; /* will be wanted; only the last row of a session can have them */
} rt_pool_row;
/* Add an id to a session per row, and read all of them in one step; those of a session side by side, in order. What sessions
 * have not read yet is read before. KV_EINVAL: no rows, or more than n_batch; rows of one session apart from each other, or
 * more than its own n_batch; KV_ERANGE as of rt_step. On failure no id is added. */
kv_status rt_pool_step(rt_pool *p, const rt_pool_row *rows, uint32_t n, kv_err *err);

#endif
