/* Hyper-parameters: from the keys of a file and the traits of its architecture. Keys as llama.cpp writes and reads them. */
#include "model/fold.h"
#include "model/hparams_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- sliding windows ---- */

/* The key sliding_window_pattern: every how many layers attention is full, or for each layer whether it slides. Only patterns
 * that repeat with the full layer last are supported. */
static kv_status read_swa_pattern(const rt_reader *r, rt_hparams *hp) {
    char key[RT_KEY];
    const gguf_kv *kv = gguf_find(r->g, rt_key_of(r, "attention.sliding_window_pattern", key));
    if (!kv || kv->type != GGUF_ARRAY)
        return gguf_get_u32(r->g, key, false, &hp->swa_every, r->err);
    uint32_t every = 0; /* layers up to the first full one */
    for (uint64_t i = 0; i < kv->count && !every; i++)
        every = kv->elem_type == GGUF_BOOL && !kv->raw[i] ? (uint32_t)i + 1 : 0;
    hp->swa_every = every ? every : UINT32_MAX;
    for (uint64_t i = 0; i < hp->n_layer; i++)
        if (kv->elem_type != GGUF_BOOL || kv->count < hp->n_layer || !kv->raw[i] != ((i + 1) % hp->swa_every == 0))
            return kv_fail(r->err, KV_EUNSUPP, "%s: %s: layers of full attention that do not come at equal distances",
                           gguf_path(r->g), key);
    return KV_OK;
}

static kv_status read_swa(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    kv_status st;
    if (!a->swa_every)
        return KV_OK;
    hp->swa = a->swa;
    hp->swa_every = a->swa_every;
    if ((st = rt_key_u32(r, "attention.sliding_window", false, &hp->swa)) || (st = read_swa_pattern(r, hp)))
        return st;
    if (!hp->swa_every || hp->swa_every == 1)
        hp->swa = 0; /* no layer slides */
    return KV_OK;
}

/* ---- RoPE ---- */

static float yarn_gain(float factor, float by) {
    return factor <= 1 ? 1 : 0.1f * by * logf(factor) + 1;
}

/* Files before the key rope.scaling.factor have rope.scale_linear; without a type, scaling is linear. */
static kv_status read_scaling(const rt_reader *r, rt_hparams *hp) {
    rt_rope_scaling *s = &hp->scaling;
    char key[RT_KEY];
    gguf_str type = {"linear", 6};
    float old = 0, log_gain = 0, gain = 1;
    kv_status st;
    *s = (rt_rope_scaling){.yarn = -1, .fast = 32, .slow = 1, .n_ctx = hp->n_ctx_train};
    if ((st = gguf_get_str(r->g, rt_key_of(r, "rope.scaling.type", key), false, &type, r->err)) ||
        (st = rt_key_f32(r, "rope.scale_linear", false, &old)) ||
        (s->factor = old, st = rt_key_f32(r, "rope.scaling.factor", false, &s->factor)) ||
        (st = rt_key_u32(r, "rope.scaling.original_context_length", false, &s->n_ctx)))
        return st;
    static const struct {
        const char *name;
        bool scales, yarn;
    } types[] = {{"none", false, false}, {"linear", true, false}, {"yarn", true, true}, {"longrope", true, false}};
    size_t t = 0;
    while (t < sizeof types / sizeof *types && (strlen(types[t].name) != type.len || memcmp(types[t].name, type.s, type.len)))
        t++;
    if (t == sizeof types / sizeof *types)
        return kv_fail(r->err, KV_EUNSUPP, "%s: %s: RoPE scaling '%.*s' is not supported (none, linear, yarn and longrope are)",
                       gguf_path(r->g), key, (int)(type.len < 40 ? type.len : 40), type.s);
    if (s->factor == 0 || !types[t].scales)
        s->factor = 1;
    const rt_number rows[] = {
        {"rope.scaling.factor", &s->factor, 1e-6f, 1e6f},
        {"rope.scaling.attn_factor", &gain, 1e-3f, 1e3f},
        {"rope.scaling.yarn_ext_factor", &s->yarn, -1, 1},
        {"rope.scaling.yarn_attn_factor", &gain, 1e-3f, 1e3f},
        {"rope.scaling.yarn_beta_fast", &s->fast, 1e-3f, 1e6f},
        {"rope.scaling.yarn_beta_slow", &s->slow, 1e-3f, 1e6f},
        {"rope.scaling.yarn_log_multiplier", &log_gain, -1e3f, 1e3f},
    };
    const size_t skip = types[t].scales ? 0 : 1; /* the factor means nothing then */
    if ((st = rt_read_numbers(r, rows + skip, sizeof rows / sizeof *rows - skip)))
        return st;
    if (s->yarn < 0)
        s->yarn = types[t].yarn;
    s->gain = gain;
    if (s->yarn != 0) /* what YaRN adds to attention, unless a model has its own idea of that */
        s->gain *= yarn_gain(s->factor, 1) / (log_gain != 0 ? yarn_gain(s->factor, log_gain) : 1);
    return KV_OK;
}

