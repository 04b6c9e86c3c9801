/* Profiles in memory: allocation, rounding to storage precision, checking, and whether one fits a model.
 *
 * Invariant after prof_round: writing a profile and reading it back gives the same numbers, so that what was measured is what
 * every later reader gets. Text numbers keep as many digits as their schema row says; levels and sigma are f16; a row of the
 * basis is integers below 2^10 times a power of two, which is exact in f16 too and compresses to two thirds of it. The encoder
 * works with the inverse of the rounded basis, so rounding the basis costs no accuracy of its own.
 */
#include "profile/profile_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocation ---- */

kv_status prof_new(uint32_t n_layer, uint32_t n_head, uint32_t n_kv_head, uint32_t head_dim, prof **out, kv_err *err) {
    *out = NULL;
    if (n_layer < 1 || n_layer > PROF_MAX_LAYERS || n_head < 1 || n_head > PROF_MAX_HEADS || n_kv_head < 1 ||
        n_kv_head > PROF_MAX_HEADS || head_dim < 1 || head_dim > PROF_MAX_DIM)
        return kv_fail(err, KV_ERANGE, "profile: %u layers, %u heads, %u KV heads of width %u: the most are %d, %d, %d, %d",
                       n_layer, n_head, n_kv_head, head_dim, PROF_MAX_LAYERS, PROF_MAX_HEADS, PROF_MAX_HEADS, PROF_MAX_DIM);
    prof *p = calloc(1, sizeof *p);
    if (!p || !(p->layers = calloc(n_layer, sizeof *p->layers)))
        goto nomem;
    p->n_layer = n_layer;
    p->n_head = n_head;
    p->n_kv_head = n_kv_head;
    p->head_dim = head_dim;
    p->default_k = p->default_v = KV_F16;
    p->evict = PROF_EVICT_DEFAULT;
    for (uint32_t i = 0; i < n_layer; i++) {
        prof_layer *l = &p->layers[i];
        l->entropy = calloc(n_head, sizeof *l->entropy);
        l->importance = calloc(n_kv_head, sizeof *l->importance);
        l->k.codec = l->v.codec = KV_TC;
        l->k.heads = calloc(n_kv_head, sizeof *l->k.heads);
        l->v.heads = calloc(n_kv_head, sizeof *l->v.heads);
        if (!l->entropy || !l->importance || !l->k.heads || !l->v.heads)
            goto nomem;
    }
    *out = p;
    return KV_OK;
nomem:
    prof_free(p);
    return kv_fail(err, KV_ENOMEM, "profile: out of memory");
}

static bool all_same(const uint16_t *v, uint32_t n, uint32_t as) {
    for (uint32_t i = 0; i < n; i++)
        if (v[i] != as)
            return false;
    return true;
}

static kv_status keep_heads(uint16_t **to, const uint16_t *from, uint32_t n, uint32_t most, kv_err *err) {
    if (all_same(from, n, most))
        return KV_OK;
    if (!(*to = malloc(n * sizeof **to)))
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    memcpy(*to, from, n * sizeof **to);
    return KV_OK;
}

static void free_heads(prof_kv *kv, uint32_t from, uint32_t end) {
    for (uint32_t h = from; kv->heads && h < end; h++)
        prof_tc_free(&kv->heads[h]);
}

static void prof_kv_free(prof_kv *kv, uint32_t n_kv_head) {
    free_heads(kv, 0, n_kv_head);
    free(kv->heads);
    free(kv->codecs);
    free(kv->head_bits);
}

/* Nothing is stored: nothing is said. */
static void empty_layer(prof_layer *l) {
    prof_kv_free(&l->k, 0);
    prof_kv_free(&l->v, 0);
    l->k = l->v = (prof_kv){.codec = KV_F16};
    free(l->importance);
    free(l->budgets);
    free(l->losses);
    free(l->queries);
    free(l->fold);
    l->importance = l->losses = l->queries = l->fold = NULL;
    l->budgets = NULL;
    l->budget = 0;
}

