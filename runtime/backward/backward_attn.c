/* Attention of a sequence with itself and its gradients, in tiles of 64 x 64 (FlashAttention's recomputation of P from the
 * log-sum-exp: Dao et al., arXiv:2205.14135):
 *
 *   S = scale Q K^T;  P = exp(S - lse);  O = P V
 *   dV = P^T dO;  dP = dO V^T;  dS = P (dP - rowsum(dO O));  dQ = scale dS K;  dK = scale dS^T Q
 *
 * Q is scaled when it is packed. Scores are computed twice: once as S^T with a tile of keys fixed, for dK and dV, once as S
 * with a tile of queries fixed, for dQ. That costs two products of seven more than computing them once, and in exchange no sum
 * is shared between work items, so that any number of threads gives the same bits. Padding: a padded key is behind every true
 * query's mask; a padded query has dO = 0, hence adds zeros.
 *
 * With a cap, S = cap tanh(scale Q K^T / cap), and dS is multiplied with 1 - (S / cap)^2 on its way back.
 *
 * A query that reads only some keys C has the output O_C = sum_C P V / sum_C P. What that changes to first order needs no
 * output:
 *
 *   dO (O_C - O) = sum_C P dP / sum_C P - dO O = sum_C P (dP - dO O) / sum_C P = sum_C dS / sum_C P
 *
 * and dS and P are at hand for dQ anyway.
 */
#include "backward/backward_internal.h"

#include "kernels/cap.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { TILE = RT_ATTN_TILE };

typedef struct pack_job {
    const attn_seq *a;
    const float *x;
    uint32_t heads;
    float scale;
    const attn_pack *p;
} pack_job;

/* Tiles of heads, one head after the other. */
static void pack_tiles(void *arg, int thread, size_t from, size_t end) {
    (void)thread;
    const pack_job *j = arg;
    const attn_seq *a = j->a;
    const size_t dim = a->dim, tiles = a->n_pad / TILE;
    for (size_t at = from; at < end; at++) {
        const size_t h = at / tiles, i = at % tiles;
        float *rows = j->p->rows + (h * a->n_pad + i * TILE) * dim, *cols = j->p->cols + (h * tiles + i) * dim * TILE;
        for (size_t t = 0; t < TILE; t++)
            for (size_t c = 0; c < dim; c++) {
                float v = i * TILE + t < a->n ? j->scale * j->x[((i * TILE + t) * j->heads + h) * dim + c] : 0;
                rows[t * dim + c] = v;
                cols[c * TILE + t] = v;
            }
    }
}

/* x (n, heads, dim) times scale, into both layouts. */
static void pack(const attn_seq *a, const float *x, uint32_t heads, float scale, const attn_pack *p) {
    rt_for(a->exec, heads * (a->n_pad / TILE), 1, pack_tiles, &(pack_job){a, x, heads, scale, p});
}

static const float *rows_of(const attn_seq *a, const attn_pack *p, size_t head, size_t tile) {
    return p->rows + (head * a->n_pad + tile * TILE) * a->dim;
}

static const float *cols_of(const attn_seq *a, const attn_pack *p, size_t head, size_t tile) {
    return p->cols + (head * a->n_pad + tile * TILE) * a->dim;
}

static bool visible(size_t query, size_t key, uint32_t swa) {
    return key <= query && (!swa || query - key < swa);
}

/* Do all queries of tile i see all keys of tile j? */
static bool all_visible(size_t i, size_t j, uint32_t swa) {
    return j < i && visible(i * TILE + TILE - 1, j * TILE, swa);
}

/* First tile of keys that queries of tile i see. */
static size_t first_key_tile(size_t i, uint32_t swa) {
    return swa && i * TILE >= swa ? (i * TILE - swa + 1) / TILE : 0;
}

/* ---- forward ---- */

