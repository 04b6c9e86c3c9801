/* YAML text into a profile: the tree is read along the schema's rows, so that every error can name line and key. */
#include "base/text.h"
#include "profile/blob.h"
#include "profile/profile_internal.h"
#include "profile/yaml_tree.h"

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
    return bad(r, n, path, "%.40s is outside %.10g..%.10g", n->text, f->min, f->max);
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
    if (id >= 0 && !(f->flags & PF_PLAIN && kv_codec_names[id].calibrated)) {
        *out = (kv_codec_id)id;
        return KV_OK;
    }
    char known[256] = "";
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        if (!(f->flags & PF_PLAIN && kv_codec_names[i].calibrated))
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", *known ? ", " : "", kv_codec_names[i].name);
    if (n->kind != YAML_TEXT)
        return wrong_kind(r, f, n, path);
    return bad(r, n, path, "'%.40s' is not a codec that may stand here: %s", n->text, known);
}

static kv_status read_floats(const reader *r, const prof_field *f, const yaml_node *n, const char *path, float **out) {
    const uint32_t want = prof_floats(r->p, f, r->index);
    if (n->kind != YAML_LIST)
        return wrong_kind(r, f, n, path);
    if (n->count != want && f->per == PROF_PER_DIM)
        return bad(r, n, path, "has %u values, but keys of the layer's heads have %u dimensions (model.head_dim)", n->count,
                   want);
    if (n->count != want && f->per)
        return bad(r, n, path, "has %u values, but the model has %u such heads (model.heads, model.kv_heads) with %u each",
                   n->count, want / f->per, f->per);
    if (n->count != want)
        return bad(r, n, path, "has %u values, but the model has %u such heads (model.heads, model.kv_heads)", n->count, want);
    if (want && !(*out = calloc(want, sizeof **out)))
        return kv_fail(r->err, KV_ENOMEM, "%s: out of memory", r->where);
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e; e = e->next, i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
        double v = 0;
        const prof_field number = {.kind = PK_F32, .min = f->min, .max = f->max};
        kv_status st = read_float(r, &number, e, sub, &v);
        if (st != KV_OK)
            return st;
        (*out)[i] = (float)v;
    }
    return KV_OK;
}

static kv_status read_map(reader *r, const prof_field *fields, void *base, const yaml_node *n, const char *path);

/* ---- per KV head ---- */

/* A list of one entry per KV head. */
static kv_status check_head_list(const reader *r, const prof_field *f, const yaml_node *n, const char *path) {
    if (n->kind != YAML_LIST)
        return wrong_kind(r, f, n, path);
    const uint32_t heads = prof_kv_heads(r->p, r->index);
    if (!r->p->n_kv_head)
        return bad(r, n, path, "a list needs to know how many KV heads there are (model.kv_heads)");
    if (n->count != heads)
        return bad(r, n, path, "has %u entries, but model.kv_heads is %u", n->count, heads);
    return KV_OK;
}

/* A number of heads, or one for each layer. */
static kv_status read_per_layer(const reader *r, const prof_field *f, const yaml_node *n, const char *path, uint32_t *most) {
    uint16_t **to = (uint16_t **)((char *)r->p + f->count);
    const prof_field number = {.kind = PK_U32, .min = n->kind == YAML_LIST ? 0 : f->min, .max = f->max};
    uint64_t v = 0;
    uint32_t l = 0;
    if (n->kind != YAML_LIST) {
        kv_status st = n->kind == YAML_TEXT ? read_integer(r, &number, n, path, &v) : wrong_kind(r, f, n, path);
        *most = (uint32_t)v;
        return st;
    }
    if (!r->p->n_layer || n->count != r->p->n_layer)
        return bad(r, n, path, "has %u entries, but model.layers is %u", n->count, r->p->n_layer);
    if (!(*to = calloc(n->count, sizeof **to)))
        return kv_fail(r->err, KV_ENOMEM, "%s: out of memory", r->where);
    *most = 0;
    for (const yaml_node *e = n->first; e; e = e->next, l++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, l);
        kv_status st = read_integer(r, &number, e, sub, &v);
        if (st != KV_OK)
            return st;
        (*to)[l] = (uint16_t)v;
        *most = v > *most ? (uint32_t)v : *most;
    }
    return *most ? KV_OK : bad(r, n, path, "no layer has any");
}

