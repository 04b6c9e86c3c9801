/* Layout: blob.h. libzstd's conventions stay in this file. */
#include "profile/blob.h"
#include "base/fp16.h"
#include "base/zframe.h"
#include "profile/profile_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { WITHOUT_QUERIES = 2, WITH_QUERIES = 3, HEADER = 16, RAW_MAX = 128 << 20 };
/* Calibrated numbers are half noise, and a frame of them holds less than twice its bytes. One that holds far more was made to
 * fill memory. */
enum { RATIO_MAX = 64, RATIO_FREE = 4 << 20 };

/* Where the arrays start. */
typedef struct layout {
    size_t heads, dim;
    size_t bits, mean, exp, basis, sigma, step, levels, asked, total; /* the latter two without queries */
} layout;

static layout lay_out(size_t heads, size_t dim) {
    layout l = {.heads = heads, .dim = dim, .bits = HEADER};
    l.mean = l.bits + heads * dim;
    l.exp = l.mean + 4 * heads * dim;
    l.basis = l.exp + heads * dim;
    l.sigma = l.basis + 2 * heads * dim * dim;
    l.step = l.sigma + 2 * heads * dim;
    l.levels = l.step + 2 * heads * (PROF_MAX_BITS + 1);
    l.asked = l.total = l.levels + heads * TRELLIS_LEVELS;
    return l;
}

/* Queries of all layers that have them. */
static size_t n_queries(const prof *p) {
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_layer; i++)
        n += p->layers[i].queries ? (size_t)prof_kv_heads(p, i) * PROF_QUERIES : 0;
    return n;
}

