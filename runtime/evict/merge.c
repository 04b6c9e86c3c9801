/* Folding: what policy merge does with the tokens that it does not keep. docs/budgets.md.
 *
 * A token is folded into the kept one of its block whose key is most like its own (cosine, in the space that the codec codes
 * in), if that is alike enough; else it is dropped. The keys and values of a group are averaged, each counting for as many
 * tokens as it stands for, and encoded anew in the kept one's slot. The log of the number of tokens is added to what queries
 * score there from then on: n tokens with the same key get n times the attention of one.
 * Keys of different RoPE frames do not meet.
 */
#include "evict/evict.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const float alike = 0.5f; /* least cosine */

/* One block of a head, on its way. */
typedef struct fold {
    const kv_job *j;
    const kv_head *h;
    const kv_stream *k, *v;
    uint32_t start;           /* slot of the block's first token */
    uint64_t gone, kept;      /* slots of the block */
    uint8_t target[KV_BLOCK]; /* of those gone: where to; KV_BLOCK: nowhere */
    float weight[KV_BLOCK];   /* tokens that a slot stands for; before */
    const float *to_model;    /* (dim, cdim) coded key -> model space, and its constant part */
    const float *constant;    /* (dim) */
    float *tile, *sum, *work; /* (cdim, 64) or (64, cdim); (64, dim); of the coder */
} fold;

/* Cosines of all columns with column i of a tile of keys. */
static void cosines(const fold *f, uint32_t i, const float *length, float *cosine) {
    memset(cosine, 0, KV_BLOCK * sizeof *cosine);
    for (uint32_t d = 0; d < f->k->coder.cdim; d++)
        for (uint32_t t = 0; t < KV_BLOCK; t++)
            cosine[t] += f->tile[d * KV_BLOCK + i] * f->tile[d * KV_BLOCK + t];
    for (uint32_t t = 0; t < KV_BLOCK; t++)
        cosine[t] /= fmaxf(length[i] * length[t], FLT_MIN);
}

/* Who goes where. */
static bool match(fold *f) {
    float length[KV_BLOCK] = {0}, cosine[KV_BLOCK];
    bool any = false;
    for (uint32_t d = 0; d < f->k->coder.cdim; d++)
        for (uint32_t t = 0; t < KV_BLOCK; t++)
            length[t] += f->tile[d * KV_BLOCK + t] * f->tile[d * KV_BLOCK + t];
    for (uint32_t t = 0; t < KV_BLOCK; t++)
        length[t] = sqrtf(length[t]);
    for (uint64_t rest = f->gone; rest; rest &= rest - 1) {
        const uint32_t i = (uint32_t)__builtin_ctzll(rest);
        float best = alike;
        f->target[i] = KV_BLOCK;
        cosines(f, i, length, cosine);
        for (uint64_t to = f->kept; to; to &= to - 1) {
            const uint32_t t = (uint32_t)__builtin_ctzll(to);
            uint32_t end = 0;
            const bool meet = !f->k->framed ||
                              kv_frame_of(f->j->c, f->h, f->start + i, &end) == kv_frame_of(f->j->c, f->h, f->start + t, &end);
            if (meet && cosine[t] >= best) {
                best = cosine[t];
                f->target[i] = (uint8_t)t;
                any = true;
            }
        }
    }
    return any;
}

/* Slot t of a decoded tile in model space. */
static void model_space(const fold *f, const kv_stream *stream, uint32_t t, float *x) {
    const rt_kernels *k = f->j->k;
    const kv_coder *c = &stream->coder;
    const float one = 1;
    float column[KV_MAX_CDIM];
    if (c->side == KV_SIDE_V) {
        const float *row = f->tile + (size_t)t * c->cdim;
        memset(x, 0, c->dim * sizeof *x);
        if (c->ops->output)
            c->ops->output(c, k, row, &one, 1, x);
        else
            memcpy(x, row, c->dim * sizeof *x);
        return;
    }
    for (uint32_t i = 0; i < c->cdim; i++)
        column[i] = f->tile[(size_t)i * KV_BLOCK + t];
    if (!c->ops->query)
        memcpy(x, column, c->dim * sizeof *x);
    for (uint32_t i = 0; c->ops->query && i < c->dim; i++)
        x[i] = f->constant[i] + k->dot(f->to_model + (size_t)i * c->cdim, column, c->cdim);
}