static kv_status need_heads(const reader *r, prof_kv *kv) {
    return kv->codecs ? KV_OK : prof_kv_alloc(kv, prof_kv_heads(r->p, r->index), r->err);
}

static kv_status read_codecs(const reader *r, const prof_field *f, const yaml_node *n, const char *path, prof_kv *kv) {
    if (n->kind == YAML_TEXT)
        return read_codec(r, f, n, path, &kv->codec);
    kv_status st = check_head_list(r, f, n, path);
    if (st != KV_OK || (st = need_heads(r, kv)) != KV_OK)
        return st;
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e && st == KV_OK; e = e->next, i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
        st = read_codec(r, f, e, sub, &kv->codecs[i]);
    }
    kv->codec = kv->codecs[0];
    return st;
}

/* Entries say again what `codec` says, and more. */
static kv_status read_heads(reader *r, const prof_field *f, const yaml_node *n, const char *path, prof_kv *kv) {
    kv_status st = check_head_list(r, f, n, path);
    if (st != KV_OK || (st = need_heads(r, kv)) != KV_OK)
        return st;
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e && st == KV_OK; e = e->next, i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
        prof_head head = {.codec = kv->codecs[i], .bits = kv->head_bits[i]};
        if ((st = read_map(r, f->sub, &head, e, sub)) != KV_OK)
            return st;
        if (head.codec != kv->codecs[i])
            return bad(r, e, sub, "codec is %s, but the codec given above is %s", kv_codec_names[head.codec].name,
                       kv_codec_names[kv->codecs[i]].name);
        kv->head_bits[i] = head.bits;
    }
    return st;
}

static kv_status read_dims(const reader *r, const prof_field *f, const yaml_node *n, const char *path) {
    uint8_t bits[PROF_MAX_DIM];
    if (n->kind != YAML_TEXT || n->binary)
        return wrong_kind(r, f, n, path);
    if (!r->p->head_dim || !prof_dims_parse(n->text, r->p->head_dim, bits))
        return bad(r, n, path, "'%.40s' is not bits*count of all %u dimensions, as in \"6*3 5*7 0*54\"", n->text,
                   r->p->head_dim);
    return KV_OK;
}

static kv_status read_spectrum(const reader *r, const prof_field *f, const yaml_node *n, const char *path) {
    if (n->kind != YAML_LIST)
        return wrong_kind(r, f, n, path);
    uint32_t i = 0;
    double v;
    for (const yaml_node *e = n->first; e; e = e->next, i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
        const prof_field number = {.kind = PK_F32, .min = f->min, .max = f->max};
        kv_status st = read_float(r, &number, e, sub, &v);
        if (st != KV_OK)
            return st;
    }
    return KV_OK;
}

/* What is said of dimensions must be what the binary part holds. */
static kv_status check_dims(const reader *r, const yaml_node *root) {
    const yaml_node *layers = yaml_find(root, "layers");
    uint32_t l = 0;
    for (const yaml_node *e = layers ? layers->first : NULL; e; e = e->next, l++)
        for (int v = 0; v < 2; v++) {
            const yaml_node *kv = yaml_find(e, v ? "v" : "k"), *heads = kv ? yaml_find(kv, "heads") : NULL;
            uint32_t h = 0;
            for (const yaml_node *n = heads ? heads->first : NULL; n; n = n->next, h++) {
                const yaml_node *dims = yaml_find(n, "dims");
                const prof_head head = prof_kv_head(v ? &r->p->layers[l].v : &r->p->layers[l].k, h);
                char path[PROF_PATH], is[PROF_DIMS_TEXT];
                snprintf(path, sizeof path, "layers[%u].%s.heads[%u].dims", l, v ? "v" : "k", h);
                if (dims && !head.tc)
                    return bad(r, dims, path, "codec %s has no calibrated dimensions", kv_codec_names[head.codec].name);
                if (!dims)
                    continue;
                prof_tc_dims(head.tc, is);
                if (strcmp(is, dims->text))
                    return bad(r, dims, path, "is '%.100s', but the data says '%.100s'", dims->text, is);
            }
        }
    return KV_OK;
}

