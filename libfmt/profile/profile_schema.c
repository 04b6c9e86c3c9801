/* The schema of a profile: one table of rows per mapping, in the order in which they are written, and the walk along them. */
#include "profile/profile_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define RANGE(lo, hi)    .min = (lo), .max = (hi)
#define CODECS           RANGE(0, KV_CODEC_COUNT - 1)

static const prof_field model_fields[] = {
    {"hash", PK_HASH, 0, AT(prof, model_hash)},
    {"name", PK_STR, 0, AT(prof, model_name)},
    {"arch", PK_STR, 0, AT(prof, arch)},
    {"layers", PK_U32, 0, AT(prof, n_layer), RANGE(1, PROF_MAX_LAYERS)},
    {"heads", PK_PER_LAYER, PF_FLOW, AT(prof, n_head), .count = offsetof(prof, heads), RANGE(1, PROF_MAX_HEADS)},
    {"kv_heads", PK_PER_LAYER, PF_FLOW, AT(prof, n_kv_head), .count = offsetof(prof, kv_heads), RANGE(1, PROF_MAX_HEADS)},
    {"head_dim", PK_U32, 0, AT(prof, head_dim), RANGE(1, PROF_MAX_DIM)},
    {0},
};

static const prof_field made_fields[] = {
    {"tool", PK_STR, 0, AT(prof, tool_version)},
    {"text", PK_HASH, 0, AT(prof, text_hash)},
    {"tokens", PK_U32, PF_REQUIRED, AT(prof, calib_tokens), RANGE(0, UINT32_MAX)},
    {"ctx", PK_U32, PF_REQUIRED, AT(prof, calib_ctx), RANGE(0, UINT32_MAX)},
    {"entropy_sinks", PK_U32, PF_REQUIRED, AT(prof, entropy_sinks), RANGE(0, UINT32_MAX)},
    {"seed", PK_U64, PF_REQUIRED, AT(prof, seed), RANGE(0, 0x1p64)},
    {"target_bits", PK_F64, PF_REQUIRED, AT(prof, target_bits), RANGE(0, 32), .digits = 6},
    {0},
};

static const prof_field override_fields[] = {
    {"layers", PK_RANGES, 0, AT(prof_override, layers), RANGE(0, PROF_MAX_LAYERS - 1)},
    {"heads", PK_RANGES, 0, AT(prof_override, heads), RANGE(0, PROF_MAX_HEADS - 1)},
    {"k", PK_CHOICE, PF_PLAIN, AT(prof_override, k), CODECS},
    {"v", PK_CHOICE, PF_PLAIN, AT(prof_override, v), CODECS},
    {0},
};

static const prof_field evict_fields[] = {
    {"policy", PK_NAME, PF_REQUIRED, AT(prof_evict, policy), RANGE(0, KV_EVICT_COUNT - 1), .name = prof_evict_name},
    {"budget", PK_BUDGET, 0, AT(prof_evict, budget)},
    {"ada", PK_BOOL, PF_ALWAYS, AT(prof_evict, ada)},
    {"recent", PK_U32, PF_ALWAYS, AT(prof_evict, recent), RANGE(0, 1 << 20)},
    {"near", PK_F64, PF_ALWAYS, AT(prof_evict, near), RANGE(0, 1), .digits = 6},
    {"observe", PK_U32, PF_ALWAYS, AT(prof_evict, observe), RANGE(1, 4096)},
    {"pool", PK_U32, PF_ALWAYS, AT(prof_evict, pool), RANGE(1, 511)},
    {0},
};

static const prof_field rule_fields[] = {
    {"formula", PK_STR, 0, AT(prof_budget_rule, formula)},
    {"mean", PK_U32, 0, AT(prof_budget_rule, mean), RANGE(0, UINT32_MAX)},
    {"least", PK_U32, 0, AT(prof_budget_rule, least), RANGE(0, UINT32_MAX)},
    {"most", PK_U32, 0, AT(prof_budget_rule, most), RANGE(0, UINT32_MAX)},
    {"ctx", PK_U32, 0, AT(prof_budget_rule, ctx), RANGE(0, UINT32_MAX)},
    {"tokens", PK_U32, 0, AT(prof_budget_rule, tokens), RANGE(0, UINT32_MAX)},
    {0},
};