/* Averages of one stream, written over the kept ones. */
static void average(const fold *f, const kv_stream *stream) {
    const uint32_t dim = stream->coder.dim;
    float x[PROF_MAX_DIM], total[KV_BLOCK] = {0};
    for (uint64_t rest = f->gone; rest; rest &= rest - 1) {
        const uint32_t i = (uint32_t)__builtin_ctzll(rest), to = f->target[i];
        if (to == KV_BLOCK)
            continue;
        float *sum = f->sum + (size_t)to * dim;
        if (total[to] == 0) {
            model_space(f, stream, to, sum);
            for (uint32_t d = 0; d < dim; d++)
                sum[d] *= f->weight[to];
            total[to] = f->weight[to];
        }
        model_space(f, stream, i, x);
        for (uint32_t d = 0; d < dim; d++)
            sum[d] += f->weight[i] * x[d];
        total[to] += f->weight[i];
    }
    uint8_t *block = kv_body_block(f->j->layer, stream, f->start / KV_BLOCK);
    for (uint32_t t = 0; t < KV_BLOCK; t++) {
        float *sum = f->sum + (size_t)t * dim;
        for (uint32_t d = 0; total[t] > 0 && d < dim; d++)
            sum[d] /= total[t];
        if (total[t] > 0)
            stream->coder.ops->encode(&stream->coder, f->j->k, block, t, 1, sum, f->work);
    }
}

static void fold_block(fold *f) {
    const kv_layer *l = f->j->layer;
    float *mass = kv_masses(l, f->h) + f->start, *score = kv_scores(l, f->h) + f->start;
    const uint32_t b = f->start / KV_BLOCK;
    for (int side = 0; side < 2; side++) {
        const kv_stream *stream = side ? f->v : f->k;
        const float *tile = stream->coder.ops->decode(&stream->coder, f->j->k, kv_body_block(l, stream, b), KV_BLOCK, f->tile);
        if (tile != f->tile)
            memcpy(f->tile, tile, (size_t)stream->coder.cdim * KV_BLOCK * sizeof *tile);
        if (!side && !match(f))
            return;
        average(f, stream);
    }
    for (uint64_t rest = f->gone; rest; rest &= rest - 1) {
        const uint32_t i = (uint32_t)__builtin_ctzll(rest), to = f->target[i];
        if (to == KV_BLOCK)
            continue;
        f->weight[to] += f->weight[i];
        score[to] += score[i];
    }
    for (uint32_t t = 0; t < KV_BLOCK; t++)
        if (f->kept >> t & 1)
            mass[t] = logf(f->weight[t]);
}

void kv_fold(const kv_job *j, int thread, uint32_t head, uint32_t lo, uint32_t hi, const uint64_t *keep) {
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    const kv_scratch *s = &j->w->scratch[thread];
    fold f = {.j = j,
              .h = &l->heads[head],
              .k = &l->streams[2 * head],
              .v = &l->streams[2 * head + 1],
              .tile = s->tile,
              .sum = s->x,
              .work = s->work,
              .to_model = s->to_model,
              .constant = s->constant};
    memset(s->q, 0, c->dim * sizeof *s->q);
    for (uint32_t d = 0; f.k->coder.ops->query && d < c->dim; d++) { /* scores of unit vectors: columns of the way back */
        s->q[d] = 1;
        f.k->coder.ops->query(&f.k->coder, j->k, s->q, 1, s->to_model + (size_t)d * f.k->coder.cdim, s->constant + d);
        s->q[d] = 0;
    }
    for (uint32_t b = lo / KV_BLOCK; b * KV_BLOCK < hi; b++) {
        f.start = b * KV_BLOCK;
        f.kept = kv_span(f.start, lo, hi) & keep[b];
        f.gone = kv_span(f.start, lo, hi) & ~keep[b];
        for (uint32_t t = 0; t < KV_BLOCK; t++)
            f.weight[t] = (f.kept | f.gone) >> t & 1 ? expf(kv_masses(l, f.h)[f.start + t]) : 1;
        if (f.gone && f.kept)
            fold_block(&f);
    }
}