/* Softmax of s (n), in place; returns the log-sum-exp. entropy, copy (n): or NULL both. */
static float softmax(const rt_kernels *k, float *s, size_t n, float *copy, float *entropy) {
    const float max = k->max(s, n);
    if (copy)
        memcpy(copy, s, n * sizeof *s);
    const float sum = k->exp_sum(s, n, max), inv = 1 / sum, log_sum = logf(sum);
    for (size_t j = 0; j < n; j++)
        s[j] *= inv;
    if (entropy) {
        float dev[16] = {0};
        for (size_t j = 0; j < n; j++)
            dev[j % 16] += s[j] * (copy[j] - max);
        *entropy = log_sum;
        for (size_t i = 0; i < 16; i++)
            *entropy -= dev[i];
    }
    return max + log_sum;
}

/* The first n rows of x (64, dim) times scale, to rows i*64.. of head h in y (n, heads, dim). */
static void unpack(const attn_seq *a, const float *x, float scale, size_t heads, size_t h, size_t i, float *y) {
    const size_t dim = a->dim, n = a->n - i * TILE < TILE ? a->n - i * TILE : TILE;
    for (size_t t = 0; t < n; t++)
        for (size_t c = 0; c < dim; c++)
            y[((i * TILE + t) * heads + h) * dim + c] = scale * x[t * dim + c];
}

/* One tile of queries of one head. */
static void forward_item(const attn_seq *a, size_t h, size_t i, uint32_t swa, float *work, float *out, float *entropy) {
    const size_t dim = a->dim, g = h / (a->n_head / a->n_kv_head), first = first_key_tile(i, swa), ld = (i + 1 - first) * TILE;
    float *s = work, *copy = s + TILE * ld, *o = copy + ld;
    for (size_t j = first; j <= i; j++)
        a->k->attn_scores(rows_of(a, &a->q, h, i), TILE, dim, cols_of(a, &a->key, g, j), s + (j - first) * TILE, ld);
    for (size_t r = 0; r < TILE; r++) { /* a query sees keys one after the other, the last being itself */
        const size_t query = i * TILE + r, last = query - first * TILE, n_seen = swa && query >= swa ? swa : query + 1;
        const size_t lo = last + 1 - n_seen;
        if (a->cap > 0)
            rt_cap(a->k, s + r * ld + lo, n_seen, a->cap, NULL);
        float *row = s + r * ld, *ent = entropy && query < a->n ? &entropy[query * a->n_head + h] : NULL;
        memset(row, 0, lo * sizeof *row);
        memset(row + last + 1, 0, (ld - last - 1) * sizeof *row);
        a->lse[h * a->n_pad + query] = softmax(a->k, row + lo, n_seen, ent ? copy : NULL, ent);
    }
    memset(o, 0, TILE * dim * sizeof *o);
    a->k->attn_values(s, ld, TILE, ld, rows_of(a, &a->val, g, first), dim, o);
    unpack(a, o, 1, a->n_head, h, i, out);
}

typedef struct forward_job {
    const attn_seq *a;
    uint32_t swa;
    float *out, *entropy;
} forward_job;

/* Items (tile, head), the longest first. */
static void forward_items(void *arg, int thread, size_t from, size_t end) {
    const forward_job *j = arg;
    const attn_seq *a = j->a;
    for (size_t i = from; i < end; i++)
        forward_item(a, i % a->n_head, a->n_pad / TILE - 1 - i / a->n_head, j->swa, a->work + (size_t)thread * attn_work(a),
                     j->out, j->entropy);
}

void attn_forward(attn_seq *a, const float *q, const float *key, const float *val, float scale, uint32_t swa, float *out,
                  float *entropy) {
    pack(a, q, a->n_head, scale, &a->q);
    pack(a, key, a->n_kv_head, 1, &a->key);
    pack(a, val, a->n_kv_head, 1, &a->val);
    rt_for(a->exec, a->n_pad / TILE * a->n_head, 1, forward_items, &(forward_job){a, swa, out, entropy});
}

/* ---- backward ---- */

