/* Parsing a template, and running it on values that come as JSON. */
#include "template/template.h"

#include "template/tree.h"

#include <stdlib.h>
#include <string.h>

static const tpl_above above = {.find = tpl_find,
                                .filter = tpl_filter,
                                .test = tpl_test,
                                .call_macro = tpl_call_macro,
                                .loop_attr = tpl_loop_attr,
                                .loop_again = tpl_loop_again};

/* ---- parsing ---- */

kv_status tpl_new(const char *text, size_t len, tpl **out, kv_err *err) {
    static const tpl_str own[TPL_IDS] = {
        [TPL_ID_LOOP] = {.s = "loop", .len = 4},
        [TPL_ID_CALLER] = {.s = "caller", .len = 6},
        [TPL_ID_KWARGS] = {.s = "kwargs", .len = 6},
        [TPL_ID_VARARGS] = {.s = "varargs", .len = 7},
    };
    enum { LONGEST = 4 << 20 };
    tpl *t = calloc(1, sizeof *t);
    if (!t)
        return kv_fail(err, KV_ENOMEM, "out of memory for a chat template");
    if (len > LONGEST) {
        free(t);
        return kv_fail(err, KV_ERANGE, "a chat template of %zu bytes is too long; at most %d", len, LONGEST);
    }
    tpl_run r = {.above = &above, .err = err, .line = 1, .max_steps = UINT64_MAX, .max_depth = UINT32_MAX};
    tpl_parser p = {.r = &r, .t = t, .at = tpl_lex(&r, text, len)};
    for (int i = 0; i < TPL_IDS && !r.st; i++)
        tpl_name_id(&p, &own[i]);
    t->body = r.st ? NULL : tpl_parse(&p);
    t->arena = r.arena;
    if (r.st) {
        tpl_free(t);
        return r.st;
    }
    *out = t;
    return KV_OK;
}

void tpl_free(tpl *t) {
    if (!t)
        return;
    tpl_arena_free(&t->arena);
    free(t);
}

/* ---- values from JSON ---- */

/* Bytes of all texts, which limits go by. */
static size_t text_bytes(const json_t *j, unsigned depth) {
    const char *key;
    size_t n = 0, i;
    json_t *v;
    if (json_is_string(j))
        return json_string_length(j);
    if (depth > TPL_DEPTH)
        return 0;
    json_array_foreach(j, i, v) n += text_bytes(v, depth + 1) + sizeof(tpl_value);
    if (json_is_object(j))
        json_object_foreach((json_t *)j, key, v) n += strlen(key) + text_bytes(v, depth + 1) + sizeof(tpl_pair);
    return n;
}

typedef struct reader {
    tpl_run *r;
    const char *const *own;
} reader;

static bool is_own(const reader *x, const char *key) {
    for (const char *const *k = x->own; k && *k; k++)
        if (!strcmp(*k, key))
            return true;
    return false;
}

/* level: how deep in the values; -1: where no text is the template's own. */
static tpl_value read_json(const reader *x, const json_t *j, int level);

static tpl_value read_list(const reader *x, const json_t *j, int level) {
    const tpl_value out = tpl_list_new(x->r, TPL_A_LIST, json_array_size(j));
    for (size_t i = 0; i < out.l->n && !x->r->st; i++)
        out.l->v[i] = read_json(x, json_array_get(j, i), level == 1 ? 2 : -1);
    return out;
}

static tpl_value read_member(const reader *x, const char *key, const json_t *v, int level) {
    const bool own = json_is_string(v) && (level == 0 || level == 2) && is_own(x, key);
    return own ? tpl_text_value(x->r, json_string_value(v), json_string_length(v), false)
               : read_json(x, v, level == 0 ? 1 : -1);
}

static tpl_value read_dict(const reader *x, const json_t *j, int level) {
    const tpl_value out = tpl_dict_new(x->r, TPL_DICT, json_object_size(j));
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)j, key, v) {
        const tpl_value k = tpl_text_value(x->r, key, strlen(key), true), member = read_member(x, key, v, level);
        if (x->r->st)
            break;
        out.d->p[out.d->n++] = (tpl_pair){k, member}; /* no two keys of JSON are the same */
    }
    return out;
}

