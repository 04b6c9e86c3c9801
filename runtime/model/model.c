/* Loading a model: read hyper-parameters, check the shape of every tensor, pack the weights.
 *
 * Nothing is assumed: a tensor that is missing, has another shape, or is there without the architecture using it (experts,
 * extra norms, another RoPE scaling) is an error, because running on regardless would give wrong answers silently.
 */
#include "model/model_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* State of one load: where vectors go, how many tensors were used. */
typedef struct loader {
    rt_model *m;
    float *next_vector;
    size_t n_used;
    kv_progress progress;
    void *user;
    double bytes, done; /* of matrices */
    kv_err *err;
} loader;

static kv_status key_u32(const rt_model *m, const char *suffix, bool required, uint32_t *out, kv_err *err) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->hp.arch, suffix);
    return gguf_get_u32(m->file, key, required, out, err);
}

static kv_status key_f32(const rt_model *m, const char *suffix, bool required, float *out, kv_err *err) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->hp.arch, suffix);
    return gguf_get_f32(m->file, key, required, out, err);
}

/* RoPE scaling other than a plain factor would need another formula: refuse it by name. */
static kv_status read_rope_scaling(const rt_model *m, float *factor, kv_err *err) {
    char key[96];
    gguf_str type = {"none", 4};
    snprintf(key, sizeof key, "%s.rope.scaling.type", m->hp.arch);
    kv_status st = gguf_get_str(m->file, key, false, &type, err);
    if (st)
        return st;
    *factor = 1;
    if (type.len == 4 && !memcmp(type.s, "none", 4))
        return KV_OK;
    if (type.len == 6 && !memcmp(type.s, "linear", 6))
        return key_f32(m, "rope.scaling.factor", true, factor, err);
    return kv_fail(err, KV_EUNSUPP, "%s: %s: RoPE scaling '%.*s' is not supported (none and linear are)", gguf_path(m->file),
                   key, (int)(type.len < 40 ? type.len : 40), type.s);
}

static kv_status check_hparams(const rt_model *m, kv_err *err) {
    const rt_hparams *hp = &m->hp;
    const struct {
        const char *name;
        uint32_t value, max, multiple;
    } rows[] = {
        {"block_count", hp->n_layer, PROF_MAX_LAYERS, 1},
        {"embedding_length", hp->n_embd, 1 << 20, 32},
        {"feed_forward_length", hp->n_ff, 1 << 22, 32},
        {"attention.head_count", hp->n_head, 4096, 1},
        {"attention.head_count_kv", hp->n_kv_head, PROF_MAX_HEADS, 1},
        {"attention.key_length", hp->head_dim, PROF_MAX_DIM, 16},
        {"rope.dimension_count", hp->n_rot, hp->head_dim, 2},
        {"context_length", hp->n_ctx_train, 1u << 30, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].value || rows[i].value > rows[i].max || rows[i].value % rows[i].multiple)
            return kv_fail(err, KV_EUNSUPP, "%s: %s.%s = %u: expected a multiple of %u in %u..%u", gguf_path(m->file), hp->arch,
                           rows[i].name, rows[i].value, rows[i].multiple, rows[i].multiple, rows[i].max);
    if (hp->n_head % hp->n_kv_head)
        return kv_fail(err, KV_EFORMAT, "%s: %u heads cannot share %u KV heads evenly", gguf_path(m->file), hp->n_head,
                       hp->n_kv_head);
    if (!(hp->rms_eps > 0 && hp->rms_eps < 1) || !(hp->rope_base >= 1 && hp->rope_base < 1e12f) ||
        !(hp->rope_base_swa >= 1 && hp->rope_base_swa < 1e12f))
        return kv_fail(err, KV_EFORMAT, "%s: norm epsilon %g or RoPE base %g is out of range", gguf_path(m->file), hp->rms_eps,
                       hp->rope_base);
    return KV_OK;
}

