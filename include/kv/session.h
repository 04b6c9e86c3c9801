/* Sessions: one sequence of tokens, its KV cache, and what comes next.
 *
 * A session has its own threads (kv_model_options.threads of them) and belongs to one caller at a time; sessions of one model
 * may run side by side. It borrows model and profile. It keeps the ids of its tokens, and its cache may be behind them: what
 * the cache does not hold yet is read when it is needed. Results never depend on how tokens were divided over calls.
 */
#ifndef KV_PUBLIC_SESSION_H
#define KV_PUBLIC_SESSION_H

#include <kv/profile.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kv_session kv_session;
typedef struct kv_pool kv_pool; /* pool.h */

enum {
    KV_SESSION_NO_PROFILE = 1, /* not even the profile that is packed into the model */
    KV_SESSION_ADA = 2,        /* with a budget: heads of a layer compete for it (AdaKV), even if the profile does not say so */
    KV_SESSION_EQUAL_BUDGETS = 4 /* with a budget: all heads get the same, even if the profile says otherwise */
};

/* The cache: options over profile over f16 for everything. */
typedef struct kv_session_options {
    size_t size;
    const kv_profile *profile; /* NULL: the one packed into the model, if there is one */
    const char *cache_k;       /* how to store keys: "f16", "q8_0", "q4_0", "tc", ...; NULL: as the profile says, else f16 */
    const char *cache_v;       /* and values */
    const char *evict;         /* which tokens to keep, with a budget: "snapkv", "expected", ..., "none": all; NULL: as the
                                  profile says, else what suits */
    uint32_t n_ctx;            /* most tokens; 0: as many as the model was trained for, but at most 4096 */
    uint32_t n_batch;          /* most tokens that go through the model together; 0: 512 */
    int32_t window;            /* newest tokens in f16; -1: as the profile says, else 0 */
    int32_t sinks;             /* first tokens in f16; likewise */
    int32_t recent;            /* with a budget: newest tokens that are never let go; likewise, else 32 */
    uint32_t budget_tokens;    /* tokens that a KV head keeps on average; 0: none */
    double budget_share;       /* or a share of n_ctx, 0..1; 0: none. Neither: as the profile says */
    uint32_t flags;            /* KV_SESSION_* */
    uint32_t checkpoint_every; /* tokens after which a checkpoint is taken by itself (below); 0: never */
    kv_pool *pool;             /* to share a workspace with others; borrowed. NULL: one of its own */
} kv_session_options;
#define KV_SESSION_OPTIONS_INIT                                                                                                \
    { sizeof(kv_session_options), NULL, NULL, NULL, NULL, 0, 0, -1, -1, -1, 0, 0, 0, 1024, NULL }

/* options: NULL for all defaults. *out: caller frees with kv_session_free. KV_EINVAL: options that make no sense; KV_EMISMATCH:
 * a profile for another model; KV_EUNSUPP; KV_ENOMEM. */
KV_API kv_status kv_session_new(const kv_model *model, const kv_session_options *options, kv_session **out, kv_err *err);
KV_API void kv_session_free(kv_session *session); /* NULL is fine */

/* ---- tokens in ---- */

/* Add n tokens and read them, in batches. KV_ERANGE: they do not fit (says how many do), or an id outside the vocabulary:
 * nothing is added; KV_ECANCEL: the session holds what was read until then. */
KV_API kv_status kv_session_prefill(kv_session *session, const int32_t *ids, size_t n, kv_progress progress, void *user,
                                    kv_err *err);
/* Make the session hold exactly these n tokens: the beginning that they have in common with those that it holds stays, the rest
 * is read. *reused (or NULL): tokens that did not have to be read. Errors as of kv_session_prefill. */
KV_API kv_status kv_session_prompt(kv_session *session, const int32_t *ids, size_t n, uint32_t *reused, kv_progress progress,
                                   void *user, kv_err *err);
/* Add n tokens, 1..n_batch, in one batch: logits (n_out, n_vocab) of the last n_out of them; the caller's memory, may be NULL
 * with n_out 0. */
KV_API kv_status kv_session_forward(kv_session *session, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits,
                                    kv_err *err);
/* Add one token: logits (n_vocab) of what comes next, or NULL. */
KV_API kv_status kv_session_step(kv_session *session, int32_t id, float *logits, kv_err *err);

/* ---- what comes next ---- */

