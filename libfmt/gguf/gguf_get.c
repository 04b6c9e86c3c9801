/* Looking into an open GGUF file. All of this trusts the checks that gguf_open made. */
#include "gguf/gguf_internal.h"

#include <float.h>
#include <math.h>

const char *gguf_path(const gguf *g) {
    return g->path;
}

uint32_t gguf_alignment(const gguf *g) {
    return g->alignment;
}

size_t gguf_n_kv(const gguf *g) {
    return g->n_kv;
}

const gguf_kv *gguf_kv_at(const gguf *g, size_t i) {
    return &g->kv[i];
}

size_t gguf_n_tensors(const gguf *g) {
    return g->n_tensors;
}

const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i) {
    return &g->tensors[i];
}

const gguf_kv *gguf_find(const gguf *g, const char *key) {
    return gguf_index_find(&g->by_key, (gguf_str){key, strlen(key)});
}

const gguf_tensor *gguf_tensor_find(const gguf *g, const char *name) {
    return gguf_index_find(&g->by_name, (gguf_str){name, strlen(name)});
}

uint64_t gguf_file_bytes(const gguf *g) {
    uint64_t bytes = g->size;
    for (size_t i = 0; i < g->n_others; i++)
        bytes += g->others[i]->size;
    return bytes;
}

/* ---- numbers ---- */

static double load_float(gguf_type type, const uint8_t *p) {
    if (type == GGUF_F64) {
        double d;
        memcpy(&d, p, sizeof d);
        return d;
    }
    float f;
    memcpy(&f, p, sizeof f);
    return (double)f;
}

/* An unsigned number, or the bits of a signed one, sign-extended. */
static uint64_t load_int(gguf_type type, const uint8_t *p) {
    uint64_t v = 0;
    memcpy(&v, p, gguf_types[type].size);
    int unused = 64 - 8 * gguf_types[type].size;
    if (gguf_types[type].kind == 'i' && v >> (63 - unused))
        v |= ~UINT64_C(0) << (63 - unused);
    return v;
}

/* What does not fit saturates; NaN gives 0. */
static int64_t load_i64(gguf_type type, const uint8_t *p) {
    if (gguf_types[type].kind == 'f') {
        double d = load_float(type, p);
        if (d >= 0x1p63)
            return INT64_MAX;
        return d < -0x1p63 ? INT64_MIN : isnan(d) ? 0 : (int64_t)d;
    }
    uint64_t v = load_int(type, p);
    return gguf_types[type].kind != 'i' && v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static double load_f64(gguf_type type, const uint8_t *p) {
    switch (gguf_types[type].kind) {
    case 'f':
        return load_float(type, p);
    case 'i':
        return (double)(int64_t)load_int(type, p);
    default:
        return (double)load_int(type, p);
    }
}

double gguf_array_f64(const gguf_kv *array, uint64_t i) {
    return load_f64(array->elem_type, array->raw + i * gguf_types[array->elem_type].size);
}

int64_t gguf_array_i64(const gguf_kv *array, uint64_t i) {
    return load_i64(array->elem_type, array->raw + i * gguf_types[array->elem_type].size);
}

/* ---- strings ---- */

static gguf_str load_str(const uint8_t *p) {
    return (gguf_str){(const char *)p + 8, gguf_load_u64(p)};
}

bool gguf_next_str(const gguf_kv *array, size_t *cursor, gguf_str *out) {
    if (array->type != GGUF_ARRAY || array->elem_type != GGUF_STRING || *cursor >= array->raw_bytes)
        return false;
    *out = load_str(array->raw + *cursor);
    *cursor += 8 + out->len;
    return true;
}

/* ---- typed look-ups ---- */

#define ONE(type) (1u << (type))
enum {
    INTEGERS = ONE(GGUF_U8) | ONE(GGUF_I8) | ONE(GGUF_U16) | ONE(GGUF_I16) | ONE(GGUF_U32) | ONE(GGUF_I32) | ONE(GGUF_U64) |
               ONE(GGUF_I64),
    NUMBERS = INTEGERS | ONE(GGUF_F32) | ONE(GGUF_F64),
};

/* *kv = the key, whose type is in the set `allowed`; NULL where it is absent and need not be there. */
static kv_status find_typed(const gguf *g, const char *key, bool required, unsigned allowed, const char *wanted,
                            const gguf_kv **kv, kv_err *err) {
    *kv = gguf_find(g, key);
    if (!*kv)
        return required ? kv_fail(err, KV_EFORMAT, "%s: key '%s' is missing", g->path, key) : KV_OK;
    if (!(allowed & ONE((*kv)->type)))
        return kv_fail(err, KV_EFORMAT, "%s: key '%s' is of type %s (must be %s)", g->path, key, gguf_types[(*kv)->type].name,
                       wanted);
    return KV_OK;
}

kv_status gguf_get_u32(const gguf *g, const char *key, bool required, uint32_t *out, kv_err *err) {
    const gguf_kv *kv;
    kv_status st = find_typed(g, key, required, INTEGERS, "an integer", &kv, err);
    if (st != KV_OK || !kv)
        return st;
    int64_t v = load_i64(kv->type, kv->raw);
    if (v < 0 || v > UINT32_MAX)
        return kv_fail(err, KV_EFORMAT, "%s: key '%s' is %lld (must be 0 to %u)", g->path, key, (long long)v, UINT32_MAX);
    *out = (uint32_t)v;
    return KV_OK;
}

kv_status gguf_get_f32(const gguf *g, const char *key, bool required, float *out, kv_err *err) {
    const gguf_kv *kv;
    kv_status st = find_typed(g, key, required, NUMBERS, "a number", &kv, err);
    if (st != KV_OK || !kv)
        return st;
    double v = load_f64(kv->type, kv->raw);
    if (!(fabs(v) <= (double)FLT_MAX)) /* NaN too */
        return kv_fail(err, KV_EFORMAT, "%s: key '%s' is %g (must be a finite 32-bit float)", g->path, key, v);
    *out = (float)v;
    return KV_OK;
}

kv_status gguf_get_bool(const gguf *g, const char *key, bool required, bool *out, kv_err *err) {
    const gguf_kv *kv;
    kv_status st = find_typed(g, key, required, ONE(GGUF_BOOL), "bool", &kv, err);
    if (st == KV_OK && kv)
        *out = *kv->raw;
    return st;
}

kv_status gguf_get_str(const gguf *g, const char *key, bool required, gguf_str *out, kv_err *err) {
    const gguf_kv *kv;
    kv_status st = find_typed(g, key, required, ONE(GGUF_STRING), "string", &kv, err);
    if (st == KV_OK && kv)
        *out = load_str(kv->raw);
    return st;
}

kv_status gguf_get_array(const gguf *g, const char *key, gguf_type elem, bool required, const gguf_kv **out, kv_err *err) {
    const gguf_kv *kv;
    kv_status st = find_typed(g, key, required, ONE(GGUF_ARRAY), "array", &kv, err);
    if (st != KV_OK || !kv)
        return st;
    if (kv->elem_type != elem)
        return kv_fail(err, KV_EFORMAT, "%s: key '%s' is an array of %s (must be of %s)", g->path, key,
                       gguf_types[kv->elem_type].name, gguf_types[elem].name);
    *out = kv;
    return KV_OK;
}