/* s (64 queries, 64 keys): scores in, P out; ds: dP in, dS out. slope (64, 64): where scores are capped, what dS is still to be
 * multiplied with. */
static void score_gradient(const attn_seq *a, size_t h, size_t i, size_t j, uint32_t swa, float *s, float *ds, float *slope) {
    const float *lse = a->lse + h * a->n_pad + i * TILE, *dot = a->dot + h * a->n_pad + i * TILE;
    const bool all = all_visible(i, j, swa);
    if (a->cap > 0)
        rt_cap(a->k, s, TILE * TILE, a->cap, slope);
    for (size_t r = 0; r < TILE; r++, s += TILE, ds += TILE) {
        a->k->exp_sum(s, TILE, lse[r]);
        for (size_t t = 0; !all && t < TILE; t++)
            if (!visible(i * TILE + r, j * TILE + t, swa))
                s[t] = 0;
        for (size_t t = 0; t < TILE; t++)
            ds[t] = s[t] * (ds[t] - dot[r]);
    }
}

/* The same for s and ds as (64 keys, 64 queries). */
static void score_gradient_t(const attn_seq *a, size_t h, size_t i, size_t j, uint32_t swa, float *s, float *ds) {
    const float *lse = a->lse + h * a->n_pad + i * TILE, *dot = a->dot + h * a->n_pad + i * TILE;
    const bool all = all_visible(i, j, swa);
    float slope[TILE];
    for (size_t r = 0; r < TILE; r++, s += TILE, ds += TILE) {
        if (a->cap > 0)
            rt_cap(a->k, s, TILE, a->cap, slope);
        for (size_t t = 0; t < TILE; t++)
            s[t] -= lse[t];
        a->k->exp_sum(s, TILE, 0);
        for (size_t t = 0; !all && t < TILE; t++)
            if (!visible(i * TILE + t, j * TILE + r, swa))
                s[t] = 0;
        for (size_t t = 0; t < TILE; t++)
            ds[t] = s[t] * (ds[t] - dot[t]);
        for (size_t t = 0; a->cap > 0 && t < TILE; t++)
            ds[t] *= slope[t];
    }
}

/* One tile of queries: where the newest keys that each reads begin, and sums over what it reads. */
typedef struct cut_tile {
    size_t first[TILE][RT_MAX_CUTS];
    double p[TILE][RT_MAX_CUTS], ds[TILE][RT_MAX_CUTS];
} cut_tile;

static void cut_begin(const attn_cut *c, size_t i, cut_tile *t) {
    memset(t, 0, sizeof *t);
    for (size_t r = 0; r < TILE; r++)
        for (size_t l = 0; l < c->n; l++) {
            const size_t seen = i * TILE + r + 1, reads = (size_t)ceil((double)c->shares[l] * (double)seen);
            const size_t newest = reads > c->sinks ? reads - c->sinks : 1;
            t->first[r][l] = newest < seen ? seen - newest : 0;
        }
}

static double sum_of(const float *x, size_t n) {
    double part[8] = {0}, sum = 0;
    for (; n >= 8; x += 8, n -= 8)
        for (size_t l = 0; l < 8; l++)
            part[l] += (double)x[l];
    for (size_t l = 0; l < n; l++)
        sum += (double)x[l];
    for (size_t l = 0; l < 8; l++)
        sum += part[l];
    return sum;
}