static kv_status read_ranges(const reader *r, const prof_field *f, const yaml_node *n, const char *path, prof_ranges *out) {
    if (n->kind != YAML_TEXT || n->binary)
        return wrong_kind(r, f, n, path);
    if (!prof_ranges_parse(n->text, (uint32_t)f->max, out))
        return bad(r, n, path, "'%.40s' is not up to %d rising numbers and ranges within 0..%.9g, as in \"0,2-3,11-\"", n->text,
                   PROF_MAX_RANGES, f->max);
    return KV_OK;
}

/* ---- eviction ---- */

static kv_status read_name(const reader *r, const prof_field *f, const yaml_node *n, const char *path, uint32_t *out) {
    char known[256] = "";
    for (uint32_t i = 0; f->name(i); i++) {
        if (n->kind == YAML_TEXT && !strcmp(n->text, f->name(i))) {
            *out = i;
            return KV_OK;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", f->name(i));
    }
    return n->kind != YAML_TEXT ? wrong_kind(r, f, n, path) : bad(r, n, path, "'%.40s' is none of %s", n->text, known);
}

static kv_status read_bool(const reader *r, const prof_field *f, const yaml_node *n, const char *path, bool *out) {
    if (n->kind != YAML_TEXT || !n->plain || (strcmp(n->text, "true") && strcmp(n->text, "false")))
        return wrong_kind(r, f, n, path);
    *out = n->text[0] == 't';
    return KV_OK;
}

static kv_status read_budget(const reader *r, const prof_field *f, const yaml_node *n, const char *path, kv_budget *out) {
    if (n->kind != YAML_TEXT || n->binary)
        return wrong_kind(r, f, n, path);
    if (!kv_budget_parse(n->text, out))
        return bad(r, n, path, "'%.40s' is neither a number of tokens, as 2048, nor a share up to 100%%, as \"50%%\"", n->text);
    return KV_OK;
}

static kv_status read_budgets(const reader *r, const prof_field *f, const yaml_node *n, const char *path, prof_layer *l) {
    uint64_t tokens = 0;
    if (n->kind == YAML_TEXT) {
        kv_status st = read_integer(r, f, n, path, &tokens);
        l->budget = st == KV_OK ? (uint32_t)tokens : 0;
        return st;
    }
    kv_status st = check_head_list(r, f, n, path);
    if (st != KV_OK || (st = prof_budgets_alloc(r->p, l, r->err)) != KV_OK)
        return st;
    const prof_field number = {.kind = PK_U32, .min = 1, .max = f->max};
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e && st == KV_OK; e = e->next, i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
        if ((st = read_integer(r, &number, e, sub, &tokens)) == KV_OK)
            l->budgets[i] = (uint32_t)tokens;
    }
    return st;
}

/* ---- lists and maps ---- */

