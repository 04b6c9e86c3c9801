/* KV heads of a profile: which codec each has, the calibrated ones in order, and what is said of those in words. */
#include "profile/profile_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float prof_codec_bits(kv_codec_id id, bool key, uint32_t head_dim) {
    const kv_codec_name *n = &kv_codec_names[id];
    return !head_dim && (key ? n->k_f16 : n->v_f16) ? 0 : kv_codec_bits(id, key, head_dim);
}

kv_status prof_kv_alloc(prof_kv *kv, uint32_t n_kv_head, kv_err *err) {
    const size_t n = n_kv_head ? n_kv_head : 1;
    kv_codec_id *codecs = malloc(n * sizeof *codecs);
    float *bits = malloc(n * sizeof *bits);
    if (!codecs || !bits) {
        free(codecs);
        free(bits);
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    }
    for (size_t h = 0; h < n; h++) {
        codecs[h] = kv->codec;
        bits[h] = kv->bits;
    }
    free(kv->codecs);
    free(kv->head_bits);
    kv->codecs = codecs;
    kv->head_bits = bits;
    return KV_OK;
}

prof_head prof_kv_head(const prof_kv *kv, uint32_t head) {
    prof_head h = {.codec = kv->codecs ? kv->codecs[head] : kv->codec, .bits = kv->head_bits ? kv->head_bits[head] : kv->bits};
    h.tc = h.codec == KV_TC && kv->heads ? &kv->heads[head] : NULL;
    return h;
}

bool prof_kv_mixed(const prof_kv *kv, uint32_t n_kv_head) {
    for (uint32_t h = 1; kv->codecs && h < n_kv_head; h++)
        if (kv->codecs[h] != kv->codecs[0])
            return true;
    return false;
}

/* ---- calibrated heads ---- */

bool prof_kv_has_tc(const prof_kv *kv, uint32_t n_kv_head) {
    if (!kv->codecs)
        return kv->codec == KV_TC;
    for (uint32_t h = 0; h < n_kv_head; h++)
        if (kv->codecs[h] == KV_TC)
            return true;
    return false;
}

bool prof_has_tc(const prof *p) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        if (prof_kv_has_tc(&p->layers[l].k, prof_kv_heads(p, l)) || prof_kv_has_tc(&p->layers[l].v, prof_kv_heads(p, l)))
            return true;
    return false;
}

bool prof_has_data(const prof *p) {
    return prof_has_tc(p) || prof_has_queries(p);
}

/* Move to the next head whose codec is KV_TC, and past it. */
static const prof_kv *next(const prof *p, prof_tc_iter *it, uint32_t *head) {
    while (p->layers && it->layer < p->n_layer) {
        const prof_kv *kv = it->v ? &p->layers[it->layer].v : &p->layers[it->layer].k;
        while (it->head < prof_kv_heads(p, it->layer)) {
            *head = it->head++;
            if ((kv->codecs ? kv->codecs[*head] : kv->codec) == KV_TC)
                return kv;
        }
        it->head = 0;
        it->layer += it->v;
        it->v = !it->v;
    }
    return NULL;
}

size_t prof_n_tc(const prof *p) {
    prof_tc_iter it = {0};
    size_t n = 0;
    for (uint32_t head; next(p, &it, &head);)
        n++;
    return n;
}

prof_tc *prof_tc_next(const prof *p, prof_tc_iter *it) {
    uint32_t head;
    const prof_kv *kv = next(p, it, &head);
    return kv ? &kv->heads[head] : NULL;
}

/* ---- in words ---- */

void prof_tc_dims(const prof_tc *t, char out[PROF_DIMS_TEXT]) {
    size_t len = 0;
    out[0] = '\0';
    for (uint32_t i = 0, n; i < t->dim; i += n) {
        for (n = 1; i + n < t->dim && t->bits[i + n] == t->bits[i];)
            n++;
        len += (size_t)snprintf(out + len, PROF_DIMS_TEXT - len, "%s%u*%u", len ? " " : "", t->bits[i], n);
    }
}

bool prof_digits(const char **text, uint32_t most, uint32_t *out) {
    const char *s = *text;
    uint64_t v = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        if ((v = v * 10 + (uint64_t)(*s - '0')) > most)
            return false;
    bool any = s != *text;
    *text = s;
    *out = (uint32_t)v;
    return any;
}

bool prof_dims_parse(const char *text, uint32_t dim, uint8_t *bits) {
    uint32_t at = 0, value, n;
    for (;; text++) {
        if (!prof_digits(&text, PROF_MAX_BITS, &value) || *text++ != '*' || !prof_digits(&text, dim - at, &n) || n < 1)
            return false;
        memset(bits + at, (int)value, n);
        at += n;
        if (*text != ' ')
            return !*text && at == dim;
    }
}

uint32_t prof_tc_spectrum(const prof_tc *t, float out[PROF_SPECTRUM]) {
    const uint32_t n = t->dim < PROF_SPECTRUM ? t->dim : PROF_SPECTRUM;
    double first = 1;
    for (uint32_t e = 0; e < n; e++) {
        const uint32_t from = e * t->dim / n, to = (e + 1) * t->dim / n;
        double sum = 0;
        for (uint32_t i = from; i < to; i++)
            sum += (double)t->sigma[i] * (double)t->sigma[i];
        sum /= to - from;
        if (e == 0)
            first = sum;
        out[e] = (float)(10 * log10(sum / first));
    }
    return n;
}
