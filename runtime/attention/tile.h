/* Inside of attention, shared by tile.c (queries, scores), attention.c (sharing out, running softmaxes, tiles in f32) and
 * integer.c (ranges in integers). */
#ifndef RT_TILE_H
#define RT_TILE_H

#include "cache/state.h"

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
    const kv_stream *k, *v;
    const kv_head *h;
    uint32_t head, first, n; /* tokens of the call */
    uint32_t pos;            /* slot that belongs to the first one's position */
    uint32_t group, rows;
    uint32_t frame;         /* that the queries in coded space are rotated for; UINT32_MAX: none yet */
    uint32_t coded[8];      /* frames of the queries in s->code; UINT32_MAX: none yet */
    uint64_t mask[KV_ROWS]; /* of the tile at hand: bit t = token t is visible */
} tile;

/* First slot that a query at pos sees. A sliding layer lets go of nothing else, so slots are positions there. */
static inline uint32_t kv_first_seen(const kv_layer *l, uint32_t pos) {
    return l->swa && pos >= l->swa ? pos + 1 - l->swa : 0;
}

/* Set up `n` query tokens from `first` of the call on, of one KV head, and copy their scaled queries. */
void kv_tile_init(tile *t, const kv_job *j, int thread, uint32_t head, uint32_t first, uint32_t n);
void kv_tile_queries(const tile *t);
/* Keys of the tile at slot t0, decoded, for its first n slots; in the scratch memory or in place. */
const float *kv_load_body(const tile *t, const kv_stream *stream, uint32_t t0, uint32_t n);
/* s (rows of stride lds) = scores of rows first .. first+n-1 against keys kt of the block at slot t0, as the body has them.
 * Returns (n) what is to be added to each row. */
const float *kv_score_block(tile *t, uint32_t first, uint32_t n, uint32_t t0, const float *kt, float *s, size_t lds);

/* s (n rows of stride lds) = scores of queries q (n, dim), capped, against the block kt in the same space. */
void kv_capped_scores(const tile *t, const float *q, uint32_t n, size_t dim, const float *kt, float *s, size_t lds);

/* The image of the queries in the coded space of the keys of a frame: qc, bias. */
void kv_project_queries(const tile *t, uint32_t frame);

/* Entropy term of n <= KV_BLOCK scores: sum of exp(s - m) (s - m). */
float kv_deviation(const rt_kernels *k, const float *s, uint32_t n, float m);

/* Logs of how many tokens the slots of this head stand for; NULL: one each. */
static inline const float *kv_tile_masses(const tile *t) {
    return t->j->layer->evicts && kv_merges(t->j->c) ? kv_masses(t->j->layer, t->h) : NULL;
}

/* Whether this head's encoded tokens are attended to in integers. */
static inline bool kv_in_codes(const tile *t) {
    return t->k->coder.ops->levels && t->v->coder.ops->levels;
}

/* The encoded tokens of a range -> a, which is empty. */
void kv_attend_int(tile *t, const acc *a, uint32_t range);

/* Keys of blocks b0 .. b1-1 of the range at slot base, decoded once for calls of kv_int_scores: scores in bits of rows r0 ..
 * r0+n-1, n <= 16, against them, to s->s (16, KV_RANGE). */
void kv_int_keys(const tile *t, uint32_t base, uint32_t b0, uint32_t b1);
void kv_int_scores(tile *t, uint32_t base, uint32_t r0, uint32_t n, uint32_t b0, uint32_t b1);

/* Storing done: what the jobs of a round read, and then the merging of parts that some of it leaves. */
extern const kv_stage kv_read, kv_merge;
/* Decide how the reading of the jobs of a round is cut into pieces: the heads of one token by ranges where there are few. */
void kv_cut_up(kv_work *w);

#endif