static kv_status read_list(reader *r, const prof_field *f, void *value, const yaml_node *n, const char *path) {
    uint32_t *count = (uint32_t *)((char *)r->p + f->count);
    if (n->kind != YAML_LIST)
        return wrong_kind(r, f, n, path);
    if (n->count < f->min || n->count > f->max)
        return bad(r, n, path, "%u entries are outside %.9g..%.9g", n->count, f->min, f->max);
    if (*count && *count != n->count) /* known from the model */
        return bad(r, n, path, "has %u entries, but model.layers is %u", n->count, *count);
    char *elems = value;
    if (f->flags & PF_POINTER && !(elems = *(void **)value = calloc(n->count, f->size)))
        return kv_fail(r->err, KV_ENOMEM, "%s: out of memory", r->where);
    *count = n->count;
    uint32_t i = 0;
    for (const yaml_node *e = n->first; e; e = e->next, i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
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
    case PK_PER_LAYER:
        return read_per_layer(r, f, n, path, value);
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
    case PK_CODECS:
        return read_codecs(r, f, n, path, value);
    case PK_CHOICE:
        ((prof_choice *)value)->set = true;
        return read_codec(r, f, n, path, &((prof_choice *)value)->codec);
    case PK_RANGES:
        return read_ranges(r, f, n, path, value);
    case PK_NAME:
        return read_name(r, f, n, path, value);
    case PK_BOOL:
        return read_bool(r, f, n, path, value);
    case PK_BUDGET:
        return read_budget(r, f, n, path, value);
    case PK_BUDGETS:
        return read_budgets(r, f, n, path, value);
    case PK_HEADS:
        return read_heads(r, f, n, path, value);
    case PK_DIMS:
        return read_dims(r, f, n, path);
    case PK_SPECTRUM:
        return read_spectrum(r, f, n, path);
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
        const bool nowhere = f->flags & PF_STORED && r->p->kv_heads && !r->p->kv_heads[r->index];
        if (nowhere && c)
            st = bad(r, c, sub, "this layer stores no keys and values (model.kv_heads)");
        else if (nowhere)
            continue;
        else if (c)
            st = barred ? bad(r, c, sub, "not together with 'layers', where each layer names its own")
                        : read_field(r, f, base, c, sub);
        else if (f->flags & PF_REQUIRED && !barred)
            st = bad(r, n, sub, "missing");
    }
    return st;
}

/* Bits of codecs that always cost the same need not be written, nor those of heads that are as the layer says. */
static void fill_kv_bits(const prof *p, prof_kv *kv, uint32_t layer, bool key) {
    const uint32_t n = prof_kv_heads(p, layer);
    double sum = 0;
    bool all = true;
    if (!kv->head_bits) {
        kv->bits = kv->bits == 0 ? prof_codec_bits(kv->codec, key, p->head_dim) : kv->bits;
        return;
    }
    for (uint32_t h = 0; h < n; h++) {
        if (kv->head_bits[h] == 0)
            kv->head_bits[h] = prof_codec_bits(kv->codecs[h], key, p->head_dim);
        all &= kv->head_bits[h] > 0;
        sum += (double)kv->head_bits[h];
    }
    if (kv->bits == 0 && all)
        kv->bits = (float)prof_round_number(sum / n, PROF_BITS_DIGITS);
}

static void fill_bits(prof *p) {
    for (uint32_t i = 0; p->layers && i < p->n_layer; i++) {
        if (p->kv_heads && !p->kv_heads[i]) {
            p->layers[i].k.codec = p->layers[i].v.codec = KV_F16;
            continue;
        }
        fill_kv_bits(p, &p->layers[i].k, i, true);
        fill_kv_bits(p, &p->layers[i].v, i, false);
    }
}

