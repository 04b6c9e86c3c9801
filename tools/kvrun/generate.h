/* From a prompt's tokens to streamed text.
 *
 * A `gen` is a session (session/session.h) that answers and keeps the time. Where the ids outgrow the context, that is an
 * error, or the oldest but the first `keep` go. With `shift` the newer half of the rest stays and is fed again, which is
 * exactly what a fresh context with those ids would hold; `endless` ones forget an eighth in place (rt_session_endless), also
 * of what is being read.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include "sample/sampler.h"
#include "session/lookup.h"
#include "session/session.h"

#include <stdbool.h>

typedef struct gen gen;

/* Asked for the ids of a first prompt: may put some of their beginning into s, which is empty, read; *read: how many of these
 * it read itself. */
typedef kv_status (*gen_recall)(void *user, rt_session *s, const int32_t *ids, size_t n, size_t *read, kv_err *err);

typedef struct gen_cfg {
    rt_ctx_cfg ctx;
    rt_sampling sampling;
    bool shift, endless;
    const struct grammar *grammar; /* that answers follow, borrowed; NULL: none */
    bool lookup;                   /* guess by what stands in the context already, where that is faster */
    bool (*stop)(void);            /* asked between batches and tokens; NULL: never */
    gen_recall recall;             /* or NULL */
    void *recall_user;
} gen_cfg;

typedef enum gen_end {
    GEN_DONE,   /* the model ended its turn */
    GEN_LIMIT,  /* n_max tokens */
    GEN_STOPPED /* stop() said so */
} gen_end;

typedef struct gen_stats {
    size_t prompt_tokens, answer_tokens;
    size_t last_tokens, last_visible; /* of the last answer; bytes of its text that are not white space */
    double prompt_seconds, answer_seconds;
} gen_stats;

/* The model is borrowed for the life of the gen, and so is the profile in cfg->ctx. Caller frees with gen_free. */
kv_status gen_new(const rt_model *m, const gen_cfg *cfg, gen **out, kv_err *err);
/* The same of a session that is there; s moves, also on failure. Of cfg, what concerns the context is not read. */
kv_status gen_of(const rt_model *m, const gen_cfg *cfg, rt_session *s, gen **out, kv_err *err);
void gen_free(gen *g);
rt_ctx *gen_ctx(gen *g);                      /* borrowed */
rt_session *gen_session(gen *g);              /* borrowed */
const gen_stats *gen_get_stats(const gen *g); /* since gen_new */

rt_sampler *gen_sampler(gen *g); /* borrowed */
/* Go on with another session of the same model, which moves where that succeeds. KV_EINVAL as of rt_session_endless. */
kv_status gen_take(gen *g, rt_session *s, kv_err *err);
/* Choose tokens otherwise from now on. Errors of rt_sampler_new; nothing changes then. */
kv_status gen_set_sampling(gen *g, const rt_sampling *how, kv_err *err);

size_t gen_len(const gen *g);
const int32_t *gen_ids(const gen *g); /* gen_len of them; borrowed until the next call that changes them */
kv_status gen_append(gen *g, const int32_t *ids, size_t n, kv_err *err);
kv_status gen_set(gen *g, const int32_t *ids, size_t n,
                  kv_err *err);                           /* these, whatever was there: what is the same stays read */
void gen_truncate(gen *g, size_t n);                      /* drop the ids from n on */
kv_status gen_set_keep(gen *g, size_t keep, kv_err *err); /* ids that are never dropped; KV_EINVAL: too many to be endless */
/* Ids that were forgotten since the first ones were given up last, and how many go at a time; 0 of a gen that is not endless.
 */
uint64_t gen_forgotten(const gen *g, uint32_t *at_once);

/* Ids that were dropped since gen_new, as the context was full (`shift`); those that followed stand so much further down. */
uint64_t gen_dropped(const gen *g);

/* Read what was appended, and remember the place, for a question that comes later. Errors of gen_answer. */
kv_status gen_read(gen *g, kv_progress progress, void *user, kv_err *err);

/* Answer what was appended: up to n_max tokens (-1: until the model ends its turn). Text goes to `emit` in whole characters as
 * it appears. The answer's ids (not the one that ends the turn) are appended. KV_ERANGE: context full (says what would help);
 * KV_ECANCEL: stopped while still in prefill; what was emitted stays appended. */
typedef void (*gen_emit)(void *user, const char *text, size_t len);
kv_status gen_answer(gen *g, int64_t n_max, gen_emit emit, void *user, gen_end *end, kv_err *err);

#endif
