/* Calibration: run text through a model and find out how its KV cache is best compressed. Takes minutes. */
#ifndef KV_PUBLIC_CALIBRATE_H
#define KV_PUBLIC_CALIBRATE_H

#include <kv/profile.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KV_CALIBRATE_NO_MEASURE = 1,   /* leave out measuring the result on held-out text, which is a third of the time */
    KV_CALIBRATE_PARSE_SPECIAL = 2 /* pieces of the text that are special tokens, "<|im_start|>" say, become those */
};

/* Without text, one that is built in. At most one aim: bits; kld; or fit_ctx and fit_bytes. Without any, 3.75 bits. */
typedef struct kv_calibrate_options {
    size_t size;
    const char *const *files; /* texts to measure on, joined, the last 15 % held out; NULL: none */
    size_t n_files;
    const char *text; /* or one text in memory; NULL: none */
    size_t text_len;
    const char *evict;     /* with a budget: policy of the profile; NULL: "expected" */
    const char *budget_by; /* with a budget: how heads share it, "loss" (NULL) or "entropy" */
    double bits;           /* aim: true bits per number of the cache, 1..6.1 */
    double kld;            /* aim: the smallest cache that loses no more, in nats, on held-out text */
    uint64_t fit_bytes;    /* aim: the best cache of which fit_ctx tokens fit into so many bytes */
    double budget_share;   /* tokens that a head keeps on average, as a share of the context, 0..1; 0: none */
    uint64_t seed;         /* which parts of the text, where it has more than are wanted */
    uint32_t fit_ctx;
    uint32_t budget_tokens; /* or as a number; 0: none */
    uint32_t ctx;           /* tokens of a chunk of text; 0: 2048, fewer where model or text are shorter */
    uint32_t chunks;        /* to calibrate on; 0: enough for 12,288 tokens */
    int32_t window, sinks;  /* newest and first tokens that stay in f16 */
    int32_t frame;          /* positions of a RoPE frame, a multiple of 64; 0: none; -1: what suits the window */
    uint32_t flags;         /* KV_CALIBRATE_NO_MEASURE, KV_CALIBRATE_PARSE_SPECIAL */
} kv_calibrate_options;
#define KV_CALIBRATE_OPTIONS_INIT                                                                                              \
    { sizeof(kv_calibrate_options), NULL, 0, NULL, 0, NULL, NULL, 0, 0, 0, 0, 1, 0, 0, 0, 0, 128, 4, -1, 0 }

/* options: NULL for all defaults. Same model, text and options, same profile, on any machine. Losses are measured with exact
 * products, however the model was loaded. *out: caller frees with
 * kv_profile_free. KV_EINVAL: options that make no sense; KV_ERANGE: too little text (says how much there is), or an aim that
 * cannot be reached (says what can); KV_ECANCEL. */
KV_API kv_status kv_calibrate(const kv_model *model, const kv_calibrate_options *options, kv_progress progress, void *user,
                              kv_profile **out, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