static size_t query_bytes(const prof *p, size_t n) {
    return n * (2 + p->head_dim);
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t get32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Number i of n, in planes of n bytes. */
static void put_planes(uint8_t *base, size_t n, size_t i, int bytes, uint32_t v) {
    for (int b = 0; b < bytes; b++)
        base[b * n + i] = (uint8_t)(v >> 8 * b);
}

static uint32_t get_planes(const uint8_t *base, size_t n, size_t i, int bytes) {
    uint32_t v = 0;
    for (int b = 0; b < bytes; b++)
        v |= (uint32_t)base[b * n + i] << 8 * b;
    return v;
}

/* ---- writing ---- */

static bool put_f16(uint8_t *base, size_t n, size_t i, float v) {
    uint16_t h = fp16_from_fp32(v);
    put_planes(base, n, i, 2, h);
    return fp16_to_fp32(h) == v;
}

static bool put_row(uint8_t *raw, const layout *l, size_t row, const float *v) {
    int e;
    if (!prof_row_exp(v, (uint32_t)l->dim, &e))
        return false;
    raw[l->exp + row] = (uint8_t)(int8_t)e;
    for (size_t i = 0; i < l->dim; i++) {
        float q = ldexpf(v[i], -e);
        if (q != rintf(q))
            return false;
        put_planes(raw + l->basis, l->heads * l->dim * l->dim, row * l->dim + i, 2, (uint16_t)(int16_t)q);
    }
    return true;
}

static bool put_head(uint8_t *raw, const layout *l, size_t head, const prof_tc *t) {
    bool exact = true;
    memcpy(raw + l->bits + head * l->dim, t->bits, l->dim);
    for (size_t i = 0; i < l->dim; i++) {
        size_t row = head * l->dim + i;
        put_planes(raw + l->mean, l->heads * l->dim, row, 4, fp32_bits(t->mean[i]));
        exact = put_f16(raw + l->sigma, l->heads * l->dim, row, t->sigma[i]) && exact;
        exact = put_row(raw, l, row, t->basis + i * l->dim) && exact;
    }
    for (size_t b = 0; b <= PROF_MAX_BITS; b++)
        exact = put_f16(raw + l->step, l->heads * (PROF_MAX_BITS + 1), head * (PROF_MAX_BITS + 1) + b, t->step[b]) && exact;
    memcpy(raw + l->levels + head * TRELLIS_LEVELS, t->levels, TRELLIS_LEVELS);
    return exact;
}

/* `asked` and what follows it; false where a query is not as prof_round leaves it. */
static bool put_queries(uint8_t *raw, const prof *p) {
    const size_t n = n_queries(p);
    uint8_t *scales = raw + p->n_layer, *codes = scales + 2 * n;
    bool exact = true;
    size_t at = 0;
    for (uint32_t l = 0; l < p->n_layer; l++) {
        raw[l] = p->layers[l].queries != NULL;
        for (size_t i = 0; raw[l] && i < (size_t)prof_kv_heads(p, l) * PROF_QUERIES; i++, at++) {
            float scale;
            exact &= prof_query_code(p->layers[l].queries + i * p->head_dim, p->head_dim, (int8_t *)codes + at * p->head_dim,
                                     &scale);
            put_planes(scales, n, at, 2, bf16_from_fp32(scale));
        }
    }
    return exact;
}

kv_status prof_blob_encode(const prof *p, uint8_t **frame, size_t *len, kv_err *err) {
    size_t heads = prof_n_tc(p);
    prof_tc_iter it = {0};
    *frame = NULL;
    *len = 0;
    layout l = lay_out(heads, p->head_dim);
    const bool asked = prof_has_queries(p);
    if (asked)
        l.total += p->n_layer + query_bytes(p, n_queries(p));
    if (l.total > RAW_MAX)
        return kv_fail(err, KV_ERANGE, "profile: %zu bytes of calibrated data are above the limit of %d", l.total, RAW_MAX);
    uint8_t *raw = calloc(1, l.total);
    if (!raw)
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    memcpy(raw, "KVTC", 4);
    put32(raw + 4, asked ? WITH_QUERIES : WITHOUT_QUERIES);
    put32(raw + 8, p->head_dim);
    put32(raw + 12, (uint32_t)heads);
    kv_status st = KV_OK;
    for (size_t i = 0; i < heads && st == KV_OK; i++)
        if (!put_head(raw, &l, i, prof_tc_next(p, &it)))
            st = kv_fail(err, KV_ERANGE,
                         "profile: calibrated head %zu holds numbers that cannot be stored exactly (prof_round)", i);
    if (st == KV_OK && asked && !put_queries(raw + l.asked, p))
        st = kv_fail(err, KV_ERANGE, "profile: there are queries that cannot be stored exactly (prof_round)");
    if (st == KV_OK)
        st = zframe_make(raw, l.total, frame, len, err);
    free(raw);
    return st;
}

/* ---- reading ---- */

static kv_status bad(const char *where, const char *what, kv_err *err) {
    return kv_fail(err, KV_EFORMAT, "%s: data: %s", where, what);
}

/* Whether so many bytes are what the heads take, or that and the queries of some layers. */
static bool is_size(const prof *p, const layout *l, unsigned long long size) {
    const size_t head = query_bytes(p, PROF_QUERIES), fixed = l->total + p->n_layer;
    return (size == l->total && l->heads) ||
           (size > fixed && (size - fixed) % head == 0 && (size - fixed) / head <= prof_all_kv_heads(p));
}

/* Unpack one frame of a size that makes sense; it becomes l->total. */
static kv_status decompress(const prof *p, const uint8_t *frame, size_t len, layout *l, uint8_t **raw, const char *where,
                            kv_err *err) {
    unsigned long long size = ZSTD_getFrameContentSize(frame, len);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || ZSTD_findFrameCompressedSize(frame, len) != len)
        return bad(where, "is not one whole zstd frame; the profile is damaged or cut short", err);
    if (!is_size(p, l, size))
        return kv_fail(err, KV_EFORMAT,
                       "%s: data: holds %llu bytes, but %zu calibrated heads of width %zu take %zu; was it made by another "
                       "version of kvcalib? Calibrate again",
                       where, size, l->heads, l->dim, l->total);
    l->total = (size_t)size;
    if (l->total > RAW_MAX)
        return bad(where, "is more than the limit of 128 MiB", err);
    if (l->total > RATIO_FREE && l->total / RATIO_MAX > len)
        return kv_fail(err, KV_EFORMAT, "%s: data: %zu bytes would become %zu, more than any calibrated data do", where, len,
                       l->total);
    *raw = malloc(l->total);
    if (!*raw)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
    return zframe_open(frame, len, *raw, l->total, where, err);
}