static const prof_field policy_fields[] = {
    {"sinks", PK_U32, PF_REQUIRED, AT(prof, sinks), RANGE(0, 1 << 16)},
    {"window", PK_U32, PF_REQUIRED, AT(prof, window), RANGE(0, 1 << 20)},
    {"frame", PK_U32, 0, AT(prof, frame), RANGE(0, 1 << 20)},
    {"k", PK_CODEC, PF_REQUIRED | PF_NO_LAYERS | PF_PLAIN, AT(prof, default_k), CODECS},
    {"v", PK_CODEC, PF_REQUIRED | PF_NO_LAYERS | PF_PLAIN, AT(prof, default_v), CODECS},
    {"overrides", PK_LIST, PF_NO_LAYERS | PF_POINTER | PF_FLOW, .offset = offsetof(prof, overrides),
     .size = sizeof(prof_override), .count = offsetof(prof, n_override), RANGE(1, PROF_MAX_OVERRIDES), .sub = override_fields},
    {"evict", PK_MAP, PF_FLOW, AT(prof, evict), .sub = evict_fields},
    {"budget_by", PK_NAME, PF_BUDGETS, AT(prof, budget_by), RANGE(0, PROF_BY_LOSS), .name = prof_budget_by_name},
    {"budget_rule", PK_MAP, 0, AT(prof, budget_rule), .sub = rule_fields},
    {0},
};

static const prof_field aim_fields[] = {
    {"bits", PK_F64, 0, AT(prof, aim_bits), RANGE(0.5, 16), .digits = 6},
    {"kld", PK_F64, 0, AT(prof, aim_kld), RANGE(1e-6, 10), .digits = 6},
    {0},
};

static const prof_field measured_fields[] = {
    {"text", PK_STR, PF_REQUIRED, AT(prof_measured, text)},
    {"ctx", PK_U32, PF_REQUIRED, AT(prof_measured, ctx), RANGE(1, UINT32_MAX)},
    {"tokens", PK_U32, PF_REQUIRED, AT(prof_measured, tokens), RANGE(1, UINT32_MAX)},
    {"kld", PK_F64, PF_REQUIRED, AT(prof_measured, kld), RANGE(-1e-3, 1e6), .digits = 6},
    {"kld_se", PK_F64, PF_REQUIRED, AT(prof_measured, kld_se), RANGE(0, 1e6), .digits = 6},
    {"dppl_percent", PK_F64, PF_REQUIRED, AT(prof_measured, dppl_percent), RANGE(-100, 1e15), .digits = 6},
    {"top1", PK_F64, PF_REQUIRED, AT(prof_measured, top1), RANGE(0, 100), .digits = 6},
    {"bits_k", PK_F64, PF_REQUIRED, AT(prof_measured, bits_k), RANGE(0, 32), .digits = 6},
    {"bits_v", PK_F64, PF_REQUIRED, AT(prof_measured, bits_v), RANGE(0, 32), .digits = 6},
    {"bytes_per_token", PK_F64, PF_REQUIRED, AT(prof_measured, bytes_per_token), RANGE(0, 1e12), .digits = 9},
    {"f16_bytes_per_token", PK_F64, PF_REQUIRED, AT(prof_measured, f16_bytes_per_token), RANGE(0, 1e12), .digits = 9},
    {0},
};

static const prof_field facts_fields[] = {
    {"ctx", PK_U32, PF_REQUIRED, AT(prof_facts, ctx), RANGE(1, UINT32_MAX)},
    {"docs", PK_U32, PF_REQUIRED, AT(prof_facts, docs), RANGE(1, UINT32_MAX)},
    {"seed", PK_U64, PF_REQUIRED, AT(prof_facts, seed)},
    {"questions", PK_U32, PF_REQUIRED, AT(prof_facts, questions), RANGE(1, UINT32_MAX)},
    {"right_f16", PK_U32, PF_REQUIRED, AT(prof_facts, right_f16), RANGE(0, UINT32_MAX)},
    {"right", PK_U32, PF_REQUIRED, AT(prof_facts, right), RANGE(0, UINT32_MAX)},
    {"low", PK_F64, PF_REQUIRED, AT(prof_facts, low), RANGE(-100, 100), .digits = 4},
    {"high", PK_F64, PF_REQUIRED, AT(prof_facts, high), RANGE(-100, 100), .digits = 4},
    {0},
};