kv_status prof_set_heads(prof *p, const uint16_t *heads, const uint16_t *kv_heads, kv_err *err) {
    kv_status st = keep_heads(&p->heads, heads, p->n_layer, p->n_head, err);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        free_heads(&p->layers[l].k, kv_heads[l], p->n_kv_head);
        free_heads(&p->layers[l].v, kv_heads[l], p->n_kv_head);
        if (!kv_heads[l])
            empty_layer(&p->layers[l]);
        if (!heads[l]) {
            free(p->layers[l].entropy);
            p->layers[l].entropy = NULL;
        }
    }
    return st ? st : keep_heads(&p->kv_heads, kv_heads, p->n_layer, p->n_kv_head, err);
}

uint32_t prof_all_kv_heads(const prof *p) {
    uint32_t n = 0;
    for (uint32_t l = 0; l < p->n_layer; l++)
        n += prof_kv_heads(p, l);
    return n;
}

uint32_t prof_version(const prof *p) {
    return prof_has_fold(p) ? PROF_FOLD_VERSION : p->narrower ? PROF_WINDOWS_VERSION : p->heads || p->kv_heads ? 4 : 3;
}

static void free_one(prof *p) {
    for (uint32_t i = 0; p->layers && i < p->n_layer; i++) {
        prof_layer *l = &p->layers[i];
        free(l->entropy);
        free(l->importance);
        free(l->budgets);
        free(l->losses);
        free(l->queries);
        free(l->fold);
        prof_kv_free(&l->k, prof_kv_heads(p, i));
        prof_kv_free(&l->v, prof_kv_heads(p, i));
    }
    free(p->heads);
    free(p->kv_heads);
    free(p->layers);
    free(p->overrides);
    free(p);
}

void prof_free(prof *p) {
    while (p) {
        prof *next = p->narrower;
        free_one(p);
        p = next;
    }
}

/* ---- small shared things ---- */

bool prof_is_hash(const char *s) {
    return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

/* Length of the well-formed UTF-8 character at s (n bytes left), 0 where there is none. Control characters do not count. */
static size_t utf8_len(const unsigned char *s, size_t n) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    if (len == 1)
        return s[0] >= 0x20 && s[0] != 0x7f;
    uint32_t c = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c < 0xa0 || (c & 0xfffe) == 0xfffe ? 0 : len;
}

bool prof_is_utf8(const char *s, size_t len) {
    for (size_t i = 0, n; i < len; i += n)
        if (!(n = utf8_len((const unsigned char *)s + i, len - i)))
            return false;
    return true;
}

/* ---- rounding ---- */

double prof_round_number(double v, int digits) {
    char text[32];
    prof_number(text, v, digits);
    return prof_number_value(text);
}

static kv_status round_value(void *user, const prof_place *at, kv_err *err) {
    (void)user;
    (void)err;
    if (at->step != PROF_VALUE)
        return KV_OK;
    const prof_field *f = at->field;
    void *v = (void *)at->value; /* prof_round was given the profile to write to */
    if (f->kind == PK_F64)
        *(double *)v = prof_round_number(*(double *)v, f->digits);
    if (f->kind == PK_F32 || f->kind == PK_F32S)
        for (uint32_t i = 0, n = f->kind == PK_F32S ? at->n : 1; i < n; i++)
            ((float *)v)[i] = (float)prof_round_number(((float *)v)[i], f->digits);
    if (f->kind == PK_STR) /* names come from model files, cut to fit: what is not text becomes '?' */
        for (unsigned char *s = v; *s;) {
            size_t n = utf8_len(s, strlen((char *)s));
            if (n == 0)
                *s = '?';
            s += n ? n : 1;
        }
    return KV_OK;
}

static void round_kv(prof_kv *kv, uint32_t n_kv_head) {
    for (uint32_t h = 0; h < n_kv_head; h++) {
        if (kv->head_bits)
            kv->head_bits[h] = (float)prof_round_number(kv->head_bits[h], PROF_BITS_DIGITS);
        if (kv->heads)
            prof_tc_round(&kv->heads[h]);
    }
}

static void round_one(prof *p) {
    prof_round_evict(p);
    prof_walk(p, round_value, NULL, NULL);
    for (uint32_t i = 0; p->layers && i < p->n_layer; i++) {
        round_kv(&p->layers[i].k, prof_kv_heads(p, i));
        round_kv(&p->layers[i].v, prof_kv_heads(p, i));
    }
}

void prof_round(prof *p) {
    for (; p; p = p->narrower)
        round_one(p);
}