static kv_status read_rope(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    kv_status st;
    bool rotates = true; /* Granite's name for it */
    hp->rope_base = 10000;
    if ((st = rt_read_numbers(r, &(rt_number){"rope.freq_base", &hp->rope_base, 1, 1e12f}, 1)))
        return st;
    hp->rope_base_swa = a->swa_rope_base > 0 ? a->swa_rope_base : hp->rope_base;
    if ((st = rt_read_numbers(r, &(rt_number){"rope.freq_base_swa", &hp->rope_base_swa, 1, 1e12f}, 1)) ||
        (st = read_scaling(r, hp)) || (st = rt_key_bool(r, "rope.scaling.finetuned", &rotates)))
        return st;
    hp->scaling_swa = a->swa_rope_scaled ? hp->scaling : (rt_rope_scaling){.factor = 1, .gain = 1};
    hp->rope_swa_only = a->rope_swa_only;
    hp->rope_none_every = a->multipliers && !rotates ? 1 : a->rope_none_every;
    return KV_OK;
}

/* Pairs that turn `turns` times within the original context lie below this one. */
static double pair_of_turns(const rt_hparams *hp, double base, double turns) {
    return hp->n_rot * log(hp->scaling.n_ctx / (turns * 2 * M_PI)) / (2 * log(base));
}

static void fill_kind(const rt_hparams *hp, const rt_rope_scaling *s, double base, const float *divide, float *to) {
    const double low = fmax(0, floor(pair_of_turns(hp, base, s->fast > 0 ? (double)s->fast : 1)));
    const double high = fmin(hp->n_rot - 1, ceil(pair_of_turns(hp, base, s->slow > 0 ? (double)s->slow : 1)));
    for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
        const double f = pow(base, -2.0 * i / hp->n_rot) / (divide ? (double)divide[i] : 1);
        const double fast = 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low))), keep = fast * (double)s->yarn;
        to[i] = s->yarn != 0 ? (float)(f / (double)s->factor * (1 - keep) + f * keep) : (float)(f / (double)s->factor);
    }
}

void rt_fill_inv_freq(const rt_hparams *hp, const float *divide, float *inv_freq) {
    const uint32_t half = hp->n_rot / 2;
    fill_kind(hp, &hp->scaling, (double)hp->rope_base, divide, inv_freq + RT_ROPE_FULL * half);
    fill_kind(hp, &hp->scaling_swa, (double)hp->rope_base_swa, hp->scaling_swa.n_ctx ? divide : NULL,
              inv_freq + RT_ROPE_SWA * half);
    memset(inv_freq + RT_ROPE_NONE * half, 0, half * sizeof *inv_freq);
}

/* ---- the rest ---- */