/* Add what queries read of keys of tile j; s, ds: P and dS. */
static void cut_add(const attn_cut *c, size_t j, const float *s, const float *ds, cut_tile *t) {
    const size_t begin = j * TILE, sinks = c->sinks < begin ? 0 : c->sinks - begin < TILE ? c->sinks - begin : TILE;
    for (size_t r = 0; r < TILE; r++, s += TILE, ds += TILE) {
        double p = 0, d = 0; /* of the whole row, once it is asked for */
        bool summed = false;
        for (size_t l = 0; l < c->n; l++) {
            const size_t first = t->first[r][l], from = first < begin ? 0 : first - begin < TILE ? first - begin : TILE;
            if (from > sinks) {
                t->p[r][l] += sum_of(s, sinks) + sum_of(s + from, TILE - from);
                t->ds[r][l] += sum_of(ds, sinks) + sum_of(ds + from, TILE - from);
                continue;
            }
            if (!summed) {
                p = sum_of(s, TILE);
                d = sum_of(ds, TILE);
                summed = true;
            }
            t->p[r][l] += p;
            t->ds[r][l] += d;
        }
    }
}

static void cut_end(const attn_seq *a, const attn_cut *c, size_t h, size_t i, const cut_tile *t) {
    for (size_t r = 0; r < TILE && i * TILE + r < a->n; r++)
        for (size_t l = 0; l < c->n; l++) {
            const double p = t->p[r][l]; /* 0 where all that is read is too little for f32: then nothing is */
            c->out[((i * TILE + r) * a->n_head + h) * c->n + l] =
                (float)(p > 0 ? t->ds[r][l] / p : -(double)a->dot[h * a->n_pad + i * TILE + r]);
        }
}

/* dQ of one tile of queries of one head. */
static void query_item(const attn_seq *a, size_t h, size_t i, uint32_t swa, float scale, float *work, float *dq,
                       const attn_cut *cut) {
    cut_tile read;
    if (cut)
        cut_begin(cut, i, &read);
    const size_t dim = a->dim, g = h / (a->n_head / a->n_kv_head);
    float *s = work, *ds = s + TILE * TILE, *slope = ds + TILE * TILE, *sum = slope + TILE * TILE;
    memset(sum, 0, TILE * dim * sizeof *sum);
    for (size_t j = first_key_tile(i, swa); j <= i; j++) {
        a->k->attn_scores(rows_of(a, &a->q, h, i), TILE, dim, cols_of(a, &a->key, g, j), s, TILE);
        a->k->attn_scores(rows_of(a, &a->d_out, h, i), TILE, dim, cols_of(a, &a->val, g, j), ds, TILE);
        score_gradient(a, h, i, j, swa, s, ds, slope);
        if (cut)
            cut_add(cut, j, s, ds, &read);
        for (size_t t = 0; a->cap > 0 && t < TILE * TILE; t++)
            ds[t] *= slope[t];
        a->k->attn_values(ds, TILE, TILE, TILE, rows_of(a, &a->key, g, j), dim, sum);
    }
    unpack(a, sum, scale, a->n_head, h, i, dq);
    if (cut)
        cut_end(a, cut, h, i, &read);
}

/* Move what queries of tile i nearer than `window` to keys of tile j contribute, s (64 keys, 64 queries), to `near`. */
static void split(size_t i, size_t j, uint32_t window, float *s, float *near) {
    for (size_t r = 0; r < TILE; r++)
        for (size_t t = 0; t < TILE; t++) {
            const bool is_near = i * TILE + t < j * TILE + r + window;
            near[r * TILE + t] = is_near ? s[r * TILE + t] : 0;
            s[r * TILE + t] = is_near ? 0 : s[r * TILE + t];
        }
}

