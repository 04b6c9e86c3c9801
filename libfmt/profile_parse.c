/* YAML text into a profile: the tree is read along the schema's rows, so that every error can name line and key. */
#include "atomic_file.h"
#include "blob.h"
#include "profile_internal.h"
#include "yaml_tree.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 256 << 20 }; /* bytes of a profile file; the largest models' need a tenth */

typedef struct reader {
    const char *where;
    prof *p;
    bool has_layers;
    uint32_t index;        /* of the list element being read */
    const yaml_node *data; /* the binary part */
    kv_err *err;
} reader;

static kv_status bad(const reader *r, const yaml_node *n, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static kv_status bad(const reader *r, const yaml_node *n, const char *path, const char *fmt, ...) {
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return kv_fail(r->err, KV_EFORMAT, "%s:%u: %s%s%s", r->where, n->line, path, *path ? ": " : "", what);
}

static kv_status wrong_kind(const reader *r, const prof_field *f, const yaml_node *n, const char *path) {
    static const char *const names[] = {[YAML_TEXT] = "text", [YAML_MAP] = "a mapping", [YAML_LIST] = "a list"};
    if (n->kind == YAML_TEXT)
        return bad(r, n, path, "expected %s, not %s'%.40s'", prof_kind_names[f->kind], n->plain ? "" : "quoted text ", n->text);
    return bad(r, n, path, "expected %s, not %s", prof_kind_names[f->kind], names[n->kind]);
}

static kv_status outside(const reader *r, const prof_field *f, const yaml_node *n, const char *path) {
    return bad(r, n, path, "%.40s is outside %.9g..%.9g", n->text, f->min, f->max);
}

/* Whole number: digits, nothing else. Larger than 64 bits: KV_EFORMAT "outside". */
static kv_status read_integer(const reader *r, const prof_field *f, const yaml_node *n, const char *path, uint64_t *out) {
    const char *digits = n->kind == YAML_TEXT ? n->text + (*n->text == '-') : "";
    if (!n->plain || !*digits || digits[strspn(digits, "0123456789")])
        return wrong_kind(r, f, n, path);
    errno = 0;
    *out = strtoull(digits, NULL, 10);
    bool in_range =
        errno == 0 && *digits == *n->text && (f->kind == PK_U64 || ((double)*out >= f->min && (double)*out <= f->max));
    return in_range ? KV_OK : outside(r, f, n, path);
}

/* Decimal fraction with an optional exponent. Infinities and NaN are not numbers here. */
static kv_status read_float(const reader *r, const prof_field *f, const yaml_node *n, const char *path, double *out) {
    char *end = NULL;
    bool digits = n->kind == YAML_TEXT && n->plain && *n->text && !n->text[strspn(n->text, "0123456789+-.eE")];
    if (digits)
        *out = strtod(n->text, &end);
    if (!digits || *end)
        return wrong_kind(r, f, n, path);
    return *out >= f->min && *out <= f->max ? KV_OK : outside(r, f, n, path);
}

static kv_status read_text(const reader *r, const prof_field *f, const yaml_node *n, const char *path, char *out) {
    if (n->kind != YAML_TEXT || n->binary)
        return wrong_kind(r, f, n, path);
    if (n->plain && (!n->len || !strcmp(n->text, "~") || !strcmp(n->text, "null")))
        return bad(r, n, path, "has no value");
    if (n->len >= f->size)
        return bad(r, n, path, "longer than %zu bytes", f->size - 1);
    if (f->kind == PK_HASH ? n->len && !prof_is_hash(n->text) : !prof_is_utf8(n->text, n->len))
        return bad(r, n, path, "expected %s, not '%.40s'",
                   f->kind == PK_HASH ? "a hash of 32 hex digits (0-9a-f)" : "printable text", n->text);
    memcpy(out, n->text, n->len + 1);
    return KV_OK;
}

static kv_status read_codec(const reader *r, const prof_field *f, const yaml_node *n, const char *path, kv_codec_id *out) {
    int id = n->kind == YAML_TEXT ? kv_codec_by_name(n->text) : -1;
    if (id >= 0 && id <= f->max) {
        *out = (kv_codec_id)id;
        return KV_OK;
    }
    char known[256] = "";
    for (int i = 0; i <= f->max; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", kv_codec_names[i].name);
    if (n->kind != YAML_TEXT)
        return wrong_kind(r, f, n, path);
    return bad(r, n, path, "'%.40s' is not a codec that may stand here: %s", n->text, known);
}

static kv_status read_floats(const reader *r, const prof_field *f, const yaml_node *n, const char *path, float **out) {
    uint32_t want = *(const uint32_t *)((const char *)r->p + f->count);
    if (n->kind != YAML_LIST)
        return wrong_kind(r, f, n, path);
    if (n->count != want)
        return bad(r, n, path, "has %u values, but the model has %u such heads (model.heads, model.kv_heads)", n->count, want);
    if (want && !(*out = calloc(want, sizeof **out)))
        return kv_fail(r->err, KV_ENOMEM, "%s: out of memory", r->where);
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e; e = e->next, i++) {
        char index[16], sub[PROF_PATH];
        snprintf(index, sizeof index, "[%u]", i);
        prof_path_join(sub, path, index);
        double v;
        const prof_field number = {.kind = PK_F32, .min = f->min, .max = f->max};
        kv_status st = read_float(r, &number, e, sub, &v);
        if (st != KV_OK)
            return st;
        (*out)[i] = (float)v;
    }
    return KV_OK;
}

static kv_status read_map(reader *r, const prof_field *fields, void *base, const yaml_node *n, const char *path);

static kv_status read_list(reader *r, const prof_field *f, void *value, const yaml_node *n, const char *path) {
    uint32_t *count = (uint32_t *)((char *)r->p + f->count);
    if (n->kind != YAML_LIST)
        return wrong_kind(r, f, n, path);
    if (n->count < f->min || n->count > f->max)
        return bad(r, n, path, "%u entries are outside %.9g..%.9g", n->count, f->min, f->max);
    if (*count && *count != n->count)
        return bad(r, n, path, "has %u entries, but model.layers is %u", n->count, *count);
    char *elems = value;
    if (f->flags & PF_POINTER && !(elems = *(void **)value = calloc(n->count, f->size)))
        return kv_fail(r->err, KV_ENOMEM, "%s: out of memory", r->where);
    *count = n->count;
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e; e = e->next, i++) {
        char index[16], sub[PROF_PATH];
        snprintf(index, sizeof index, "[%u]", i);
        prof_path_join(sub, path, index);
        r->index = i;
        kv_status st = read_map(r, f->sub, elems + i * f->size, e, sub);
        if (st != KV_OK)
            return st;
    }
    return KV_OK;
}

