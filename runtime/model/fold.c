/* Where queries and keys come from in a file, and these numbers times others. Every place is a site: rows of a matrix, or
 * numbers of a vector, of all heads of a layer. Sites are gone through in one order, which is also that of what undoes it.
 */
#include "model/fold.h"

#include "base/zframe.h"
#include "model/model_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool rt_folded(const gguf *g) {
    return gguf_find(g, RT_FOLD_ORIGINAL) || gguf_find(g, RT_FOLD_SCALES) || gguf_find(g, RT_FOLD_UNDO);
}

static const rt_arch *arch_of(const rt_hparams *hp) {
    return rt_arch_find(hp->arch, strlen(hp->arch));
}

uint32_t rt_fold_units(const rt_hparams *hp, uint16_t unit[PROF_MAX_DIM]) {
    const uint32_t half = hp->n_rot / 2;
    for (uint32_t i = 0; i < hp->head_dim; i++) {
        const bool rotates = i < hp->n_rot;
        const uint32_t own = rotates ? (arch_of(hp)->rope_neox ? i % half : i / 2) : half + i - hp->n_rot;
        unit[i] = i >= hp->key_dim ? RT_FOLD_NONE : (uint16_t)own;
    }
    return half + hp->key_dim - hp->n_rot;
}

static const char *in_layer(uint32_t layer, const char *name, char buf[64]) {
    snprintf(buf, 64, "blk.%u.%s", layer, name);
    return buf;
}

static const gguf_tensor *find(const gguf *g, uint32_t layer, const char *name) {
    char buf[64];
    return gguf_tensor_find(g, in_layer(layer, name, buf));
}

bool rt_fold_shared(const gguf *g, const rt_hparams *hp, uint32_t layer) {
    const rt_qk_norm kind = arch_of(hp)->qk_norm;
    return (kind == RT_QK_HEADS || kind == RT_QK_MAY) && find(g, layer, "attn_k_norm.weight");
}

/* ---- sites ---- */

typedef struct site {
    const gguf_tensor *t;
    char name[64];
    uint32_t layer; /* whose e: the layer that stores the keys */
    size_t from;    /* rows, or numbers of a vector, before those of head 0 */
    uint32_t heads; /* whose numbers these are; 1: of all alike */
    uint32_t group; /* so many of them read a KV head */
    int sign;       /* keys: 1, queries: -1 */
    bool vector;
} site;

enum { MOST_SITES = 6 };

/* A site, where the layer has such a tensor. */
static void add(const gguf *g, uint32_t layer, const char *name, const site *like, bool vector, size_t from, site *out,
                int *n) {
    const gguf_tensor *t = find(g, layer, name);
    if (!t)
        return;
    out[*n] = *like;
    out[*n].t = t;
    out[*n].vector = vector;
    out[*n].from = from;
    in_layer(layer, name, out[(*n)++].name);
}

/* Of the queries or the keys of a layer. */
static void add_side(const gguf *g, const rt_hparams *hp, uint32_t layer, bool key, site *out, int *n) {
    const uint32_t owner = hp->kv_layer[layer], kv = hp->kv_heads[owner], heads = key ? kv : hp->heads[layer];
    const char *norm = key ? "attn_k_norm.weight" : "attn_q_norm.weight";
    const size_t before = key ? (size_t)hp->heads[layer] * hp->key_dim : 0; /* in tensors that hold both */
    site like = {.layer = owner, .heads = heads, .group = heads / kv, .sign = key ? 1 : -1};
    if (find(g, layer, norm)) {
        like.heads = rt_fold_shared(g, hp, owner) ? 1 : heads;
        add(g, layer, norm, &like, true, 0, out, n);
        return;
    }
    add(g, layer, key ? "attn_k.weight" : "attn_q.weight", &like, false, 0, out, n);
    add(g, layer, key ? "attn_k.bias" : "attn_q.bias", &like, true, 0, out, n);
    add(g, layer, "attn_qkv.weight", &like, false, before, out, n);
    add(g, layer, "attn_qkv.bias", &like, true, before, out, n);
}

static int sites_of(const gguf *g, const rt_hparams *hp, uint32_t layer, site out[MOST_SITES]) {
    int n = 0;
    if (hp->heads[layer] && hp->kv_heads[layer]) {
        add_side(g, hp, layer, false, out, &n);
        if (rt_layer_caches(hp, layer))
            add_side(g, hp, layer, true, out, &n);
    }
    return n;
}