static tpl_value read_json(const reader *x, const json_t *j, int level) {
    tpl_value out = TPL_NULL;
    if (!tpl_steps(x->r, 1) || !tpl_deeper(x->r))
        return TPL_UNDEFINED;
    if (json_is_string(j))
        out = tpl_text_value(x->r, json_string_value(j), json_string_length(j), true);
    else if (json_is_integer(j))
        out = tpl_int(json_integer_value(j));
    else if (json_is_real(j))
        out = tpl_float(json_real_value(j));
    else if (json_is_boolean(j))
        out = tpl_bool(json_is_true(j));
    else if (json_is_array(j))
        out = read_list(x, j, level);
    else if (json_is_object(j))
        out = read_dict(x, j, level);
    tpl_up(x->r);
    return out;
}

/* Variables outside of all scopes: values, else functions. */
static void fill_root(tpl_run *r, const json_t *values, const char *const *own) {
    const reader x = {r, own};
    const tpl_value all = read_json(&x, values, 0);
    r->root = tpl_get(r, r->t->n_names, sizeof *r->root);
    for (size_t i = 0; r->root && i < r->t->n_names && !r->st; i++) {
        const tpl_str *name = r->t->name[i];
        const tpl_value *v = all.kind == TPL_DICT ? tpl_dict_find(r, all.d, (tpl_value){.kind = TPL_STR, .s = name}) : NULL;
        const tpl_row *f = tpl_find(TPL_FUNCTIONS, name);
        r->root[i] = v ? *v : f ? (tpl_value){.kind = TPL_FUNC, .func = f} : TPL_UNDEFINED;
    }
}

/* ---- the result ---- */

static kv_status give(const tpl_buf *b, tpl_text *out, kv_err *err) {
    size_t n = 0, cap = 1;
    for (size_t i = 1; b->mark && i < b->len; i++)
        cap += b->mark[i] != b->mark[i - 1];
    out->s = malloc(b->len + 1);
    out->span = malloc(cap * sizeof *out->span);
    if (!out->s || !out->span) {
        tpl_text_free(out);
        return kv_fail(err, KV_ENOMEM, "out of memory for a prompt of %zu bytes", b->len);
    }
    if (b->len)
        memcpy(out->s, b->s, b->len);
    out->s[b->len] = '\0';
    out->len = b->len;
    for (size_t i = 0, from = 0; i < b->len; i++) {
        const bool input = b->mark ? b->mark[i] : b->input;
        if (!b->mark)
            i = b->len - 1;
        else if (i + 1 < b->len && b->mark[i + 1] == b->mark[i])
            continue;
        out->span[n++] = (tpl_span){i + 1 - from, input};
        from = i + 1;
    }
    out->n_spans = n;
    return KV_OK;
}

kv_status tpl_text_add(tpl_text *t, const char *text, size_t len, kv_err *err) {
    char *s = realloc(t->s, t->len + len + 1);
    t->s = s ? s : t->s;
    tpl_span *span = s ? realloc(t->span, (t->n_spans + 1) * sizeof *span) : NULL;
    if (!span)
        return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", t->len + len);
    t->span = span;
    memcpy(t->s + t->len, text, len);
    t->len += len;
    t->s[t->len] = '\0';
    t->span[t->n_spans++] = (tpl_span){.len = len, .input = true};
    return KV_OK;
}

void tpl_text_free(tpl_text *t) {
    free(t->s);
    free(t->span);
    *t = (tpl_text){0};
}

kv_status tpl_render(const tpl *t, const json_t *values, const tpl_cfg *cfg, tpl_text *out, kv_err *err) {
    static const tpl_cfg defaults;
    const tpl_cfg *c = cfg ? cfg : &defaults;
    const size_t given = text_bytes(values, 0);
    tpl_run r = {
        .above = &above,
        .t = t,
        .err = err,
        .line = 1,
        .now = c->now,
        .max_steps = c->max_steps ? c->max_steps : TPL_STEPS,
        .max_depth = c->max_depth ? c->max_depth : TPL_DEPTH,
        .arena = {.max = c->max_memory ? c->max_memory : TPL_MEMORY + 64 * given},
    };
    tpl_buf b = {.r = &r, .max = c->max_bytes ? c->max_bytes : TPL_BYTES + 8 * given};
    *out = (tpl_text){0};
    fill_root(&r, values, c->own);
    r.out = &b;
    if (!r.st)
        tpl_exec(&r, t->body);
    if (!r.st)
        r.st = give(&b, out, err);
    tpl_arena_free(&r.arena);
    return r.st;
}