static kv_status read_hparams(rt_model *m, kv_err *err) {
    rt_hparams *hp = &m->hp;
    char known[RT_ARCHS];
    gguf_str s = {0};
    kv_status st = gguf_get_str(m->file, "general.architecture", true, &s, err);
    if (st)
        return st;
    m->arch = rt_arch_find(s.s, s.len);
    if (!m->arch)
        return kv_fail(err, KV_EUNSUPP, "%s: architecture '%.*s' is not supported (supported: %s)", gguf_path(m->file),
                       (int)(s.len < 60 ? s.len : 60), s.s, rt_archs(known));
    snprintf(hp->arch, sizeof hp->arch, "%s", m->arch->name);
    s = (gguf_str){"", 0};
    if ((st = gguf_get_str(m->file, "general.name", false, &s, err)))
        return st;
    snprintf(hp->name, sizeof hp->name, "%.*s", (int)(s.len < sizeof hp->name ? s.len : sizeof hp->name - 1), s.s);

    if ((st = key_u32(m, "block_count", true, &hp->n_layer, err)) ||
        (st = key_u32(m, "embedding_length", true, &hp->n_embd, err)) ||
        (st = key_u32(m, "feed_forward_length", true, &hp->n_ff, err)) ||
        (st = key_u32(m, "attention.head_count", true, &hp->n_head, err)) ||
        (st = key_u32(m, "context_length", true, &hp->n_ctx_train, err)) ||
        (st = key_f32(m, "attention.layer_norm_rms_epsilon", true, &hp->rms_eps, err)))
        return st;
    hp->n_kv_head = hp->n_head;
    hp->head_dim = hp->n_head ? hp->n_embd / hp->n_head : 0;
    hp->rope_base = 10000;
    hp->rope_base_swa = 10000;
    uint32_t value_length;
    if ((st = key_u32(m, "attention.head_count_kv", false, &hp->n_kv_head, err)) ||
        (st = key_u32(m, "attention.key_length", false, &hp->head_dim, err)) ||
        (value_length = hp->head_dim, st = key_u32(m, "attention.value_length", false, &value_length, err)) ||
        (hp->n_rot = hp->head_dim, st = key_u32(m, "rope.dimension_count", false, &hp->n_rot, err)) ||
        (st = key_f32(m, "rope.freq_base", false, &hp->rope_base, err)) ||
        (st = key_f32(m, "rope.freq_base_swa", false, &hp->rope_base_swa, err)))
        return st;
    if (m->arch->swa_every) {
        hp->swa_every = m->arch->swa_every;
        if ((st = key_u32(m, "attention.sliding_window", false, &hp->swa, err)))
            return st;
    }
    if (value_length != hp->head_dim)
        return kv_fail(err, KV_EUNSUPP, "%s: keys of %u and values of %u dimensions: different lengths are not supported",
                       gguf_path(m->file), hp->head_dim, value_length);
    if ((st = check_hparams(m, err)))
        return st;
    hp->embd_scale = m->arch->scale_embd ? sqrtf((float)hp->n_embd) : 1;
    const bool wide = hp->n_layer == m->arch->wide_at;
    hp->attn_scale = 1 / sqrtf((float)(wide ? hp->n_embd / hp->n_head : hp->head_dim));
    return KV_OK;
}

kv_status rt_hparams_read(const gguf *g, rt_hparams *out, kv_err *err) {
    rt_model m = {.file = (gguf *)g}; /* only read from */
    kv_status st = read_hparams(&m, err);
    *out = m.hp;
    return st;
}

static const gguf_tensor *find(loader *l, const char *name) {
    const gguf_tensor *t = gguf_tensor_find(l->m->file, name);
    l->n_used += t != NULL;
    return t;
}

static kv_status check_shape(const loader *l, const gguf_tensor *t, const char *name, uint64_t cols, uint64_t rows) {
    if (!t)
        return kv_fail(l->err, KV_EFORMAT, "%s: tensor '%s' is missing", gguf_path(l->m->file), name);
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return kv_fail(l->err, KV_EFORMAT, "%s: tensor '%s' is %llu x %llu, expected %llu x %llu", gguf_path(l->m->file), name,
                       (unsigned long long)t->dims[0], (unsigned long long)t->dims[1], (unsigned long long)cols,
                       (unsigned long long)rows);
    return KV_OK;
}

/* A norm or bias of n floats, copied into the model's vectors; absent and not required: *out stays NULL. */
static kv_status load_vector(loader *l, const char *name, uint32_t n, bool required, const float **out) {
    const gguf_tensor *t = find(l, name);
    if (!t && !required)
        return KV_OK;
    kv_status st = check_shape(l, t, name, n, 1);
    if (st)
        return st;
    t->type->dequant(t->data, l->next_vector, n);
    *out = l->next_vector;
    l->next_vector += n;
    return KV_OK;
}

static double matrix_bytes(const gguf_tensor *t) {
    return (double)t->dims[0] * (double)t->dims[1] * t->type->block_bytes / t->type->block_elems;
}

static kv_status new_matrix(loader *l, const gguf_tensor *t, rt_mat **out) {
    if (l->progress && !l->progress(l->user, l->done / l->bytes))
        return kv_fail(l->err, KV_ECANCEL, "%s: stopped while it was loaded", gguf_path(l->m->file));
    kv_status st = mat_new(t, &l->m->exec, &l->m->weights, out, l->err);
    l->done += matrix_bytes(t);
    if (!st && mat_is_copy(*out))
        gguf_tensor_rest(t);
    return st;
}

