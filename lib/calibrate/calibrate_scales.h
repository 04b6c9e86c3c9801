/* Scales of keys with which attention loses least, found by trying them out. Between calibrate_fold.c and what it uses.
 *
 * Texts are read once, and their keys, values and some queries kept. Of a KV head and a cache, the error of scales is the mean
 * square of what its queries get from attention on keys that are multiplied by them and stored in the cache, less what they get
 * from the keys as they are. So all counts that counts for a model that runs: how much of a query's attention a key has, errors
 * that all keys share and which change nothing, and how far keys of low frequencies turn while a text is read.
 */
#ifndef CALIBRATE_SCALES_H
#define CALIBRATE_SCALES_H

#include "base/progress.h"
#include "model/model.h"

/* A text as attention sees it: of n tokens keys and values, and the queries of n_q of them. */
typedef struct scales_text {
    uint32_t n, n_q;
    uint32_t *at; /* (n_q) where they are, rising */
    float *k, *v; /* (n_layer, n_kv_head, n, head_dim) after RoPE */
    float *q;     /* (n_layer, n_kv_head, n_q, queries of the head's group, head_dim) times the attention scale */
} scales_text;

/* Read n tokens. Caller frees with scales_text_free, in any case. KV_ENOMEM; KV_ECANCEL where progress (or NULL) says so. */
kv_status scales_text_read(const rt_model *m, const int32_t *ids, uint32_t n, scales_text *out, kv_err *err);
void scales_text_free(scales_text *t);
/* Bytes that a text of n tokens takes. */
size_t scales_text_bytes(const rt_hparams *hp, uint32_t n);

enum { SCALES_MOST_CACHES = PROF_MAX_FOLDINGS };

/* What to look for. All borrowed. */
typedef struct scales_job {
    const rt_hparams *hp;
    const rt_exec *exec;
    const scales_text *texts;
    uint32_t n_texts;
    /* The mean of the logarithms of their errors is to be least; none needs calibration. */
    kv_codec_id cache[SCALES_MOST_CACHES];
    uint32_t n_caches;
    const uint16_t *unit; /* (head_dim) rt_fold_units */
    uint32_t n_units;
    const bool *shared; /* (n_layer) all heads alike */
} scales_job;

/* e (n_layer, n_kv_head, head_dim): scales are 2^e; 0 where there are no keys. From (rms q / rms k)^1/2 on, as long as a single
 * exponent that is one larger or smaller makes it better. The same for any number of threads. KV_ENOMEM; KV_ECANCEL. */
kv_status scales_search(const scales_job *job, kv_progress progress, void *user, int8_t *e, kv_err *err);

#endif