static const prof_field folding_fields[] = {
    {"cache", PK_CODEC, PF_REQUIRED | PF_PLAIN, AT(prof_folding, cache), CODECS},
    {"ctx", PK_U32, PF_REQUIRED, AT(prof_folding, ctx), RANGE(1, UINT32_MAX)},
    {"tokens", PK_U32, PF_REQUIRED, AT(prof_folding, tokens), RANGE(1, UINT32_MAX)},
    {"before", PK_F64, PF_REQUIRED, AT(prof_folding, before), RANGE(-1e-3, 1e6), .digits = 6},
    {"before_se", PK_F64, PF_REQUIRED, AT(prof_folding, before_se), RANGE(0, 1e6), .digits = 6},
    {"after", PK_F64, PF_REQUIRED, AT(prof_folding, after), RANGE(-1e-3, 1e6), .digits = 6},
    {"after_se", PK_F64, PF_REQUIRED, AT(prof_folding, after_se), RANGE(0, 1e6), .digits = 6},
    {0},
};

static const prof_field head_fields[] = {
    {"codec", PK_CODEC, PF_REQUIRED, AT(prof_head, codec), CODECS},
    {"bits", PK_F32, 0, AT(prof_head, bits), RANGE(0, 32), .digits = PROF_BITS_DIGITS},
    {"dims", PK_DIMS, 0, AT(prof_head, tc)},
    {"spectrum", PK_SPECTRUM, PF_FLOW, AT(prof_head, tc), RANGE(-1e4, 1e4), .digits = 3},
    {0},
};

static const prof_field kv_fields[] = {
    {"codec", PK_CODECS, PF_REQUIRED, .offset = 0, .size = sizeof(prof_kv), CODECS},
    {"bits", PK_F32, 0, AT(prof_kv, bits), RANGE(0, 32), .digits = PROF_BITS_DIGITS},
    {"heads", PK_HEADS, PF_FLOW, .offset = 0, .size = sizeof(prof_kv), .sub = head_fields},
    {0},
};

static const prof_field layer_fields[] = {
    {"layer", PK_INDEX, PF_REQUIRED, RANGE(0, PROF_MAX_LAYERS - 1)},
    {"k", PK_MAP, PF_REQUIRED | PF_FLOW | PF_STORED, AT(prof_layer, k), .sub = kv_fields},
    {"v", PK_MAP, PF_REQUIRED | PF_FLOW | PF_STORED, AT(prof_layer, v), .sub = kv_fields},
    {"entropy", PK_F32S, PF_FLOW, AT(prof_layer, entropy), .count = offsetof(prof, n_head), RANGE(0, 32), .digits = 4},
    {"importance", PK_F32S, PF_FLOW | PF_STORED, AT(prof_layer, importance), .count = offsetof(prof, n_kv_head), RANGE(0, 1),
     .digits = 4},
    {"budget", PK_BUDGETS, PF_FLOW | PF_STORED, .offset = 0, .size = sizeof(prof_layer), RANGE(0, UINT32_MAX)},
    {"losses", PK_F32S, PF_FLOW | PF_STORED, AT(prof_layer, losses), .count = offsetof(prof, n_kv_head), .per = KV_CUTS,
     RANGE(0, 1e6), .digits = 4},
    {"fold", PK_F32S, PF_FLOW | PF_STORED, AT(prof_layer, fold), .count = offsetof(prof, n_kv_head), .per = PROF_PER_DIM,
     RANGE(-PROF_FOLD_MOST, PROF_FOLD_MOST), .digits = 2},
    {0},
};

const prof_field prof_schema[] = {
    {"version", PK_CONST, PF_REQUIRED, RANGE(1, PROF_VERSION)},
    {"model", PK_MAP, 0, .sub = model_fields},
    {"made", PK_MAP, 0, .sub = made_fields},
    {"policy", PK_MAP, PF_REQUIRED, .sub = policy_fields},
    {"aim", PK_MAP, PF_FLOW, .sub = aim_fields},
    {"measured", PK_LIST, 0, .offset = offsetof(prof, measured), .size = sizeof(prof_measured),
     .count = offsetof(prof, n_measured), RANGE(0, sizeof(((prof *)0)->measured) / sizeof(prof_measured)),
     .sub = measured_fields},
    {"facts", PK_LIST, 0, .offset = offsetof(prof, facts), .size = sizeof(prof_facts), .count = offsetof(prof, n_facts),
     RANGE(0, sizeof(((prof *)0)->facts) / sizeof(prof_facts)), .sub = facts_fields},
    {"fold_for", PK_STR, 0, AT(prof, fold_for)},
    {"folding", PK_LIST, 0, .offset = offsetof(prof, folding), .size = sizeof(prof_folding), .count = offsetof(prof, n_folding),
     RANGE(0, sizeof(((prof *)0)->folding) / sizeof(prof_folding)), .sub = folding_fields},
    {"layers", PK_LIST, PF_POINTER, .offset = offsetof(prof, layers), .size = sizeof(prof_layer),
     .count = offsetof(prof, n_layer), RANGE(1, PROF_MAX_LAYERS), .sub = layer_fields},
    {.key = "data", .kind = PK_DATA},
    {0},
};

