/* Layout: blob.h. libzstd's conventions stay in this file. */
#include "blob.h"
#include "fp16.h"
#include "profile_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { BLOB_VERSION = 1, HEADER = 16, LEVEL = 19, RAW_MAX = 128 << 20 };

/* Where the arrays start. */
typedef struct layout {
    size_t heads, dim, n_levels;
    size_t bits, mean, exp, basis, sigma, levels, total;
} layout;

static layout lay_out(size_t heads, size_t dim, size_t n_levels) {
    layout l = {.heads = heads, .dim = dim, .n_levels = n_levels, .bits = HEADER};
    l.mean = l.bits + heads * dim;
    l.exp = l.mean + 4 * heads * dim;
    l.basis = l.exp + heads * dim;
    l.sigma = l.basis + 2 * heads * dim * dim;
    l.levels = l.sigma + 2 * heads * dim;
    l.total = l.levels + 2 * n_levels;
    return l;
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

static bool put_head(uint8_t *raw, const layout *l, size_t head, const prof_tc *t, size_t *level) {
    bool exact = true;
    memcpy(raw + l->bits + head * l->dim, t->bits, l->dim);
    for (size_t i = 0; i < l->dim; i++) {
        size_t row = head * l->dim + i;
        put_planes(raw + l->mean, l->heads * l->dim, row, 4, fp32_bits(t->mean[i]));
        exact = put_f16(raw + l->sigma, l->heads * l->dim, row, t->sigma[i]) && exact;
        exact = put_row(raw, l, row, t->basis + i * l->dim) && exact;
    }
    for (size_t i = 0, n = prof_tc_n_levels(t); i < n; i++)
        exact = put_f16(raw + l->levels, l->n_levels, (*level)++, t->levels[i]) && exact;
    return exact;
}

static kv_status compress(const uint8_t *raw, size_t raw_len, uint8_t **frame, size_t *len, kv_err *err) {
    size_t room = ZSTD_compressBound(raw_len);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    *frame = malloc(room);
    size_t n = 0;
    kv_status st = KV_OK;
    if (!z || !*frame) {
        st = kv_fail(err, KV_ENOMEM, "profile: out of memory");
    } else {
        ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL);
        ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
        n = ZSTD_compress2(z, *frame, room, raw, raw_len);
        if (ZSTD_isError(n))
            st = kv_fail(err, KV_ENOMEM, "profile: zstd: %s", ZSTD_getErrorName(n));
    }
    ZSTD_freeCCtx(z);
    if (st != KV_OK) {
        free(*frame);
        *frame = NULL;
    }
    *len = n;
    return st;
}

kv_status prof_blob_encode(const prof *p, uint8_t **frame, size_t *len, kv_err *err) {
    size_t heads = prof_n_tc(p), n_levels = 0;
    prof_tc_iter it = {0};
    *frame = NULL;
    *len = 0;
    for (size_t i = 0; i < heads; i++)
        n_levels += prof_tc_n_levels(prof_tc_next(p, &it));
    layout l = lay_out(heads, p->head_dim, n_levels);
    if (l.total > RAW_MAX)
        return kv_fail(err, KV_ERANGE, "profile: %zu bytes of calibrated data are above the limit of %d", l.total, RAW_MAX);
    uint8_t *raw = calloc(1, l.total);
    if (!raw)
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    memcpy(raw, "KVTC", 4);
    put32(raw + 4, BLOB_VERSION);
    put32(raw + 8, p->head_dim);
    put32(raw + 12, (uint32_t)heads);
    kv_status st = KV_OK;
    size_t level = 0;
    it = (prof_tc_iter){0};
    for (size_t i = 0; i < heads && st == KV_OK; i++)
        if (!put_head(raw, &l, i, prof_tc_next(p, &it), &level))
            st = kv_fail(err, KV_ERANGE,
                         "profile: calibrated head %zu holds numbers that cannot be stored exactly (prof_round)", i);
    if (st == KV_OK)
        st = compress(raw, l.total, frame, len, err);
    free(raw);
    return st;
}

/* ---- reading ---- */

static kv_status bad(const char *where, const char *what, kv_err *err) {
    return kv_fail(err, KV_EFORMAT, "%s: data: %s", where, what);
}