/* Logits (n_vocab) after the last token; borrowed until the next call that changes the session. KV_EINVAL: it is empty. */
KV_API kv_status kv_session_logits(kv_session *session, const float **logits, kv_err *err);

typedef struct kv_sampler kv_sampler;

typedef struct kv_logit_bias {
    int32_t id;
    float bias; /* is added to the logit; -INFINITY: never */
} kv_logit_bias;

enum { KV_SAMPLER_IGNORE_EOS = 1 /* what ends a turn is never chosen */ };

/* Order, meaning and defaults are those of llama.cpp's flags: docs/sampling.md. Where nothing else is said, 0 is off. */
typedef struct kv_sampler_options {
    size_t size;
    int64_t top_k;      /* only so many most likely tokens; 0: all */
    double top_p;       /* only the most likely ones that make up so much together; 1: all */
    double min_p;       /* only those at least so much as likely as the best; 0: all */
    double temperature; /* 0: always the most likely */
    uint64_t seed;      /* same seed, same logits and tokens before, same tokens */
    double typical_p;   /* only those whose surprise is nearest to the mean one, so much of them together; 0, 1: all */
    double top_n_sigma; /* only those whose logit is at most so many standard deviations below the best */
    double dynatemp_range, dynatemp_exponent; /* temperature -range .. +range, by the entropy */
    double xtc_probability, xtc_threshold;    /* so often, of all tokens at least so likely only the least likely stays */
    int64_t repeat_last_n;                    /* tokens, prompt included, that penalties look back over; -1: all */
    double repeat_penalty;                    /* divides the logits of those tokens; 0, 1: off */
    double presence_penalty;                  /* is subtracted from them once */
    double frequency_penalty;                 /* and this for each time */
    double dry_multiplier, dry_base; /* penalty of a repetition of the allowed length, and by how much it grows, >= 1 */
    int64_t dry_allowed_length;      /* shorter ones are free; may be 0 */
    int64_t dry_penalty_last_n;      /* tokens that DRY looks back over; -1: as many as the model was trained for */
    const char *const *dry_breakers; /* texts of at most 40 bytes that no repetition reaches across; NULL: newline, colon, quote
                                        and asterisk */
    size_t n_dry_breakers;
    double mirostat_tau, mirostat_eta; /* surprise to aim at, in bits; how fast */
    const kv_logit_bias *logit_bias;
    size_t n_logit_bias;
    const char *order; /* names of stages in the order in which they apply, with ; between them, such as "top_k;temperature";
                          NULL: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature */
    int32_t mirostat;  /* 1, 2: that version of Mirostat, after the temperature and in place of all else but the bias */
    uint32_t flags;    /* KV_SAMPLER_* */
} kv_sampler_options;
#define KV_SAMPLER_OPTIONS_INIT                                                                                                \
    {                                                                                                                          \
        sizeof(kv_sampler_options), 40, 0.95, 0.05, 0.8, 0, 1, 0, 0, 1, 0, 0.1, 64, 1, 0, 0, 0, 1.75, 2, -1, NULL, 0, 5, 0.1,  \
            NULL, 0, NULL, 0, 0                                                                                                \
    }

/* options: NULL for all defaults. Belongs to one caller at a time. *out: caller frees with kv_sampler_free. KV_EINVAL: options
 * that make no sense; KV_ERANGE: a bias for a token outside the vocabulary; KV_ENOMEM. */
KV_API kv_status kv_sampler_new(const kv_model *model, const kv_sampler_options *options, kv_sampler **out, kv_err *err);
KV_API void kv_sampler_free(kv_sampler *sampler); /* NULL is fine */
/* Choose from logits (n_vocab), which are left alone, what follows ids (n of them, oldest first): penalties and DRY look at
 * those. A sampler keeps no tokens itself, so that going back needs nothing. */
KV_API int32_t kv_sampler_pick_after(kv_sampler *sampler, const float *logits, const int32_t *ids, size_t n);
KV_API int32_t kv_sampler_pick(kv_sampler *sampler, const float *logits); /* the same where nothing came before */

/* Choose what comes next, without adding it. sampler: NULL for the most likely one. */
KV_API kv_status kv_session_sample(kv_session *session, kv_sampler *sampler, int32_t *id, kv_err *err);