static kv_status read_field(reader *r, const prof_field *f, void *base, const yaml_node *n, const char *path) {
    void *value = (char *)base + f->offset;
    uint64_t u = 0;
    double d = 0;
    kv_status st = KV_OK;
    switch (f->kind) {
    case PK_CONST:
        return read_integer(r, f, n, path, &u);
    case PK_INDEX:
        st = read_integer(r, f, n, path, &u);
        return st == KV_OK && u != r->index ? bad(r, n, path, "is %s, but this is entry %u of the list", n->text, r->index)
                                            : st;
    case PK_U32:
        if ((st = read_integer(r, f, n, path, &u)) == KV_OK)
            *(uint32_t *)value = (uint32_t)u;
        return st;
    case PK_U64:
        if ((st = read_integer(r, f, n, path, &u)) == KV_OK)
            *(uint64_t *)value = u;
        return st;
    case PK_F32:
        if ((st = read_float(r, f, n, path, &d)) == KV_OK)
            *(float *)value = (float)d;
        return st;
    case PK_F64:
        return read_float(r, f, n, path, value);
    case PK_STR:
    case PK_HASH:
        return read_text(r, f, n, path, value);
    case PK_CODEC:
        return read_codec(r, f, n, path, value);
    case PK_F32S:
        return read_floats(r, f, n, path, value);
    case PK_MAP:
        return read_map(r, f->sub, value, n, path);
    case PK_LIST:
        return read_list(r, f, value, n, path);
    case PK_DATA:
        r->data = n;
        return n->kind == YAML_TEXT && n->binary ? KV_OK : wrong_kind(r, f, n, path);
    case PK_COUNT:
        break;
    }
    return KV_OK;
}

static kv_status check_known(const reader *r, const prof_field *fields, const yaml_node *n, const char *path) {
    for (const yaml_node *c = n->first; c; c = c->next) {
        const prof_field *f = fields;
        while (f->key && strcmp(f->key, c->key))
            f++;
        if (f->key)
            continue;
        char known[256] = "";
        for (f = fields; f->key; f++)
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", f == fields ? "" : ", ", f->key);
        return bad(r, c, path, "unknown key '%.60s'; known here: %s", c->key, known);
    }
    return KV_OK;
}