/* dK and dV of one tile of keys of one KV head: over the query heads that read it and the tiles of queries, in order. */
static void key_item(const attn_seq *a, size_t g, size_t j, uint32_t swa, uint32_t window, float *work, const attn_grad *d) {
    const size_t dim = a->dim, group = a->n_head / a->n_kv_head, tiles = a->n_pad / TILE;
    float *s = work, *ds = s + TILE * TILE, *near = ds + TILE * TILE;
    float *k_sum[2], *v_sum[2]; /* near, far */
    for (int far = 0; far < 2; far++) {
        k_sum[far] = near + TILE * TILE + (size_t)far * 2 * TILE * dim;
        v_sum[far] = k_sum[far] + TILE * dim;
        memset(k_sum[far], 0, 2 * TILE * dim * sizeof *s);
    }
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t i = j; i < tiles && first_key_tile(i, swa) <= j; i++) {
            const bool all_far = i * TILE >= j * TILE + TILE - 1 + window, any_far = i * TILE + TILE > j * TILE + window;
            const float *d_out = rows_of(a, &a->d_out, h, i), *q = rows_of(a, &a->q, h, i);
            a->k->attn_scores(rows_of(a, &a->key, g, j), TILE, dim, cols_of(a, &a->q, h, i), s, TILE);
            a->k->attn_scores(rows_of(a, &a->val, g, j), TILE, dim, cols_of(a, &a->d_out, h, i), ds, TILE);
            score_gradient_t(a, h, i, j, swa, s, ds);
            if (any_far && !all_far) {
                split(i, j, window, s, near);
                a->k->attn_values(near, TILE, TILE, TILE, d_out, dim, v_sum[0]);
                split(i, j, window, ds, near);
                a->k->attn_values(near, TILE, TILE, TILE, q, dim, k_sum[0]);
            }
            a->k->attn_values(s, TILE, TILE, TILE, d_out, dim, v_sum[any_far]);
            a->k->attn_values(ds, TILE, TILE, TILE, q, dim, k_sum[any_far]);
        }
    unpack(a, k_sum[1], 1, a->n_kv_head, g, j, d->far_k);
    unpack(a, v_sum[1], 1, a->n_kv_head, g, j, d->far_v);
    for (size_t i = 0; i < 2 * TILE * dim; i++)
        k_sum[1][i] += k_sum[0][i];
    unpack(a, k_sum[1], 1, a->n_kv_head, g, j, d->dk);
    unpack(a, v_sum[1], 1, a->n_kv_head, g, j, d->dv);
}

typedef struct backward_job {
    const attn_seq *a;
    const float *out, *d_out;
    float scale;
    uint32_t swa, window;
    const attn_grad *g;
    const attn_cut *cut;
} backward_job;

/* out . d_out of some tokens, all heads. */
static void fill_dot(void *arg, int thread, size_t from, size_t end) {
    (void)thread;
    const backward_job *j = arg;
    const attn_seq *a = j->a;
    for (size_t t = from; t < end; t++)
        for (size_t h = 0; h < a->n_head; h++) {
            const size_t at = (t * a->n_head + h) * a->dim;
            double sum = 0;
            for (size_t c = 0; t < a->n && c < a->dim; c++)
                sum += (double)j->out[at + c] * j->d_out[at + c];
            a->dot[h * a->n_pad + t] = (float)sum;
        }
}

/* First all items (tile, KV head) of keys, then all (tile, head) of queries; of both the longest first. */
static void backward_items(void *arg, int thread, size_t from, size_t end) {
    const backward_job *j = arg;
    const attn_seq *a = j->a;
    const size_t tiles = a->n_pad / TILE, keys = tiles * a->n_kv_head;
    float *work = a->work + (size_t)thread * attn_work(a);
    for (size_t i = from; i < end; i++)
        if (i < keys)
            key_item(a, i % a->n_kv_head, i / a->n_kv_head, j->swa, j->window, work, j->g);
        else
            query_item(a, (i - keys) % a->n_head, tiles - 1 - (i - keys) / a->n_head, j->swa, j->scale, work, j->g->dq, j->cut);
}

void attn_backward(attn_seq *a, const float *out, const float *d_out, float scale, uint32_t swa, uint32_t window,
                   const attn_grad *g, const attn_cut *cut) {
    backward_job j = {a, out, d_out, scale, swa, window, g, cut};
    pack(a, d_out, a->n_head, 1, &a->d_out);
    rt_for(a->exec, a->n_pad, 64, fill_dot, &j);
    rt_for(a->exec, a->n_pad / TILE * ((size_t)a->n_kv_head + a->n_head), 1, backward_items, &j);
}