size_t prof_blob_frame(const uint8_t *frames, size_t len) {
    const size_t n = frames ? ZSTD_findFrameCompressedSize(frames, len) : 0;
    return ZSTD_isError(n) ? len : n;
}

static kv_status get_head(const uint8_t *raw, const layout *l, size_t head, prof_tc *t, kv_err *err) {
    size_t rows = l->heads * l->dim;
    kv_status st = prof_tc_alloc(t, (uint32_t)l->dim, err);
    if (st != KV_OK)
        return st;
    memcpy(t->bits, raw + l->bits + head * l->dim, l->dim);
    for (size_t i = 0; i < l->dim; i++) {
        size_t row = head * l->dim + i;
        int e = (int8_t)raw[l->exp + row];
        t->mean[i] = fp32_from_bits(get_planes(raw + l->mean, rows, row, 4));
        t->sigma[i] = fp16_to_fp32((uint16_t)get_planes(raw + l->sigma, rows, row, 2));
        for (size_t j = 0; j < l->dim; j++)
            t->basis[i * l->dim + j] = ldexpf((int16_t)get_planes(raw + l->basis, rows * l->dim, row * l->dim + j, 2), e);
    }
    for (size_t b = 0; b <= PROF_MAX_BITS; b++)
        t->step[b] = fp16_to_fp32(
            (uint16_t)get_planes(raw + l->step, l->heads * (PROF_MAX_BITS + 1), head * (PROF_MAX_BITS + 1) + b, 2));
    memcpy(t->levels, raw + l->levels + head * TRELLIS_LEVELS, TRELLIS_LEVELS);
    return KV_OK;
}

static kv_status get_heads(prof *p, const uint8_t *raw, const layout *l, const char *where, kv_err *err) {
    for (uint32_t i = 0; i < p->n_layer; i++) {
        prof_kv *both[] = {&p->layers[i].k, &p->layers[i].v};
        for (int j = 0; j < 2; j++)
            if (prof_kv_has_tc(both[j], prof_kv_heads(p, i)) &&
                !(both[j]->heads = calloc(prof_kv_heads(p, i), sizeof *both[j]->heads)))
                return kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
    }
    kv_status st = KV_OK;
    prof_tc_iter it = {0};
    for (size_t i = 0; i < l->heads && st == KV_OK; i++)
        st = get_head(raw, l, i, prof_tc_next(p, &it), err);
    return st;
}

/* From `asked` on, `len` bytes. */
static kv_status get_queries(prof *p, const uint8_t *raw, size_t len, const char *where, kv_err *err) {
    kv_status st = KV_OK;
    for (uint32_t l = 0; l < p->n_layer && st == KV_OK; l++)
        st = raw[l] > 1 ? bad(where, "a layer has queries or has none", err)
             : raw[l]   ? prof_queries_alloc(p, &p->layers[l], err)
                        : KV_OK;
    const size_t n = n_queries(p);
    if (st == KV_OK && len != p->n_layer + query_bytes(p, n))
        st = bad(where, "has more or fewer queries than it says", err);
    const uint8_t *scales = raw + p->n_layer;
    const int8_t *codes = (const int8_t *)scales + 2 * n;
    size_t at = 0;
    for (uint32_t l = 0; l < p->n_layer && st == KV_OK; l++)
        for (size_t i = 0; p->layers[l].queries && i < (size_t)prof_kv_heads(p, l) * PROF_QUERIES && st == KV_OK; i++, at++) {
            const float scale = bf16_to_fp32((uint16_t)get_planes(scales, n, at, 2));
            float *q = p->layers[l].queries + i * p->head_dim, again;
            int8_t same[PROF_MAX_DIM];
            for (uint32_t c = 0; c < p->head_dim; c++)
                q[c] = (float)*codes++ * scale;
            if (!prof_query_code(q, p->head_dim, same, &again))
                st = kv_fail(err, KV_EFORMAT, "%s: data: layer %u, KV head %zu: query %zu is not as kvcalib writes queries",
                             where, l, i / PROF_QUERIES, i % PROF_QUERIES);
        }
    return st;
}

