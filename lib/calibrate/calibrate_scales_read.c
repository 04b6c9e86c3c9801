/* Texts as attention sees them, kept while a model reads them. */
#include "calibrate/calibrate_scales.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of queries of a head that are kept, for several queries read it; and so many of a text at least. */
enum { ROWS = 448, LEAST_QUERIES = 64 };

static uint32_t queries_of(const rt_hparams *hp, uint32_t n) {
    const uint32_t wanted = ROWS / (hp->n_head / hp->n_kv_head), most = wanted > LEAST_QUERIES ? wanted : LEAST_QUERIES;
    return most < (n + 3) / 4 ? most : (n + 3) / 4;
}

static size_t keys_of(const rt_hparams *hp, uint32_t n) {
    return (size_t)hp->n_layer * hp->n_kv_head * n * hp->head_dim;
}

static size_t query_floats(const rt_hparams *hp, uint32_t n_q) {
    return (size_t)hp->n_layer * hp->n_head * n_q * hp->head_dim;
}

size_t scales_text_bytes(const rt_hparams *hp, uint32_t n) {
    return (2 * keys_of(hp, n) + query_floats(hp, queries_of(hp, n))) * sizeof(float);
}

typedef struct reader {
    const rt_hparams *hp;
    scales_text *to;
} reader;

/* Rows of head h of n tokens x (n, heads, dim), to (dim of them one after the other). */
static void take_head(const float *x, uint32_t n, uint32_t heads, uint32_t h, uint32_t dim, float *to) {
    for (uint32_t t = 0; t < n; t++)
        memcpy(to + (size_t)t * dim, x + ((size_t)t * heads + h) * dim, dim * sizeof *to);
}

static void tap(void *user, const rt_tap_view *v) {
    reader *r = user;
    const rt_hparams *hp = r->hp;
    const scales_text *to = r->to;
    const uint32_t dim = hp->head_dim, group = v->n_head / v->n_kv_head;
    if (!rt_layer_caches(hp, v->layer)) /* reads the keys of an earlier one, whose queries are those that count */
        return;
    for (uint32_t h = 0; h < v->n_kv_head; h++) {
        const size_t head = (size_t)v->layer * hp->n_kv_head + h, at = (head * to->n + v->pos0) * dim;
        take_head(v->k, v->n, v->n_kv_head, h, dim, to->k + at);
        take_head(v->v, v->n, v->n_kv_head, h, dim, to->v + at);
        for (uint32_t i = 0; i < to->n_q; i++) {
            if (to->at[i] < v->pos0 || to->at[i] >= v->pos0 + v->n)
                continue;
            const float *q = v->q + ((size_t)(to->at[i] - v->pos0) * v->n_head + (size_t)h * group) * dim;
            float *keep = to->q + ((size_t)v->layer * hp->n_head * to->n_q + ((size_t)h * to->n_q + i) * group) * dim;
            for (size_t j = 0; j < (size_t)group * dim; j++)
                keep[j] = q[j] * hp->attn_scale;
        }
    }
}

/* The closer together the earlier: what the first tokens get becomes what all later ones read of them, and where attention
 * rests that has nothing to do. */
static void choose_queries(scales_text *t) {
    for (uint32_t i = 0; i < t->n_q; i++) {
        const uint32_t at = (uint32_t)pow(t->n, (i + 1.0) / t->n_q) - 1;
        t->at[i] = i && at <= t->at[i - 1] ? t->at[i - 1] + 1 : at;
    }
}

kv_status scales_text_read(const rt_model *m, const int32_t *ids, uint32_t n, scales_text *out, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(m);
    reader r = {hp, out};
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    rt_ctx *ctx = NULL;
    *out = (scales_text){.n = n, .n_q = queries_of(hp, n)};
    out->at = malloc(out->n_q * sizeof *out->at);
    out->k = malloc(keys_of(hp, n) * sizeof *out->k);
    out->v = malloc(keys_of(hp, n) * sizeof *out->v);
    out->q = malloc(query_floats(hp, out->n_q) * sizeof *out->q);
    if (!out->at || !out->k || !out->v || !out->q)
        return kv_fail(err, KV_ENOMEM, "out of memory to find scales");
    choose_queries(out);
    cfg.n_ctx = n;
    cfg.ctk = cfg.ctv = KV_F32;
    kv_status st = rt_ctx_new(m, &cfg, &ctx, err);
    if (!st && !(st = rt_ctx_set_tap(ctx, tap, &r, err)))
        st = rt_prefill(ctx, ids, n, NULL, err);
    rt_ctx_free(ctx);
    return st;
}

void scales_text_free(scales_text *t) {
    free(t->at);
    free(t->k);
    free(t->v);
    free(t->q);
    *t = (scales_text){0};
}
