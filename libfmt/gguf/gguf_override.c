/* Keys that a user sets, in place of those of the file. */
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { MOST = 1024 /* bytes of a key or value */ };

/* A value as it would lie in a file. */
typedef struct value {
    gguf_type type;
    uint8_t raw[sizeof(uint64_t) + MOST];
    size_t bytes;
} value;

static void put_string(const char *s, value *v) {
    const uint64_t len = strlen(s);
    v->type = GGUF_STRING;
    memcpy(v->raw, &len, sizeof len);
    memcpy(v->raw + sizeof len, s, len);
    v->bytes = sizeof len + len;
}

static bool put_number(const char *s, bool whole, value *v) {
    char *end;
    errno = 0;
    const long long i = whole ? strtoll(s, &end, 10) : 0;
    const double d = whole ? 0 : strtod(s, &end);
    v->type = whole ? GGUF_I64 : GGUF_F64;
    memcpy(v->raw, whole ? (const void *)&i : (const void *)&d, 8);
    v->bytes = 8;
    return end != s && !*end && !errno;
}

/* "TYPE:VALUE". */
static bool parse(const char *s, value *v) {
    if (!strncmp(s, "int:", 4))
        return put_number(s + 4, true, v);
    if (!strncmp(s, "float:", 6))
        return put_number(s + 6, false, v);
    if (!strncmp(s, "str:", 4)) {
        put_string(s + 4, v);
        return true;
    }
    v->type = GGUF_BOOL;
    v->raw[0] = !strcmp(s, "bool:true");
    v->bytes = 1;
    return v->raw[0] || !strcmp(s, "bool:false");
}

/* A key and its value in memory of the file's own: the key, a NUL, the value. */
static kv_status keep(gguf *g, const char *key, const value *v, gguf_kv *out, kv_err *err) {
    const size_t len = strlen(key);
    uint8_t **all = realloc(g->own, (g->n_own + 1) * sizeof *all), *mem = malloc(len + 1 + v->bytes);
    if (all)
        g->own = all;
    if (!all || !mem) {
        free(mem);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the key %s", g->path, key);
    }
    memcpy(mem, key, len + 1);
    memcpy(mem + len + 1, v->raw, v->bytes);
    g->own[g->n_own++] = mem;
    *out = (gguf_kv){.key = {(const char *)mem, len}, .type = v->type, .count = 1, .raw = mem + len + 1, .raw_bytes = v->bytes};
    return KV_OK;
}

/* One more key, behind the others. */
static kv_status append(gguf *g, const gguf_kv *kv, kv_err *err) {
    gguf_kv *all = malloc((g->n_kv + 1) * sizeof *all);
    gguf_index index;
    if (!all || !gguf_index_alloc(&index, all, sizeof *all, g->n_kv + 1)) {
        free(all);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for a key", g->path);
    }
    memcpy(all, g->kv, g->n_kv * sizeof *all);
    all[g->n_kv++] = *kv;
    for (size_t i = 0; i < g->n_kv; i++)
        gguf_index_add(&index, i);
    free(g->by_key.slots);
    free(g->kv);
    g->kv = all;
    g->by_key = index;
    return KV_OK;
}

kv_status gguf_override(gguf *g, const char *set, kv_err *err) {
    const char *equals = strchr(set, '=');
    char key[MOST];
    value v;
    if (!equals || equals == set || strlen(set) >= MOST || !parse(equals + 1, &v))
        return kv_fail(err, KV_EINVAL, "'%.100s' sets no key: expected KEY=TYPE:VALUE, TYPE one of int, float, bool and str",
                       set);
    memcpy(key, set, (size_t)(equals - set));
    key[equals - set] = 0;
    gguf_kv *old = (gguf_kv *)gguf_find(g, key), kv; /* the table is ours */
    kv_status st = keep(g, key, &v, &kv, err);
    if (st || !old)
        return st ? st : append(g, &kv, err);
    *old = kv;
    return KV_OK;
}

bool gguf_overridden(const gguf *g) {
    return g->n_own;
}