/* ---- checking ---- */

static kv_status out_of_range(const char *where, const char *path, double v, const prof_field *f, kv_err *err) {
    return kv_fail(err, KV_ERANGE, "%s: %s: %.9g is outside %.9g..%.9g", where, path, v, f->min, f->max);
}

static kv_status check_value(void *user, const prof_place *at, kv_err *err) {
    const char *where = user;
    const prof_field *f = at->field;
    char sub[PROF_PATH];
    const char *path = at->path;
    double v = f->min;
    if (f->kind == PK_LIST && at->step == PROF_BEGIN)
        v = at->n;
    if (at->step == PROF_VALUE)
        switch (f->kind) {
        case PK_U32:
        case PK_PER_LAYER:
        case PK_NAME:
            v = *(const uint32_t *)at->value;
            break;
        case PK_F32:
            v = *(const float *)at->value;
            break;
        case PK_F64:
            v = *(const double *)at->value;
            break;
        case PK_CODEC:
        case PK_CODECS: /* starts with one */
            v = *(const kv_codec_id *)at->value;
            break;
        case PK_F32S:
            for (uint32_t i = 0; i < at->n; i++) {
                v = ((const float *)at->value)[i];
                if (!(v >= f->min && v <= f->max)) {
                    prof_path_index(sub, path, i);
                    path = sub;
                    break;
                }
            }
            break;
        case PK_CHOICE:
            v = ((const prof_choice *)at->value)->codec;
            break;
        case PK_STR:
            if (!memchr(at->value, 0, f->size) || !prof_is_utf8(at->value, strlen(at->value)))
                return kv_fail(err, KV_ERANGE, "%s: %s: is not UTF-8 text", where, at->path);
            break;
        case PK_HASH:
            if (*(const char *)at->value && !prof_is_hash(at->value))
                return kv_fail(err, KV_ERANGE, "%s: %s: is not a hash of 32 lower-case hex digits", where, at->path);
            break;
        default:
            break;
        }
    return v >= f->min && v <= f->max ? KV_OK : out_of_range(where, path, v, f, err);
}

/* The mean that people read must be that of the heads; for codecs whose bits depend on head_dim there is none. */
static kv_status check_head_bits(const prof *p, const prof_kv *kv, uint32_t layer, const char *name, const char *where,
                                 kv_err *err) {
    const uint32_t n = prof_kv_heads(p, layer);
    double sum = 0;
    bool all = kv->head_bits && n;
    for (uint32_t h = 0; all && h < n; h++) {
        sum += (double)kv->head_bits[h];
        all = kv->head_bits[h] > 0;
    }
    if (all && !(fabs(sum / n - (double)kv->bits) < 1e-3))
        return kv_fail(err, KV_ERANGE, "%s: layers[%u].%s.bits: is %.6g, but the mean of its heads is %.6g", where, layer, name,
                       (double)kv->bits, sum / n);
    return KV_OK;
}

static kv_status check_kv(const prof *p, const prof_kv *kv, uint32_t layer, const char *name, const char *where, kv_err *err) {
    kv_status st = check_head_bits(p, kv, layer, name, where, err);
    if (st != KV_OK || !prof_kv_has_tc(kv, prof_kv_heads(p, layer)))
        return st;
    if (!(kv->bits > 0))
        return kv_fail(err, KV_ERANGE, "%s: layers[%u].%s.bits: missing; codec tc must say its true bits", where, layer, name);
    if (!p->n_kv_head || !p->head_dim)
        return kv_fail(err, KV_ERANGE, "%s: layers[%u].%s.codec: tc needs the model's shape (model.kv_heads, model.head_dim)",
                       where, layer, name);
    if (!kv->heads)
        return kv_fail(err, KV_ERANGE, "%s: layers[%u].%s.codec: tc needs calibrated data", where, layer, name);
    for (uint32_t h = 0; h < prof_kv_heads(p, layer); h++) {
        char path[64];
        const prof_head head = prof_kv_head(kv, h);
        if (!head.tc)
            continue;
        if (!(head.bits > 0))
            return kv_fail(err, KV_ERANGE, "%s: layers[%u].%s.heads[%u].bits: missing; codec tc must say its true bits", where,
                           layer, name, h);
        snprintf(path, sizeof path, "layers[%u].%s, head %u", layer, name, h);
        if ((st = prof_tc_check(&kv->heads[h], p->head_dim, where, path, err)) != KV_OK)
            return st;
    }
    return KV_OK;
}