kv_status prof_blob_decode(prof *p, const uint8_t *frame, size_t len, const char *where, kv_err *err) {
    size_t heads = prof_n_tc(p);
    if (!p->n_kv_head || !p->head_dim)
        return bad(where, "needs the model's shape (model.kv_heads, model.head_dim)", err);
    layout l = lay_out(heads, p->head_dim);
    if (l.total > RAW_MAX)
        return bad(where, "a model of this shape needs more calibrated data than the limit of 128 MiB", err);
    uint8_t *raw = NULL;
    const size_t head_bytes = l.total;
    kv_status st = decompress(p, frame, len, &l, &raw, where, err);
    if (st != KV_OK)
        goto done;
    const bool asked = l.total > head_bytes;
    if (memcmp(raw, "KVTC", 4) || get32(raw + 4) != (asked ? WITH_QUERIES : WITHOUT_QUERIES))
        st = bad(where, "is not calibrated data of version 2 or 3; calibrate again", err);
    else if (get32(raw + 8) != p->head_dim || get32(raw + 12) != heads)
        st = kv_fail(err, KV_EFORMAT, "%s: data: is for %u heads of width %u, but the profile has %zu of width %u", where,
                     get32(raw + 12), get32(raw + 8), heads, p->head_dim);
    else
        st = get_heads(p, raw, &l, where, err);
    if (st == KV_OK && asked)
        st = get_queries(p, raw + head_bytes, l.total - head_bytes, where, err);
done:
    free(raw);
    return st;
}

/* ---- base64 ---- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
enum { LINE_BYTES = 57 }; /* 76 characters */

char *prof_base64_encode(const uint8_t *bytes, size_t n, size_t *text_len) {
    char *text = malloc(n / 3 * 4 + n / LINE_BYTES + 8), *t = text;
    if (!text)
        return NULL;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)bytes[i] << 16 | (have > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (have > 2 ? bytes[i + 2] : 0);
        for (size_t c = 0; c < 4; c++)
            *t++ = c <= have ? base64_digits[v >> (18 - 6 * c) & 63] : '=';
        if ((i + 3) % LINE_BYTES == 0 || i + 3 >= n)
            *t++ = '\n';
    }
    *t = '\0';
    *text_len = (size_t)(t - text);
    return text;
}

bool prof_base64_decode(const char *text, size_t len, uint8_t *out, size_t *n) {
    int8_t value[256];
    memset(value, -1, sizeof value);
    for (int i = 0; i < 64; i++)
        value[(unsigned char)base64_digits[i]] = (int8_t)i;
    uint32_t v = 0;
    size_t digits = 0, pads = 0, used = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n' || c == ' ' || c == '\r' || c == '\t')
            continue;
        pads += c == '=';
        if (pads ? c != '=' : value[c] < 0)
            return false;
        v = v << 6 | (pads ? 0 : (uint32_t)value[c]);
        if (++digits % 4 == 0) {
            if (pads > 2 || v & ((1u << 8 * pads) - 1)) /* bits beyond the last byte must be zero */
                return false;
            out[used++] = (uint8_t)(v >> 16);
            if (pads < 2)
                out[used++] = (uint8_t)(v >> 8);
            if (pads < 1)
                out[used++] = (uint8_t)v;
            v = 0;
        }
    }
    *n = used;
    return digits % 4 == 0 && pads <= 2;
}