/* ---- one number of e, and what it multiplies ---- */

typedef struct pass {
    const rt_hparams *hp;
    int8_t *e;
    int8_t *low, *high; /* as e: what it may be */
    int16_t *lost;      /* what multiplying and dividing again does not give back, in the order of the sites; or NULL */
    size_t at;          /* of the next */
    bool undo;
    uint32_t *now, *back; /* bits of a piece */
} pass;

/* The numbers that e of (head, dim) of a site multiplies: n elements from *data on. */
static size_t piece(const site *s, const rt_hparams *hp, uint32_t head, uint32_t dim, uint8_t **data) {
    const size_t row = s->from + (size_t)head * hp->key_dim + dim, n = s->vector ? 1 : s->t->dims[0];
    *data += row * (n / s->t->type->block_elems * s->t->type->block_bytes);
    return n;
}

static size_t index_of(const site *s, const rt_hparams *hp, uint32_t head, uint32_t dim) {
    return ((size_t)s->layer * hp->n_kv_head + head / s->group) * hp->head_dim + dim;
}

/* Narrow what e may be to what a piece has room for. */
static void narrow(const pass *p, const site *s, size_t i, const uint8_t *data, size_t n) {
    int least, most;
    qtype_scale_room(s->t->type, data, n, &least, &most);
    const int low = s->sign > 0 ? least : -most, high = s->sign > 0 ? most : -least;
    p->low[i] = (int8_t)(low > p->low[i] ? low : p->low[i]);
    p->high[i] = (int8_t)(high < p->high[i] ? high : p->high[i]);
}

/* Multiply, and find out what a division would not give back. */
static void fold_piece(const pass *p, const qtype_info *t, uint8_t *data, size_t n, double by) {
    const size_t scales = qtype_n_scales(t, n);
    if (!p->lost) {
        qtype_multiply(t, data, n, by);
        return;
    }
    uint32_t *now = p->now, *back = p->back;
    qtype_scales_get(t, data, n, back);
    for (size_t i = 0; i < scales; i++)
        p->lost[p->at + i] = (int16_t)back[i];
    qtype_multiply(t, data, n, by);
    qtype_scales_get(t, data, n, now);
    qtype_multiply(t, data, n, 1 / by);
    qtype_scales_get(t, data, n, back);
    qtype_scales_set(t, data, n, now);
    for (size_t i = 0; i < scales; i++)
        p->lost[p->at + i] = (int16_t)(p->lost[p->at + i] - (int16_t)back[i]);
}

static void unfold_piece(const pass *p, const qtype_info *t, uint8_t *data, size_t n, double by) {
    const size_t scales = qtype_n_scales(t, n);
    qtype_multiply(t, data, n, 1 / by);
    qtype_scales_get(t, data, n, p->back);
    for (size_t i = 0; i < scales; i++)
        p->back[i] += (uint32_t)p->lost[p->at + i];
    qtype_scales_set(t, data, n, p->back);
}

static void multiply(pass *p, const site *s, size_t i, uint8_t *data, size_t n) {
    if (!p->e[i])
        return;
    (p->undo ? unfold_piece : fold_piece)(p, s->t->type, data, n, exp2(s->sign * p->e[i]));
    p->at += qtype_n_scales(s->t->type, n);
}

static void count(pass *p, const site *s, size_t i, size_t n) {
    p->at += p->e[i] ? qtype_n_scales(s->t->type, n) : 0;
}

typedef enum work { WORK_NARROW, WORK_COUNT, WORK_MULTIPLY } work;

static kv_status walk(gguf *g, pass *p, work what, kv_err *err) {
    kv_status st = KV_OK;
    site sites[MOST_SITES];
    p->at = 0;
    for (uint32_t l = 0; l < p->hp->n_layer; l++) {
        const int n = sites_of(g, p->hp, l, sites);
        for (const site *s = sites; s < sites + n; s++) {
            uint8_t *all = (uint8_t *)s->t->data; /* only read, unless it is edited */
            if (what == WORK_MULTIPLY && (st = gguf_edit(g, s->name, &all, err)))
                return st;
            for (uint32_t h = 0; h < s->heads; h++)
                for (uint32_t d = 0; d < p->hp->key_dim; d++) {
                    uint8_t *data = all;
                    const size_t len = piece(s, p->hp, h, d, &data), i = index_of(s, p->hp, h, d);
                    if (what == WORK_NARROW)
                        narrow(p, s, i, data, len);
                    else if (what == WORK_COUNT)
                        count(p, s, i, len);
                    else
                        multiply(p, s, i, data, len);
                }
        }
    }
    return st;
}