static kv_status check_policy(const prof *p, const char *where, kv_err *err) {
    for (uint32_t i = 0; i < p->n_override; i++) {
        const prof_override *o = &p->overrides[i];
        if (!o->k.set && !o->v.set)
            return kv_fail(err, KV_ERANGE, "%s: policy.overrides[%u]: names no codec, neither k nor v", where, i);
        if ((o->k.set && kv_codec_names[o->k.codec].calibrated) || (o->v.set && kv_codec_names[o->v.codec].calibrated))
            return kv_fail(err, KV_ERANGE, "%s: policy.overrides[%u]: a calibrated codec cannot stand here", where, i);
    }
    return prof_check_overrides(p, p->n_layer, p->n_kv_head, where, err);
}

kv_status prof_check_one(const prof *p, const char *where, kv_err *err) {
    kv_status st = prof_walk(p, check_value, (void *)where, err);
    if (st == KV_OK && p->aim_bits != 0 && p->aim_kld != 0)
        st = kv_fail(err, KV_ERANGE, "%s: aim: bits or kld, not both", where);
    if (st == KV_OK && p->frame % PROF_FRAME)
        st = kv_fail(err, KV_ERANGE, "%s: policy.frame: %u is not a multiple of %d", where, p->frame, PROF_FRAME);
    if (st == KV_OK && !p->layers)
        st = check_policy(p, where, err);
    if (st == KV_OK)
        st = prof_check_evict(p, where, err);
    if (st == KV_OK)
        st = prof_check_fold(p, where, err);
    for (uint32_t i = 0; st == KV_OK && p->layers && i < p->n_layer; i++)
        if ((st = check_kv(p, &p->layers[i].k, i, "k", where, err)) == KV_OK)
            st = check_kv(p, &p->layers[i].v, i, "v", where, err);
    return st;
}

kv_status prof_check(const prof *p, const char *where, kv_err *err) {
    kv_status st = KV_OK;
    for (const prof *q = p; q && st == KV_OK; q = q->narrower)
        st = prof_check_one(q, where, err);
    return st == KV_OK ? prof_check_windows(p, where, err) : st;
}

/* ---- identity ---- */

/* Profiles that say how many KV heads there are must say it right of every layer. */
static kv_status match_layers(const prof *p, const prof_shape *model, const char *where, kv_err *err) {
    for (uint32_t l = 0; p->n_kv_head && model->kv_heads && l < model->n_layer; l++)
        if (prof_kv_heads(p, l) != model->kv_heads[l])
            return kv_fail(err, KV_EMISMATCH, "%s: made for a model whose layer %u has %u KV heads (%s), this one's has %u",
                           where, l, prof_kv_heads(p, l), p->model_name[0] ? p->model_name : "unnamed", model->kv_heads[l]);
    return KV_OK;
}

kv_status prof_matches(const prof *p, const char *model_hash, const prof_shape *model, const char *where, kv_err *err) {
    const struct {
        const char *what;
        uint32_t ours, theirs;
    } shape[] = {{"layers", p->n_layer, model->n_layer},
                 {"KV heads", p->n_kv_head, model->n_kv_head},
                 {"numbers per head", p->head_dim, model->head_dim}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        if (shape[i].ours && shape[i].ours != shape[i].theirs)
            return kv_fail(err, KV_EMISMATCH, "%s: made for a model with %u %s (%s), this one has %u", where, shape[i].ours,
                           shape[i].what, p->model_name[0] ? p->model_name : "unnamed", shape[i].theirs);
    kv_status st = match_layers(p, model, where, err);
    if (st)
        return st;
    if (p->model_hash[0] && strcmp(p->model_hash, model_hash))
        return kv_fail(err, KV_EMISMATCH,
                       "%s: made for another model (%s, hash %s); this one has hash %s; calibrate it with kvcalib", where,
                       p->model_name[0] ? p->model_name : "unnamed", p->model_hash, model_hash);
    return p->layers ? KV_OK : prof_check_overrides(p, model->n_layer, model->n_kv_head, where, err);
}