static kv_status read_factors(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    const bool wide = hp->n_layer == a->wide_at;
    float scale = 0, gain = 0, step = 0;
    hp->embd_scale = a->scale_embd ? sqrtf((float)hp->n_embd) : 1;
    hp->residual_scale = hp->logit_scale = 1;
    const struct {
        bool wanted;
        rt_number n;
    } rows[] = {
        {a->multipliers, {"attention.scale", &scale, 0, 1e3f}},
        {a->multipliers, {"embedding_scale", &hp->embd_scale, -1e6f, 1e6f}},
        {a->multipliers, {"residual_scale", &hp->residual_scale, -1e6f, 1e6f}},
        {a->scales_logits, {"logit_scale", &hp->logit_scale, -1e6f, 1e6f}},
        {a->caps_scores, {"attn_logit_softcapping", &hp->attn_cap, 0, 1e6f}},
        {a->caps_logits, {"final_logit_softcapping", &hp->logit_cap, 0, 1e6f}},
        {a->temperature, {"attention.temperature_scale", &gain, 0, 1e3f}},
        {a->temperature, {"attention.temperature_length", &step, 0, 1e9f}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kv_status st = rows[i].wanted ? rt_read_numbers(r, &rows[i].n, 1) : KV_OK;
        if (st)
            return st;
    }
    float *ones[] = {&hp->embd_scale, &hp->residual_scale, &hp->logit_scale};
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        if (*ones[i] == 0) /* what 0 means in files */
            *ones[i] = 1;
    if (a->divides_logits)
        hp->logit_scale = 1 / hp->logit_scale;
    if (gain > 0) {
        hp->query_gain = gain;
        hp->query_step = step > 0 ? step : (float)hp->scaling.n_ctx;
    }
    hp->attn_scale = scale > 0 ? scale : 1 / sqrtf((float)(wide ? hp->n_embd / hp->n_head : hp->key_dim));
    return KV_OK;
}

static kv_status read_all(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    kv_status st;
    if ((st = rt_check_keys(r->g, a, r->err)) || (st = rt_read_shape(r, a, hp)) ||
        (st = rt_key_f32(r, a->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", true,
                         &hp->norm_eps)) ||
        (st = rt_read_experts(r, a, hp)) || (st = read_swa(r, a, hp)) || (st = rt_read_shared(r, a, hp)) ||
        (st = read_rope(r, a, hp)) || (st = read_factors(r, a, hp)))
        return st;
    if (!(hp->norm_eps > 0 && hp->norm_eps < 1))
        return kv_fail(r->err, KV_EFORMAT, "%s: norm epsilon %g is out of range", gguf_path(r->g), (double)hp->norm_eps);
    return KV_OK;
}

kv_status rt_read_hparams(rt_model *m, kv_err *err) {
    rt_hparams *hp = &m->hp;
    gguf_str s = {"", 0};
    kv_status st = gguf_get_str(m->file, "general.type", false, &s, err);
    if (!st && s.len == 7 && !memcmp(s.s, "adapter", 7))
        st = kv_fail(err, KV_EUNSUPP, "%s: a LoRA adapter is not a model: merge it into the model that it belongs to",
                     gguf_path(m->file));
    if (st || (st = gguf_get_str(m->file, "general.architecture", true, &s, err)))
        return st;
    m->arch = rt_arch_find(s.s, s.len);
    if (!m->arch)
        return rt_unknown_arch(m->file, s, err);
    snprintf(hp->arch, sizeof hp->arch, "%s", m->arch->name);
    s = (gguf_str){"", 0};
    if ((st = gguf_get_str(m->file, "general.name", false, &s, err)))
        return st;
    snprintf(hp->name, sizeof hp->name, "%.*s", (int)(s.len < sizeof hp->name ? s.len : sizeof hp->name - 1), s.s);
    s = (gguf_str){"", 0};
    if ((st = gguf_get_str(m->file, RT_FOLD_ORIGINAL, false, &s, err)))
        return st;
    snprintf(hp->folded_from, sizeof hp->folded_from, "%.*s", (int)(s.len < 33 ? s.len : 33), s.s);
    return read_all(&(rt_reader){m->file, hp->arch, err}, m->arch, hp);
}

kv_status rt_hparams_read(const gguf *g, rt_hparams *out, kv_err *err) {
    rt_model m = {.file = (gguf *)g}; /* only read from */
    kv_status st = rt_read_hparams(&m, err);
    *out = m.hp;
    return st;
}
