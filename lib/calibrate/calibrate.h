/* From a model and text to a measured profile: what kvcalib does between its command line and its output file, and
 * kv_calibrate. */
#ifndef CALIBRATE_H
#define CALIBRATE_H

#include "base/progress.h"
#include "model/model.h"

/* A file for the statistics while they are gathered, so that a calibration that was cut off can go on with the same bits. It is
 * written now and then between chunks of text: every 15 seconds or so, as long as that takes less than 5 % of the time, and
 * more often where it takes less than 2 %. That it cannot be written is a note, not a failure. It stays when a calibration
 * ends, and is for the caller to remove once the profile is safe. */
typedef struct calibrate_keep {
    const char *path; /* NULL: none */
    bool resume; /* go on from what is there, if anything is; KV_EMISMATCH: it is of another model, text, option or version,
                    KV_EFORMAT: it is damaged */
    void (*note)(void *user, const char *sentence); /* or NULL */
    void *user;
} calibrate_keep;
/* Whether there is such a file, and how far it is. */
bool calibrate_kept(const char *path, uint32_t *chunks, uint32_t *of);

/* A window, and the positions of a RoPE frame (cache.h) of the transforms that are made for it; 0: none. */
typedef struct calibrate_window {
    uint32_t window, frame;
} calibrate_window;

typedef struct calibrate_cfg {
    const char *const *texts; /* files, joined in this order; or NULL */
    size_t n_texts;
    const char *text; /* or a text in memory; NULL: the one built in */
    size_t text_len;
    bool parse_special; /* pieces of texts that are special tokens become those */
    uint32_t ctx;       /* tokens of a chunk, as many as the context that statistics see. 0 (calibrate_run only): CALIBRATE_CTX,
                           fewer where model or text are shorter */
    uint32_t chunks;    /* for fitting; 0: enough for CALIBRATE_TOKENS */
    uint64_t seed;      /* which chunks, where the text has more than are wanted */
    uint32_t window, sinks;
    uint32_t frame;                   /* as in calibrate_window */
    const calibrate_window *narrower; /* windows, falling, that the profile is to be made for as well; (n_narrower) */
    uint32_t n_narrower;              /* at most PROF_MAX_WINDOWS - 1; each takes as much time and memory again */
    prof_evict evict;         /* what the profile is to say of eviction; its budget: what budgets of heads are made for */
    prof_budget_by budget_by; /* by loss takes a pass over long texts, and only where there is a budget */
    calibrate_keep keep;
    /* Also find scales to fold (calibration_fold) for these caches: bits 1 << KV_Q4_0 and so on; 0: do not. */
    uint32_t fold_for;
} calibrate_cfg;

enum {
    CALIBRATE_CTX = 2048,
    CALIBRATE_FRAME = 1024,
    CALIBRATE_FRAME_NEAR = 256, /* without a window: near keys are read coded, too, and need transforms of finer aim */
    CALIBRATE_TOKENS = 12288,   /* fitted on, where the text has so many */
    CALIBRATE_MEASURED = 3072   /* held-out tokens measured on, one chunk at least */
};

typedef struct calibrate_text calibrate_text; /* calibrate_text.h */

/* Whom to tell how far it is, and who may stop it (KV_ECANCEL). */
typedef struct calibrate_progress {
    kv_progress call; /* or NULL */
    void *user;
} calibrate_progress;

/* What a text is worth to calibrate on: how many of its tokens are not a repetition of something earlier. */
typedef struct calibrate_verdict {
    size_t tokens, runs, enough; /* to fit on; different runs of three among them; how many of those it should have */
} calibrate_verdict;

/* Statistics of a model, from which profiles of any size can be solved. */
typedef struct calibration calibration;

/* Run text->fit through m, forward and backward; for budgets by loss, also texts of calibrate_budget.h. m may have fast matrix
 * products: what they round away is far below what statistics show; it is not needed any more afterwards. cfg and text are
 * borrowed for the life of *out; caller frees with calibration_free. KV_EINVAL: ctx or sinks do not fit the model; KV_ERANGE:
 * NaN; KV_ECANCEL. */
kv_status calibration_new(const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text, calibrate_progress progress,
                          calibration **out, kv_err *err);
void calibration_free(calibration *c); /* NULL is fine */

/* Which window the next profiles are solved for: 0, as at first, is cfg's, others are those of its `narrower` from 1 on. */
void calibration_use(calibration *c, uint32_t which);