static kv_status load_matrix(loader *l, const char *name, uint32_t cols, uint32_t rows, rt_mat **out) {
    const gguf_tensor *t = find(l, name);
    kv_status st = check_shape(l, t, name, cols, rows);
    return st ? st : new_matrix(l, t, out);
}

static kv_status load_layer(loader *l, uint32_t i) {
    const rt_hparams *hp = &l->m->hp;
    const rt_arch *a = l->m->arch;
    rt_layer *y = &l->m->layers[i];
    const uint32_t d = hp->head_dim, n_q = hp->n_head * d, n_kv = hp->n_kv_head * d;
    const struct {
        const char *name;
        uint32_t n;
        bool required;
        const float **out;
    } vectors[] = {
        {"attn_norm.weight", hp->n_embd, true, &y->attn_norm},
        {"ffn_norm.weight", hp->n_embd, true, &y->ffn_norm},
        {"attn_q.bias", n_q, false, &y->q_bias},
        {"attn_k.bias", n_kv, false, &y->k_bias},
        {"attn_v.bias", n_kv, false, &y->v_bias},
        {"attn_output.bias", hp->n_embd, false, &y->o_bias},
        {a->qk_norm ? "attn_q_norm.weight" : NULL, d, true, &y->q_norm},
        {a->qk_norm ? "attn_k_norm.weight" : NULL, d, true, &y->k_norm},
        {a->post_norm ? "post_attention_norm.weight" : NULL, hp->n_embd, true, &y->post_attn_norm},
        {a->post_norm ? "post_ffw_norm.weight" : NULL, hp->n_embd, true, &y->post_ffn_norm},
    };
    const struct {
        const char *name;
        uint32_t cols, rows;
        rt_mat **out;
    } matrices[] = {
        {"attn_q.weight", hp->n_embd, n_q, &y->q},           {"attn_k.weight", hp->n_embd, n_kv, &y->k},
        {"attn_v.weight", hp->n_embd, n_kv, &y->v},          {"attn_output.weight", n_q, hp->n_embd, &y->o},
        {"ffn_gate.weight", hp->n_embd, hp->n_ff, &y->gate}, {"ffn_up.weight", hp->n_embd, hp->n_ff, &y->up},
        {"ffn_down.weight", hp->n_ff, hp->n_embd, &y->down},
    };
    char name[96];
    kv_status st = KV_OK;
    for (size_t j = 0; !st && j < sizeof vectors / sizeof *vectors; j++) {
        if (!vectors[j].name)
            continue;
        snprintf(name, sizeof name, "blk.%u.%s", i, vectors[j].name);
        st = load_vector(l, name, vectors[j].n, vectors[j].required, vectors[j].out);
    }
    for (size_t j = 0; !st && j < sizeof matrices / sizeof *matrices; j++) {
        snprintf(name, sizeof name, "blk.%u.%s", i, matrices[j].name);
        st = load_matrix(l, name, matrices[j].cols, matrices[j].rows, matrices[j].out);
    }
    return st;
}

/* Rotations per position of every pair. Llama 3 files carry a factor per pair in the tensor rope_freqs. */
static kv_status load_rope(loader *l) {
    rt_model *m = l->m;
    const uint32_t half = m->hp.n_rot / 2;
    float factor = 1;
    const float *freqs = NULL;
    kv_status st = read_rope_scaling(m, &factor, l->err);
    if (st || (st = load_vector(l, "rope_freqs.weight", half, false, &freqs)))
        return st;
    if (!(factor > 0))
        return kv_fail(l->err, KV_EFORMAT, "%s: RoPE scaling factor %g is not positive", gguf_path(m->file), factor);
    for (uint32_t i = 0; i < half; i++) {
        double exponent = -2.0 * i / m->hp.n_rot, divide = freqs ? freqs[i] : 1;
        if (!(divide > 0))
            return kv_fail(l->err, KV_EFORMAT, "%s: tensor 'rope_freqs.weight': factor %u is not positive", gguf_path(m->file),
                           i);
        m->inv_freq[i] = (float)(pow(m->hp.rope_base, exponent) / factor / divide);
        m->inv_freq[half + i] = (float)pow(m->hp.rope_base_swa, exponent);
    }
    return KV_OK;
}

static double all_bytes(const gguf *g) {
    double sum = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        sum += matrix_bytes(gguf_tensor_at(g, i));
    return sum;
}