/* The binary part, from the text or given apart. */
static kv_status read_data(reader *r, const uint8_t *frame, size_t frame_len) {
    uint8_t *bytes = NULL;
    kv_status st = KV_OK;
    bool needed = prof_has_tc(r->p), apart = frame != NULL;
    if (r->data && apart)
        return bad(r, r->data, "data", "the binary part is stored outside of this text; it must not be here too");
    if (!r->data && !apart)
        return needed ? kv_fail(r->err, KV_EFORMAT,
                                "%s: data: missing; codec tc needs the calibrated data at the end of the profile", r->where)
                      : KV_OK;
    if (!needed && !r->p->layers)
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

/* Where one of several keys must be given. */
static kv_status check_alternatives(const reader *r, const yaml_node *root) {
    const yaml_node *aim = yaml_find(root, "aim"), *overrides = yaml_find(yaml_find(root, "policy"), "overrides");
    if (aim && aim->count != 1)
        return bad(r, aim, "aim", "expected one of bits and kld");
    uint32_t i = 0;
    for (const yaml_node *o = overrides ? overrides->first : NULL; o; o = o->next, i++)
        if (!yaml_find(o, "k") && !yaml_find(o, "v")) {
            char path[PROF_PATH];
            prof_path_index(path, "policy.overrides", i);
            return bad(r, o, path, "names no codec, neither k nor v");
        }
    return KV_OK;
}

/* The version comes first: keys that a later one adds must not be called unknown. */
static kv_status read_version(const reader *r, const yaml_node *root) {
    const yaml_node *version = yaml_find(root, "version");
    uint64_t v = 0;
    kv_status st = version ? read_integer(r, &prof_schema[0], version, "version", &v) : KV_OK;
    if (st == KV_OK && root->next && v < PROF_WINDOWS_VERSION)
        st = bad(r, root->next, "", "a second document starts here, which version %d alone has", PROF_WINDOWS_VERSION);
    return st;
}

/* One document. frame: its binary part, or NULL. */
static kv_status read_document(reader *r, const yaml_node *root, const prof_model *m, const uint8_t *frame, size_t frame_len) {
    kv_status st = read_map(r, prof_schema, r->p, root, "");
    if (st != KV_OK || (st = check_alternatives(r, root)) != KV_OK)
        return st;
    fill_bits(r->p);
    prof_mean_budgets(r->p);
    if (m && (st = prof_matches(r->p, m->hash, m->shape, r->where, r->err)) != KV_OK)
        return st; /* before the data: a profile that is for nothing here shall take no memory */
    if ((st = read_data(r, frame, frame_len)) == KV_OK && (st = prof_check_one(r->p, r->where, r->err)) == KV_OK)
        st = check_dims(r, root);
    return st;
}

kv_status prof_parse_parts(const prof_source *from, prof **out, kv_err *err) {
    yaml_tree *tree;
    prof *first = NULL, **tail = &first;
    const uint8_t *frame = from->frame;
    size_t left = from->frame_len;
    *out = NULL;
    kv_status st = yaml_tree_read(from->text, from->len, from->where, &tree, err);
    if (st != KV_OK)
        return st;
    for (const yaml_node *root = yaml_tree_root(tree); root && st == KV_OK; root = root->next, tail = &(*tail)->narrower) {
        const size_t len = root->next ? prof_blob_frame(frame, left) : left;
        reader r = {.where = from->where, .err = err, .p = *tail = calloc(1, sizeof *r.p)};
        if (!r.p) {
            st = kv_fail(err, KV_ENOMEM, "%s: out of memory", from->where);
            break;
        }
        r.p->default_k = r.p->default_v = KV_F16;
        r.p->evict = PROF_EVICT_DEFAULT;
        r.has_layers = yaml_find(root, "layers") != NULL;
        if ((st = read_version(&r, root)) == KV_OK)
            st = read_document(&r, root, from->model, frame, len);
        if (frame)
            frame += len;
        left -= len;
    }
    if (st == KV_OK)
        st = prof_check_windows(first, from->where, err);
    yaml_tree_free(tree);
    if (st == KV_OK)
        *out = first;
    else
        prof_free(first);
    return st;
}

kv_status prof_parse(const char *text, size_t len, const char *where, prof **out, kv_err *err) {
    return prof_parse_parts(&(prof_source){.text = text, .len = len, .where = where}, out, err);
}

kv_status prof_load(const char *path, prof **out, kv_err *err) {
    char *text;
    size_t len;
    *out = NULL;
    kv_status st = text_read(path, TEXT_MAX, &text, &len, err);
    if (st != KV_OK)
        return st;
    st = prof_parse(text, len, path, out, err);
    free(text);
    return st;
}