const char *const prof_kind_names[PK_COUNT] = {
    [PK_CONST] = "integer",
    [PK_INDEX] = "integer",
    [PK_U32] = "integer",
    [PK_U64] = "integer",
    [PK_F32] = "number",
    [PK_F64] = "number",
    [PK_STR] = "text",
    [PK_HASH] = "32 hex digits",
    [PK_CODEC] = "codec",
    [PK_F32S] = "list of numbers",
    [PK_MAP] = "mapping",
    [PK_LIST] = "list",
    [PK_DATA] = "!!binary",
    [PK_CODECS] = "codec or list of codecs",
    [PK_HEADS] = "list",
    [PK_DIMS] = "run lengths",
    [PK_SPECTRUM] = "list of numbers",
    [PK_CHOICE] = "codec",
    [PK_RANGES] = "ranges",
    [PK_NAME] = "name",
    [PK_BOOL] = "true or false",
    [PK_BUDGET] = "integer or percentage",
    [PK_BUDGETS] = "integer or list of integers",
    [PK_PER_LAYER] = "integer or list of integers",
};

void prof_path_join(char *out, const char *path, const char *key) {
    snprintf(out, PROF_PATH, "%.90s%s%.30s", path, *path && *key != '[' ? "." : "", key);
}

void prof_path_index(char *out, const char *path, uint32_t i) {
    char index[16];
    snprintf(index, sizeof index, "[%u]", i);
    prof_path_join(out, path, index);
}

void prof_number(char out[32], double v, int digits) {
    snprintf(out, 32, "%.*g", digits, v);
    char *e = strchr(out, 'e');
    if (e && !strchr(out, '.')) {
        memmove(e + 2, e, strlen(e) + 1);
        memcpy(e, ".0", 2);
    }
}

double prof_number_value(const char *text) {
    return strtod(text, NULL);
}

/* Heads need words where they differ or have dimensions to tell of. */
static bool has_heads(const prof *p, const prof_kv *kv, uint32_t layer) {
    const uint32_t n = prof_kv_heads(p, layer);
    return n && (kv->head_bits || prof_kv_mixed(kv, n) || (kv->heads && prof_kv_has_tc(kv, n)));
}

/* What an optional value looks like when there is nothing to write. */
static bool is_empty(const prof *p, const prof_field *f, const void *base, uint32_t layer) {
    const void *v = (const char *)base + f->offset;
    switch (f->kind) {
    case PK_U32:
    case PK_PER_LAYER:
        return *(const uint32_t *)v == 0;
    case PK_U64:
        return *(const uint64_t *)v == 0;
    case PK_F32:
        return *(const float *)v == 0;
    case PK_F64:
        return *(const double *)v == 0;
    case PK_STR:
    case PK_HASH:
        return *(const char *)v == '\0';
    case PK_F32S:
        return *(float *const *)v == NULL || !prof_floats(p, f, layer);
    case PK_LIST:
        return f->flags & PF_POINTER ? *(void *const *)v == NULL : *(const uint32_t *)((const char *)p + f->count) == 0;
    case PK_MAP:
        for (const prof_field *s = f->sub; s->key; s++)
            if (!(s->flags & PF_ALWAYS) && !is_empty(p, s, v, layer))
                return false;
        return true;
    case PK_HEADS:
        return !has_heads(p, v, layer);
    case PK_DIMS:
    case PK_SPECTRUM:
        return *(const prof_tc *const *)v == NULL;
    case PK_CHOICE:
        return !((const prof_choice *)v)->set;
    case PK_RANGES:
        return ((const prof_ranges *)v)->n == 0;
    case PK_NAME:
        return f->flags & PF_BUDGETS ? !prof_has_budgets(p) : *(const uint32_t *)v == 0;
    case PK_BUDGET:
        return ((const kv_budget *)v)->tokens == 0 && ((const kv_budget *)v)->share == 0;
    case PK_BUDGETS:
        return ((const prof_layer *)v)->budget == 0 && !((const prof_layer *)v)->budgets;
    case PK_DATA:
        return !prof_has_data(p);
    default:
        return false;
    }
}

