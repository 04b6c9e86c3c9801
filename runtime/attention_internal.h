/* Inside of attention, shared by attention.c (sharing out, running softmaxes, tiles in f32) and attention_codes.c (ranges in
 * integers). */
#ifndef RT_ATTENTION_INTERNAL_H
#define RT_ATTENTION_INTERNAL_H

#include "cache_internal.h"

/* Running softmax of `rows` query rows: out = (o + output(oc, body)) / sum. Without entries in coded space (body = 0) oc may
 * hold anything, and so may o with no others (body = sum). */
typedef struct acc {
    float *m, *sum; /* (rows) greatest score, sum of exp(score - m) */
    float *body;    /* (rows) the part of sum whose values were read in coded space */
    float *dev;     /* (rows) sum of exp(score - m) (score - m), for the entropy */
    float *o, *oc;  /* (rows, dim), (rows, cdim of V) weighted values in model and coded space */
} acc;

/* Some query tokens of one KV head: rows = tokens x heads of its group. */
typedef struct tile {
    const kv_job *j;
    const kv_scratch *s;
    const kv_lane *k, *v;
    uint32_t head, pos, n; /* tokens at pos .. pos+n-1 */
    uint32_t group, rows;
    uint32_t frame;         /* that the queries in coded space are turned for; UINT32_MAX: none yet */
    uint32_t coded[8];      /* frames of the queries in s->code; UINT32_MAX: none yet */
    uint64_t mask[KV_ROWS]; /* of the tile at hand: bit t = token t is visible */
} tile;

/* First position that a query at pos sees. */
static inline uint32_t kv_first_seen(const kv_layer *l, uint32_t pos) {
    return l->swa && pos >= l->swa ? pos + 1 - l->swa : 0;
}

/* The image of the queries in the coded space of the keys of a frame: qc, bias. */
void kv_code_queries(const tile *t, uint32_t frame);

/* Entropy term of n <= KV_BLOCK scores: sum of exp(s - m) (s - m). */
float kv_deviation(const rt_kernels *k, const float *s, uint32_t n, float m);

/* Whether this head's encoded tokens are attended to in integers. */
static inline bool kv_in_codes(const tile *t) {
    return t->k->coder.ops->levels && t->v->coder.ops->levels;
}

/* The encoded tokens of a range -> a, which is empty. */
void kv_attend_codes(tile *t, const acc *a, uint32_t range);

#endif