static kv_status read_map(reader *r, const prof_field *fields, void *base, const yaml_node *n, const char *path) {
    if (n->kind != YAML_MAP)
        return bad(r, n, path, "expected a mapping of keys to values");
    kv_status st = check_known(r, fields, n, path);
    for (const prof_field *f = fields; f->key && st == KV_OK; f++) {
        char sub[PROF_PATH];
        prof_path_join(sub, path, f->key);
        const yaml_node *c = yaml_find(n, f->key);
        bool barred = f->flags & PF_NO_LAYERS && r->has_layers;
        if (c)
            st = barred ? bad(r, c, sub, "not together with 'layers', where each layer names its own")
                        : read_field(r, f, base, c, sub);
        else if (f->flags & PF_REQUIRED && !barred)
            st = bad(r, n, sub, "missing");
    }
    return st;
}

/* Bits of codecs that always cost the same need not be written. */
static void fill_bits(prof *p) {
    for (uint32_t i = 0; p->layers && i < p->n_layer; i++) {
        prof_kv *both[] = {&p->layers[i].k, &p->layers[i].v};
        for (int j = 0; j < 2; j++)
            if (both[j]->bits == 0)
                both[j]->bits = kv_codec_bits(both[j]->codec, j == 0, p->head_dim);
    }
}

/* The binary part, from the text or given apart. */
static kv_status read_data(reader *r, const uint8_t *frame, size_t frame_len) {
    uint8_t *bytes = NULL;
    kv_status st = KV_OK;
    bool needed = prof_n_tc(r->p) > 0, apart = frame != NULL;
    if (r->data && apart)
        return bad(r, r->data, "data", "the binary part is stored outside of this text; it must not be here too");
    if (!r->data && !apart)
        return needed ? kv_fail(r->err, KV_EFORMAT,
                                "%s: data: missing; codec tc needs the calibrated data at the end of the profile", r->where)
                      : KV_OK;
    if (!needed)
        return kv_fail(r->err, KV_EFORMAT, "%s: data: there is calibrated data, but no layer uses codec tc", r->where);
    if (r->data) {
        if (!(bytes = malloc(r->data->len / 4 * 3 + 3)))
            return kv_fail(r->err, KV_ENOMEM, "%s: out of memory", r->where);
        frame = bytes;
        if (!prof_base64_decode(r->data->text, r->data->len, bytes, &frame_len))
            st = bad(r, r->data, "data", "is not base64, or is cut short");
    }
    if (st == KV_OK)
        st = prof_blob_decode(r->p, frame, frame_len, r->where, r->err);
    free(bytes);
    return st;
}

kv_status prof_parse_parts(const char *text, size_t len, const uint8_t *frame, size_t frame_len, const char *where, prof **out,
                           kv_err *err) {
    *out = NULL;
    yaml_tree *tree;
    kv_status st = yaml_tree_read(text, len, where, &tree, err);
    if (st != KV_OK)
        return st;
    reader r = {.where = where, .err = err, .p = calloc(1, sizeof *r.p)};
    const yaml_node *root = yaml_tree_root(tree), *version = yaml_find(root, "version");
    if (!r.p) {
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
        goto done;
    }
    r.p->default_k = r.p->default_v = KV_F16;
    r.has_layers = yaml_find(root, "layers") != NULL;
    if (version) /* first: keys that a later version adds must not be called unknown */
        st = read_field(&r, &prof_schema[0], r.p, version, "version");
    if (st == KV_OK)
        st = read_map(&r, prof_schema, r.p, root, "");
    if (st != KV_OK)
        goto done;
    fill_bits(r.p);
    if ((st = read_data(&r, frame, frame_len)) == KV_OK)
        st = prof_check(r.p, where, err);
done:
    yaml_tree_free(tree);
    if (st == KV_OK)
        *out = r.p;
    else
        prof_free(r.p);
    return st;
}

kv_status prof_parse(const char *text, size_t len, const char *where, prof **out, kv_err *err) {
    return prof_parse_parts(text, len, NULL, 0, where, out, err);
}

kv_status prof_load(const char *path, prof **out, kv_err *err) {
    char *text;
    size_t len;
    *out = NULL;
    kv_status st = file_read(path, TEXT_MAX, &text, &len, err);
    if (st != KV_OK)
        return st;
    st = prof_parse(text, len, path, out, err);
    free(text);
    return st;
}