uint32_t prof_floats(const prof *p, const prof_field *f, uint32_t layer) {
    const uint32_t n = f->count == offsetof(prof, n_head) ? prof_heads(p, layer) : prof_kv_heads(p, layer);
    return n * (f->per == PROF_PER_DIM ? p->head_dim : f->per ? f->per : 1);
}

typedef struct walk {
    const prof *p;
    prof_visit visit;
    void *user;
    kv_err *err;
} walk;

static kv_status step(const walk *w, prof_step what, const prof_field *f, const void *value, uint32_t n, const char *path) {
    return w->visit(w->user, &(prof_place){what, f, value, n, path}, w->err);
}

static kv_status walk_map(const walk *w, const prof_field *fields, const void *base, uint32_t index, const char *path);

static kv_status walk_list(const walk *w, const prof_field *f, const void *value, const char *path) {
    uint32_t n = *(const uint32_t *)((const char *)w->p + f->count);
    const char *elems = f->flags & PF_POINTER ? *(const char *const *)value : value;
    kv_status st = step(w, PROF_BEGIN, f, elems, n, path);
    for (uint32_t i = 0; i < n && st == KV_OK; i++) {
        char sub[PROF_PATH];
        prof_path_index(sub, path, i);
        const char *elem = elems + i * f->size;
        if ((st = step(w, PROF_ELEM_BEGIN, f, elem, i, sub)) == KV_OK && (st = walk_map(w, f->sub, elem, i, sub)) == KV_OK)
            st = step(w, PROF_ELEM_END, f, elem, i, sub);
    }
    return st == KV_OK ? step(w, PROF_END, f, elems, n, path) : st;
}

static kv_status walk_heads(const walk *w, const prof_field *f, const prof_kv *kv, uint32_t layer, const char *path) {
    const uint32_t n = prof_kv_heads(w->p, layer);
    kv_status st = step(w, PROF_BEGIN, f, kv, n, path);
    for (uint32_t h = 0; h < n && st == KV_OK; h++) {
        const prof_head head = prof_kv_head(kv, h);
        char sub[PROF_PATH];
        prof_path_index(sub, path, h);
        if ((st = step(w, PROF_ELEM_BEGIN, f, &head, h, sub)) == KV_OK && (st = walk_map(w, f->sub, &head, h, sub)) == KV_OK)
            st = step(w, PROF_ELEM_END, f, &head, h, sub);
    }
    return st == KV_OK ? step(w, PROF_END, f, kv, n, path) : st;
}

/* Whether a map is worth several lines. */
static bool is_long(const prof *p, const prof_field *fields, const void *base, uint32_t layer) {
    for (const prof_field *f = fields; f->key; f++)
        if (f->kind == PK_HEADS && !is_empty(p, f, base, layer))
            return true;
    return false;
}

static kv_status walk_map(const walk *w, const prof_field *fields, const void *base, uint32_t index, const char *path) {
    kv_status st = KV_OK;
    for (const prof_field *f = fields; f->key && st == KV_OK; f++) {
        char sub[PROF_PATH];
        prof_path_join(sub, path, f->key);
        const void *value = (const char *)base + f->offset;
        if ((f->flags & PF_NO_LAYERS && w->p->layers) || (f->flags & PF_STORED && w->p->kv_heads && !w->p->kv_heads[index]) ||
            (!(f->flags & (PF_REQUIRED | PF_ALWAYS)) && is_empty(w->p, f, base, index)))
            continue;
        if (f->kind == PK_LIST) {
            st = walk_list(w, f, value, sub);
        } else if (f->kind == PK_HEADS) {
            st = walk_heads(w, f, value, index, sub);
        } else if (f->kind == PK_MAP) {
            const uint32_t n = is_long(w->p, f->sub, value, index);
            if ((st = step(w, PROF_BEGIN, f, value, n, sub)) == KV_OK && (st = walk_map(w, f->sub, value, index, sub)) == KV_OK)
                st = step(w, PROF_END, f, value, 0, sub);
        } else if (f->kind == PK_F32S) {
            st = step(w, PROF_VALUE, f, *(float *const *)value, prof_floats(w->p, f, index), sub);
        } else {
            st = step(w, PROF_VALUE, f, value, index, sub);
        }
    }
    return st;
}

kv_status prof_walk(const prof *p, prof_visit visit, void *user, kv_err *err) {
    return walk_map(&(walk){p, visit, user, err}, prof_schema, p, 0, "");
}