/* A profile of `bits` true bits per element of K and V on average, without measurements; the same for any number of threads.
 * *out: caller frees with prof_free. */
kv_status calibration_solve(const calibration *c, double bits, calibrate_progress progress, prof **out, kv_err *err);

/* Measure p on text->held and write the result into p->measured, the only one there. m must have exact matrix products, else
 * their noise is in the figures. */
kv_status calibration_measure(const calibration *c, const rt_model *m, calibrate_progress progress, prof *p, kv_err *err);
/* The same on what is held out of another text; the result goes behind those that are there. */
kv_status calibration_measure_also(const calibration *c, const rt_model *m, const calibrate_text *text,
                                   calibrate_progress progress, prof *p, kv_err *err);

/* ---- calibrate_fold.c: scales to fold into the weights ---- */

/* Caches that must not lose by scales that were found for others. */
enum { CALIBRATE_FOLDS = 1 << KV_Q4_0 | 1 << KV_Q4_0H | 1 << KV_Q8_0 };
/* Scales of keys with which caches of cfg's fold_for lose least, by the geometric mean of what they lose of what they lost
 * before, and none of CALIBRATE_FOLDS that the model can have loses more; fold_for names two at most. Many are tried, each with
 * a model of its own that has them folded in, loaded from the file that m came from, with m's products; what the best are worth
 * is measured on the held-out text. exact: m with exact products. p gets the scales and what was measured; neither where
 * nothing is gained. KV_EUNSUPP: the file cannot be folded, or is. */
kv_status calibration_fold(const calibration *c, const rt_model *m, const rt_model *exact, calibrate_progress progress, prof *p,
                           kv_err *err);

/* ---- calibrate_aim.c: what size to solve for ---- */

static const double CALIBRATE_BITS = 3.75; /* where nothing is said: what `balanced` aims at, too */
enum { CALIBRATE_LEAST_BITS = 1 };
static const double CALIBRATE_MOST_BITS = 6.1; /* what codec tc can store */

/* The smallest profile that stays within `kld` nats on the held-out text, found by measuring: bits by interpolation, to about
 * 0.1. KV_ERANGE: even CALIBRATE_MOST_BITS lose more (says how much). */
kv_status calibrate_for_kld(const calibration *c, const rt_model *m, double kld, calibrate_progress progress, prof **out,
                            kv_err *err);

/* The best profile whose cache for n_ctx tokens takes at most `bytes`, not measured. KV_ERANGE: impossible (says what the
 * smallest takes). */
kv_status calibrate_for_memory(const calibration *c, uint32_t n_ctx, size_t bytes, calibrate_progress progress, prof **out,
                               kv_err *err);

/* What a profile is to achieve: bits per number, or a loss, or a memory. */
typedef struct calibrate_aim {
    double bits; /* where the others are 0 */
    double kld;
    uint32_t fit_ctx;
    size_t fit_bytes; /* with fit_ctx */
    bool measure;     /* the result, on held-out text; needed for a loss */
} calibrate_aim;
/* What can be known before any text is run: chunks fit the model and the policy; the result can be measured, and the cache that
 * is to fit is not larger than any profile makes it. aim NULL: chunks alone. KV_EINVAL, KV_ERANGE as of what would fail later.
 */
kv_status calibrate_check(const rt_hparams *hp, const calibrate_cfg *cfg, const calibrate_aim *aim, kv_err *err);

/* All of it: calibrate_check, read text and judge it, gather statistics of m, solve for the aim, measure with exact products:
 * on what is held out of the text, and after a text of one's own also on the one that is built in. Errors as of all these.
 * The aim is that of every window: *out is for cfg's, and has those for narrower ones behind it. verdict: or NULL. */
kv_status calibrate_run(const rt_model *m, const calibrate_cfg *cfg, const calibrate_aim *aim, calibrate_progress progress,
                        prof **out, calibrate_verdict *verdict, kv_err *err);

/* Bytes of p's cache for n_ctx tokens. */
kv_status calibrate_cache_bytes(const rt_hparams *hp, const prof *p, uint32_t n_ctx, size_t *bytes, kv_err *err);
kv_status calibration_cache_bytes(const calibration *c, const prof *p, uint32_t n_ctx, size_t *bytes, kv_err *err);

#endif