/* ---- what can be folded ---- */

static kv_status check_site(const gguf *g, const rt_hparams *hp, const site *s, kv_err *err) {
    const gguf_tensor *t = s->t;
    const size_t numbers = s->from + (size_t)s->heads * hp->key_dim, have = s->vector ? t->dims[0] * t->dims[1] : t->dims[1];
    if (have < numbers || t->dims[2] != 1 || t->dims[3] != 1 || (s->vector && t->type->block_elems != 1))
        return kv_fail(err, KV_EFORMAT, "%s: tensor '%s' is not of the shape that it has in a '%s' model", gguf_path(g),
                       s->name, hp->arch);
    if (!qtype_n_scales(t->type, t->type->block_elems))
        return kv_fail(
            err, KV_EUNSUPP,
            "%s: tensor '%s' is of type %s, whose rows cannot be multiplied by their scales: fold a model of another "
            "type",
            gguf_path(g), s->name, t->type->name);
    return KV_OK;
}

static kv_status check(const gguf *g, const rt_hparams *hp, kv_err *err) {
    site sites[MOST_SITES];
    kv_status st = KV_OK;
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        const int n = sites_of(g, hp, l, sites);
        for (int i = 0; i < n && !st; i++)
            st = check_site(g, hp, &sites[i], err);
    }
    return st;
}

/* ---- e within what there is room for ---- */

/* The smallest of `high` and the largest of `low` of what must have the same scale hold for all of it. */
static void tie(const gguf *g, const pass *p) {
    const rt_hparams *hp = p->hp;
    uint16_t unit[PROF_MAX_DIM];
    int8_t low[PROF_MAX_DIM], high[PROF_MAX_DIM];
    rt_fold_units(hp, unit);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        const bool shared = rt_fold_shared(g, hp, l);
        const size_t row = hp->head_dim, all = hp->n_kv_head * row, from = l * all, n = shared ? all : row;
        for (size_t at = from; at < from + all; at += n) {
            memset(low, -PROF_FOLD_MOST, sizeof low);
            memset(high, PROF_FOLD_MOST, sizeof high);
            for (size_t i = 0; i < n; i++) {
                const uint16_t u = unit[i % row];
                if (u == RT_FOLD_NONE)
                    continue;
                low[u] = p->low[at + i] > low[u] ? p->low[at + i] : low[u];
                high[u] = p->high[at + i] < high[u] ? p->high[at + i] : high[u];
            }
            for (size_t i = 0; i < n; i++) {
                int8_t *e = &p->e[at + i];
                const uint16_t u = unit[i % row];
                *e = u == RT_FOLD_NONE ? 0 : *e < low[u] ? low[u] : *e > high[u] ? high[u] : *e;
            }
        }
    }
}

static kv_status settle(gguf *g, pass *p, kv_err *err) {
    const size_t n = rt_fold_count(p->hp);
    p->low = malloc(n);
    p->high = malloc(n);
    kv_status st = p->low && p->high ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", gguf_path(g));
    if (!st) {
        memset(p->low, -PROF_FOLD_MOST, n);
        memset(p->high, PROF_FOLD_MOST, n);
        if (!(st = walk(g, p, WORK_NARROW, err)))
            tie(g, p);
    }
    free(p->low);
    free(p->high);
    return st;
}

/* ---- folding and undoing ---- */

/* Room for what the pieces of a pass need; lost (n): for all of it. */
static kv_status pass_alloc(const gguf *g, pass *p, size_t n, kv_err *err) {
    size_t widest = 1;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        widest = gguf_tensor_at(g, i)->dims[0] > widest ? gguf_tensor_at(g, i)->dims[0] : widest;
    p->now = malloc(2 * widest * sizeof *p->now);
    p->back = malloc(2 * widest * sizeof *p->back);
    p->lost = malloc((n + 1) * sizeof *p->lost);
    return p->now && p->back && p->lost ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", gguf_path(g));
}

static void pass_free(pass *p) {
    free(p->now);
    free(p->back);
    free(p->lost);
}