/* Unpack one frame whose size lies between those of the smallest and the largest codebooks. */
static kv_status decompress(const uint8_t *frame, size_t len, const layout *least, const layout *most, uint8_t **raw,
                            size_t *raw_len, const char *where, kv_err *err) {
    unsigned long long size = ZSTD_getFrameContentSize(frame, len);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || ZSTD_findFrameCompressedSize(frame, len) != len)
        return bad(where, "is not one whole zstd frame; the profile is damaged or cut short", err);
    if (size < least->total || size > most->total)
        return kv_fail(err, KV_EFORMAT, "%s: data: holds %llu bytes, but %zu calibrated heads of width %zu take %zu..%zu",
                       where, size, least->heads, least->dim, least->total, most->total);
    ZSTD_DCtx *z = ZSTD_createDCtx();
    *raw = malloc((size_t)size);
    *raw_len = (size_t)size;
    kv_status st = KV_OK;
    if (!z || !*raw) {
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
    } else {
        size_t n = ZSTD_decompressDCtx(z, *raw, *raw_len, frame, len);
        if (ZSTD_isError(n) || n != size)
            st = bad(where, "does not unpack; the profile is damaged", err);
    }
    ZSTD_freeDCtx(z);
    return st;
}

static kv_status get_head(const uint8_t *raw, const layout *l, size_t head, prof_tc *t, size_t *level, kv_err *err) {
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
    if ((st = prof_tc_alloc_levels(t, err)) != KV_OK)
        return st;
    for (size_t i = 0, n = prof_tc_n_levels(t); i < n; i++)
        t->levels[i] = fp16_to_fp32((uint16_t)get_planes(raw + l->levels, l->n_levels, (*level)++, 2));
    return KV_OK;
}

static kv_status get_heads(prof *p, const uint8_t *raw, const layout *l, const char *where, kv_err *err) {
    size_t level = 0;
    for (uint32_t i = 0; i < p->n_layer; i++) {
        prof_kv *both[] = {&p->layers[i].k, &p->layers[i].v};
        for (int j = 0; j < 2; j++)
            if (prof_kv_has_tc(both[j], p->n_kv_head) && !(both[j]->heads = calloc(p->n_kv_head, sizeof *both[j]->heads)))
                return kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
    }
    kv_status st = KV_OK;
    prof_tc_iter it = {0};
    for (size_t i = 0; i < l->heads && st == KV_OK; i++)
        st = get_head(raw, l, i, prof_tc_next(p, &it), &level, err);
    return st;
}

kv_status prof_blob_decode(prof *p, const uint8_t *frame, size_t len, const char *where, kv_err *err) {
    size_t heads = prof_n_tc(p), n_levels = 0, raw_len = 0;
    if (!p->n_kv_head || !p->head_dim)
        return bad(where, "needs the model's shape (model.kv_heads, model.head_dim)", err);
    layout least = lay_out(heads, p->head_dim, 0), most = lay_out(heads, p->head_dim, heads * p->head_dim << PROF_MAX_BITS);
    if (least.total > RAW_MAX)
        return bad(where, "a model of this shape needs more calibrated data than the limit of 128 MiB", err);
    if (most.total > RAW_MAX)
        most.total = RAW_MAX;
    uint8_t *raw = NULL;
    kv_status st = decompress(frame, len, &least, &most, &raw, &raw_len, where, err);
    if (st != KV_OK)
        goto done;
    if (memcmp(raw, "KVTC", 4) || get32(raw + 4) != BLOB_VERSION) {
        st = bad(where, "is not calibrated data of version 1", err);
        goto done;
    }
    if (get32(raw + 8) != p->head_dim || get32(raw + 12) != heads) {
        st = kv_fail(err, KV_EFORMAT, "%s: data: is for %u heads of width %u, but the profile has %zu of width %u", where,
                     get32(raw + 12), get32(raw + 8), heads, p->head_dim);
        goto done;
    }
    for (size_t i = 0; i < heads * p->head_dim; i++) {
        uint8_t bits = raw[least.bits + i];
        if (bits > PROF_MAX_BITS) {
            st = kv_fail(err, KV_EFORMAT, "%s: data: head %zu: %u bits are more than %d", where, i / p->head_dim, bits,
                         PROF_MAX_BITS);
            goto done;
        }
        n_levels += bits ? (size_t)1 << bits : 0;
    }
    layout l = lay_out(heads, p->head_dim, n_levels);
    st = l.total == raw_len ? get_heads(p, raw, &l, where, err) : bad(where, "bits and codebooks do not fit together", err);
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