static kv_status load_weights(rt_model *m, kv_progress progress, void *user, kv_err *err) {
    const rt_hparams *hp = &m->hp;
    loader l = {.m = m, .progress = progress, .user = user, .bytes = all_bytes(m->file), .err = err};
    size_t per_layer = 5 * (size_t)hp->n_embd + (hp->n_head + 2 * (size_t)hp->n_kv_head + 2) * hp->head_dim;
    m->layers = calloc(hp->n_layer, sizeof *m->layers);
    m->vectors = malloc((hp->n_layer * per_layer + hp->n_embd + hp->n_rot) * sizeof(float));
    m->inv_freq = malloc(hp->n_rot * sizeof(float));
    if (!m->layers || !m->vectors || !m->inv_freq)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", gguf_path(m->file));
    l.next_vector = m->vectors;

    m->embd = find(&l, "token_embd.weight");
    kv_status st = check_shape(&l, m->embd, "token_embd.weight", hp->n_embd, hp->n_vocab);
    if (st || (st = load_vector(&l, "output_norm.weight", hp->n_embd, true, &m->output_norm)) || (st = load_rope(&l)))
        return st;
    if (gguf_tensor_find(m->file, "output.weight"))
        st = load_matrix(&l, "output.weight", hp->n_embd, hp->n_vocab, &m->output);
    else
        st = new_matrix(&l, m->embd, &m->output);
    for (uint32_t i = 0; !st && i < hp->n_layer; i++)
        st = load_layer(&l, i);
    if (!st && l.n_used != gguf_n_tensors(m->file))
        st = kv_fail(err, KV_EUNSUPP, "%s: %zu of %zu tensors are not part of a plain '%s' model (experts or another variant?)",
                     gguf_path(m->file), gguf_n_tensors(m->file) - l.n_used, gguf_n_tensors(m->file), hp->arch);
    return st;
}

kv_status rt_model_load_watched(const char *path, const rt_exec *e, kv_progress progress, void *user, rt_model **out,
                                kv_err *err) {
    kv_status st;
    rt_model *m = calloc(1, sizeof *m);
    if (!m)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
    if ((st = rt_exec_start(e, &m->exec, err))) /* threads for packing; contexts have their own */
        goto done;
    if ((st = gguf_open(path, &m->file, err)) || (st = read_hparams(m, err)) || (st = tok_new(m->file, &m->tok, err)))
        goto done;
    m->hp.n_vocab = tok_n_vocab(m->tok);
    if ((st = gguf_model_hash(m->file, m->hash, err)) || (st = load_weights(m, progress, user, err)))
        goto done;
    if (progress)
        progress(user, 1);
done:
    rt_exec_stop(&m->exec);
    if (st)
        rt_model_free(m);
    else
        *out = m;
    return st;
}

kv_status rt_model_load(const char *path, const rt_exec *e, rt_model **out, kv_err *err) {
    return rt_model_load_watched(path, e, NULL, NULL, out, err);
}

kv_status rt_model_exact(const rt_model *m, rt_model **out, kv_err *err) {
    rt_model *exact = malloc(sizeof *exact);
    if (!exact)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    *exact = *m;
    exact->borrowed = true;
    exact->exec.exact = true;
    *out = exact;
    return KV_OK;
}

void rt_model_free(rt_model *m) {
    if (!m || m->borrowed) {
        free(m);
        return;
    }
    for (uint32_t i = 0; m->layers && i < m->hp.n_layer; i++) {
        rt_layer *y = &m->layers[i];
        rt_mat *all[] = {y->q, y->k, y->v, y->o, y->gate, y->up, y->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            mat_free(all[j]);
    }
    mat_free(m->output);
    rt_arena_free(&m->weights);
    free(m->layers);
    free(m->vectors);
    free(m->inv_freq);
    tok_free(m->tok);
    gguf_close(m->file);
    free(m);
}

const rt_hparams *rt_model_hparams(const rt_model *m) {
    return &m->hp;
}
const gguf *rt_model_gguf(const rt_model *m) {
    return m->file;
}
const tok *rt_model_tok(const rt_model *m) {
    return m->tok;
}
const rt_exec *rt_model_exec(const rt_model *m) {
    return &m->exec;
}
const char *rt_model_hash(const rt_model *m) {
    return m->hash;
}

static void add_cost(const rt_mat *m, rt_cost *w) {
    w->bytes += (double)mat_bytes(m);
    *(mat_is_int8(m) ? &w->i8 : &w->f32) += (double)mat_rows(m) * (double)mat_cols(m);
}

void rt_model_cost(const rt_model *m, rt_cost *layers, rt_cost *output) {
    *layers = *output = (rt_cost){0};
    add_cost(m->output, output);
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const rt_layer *y = &m->layers[i];
        const rt_mat *all[] = {y->q, y->k, y->v, y->o, y->gate, y->up, y->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            add_cost(all[j], layers);
    }
}