typedef struct kv_token {
    const char *text;  /* whole characters that the token completes, often none; NUL-terminated, and may have NUL bytes in it */
    size_t len;        /* bytes of it */
    int32_t id;        /* -1: no token, but bytes at the end that make up no character */
    uint32_t position; /* in the session */
} kv_token;
/* Shown every token as it is chosen; false: stop after it, which is no error. */
typedef bool (*kv_on_token)(void *user, const kv_token *token);

typedef enum kv_end {
    KV_END_TURN,    /* the model ended its turn; the token that says so is not added */
    KV_END_LIMIT,   /* n_max tokens */
    KV_END_STOPPED, /* the callback said so */
    KV_END_CONTEXT  /* the context is full */
} kv_end;

/* Choose tokens and add them, one after the other, up to n_max of them (-1: as many as fit). sampler: NULL for the most likely
 * ones. on_token may be NULL; *end, too. KV_EINVAL: the session is empty. On failure, tokens that were shown stay. */
KV_API kv_status kv_session_decode(kv_session *session, kv_sampler *sampler, int64_t n_max, kv_on_token on_token, void *user,
                                   kv_end *end, kv_err *err);

/* ---- tokens held, and ways back ---- */

KV_API uint32_t kv_session_len(const kv_session *session);
KV_API const int32_t *kv_session_ids(const kv_session *session); /* kv_session_len; borrowed until the session changes */
KV_API void kv_session_clear(kv_session *session);

/* Drop the tokens from position n on, in place and exactly: as if they had never been there. KV_EINVAL: n is more than there
 * are, or something that was stored or let go because of them cannot be undone; nothing has changed then. */
KV_API kv_status kv_session_truncate(kv_session *session, uint32_t n, kv_err *err);
/* Remember where the session is, so that kv_session_go_back gets there without reading anything again: to decode again with
 * another sampler, say. Every `checkpoint_every` tokens the session does so by itself, at the end of a batch. Takes memory
 * (bytes_checkpoints of kv_session_facts). Eight are kept: those that were asked for first and last stay, and of the others as
 * many as lie the closer together the newer they are. */
KV_API kv_status kv_session_checkpoint(kv_session *session, kv_err *err);
/* Go back to the first n tokens, always exactly. *reached (or NULL): how many of them the cache still holds; the others are
 * read again, from the ids that the session keeps, when they are needed next. KV_EINVAL: n is more than there are. */
KV_API kv_status kv_session_go_back(kv_session *session, uint32_t n, uint32_t *reached, kv_err *err);

/* ---- the cache ---- */

typedef struct kv_session_facts {
    size_t size;
    uint64_t bytes;     /* of the cache, as allocated for n_ctx tokens */
    uint64_t bytes_f16; /* of a cache of n_ctx tokens in f16 */
    uint64_t bytes_checkpoints;
    double bits_k, bits_v; /* true bits per number of the encoded part, everything included */
    double held, most;     /* tokens that a KV head holds now, and may hold: mean over heads of layers that see everything */
    uint32_t n_ctx, n_batch;
    uint32_t len;
    uint32_t window, sinks;
    uint32_t has_profile; /* 1: a profile applies */
} kv_session_facts;
#define KV_SESSION_FACTS_INIT                                                                                                  \
    { sizeof(kv_session_facts), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Fill *out, whose size is set. KV_EINVAL: it is not. */
KV_API kv_status kv_session_get_facts(const kv_session *session, kv_session_facts *out, kv_err *err);

/* What a layer's attention saw of a batch; all borrowed, valid during the call. */
typedef struct kv_tap_view {
    uint32_t layer;
    uint32_t position;                    /* of the first token */
    uint32_t n;                           /* tokens */
    uint32_t n_head, n_kv_head, head_dim; /* of this layer; one without attention is not shown */
    const float *q;                       /* (n, n_head, head_dim), after RoPE */
    const float *k, *v;                   /* (n, n_kv_head, head_dim), after RoPE, before they are compressed */
    const float *lse;                     /* (n, n_head) log-sum-exp of the scaled scores */
    const float *entropy;                 /* (n, n_head) of the attention, in nats */
} kv_tap_view;
/* false: show nothing more; the call that runs ends with KV_ECANCEL after this batch, whose tokens are in the session. */
typedef bool (*kv_tap)(void *user, const kv_tap_view *view);

/* From now on show the attention of one layer, or of all (-1); tap NULL: no more. KV_ERANGE: no such layer; KV_ENOMEM. */
KV_API kv_status kv_session_set_tap(kv_session *session, int32_t layer, kv_tap tap, void *user, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