/* Numbers in two planes: the lower bytes are all but few 0, 1 or -1, the upper ones 0 or -1. */
static kv_status lost_pack(const int16_t *lost, size_t n, rt_fold_undo *out, kv_err *err) {
    uint8_t *planes = malloc(2 * n + 1);
    if (!planes)
        return kv_fail(err, KV_ENOMEM, "out of memory to fold");
    for (size_t i = 0; i < n; i++) {
        planes[i] = (uint8_t)lost[i];
        planes[n + i] = (uint8_t)((uint16_t)lost[i] >> 8);
    }
    const kv_status st = zframe_make(planes, 2 * n, &out->frame, &out->len, err);
    free(planes);
    return st;
}

static kv_status lost_unpack(const gguf *g, const gguf_kv *kv, int16_t *lost, size_t n, kv_err *err) {
    uint8_t *planes = malloc(2 * n + 1);
    if (!planes)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", gguf_path(g));
    char what[600];
    snprintf(what, sizeof what, "%.500s: " RT_FOLD_UNDO, gguf_path(g));
    const kv_status st = zframe_open(kv->raw, kv->raw_bytes, planes, 2 * n, what, err);
    for (size_t i = 0; i < n && !st; i++)
        lost[i] = (int16_t)(planes[i] | planes[n + i] << 8);
    free(planes);
    return st;
}

kv_status rt_fold_check(const gguf *g, const rt_hparams *hp, kv_err *err) {
    if (rt_folded(g))
        return kv_fail(err, KV_EUNSUPP, "%s: is folded already: kvpack --strip makes it what it was before", gguf_path(g));
    return check(g, hp, err);
}

kv_status rt_fold_apply(gguf *g, const rt_hparams *hp, int8_t *e, rt_fold_undo *undo, kv_err *err) {
    pass p = {.hp = hp, .e = e};
    kv_status st;
    if ((st = rt_fold_check(g, hp, err)) || (st = settle(g, &p, err)) || (st = walk(g, &p, WORK_COUNT, err)))
        return st;
    const size_t n = p.at;
    if (undo && (st = pass_alloc(g, &p, n, err)))
        goto done;
    if (!(st = walk(g, &p, WORK_MULTIPLY, err)) && undo)
        st = lost_pack(p.lost, n, undo, err);
done:
    pass_free(&p);
    return st;
}

kv_status rt_fold_scales(const gguf *g, const rt_hparams *hp, const int8_t **e, kv_err *err) {
    const gguf_kv *kv = NULL;
    kv_status st = gguf_get_array(g, RT_FOLD_SCALES, GGUF_U8, true, &kv, err);
    if (!st && kv->count != rt_fold_count(hp))
        st = kv_fail(err, KV_EFORMAT, "%s: " RT_FOLD_SCALES " has %llu numbers, but the model's keys have %zu dimensions",
                     gguf_path(g), (unsigned long long)kv->count, rt_fold_count(hp));
    if (!st)
        *e = (const int8_t *)kv->raw;
    return st;
}

/* Do what is there and what the keys say belong together? */
static kv_status check_original(const gguf *g, gguf_str original, kv_err *err) {
    char hash[33];
    kv_status st = gguf_model_hash(g, hash, err);
    if (!st && (original.len != strlen(hash) || memcmp(original.s, hash, original.len)))
        st = kv_fail(err, KV_EFORMAT,
                     "%s: undoing its folding gives a model with hash %s, not %.*s as it says: the file has been changed since",
                     gguf_path(g), hash, (int)(original.len < 40 ? original.len : 40), original.s);
    return st;
}

kv_status rt_fold_take_back(gguf *g, const rt_hparams *hp, kv_err *err) {
    const int8_t *e;
    const gguf_kv *frame = NULL;
    gguf_str original;
    pass p = {.hp = hp, .undo = true};
    kv_status st;
    if ((st = rt_fold_scales(g, hp, &e, err)) || (st = gguf_get_array(g, RT_FOLD_UNDO, GGUF_U8, true, &frame, err)) ||
        (st = gguf_get_str(g, RT_FOLD_ORIGINAL, true, &original, err)) || (st = check(g, hp, err)))
        return st;
    p.e = (int8_t *)e; /* only read */
    if ((st = walk(g, &p, WORK_COUNT, err)))
        return st;
    const size_t n = p.at;
    if ((st = pass_alloc(g, &p, n, err)) || (st = lost_unpack(g, frame, p.lost, n, err)) ||
        (st = walk(g, &p, WORK_MULTIPLY, err)))
        goto done;
    st = check_original(g, original, err);
done:
    pass_free(&p);
    return st;
}
