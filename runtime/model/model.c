/* Loading a model: read hyper-parameters, check the shape of every tensor, pack the weights.
 *
 * Nothing is assumed: a tensor that is missing, has another shape, or is there without the architecture using it (experts,
 * extra norms, another RoPE scaling) is an error, because running on regardless would give wrong answers silently.
 */
#include "model/model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* State of one load: where vectors go, which tensors were used. */
typedef struct loader {
    rt_model *m;
    float *next_vector;
    bool *used; /* (gguf_n_tensors) */
    kv_progress progress;
    void *user;
    double bytes, done; /* of matrices */
    kv_err *err;
} loader;

static const gguf_tensor *find(loader *l, const char *name) {
    const gguf_tensor *t = gguf_tensor_find(l->m->file, name);
    if (t)
        l->used[t - gguf_tensor_at(l->m->file, 0)] = true;
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

/* ---- vectors ---- */

/* Norms, biases and the like, which become floats. Nobody quantises them: a file that does would take many times its size. */
static bool is_vector(const gguf_tensor *t) {
    char name[96];
    snprintf(name, sizeof name, "%.*s", (int)(t->name.len < sizeof name ? t->name.len : sizeof name - 1), t->name.s);
    return t->type->block_elems == 1 && (t->dims[1] == 1 || strstr(name, "_norm."));
}

static size_t all_vectors(const gguf *g) {
    size_t sum = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        sum += is_vector(t) ? t->dims[0] * t->dims[1] : 0;
    }
    return sum;
}

/* A vector of n floats (rows of cols), copied into the model's; absent and not required: *out stays NULL. */
static kv_status load_rows(loader *l, const char *name, uint32_t cols, uint32_t rows, bool required, const float **out) {
    const gguf_tensor *t = find(l, name);
    if (!t && !required)
        return KV_OK;
    kv_status st = check_shape(l, t, name, cols, rows);
    if (st)
        return st;
    const size_t n = (size_t)cols * rows;
    if (t->type->block_elems != 1)
        return kv_fail(l->err, KV_EUNSUPP, "%s: tensor '%s' is of type %s: norms and biases must be F32, F16 or BF16",
                       gguf_path(l->m->file), name, t->type->name);
    t->type->dequant(t->data, l->next_vector, n);
    if (!rt_all_finite(l->next_vector, n))
        return kv_fail(l->err, KV_ERANGE, "%s: tensor '%s' holds NaN or Inf (the file is damaged: get it again)",
                       gguf_path(l->m->file), name);
    *out = l->next_vector;
    l->next_vector += n;
    return KV_OK;
}

static kv_status load_vector(loader *l, const char *name, uint32_t n, bool required, const float **out) {
    return load_rows(l, name, n, 1, required, out);
}

/* ---- matrices ---- */

static double matrix_bytes(const gguf_tensor *t) {
    return (double)t->dims[0] * (double)t->dims[1] * (double)t->dims[2] * t->type->block_bytes / t->type->block_elems;
}

/* One of the matrices of a layer, or the output matrix, for all of which there is room in the list. */
static kv_status new_matrix(loader *l, const gguf_tensor *t, rt_mat **out) {
    if (l->progress && !l->progress(l->user, l->done / l->bytes))
        return kv_fail(l->err, KV_ECANCEL, "%s: stopped while it was loaded", gguf_path(l->m->file));
    kv_status st = mat_new(t, &l->m->exec, &l->m->weights, out, l->err);
    l->done += matrix_bytes(t);
    if (!st && mat_is_copy(*out))
        gguf_tensor_rest(t);
    if (!st && out != &l->m->output)
        l->m->mats[l->m->n_mats++] = *out;
    return st;
}

static kv_status load_matrix(loader *l, const char *name, uint32_t cols, uint32_t rows, rt_mat **out) {
    const gguf_tensor *t = find(l, name);
    kv_status st = check_shape(l, t, name, cols, rows);
    return st ? st : new_matrix(l, t, out);
}

/* Matrices that may lie in one tensor, one under the other. */
typedef struct piece {
    const char *name;
    uint32_t rows;
    rt_mat **out;
} piece;

/* Rows `from` .. from+n-1 of t, whose rows may be counted through its third dimension. */
static kv_status new_part(loader *l, const gguf_tensor *t, size_t from, size_t n, rt_mat **out) {
    const size_t row = t->nbytes / (t->dims[1] * t->dims[2]);
    gguf_tensor part = *t;
    part.n_dims = 2;
    part.dims[1] = n;
    part.dims[2] = 1;
    part.data += from * row;
    part.nbytes = n * row;
    return new_matrix(l, &part, out);
}

static kv_status load_pieces(loader *l, const char *name, uint32_t cols, const piece *pieces, size_t n) {
    const gguf_tensor *t = find(l, name);
    uint32_t rows = 0;
    for (size_t i = 0; i < n; i++)
        rows += pieces[i].rows;
    kv_status st = check_shape(l, t, name, cols, rows);
    for (size_t i = 0, at = 0; !st && i < n; at += pieces[i++].rows)
        st = new_part(l, t, at, pieces[i].rows, pieces[i].out);
    return st;
}

static const char *in_layer(uint32_t layer, const char *name, char buf[96]) {
    snprintf(buf, 96, "blk.%u.%s", layer, name);
    return buf;
}

/* In one tensor, `joined` of a layer, where the file has it (NULL: it cannot); else in tensors of their own. */
static kv_status load_joined(loader *l, uint32_t layer, const char *joined, uint32_t cols, const piece *pieces, size_t n) {
    char name[96];
    kv_status st = KV_OK;
    if (joined && gguf_tensor_find(l->m->file, in_layer(layer, joined, name)))
        return load_pieces(l, name, cols, pieces, n);
    for (size_t i = 0; !st && i < n; i++)
        st = load_matrix(l, in_layer(layer, pieces[i].name, name), cols, pieces[i].rows, pieces[i].out);
    return st;
}

/* ---- layers ---- */

static kv_status load_attention(loader *l, uint32_t i, rt_layer *y) {
    const rt_hparams *hp = &l->m->hp;
    const uint32_t heads = hp->heads[i], kv = rt_layer_stored(hp, i);
    const uint32_t n_q = heads * hp->key_dim, n_k = kv * hp->key_dim, n_v = kv * hp->value_dim;
    const piece qkv[] = {{"attn_q.weight", n_q, &y->q}, {"attn_k.weight", n_k, &y->k}, {"attn_v.weight", n_v, &y->v}};
    const float *bias = NULL;
    char name[96];
    if (!heads)
        return KV_OK;
    kv_status st = KV_OK;
    if (hp->kv_heads[i])
        st = load_joined(l, i, kv ? "attn_qkv.weight" : NULL, hp->n_embd, qkv, kv ? 3 : 1);
    const uint32_t n_o = hp->kv_heads[i] ? heads * hp->value_dim : hp->n_embd; /* the latter: it stands for all of attention */
    if (st || (st = load_matrix(l, in_layer(i, "attn_output.weight", name), n_o, hp->n_embd, &y->o)) ||
        (kv && (st = load_vector(l, in_layer(i, "attn_qkv.bias", name), n_q + n_k + n_v, false, &bias))))
        return st;
    if (bias) {
        y->q_bias = bias;
        y->k_bias = bias + n_q;
        y->v_bias = bias + n_q + n_k;
    }
    return KV_OK;
}

/* The same matrix of all experts of a layer, in one tensor of three dimensions. */
static kv_status load_expert_matrices(loader *l, const char *name, uint32_t cols, uint32_t rows, rt_mat **out) {
    const gguf_tensor *t = find(l, name);
    const uint32_t n = l->m->hp.n_expert;
    if (t && (t->dims[2] != n || t->dims[3] != 1))
        return kv_fail(l->err, KV_EFORMAT, "%s: tensor '%s' is for %llu experts, not %u", gguf_path(l->m->file), name,
                       (unsigned long long)(t->dims[2] * t->dims[3]), n);
    gguf_tensor flat = t ? *t : (gguf_tensor){0};
    flat.dims[2] = 1;
    kv_status st = check_shape(l, t ? &flat : NULL, name, cols, rows);
    for (size_t e = 0; !st && e < n; e++)
        st = new_part(l, t, e * rows, rows, &out[e]);
    return st;
}

static kv_status load_experts(loader *l, uint32_t i, rt_layer *y) {
    const rt_hparams *hp = &l->m->hp;
    const uint32_t n = hp->n_expert, d = hp->n_embd, ff = hp->n_ff_expert, shared = hp->n_ff_shared;
    rt_experts *x = &y->experts;
    char name[96];
    kv_status st;
    x->gate = l->m->experts + (size_t)i * 3 * n;
    x->up = x->gate + n;
    x->down = x->up + n;
    if ((st = load_matrix(l, in_layer(i, "ffn_gate_inp.weight", name), d, n, &x->router)) ||
        (st = load_vector(l, in_layer(i, "exp_probs_b.bias", name), n, false, &x->bias)) ||
        (st = load_expert_matrices(l, in_layer(i, "ffn_gate_exps.weight", name), d, ff, x->gate)) ||
        (st = load_expert_matrices(l, in_layer(i, "ffn_up_exps.weight", name), d, ff, x->up)) ||
        (st = load_expert_matrices(l, in_layer(i, "ffn_down_exps.weight", name), ff, d, x->down)) || !shared)
        return st;
    if ((st = load_matrix(l, in_layer(i, "ffn_gate_shexp.weight", name), d, shared, &x->shared_gate)) ||
        (st = load_matrix(l, in_layer(i, "ffn_up_shexp.weight", name), d, shared, &x->shared_up)) ||
        (st = load_matrix(l, in_layer(i, "ffn_down_shexp.weight", name), shared, d, &x->shared_down)))
        return st;
    return load_vector(l, in_layer(i, "ffn_gate_inp_shexp.weight", name), d, false, &x->shared_weight);
}

static bool has_experts(const rt_hparams *hp, uint32_t layer) {
    return hp->n_expert && layer >= hp->n_dense && (layer + 1) % hp->expert_every == 0;
}

static kv_status load_ffn(loader *l, uint32_t i, rt_layer *y) {
    const rt_hparams *hp = &l->m->hp;
    const uint32_t ff = hp->ff[i];
    const piece both[] = {{"ffn_gate.weight", ff, &y->gate}, {"ffn_up.weight", ff, &y->up}};
    char name[96];
    if (has_experts(hp, i))
        return load_experts(l, i, y);
    if (!ff)
        return KV_OK;
    const bool plain = l->m->arch->plain_ffn;
    const bool joined = !plain && !gguf_tensor_find(l->m->file, in_layer(i, both[0].name, name));
    kv_status st = load_joined(l, i, joined ? "ffn_up.weight" : NULL, hp->n_embd, both + plain, 2 - (size_t)plain);
    return st ? st : load_matrix(l, in_layer(i, "ffn_down.weight", name), ff, hp->n_embd, &y->down);
}

static kv_status load_vectors(loader *l, uint32_t i, rt_layer *y) {
    enum { NEVER, MAY, MUST };
    const rt_hparams *hp = &l->m->hp;
    const rt_arch *a = l->m->arch;
    const uint32_t heads = hp->kv_heads[i] ? hp->heads[i] : 0, kv = rt_layer_stored(hp, i), ff = hp->ff[i];
    const uint32_t d = hp->key_dim, e = hp->n_embd, n_q = heads * d, n_kv = kv * d;
    const int pre = a->no_pre_norm ? NEVER : MUST, post = a->post_norm ? MUST : NEVER;
    const int qk = a->qk_norm == RT_QK_NONE ? NEVER : a->qk_norm == RT_QK_EACH || a->qk_norm == RT_QK_MAY ? MAY : MUST;
    const int pre_attn = hp->heads[i] ? pre : NEVER, pre_ffn = ff ? a->parallel ? MAY : pre : NEVER;
    const bool each = a->qk_norm == RT_QK_EACH, row = a->qk_norm == RT_QK_ROW;
    const struct {
        const char *name;
        uint32_t cols, rows;
        int needed;
        const float **w, **b; /* weights; and where it is a norm that may have one, its bias */
    } table[] = {
        {"attn_norm", e, 1, pre_attn, &y->attn_norm.w, &y->attn_norm.b},
        {a->ffn_norm ? a->ffn_norm : "ffn_norm", e, 1, pre_ffn, &y->ffn_norm.w, &y->ffn_norm.b},
        {"post_attention_norm", e, 1, post, &y->post_attn_norm.w, &y->post_attn_norm.b},
        {"post_ffw_norm", e, 1, post, &y->post_ffn_norm.w, &y->post_ffn_norm.b},
        {"attn_q_norm", row ? n_q : d, each ? heads : 1, heads ? qk : NEVER, &y->q_norm.w, NULL},
        {"attn_k_norm", row ? n_kv : d, each ? kv : 1, kv ? qk : NEVER, &y->k_norm.w, NULL},
        {"attn_q", n_q, 1, heads ? MAY : NEVER, NULL, &y->q_bias},
        {"attn_k", n_kv, 1, kv ? MAY : NEVER, NULL, &y->k_bias},
        {"attn_v", kv * hp->value_dim, 1, kv ? MAY : NEVER, NULL, &y->v_bias},
        {"attn_output", e, 1, heads ? MAY : NEVER, NULL, &y->o_bias},
        {"ffn_gate", ff, 1, ff ? MAY : NEVER, NULL, &y->gate_bias},
        {"ffn_up", ff, 1, ff ? MAY : NEVER, NULL, &y->up_bias},
        {"ffn_down", e, 1, ff ? MAY : NEVER, NULL, &y->down_bias},
    };
    char name[96], file[64];
    kv_status st = KV_OK;
    for (size_t j = 0; !st && j < sizeof table / sizeof *table; j++) {
        if (table[j].needed == NEVER)
            continue;
        snprintf(file, sizeof file, "%s.weight", table[j].name);
        if (table[j].w)
            st = load_rows(l, in_layer(i, file, name), table[j].cols, table[j].rows, table[j].needed == MUST, table[j].w);
        snprintf(file, sizeof file, "%s.bias", table[j].name);
        if (!st && table[j].b && (!table[j].w || a->layer_norm))
            st = load_vector(l, in_layer(i, file, name), table[j].cols, false, table[j].b);
    }
    return st;
}

static kv_status load_layer(loader *l, uint32_t i) {
    rt_layer *y = &l->m->layers[i];
    kv_status st;
    if ((st = load_vectors(l, i, y)) || (st = load_attention(l, i, y)))
        return st;
    return load_ffn(l, i, y);
}

/* ---- RoPE ---- */

static kv_status load_factors(loader *l, const char *name, const float **out) {
    const uint32_t half = l->m->hp.n_rot / 2;
    kv_status st = load_vector(l, name, half, false, out);
    for (uint32_t i = 0; !st && *out && i < half; i++)
        if (!((*out)[i] > 0))
            st = kv_fail(l->err, KV_EFORMAT, "%s: tensor '%s': factor %u is not positive", gguf_path(l->m->file), name, i);
    return st;
}

/* Rotations per position of every pair. Llama 3 files carry a factor per pair; Phi 3's one for contexts up to the original
 * length and another for longer ones. */
static kv_status load_rope(loader *l) {
    rt_model *m = l->m;
    const float *freqs = NULL, *near = NULL, *far = NULL;
    kv_status st;
    if ((st = load_factors(l, "rope_freqs.weight", &freqs)) || (st = load_factors(l, "rope_factors_short.weight", &near)) ||
        (st = load_factors(l, "rope_factors_long.weight", &far)))
        return st;
    m->has_long = far != NULL;
    rt_fill_inv_freq(&m->hp, near ? near : freqs, m->inv_freq);
    rt_fill_inv_freq(&m->hp, far ? far : freqs, m->inv_freq + RT_ROPE_KINDS * (m->hp.n_rot / 2));
    return KV_OK;
}

const float *rt_inv_freq(const rt_model *m, uint32_t n_ctx) {
    const bool far = m->has_long && n_ctx > m->hp.scaling.n_ctx;
    return m->inv_freq + (far ? RT_ROPE_KINDS * (m->hp.n_rot / 2) : 0);
}

/* ---- all of it ---- */

static double all_bytes(const gguf *g) {
    double sum = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        sum += matrix_bytes(gguf_tensor_at(g, i));
    return sum;
}

/* Of a layer at the end that predicts further ahead, "blk.N.": not read, and of no consequence for what is. */
static bool is_nextn(const rt_hparams *hp, gguf_str name) {
    unsigned layer;
    char start[16];
    snprintf(start, sizeof start, "%.*s", (int)(name.len < sizeof start ? name.len : sizeof start - 1), name.s);
    return hp->n_nextn && sscanf(start, "blk.%u.", &layer) == 1 && layer >= hp->n_layer && layer < hp->n_layer + hp->n_nextn;
}

/* What is there without being used would change the answer. */
static kv_status check_all_used(const loader *l) {
    const gguf *g = l->m->file;
    const size_t n = gguf_n_tensors(g);
    const gguf_tensor *first = NULL;
    size_t unused = 0;
    for (size_t i = 0; i < n; i++) {
        const bool known = l->used[i] || is_nextn(&l->m->hp, gguf_tensor_at(g, i)->name);
        first = known || first ? first : gguf_tensor_at(g, i);
        unused += !known;
    }
    if (!first)
        return KV_OK;
    return kv_fail(l->err, KV_EUNSUPP,
                   "%s: tensor '%.*s' is not part of a '%s' model as it is known here (%zu of %zu tensors are not)",
                   gguf_path(g), (int)(first->name.len < 60 ? first->name.len : 60), first->name.s, l->m->hp.arch, unused, n);
}

static kv_status load_all(loader *l) {
    rt_model *m = l->m;
    const rt_hparams *hp = &m->hp;
    m->embd = find(l, "token_embd.weight");
    kv_status st = check_shape(l, m->embd, "token_embd.weight", hp->n_embd, hp->n_vocab);
    if (st || (st = load_vector(l, "output_norm.weight", hp->n_embd, true, &m->output_norm.w)) ||
        (m->arch->layer_norm && (st = load_vector(l, "output_norm.bias", hp->n_embd, false, &m->output_norm.b))) ||
        (st = load_rope(l)))
        return st;
    if (gguf_tensor_find(m->file, "output.weight"))
        st = load_matrix(l, "output.weight", hp->n_embd, hp->n_vocab, &m->output);
    else
        st = new_matrix(l, m->embd, &m->output);
    for (uint32_t i = 0; !st && i < hp->n_layer; i++)
        st = load_layer(l, i);
    return st ? st : check_all_used(l);
}

static kv_status load_weights(rt_model *m, kv_progress progress, void *user, kv_err *err) {
    const rt_hparams *hp = &m->hp;
    loader l = {.m = m, .progress = progress, .user = user, .bytes = all_bytes(m->file), .err = err};
    const size_t per_layer = hp->n_expert ? 8 + 3 * (size_t)hp->n_expert : 7;
    m->layers = calloc(hp->n_layer, sizeof *m->layers);
    m->mats = calloc(hp->n_layer * per_layer, sizeof(rt_mat *));
    m->experts = calloc(hp->n_layer * 3 * (size_t)hp->n_expert + 1, sizeof(rt_mat *));
    m->vectors = malloc((all_vectors(m->file) + 1) * sizeof(float));
    m->inv_freq = malloc(2 * RT_ROPE_KINDS * (size_t)(hp->n_rot / 2) * sizeof(float));
    l.used = calloc(gguf_n_tensors(m->file) + 1, sizeof *l.used);
    l.next_vector = m->vectors;
    kv_status st = KV_OK;
    if (!m->layers || !m->vectors || !m->inv_freq || !m->mats || !m->experts || !l.used)
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", gguf_path(m->file));
    else
        st = load_all(&l);
    free(l.used);
    return st;
}

/* Set a key; one that begins with a dot is the architecture's. */
static kv_status set_key(gguf *g, const char *set, kv_err *err) {
    char whole[1200];
    gguf_str arch = {"", 0};
    kv_status st = set[0] == '.' ? gguf_get_str(g, "general.architecture", true, &arch, err) : KV_OK;
    if (st)
        return st;
    if (arch.len > 64 || snprintf(whole, sizeof whole, "%.*s%s", (int)arch.len, arch.s, set) >= (int)sizeof whole)
        return kv_fail(err, KV_EINVAL, "a key that is set is too long: '%.60s...'", set);
    return gguf_override(g, whole, err);
}

kv_status rt_model_load_cfg(const char *path, const rt_exec *e, const rt_load_cfg *cfg, rt_model **out, kv_err *err) {
    kv_status st;
    rt_model *m = calloc(1, sizeof *m);
    if (!m)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
    if ((st = rt_identity_new(cfg->identities, &m->identity, err)) || (st = rt_exec_start(e, &m->exec, err)) ||
        (st = gguf_open(path, &m->file, err))) /* threads for packing; contexts have
their own */
        goto done;
    for (size_t i = 0; !st && i < cfg->n_set; i++)
        st = set_key(m->file, cfg->set[i], err);
    if (st || (cfg->edit && (st = cfg->edit(cfg->edit_user, m->file, err))) || (st = rt_read_hparams(m, err)) ||
        (st = tok_new(m->file, &m->tok, err)))
        goto done;
    m->hp.n_vocab = tok_n_vocab(m->tok);
    if ((st = gguf_model_hash(m->file, m->hash, err)) || (st = load_weights(m, cfg->progress, cfg->user, err)))
        goto done;
    if ((st = gguf_unchanged(m->file, err)))
        goto done;
    if (cfg->progress)
        cfg->progress(cfg->user, 1);
done:
    rt_exec_stop(&m->exec);
    if (st)
        rt_model_free(m);
    else
        *out = m;
    return st;
}

kv_status rt_model_load(const char *path, const rt_exec *e, rt_model **out, kv_err *err) {
    return rt_model_load_cfg(path, e, &(rt_load_cfg){0}, out, err);
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
    for (size_t i = 0; i < m->n_mats; i++)
        mat_free(m->mats[i]);
    free(m->mats);
    free(m->experts);
    mat_free(m->output);
    rt_arena_free(&m->weights);
    free(m->layers);
    free(m->vectors);
    free(m->inv_freq);
    tok_free(m->tok);
    gguf_close(m->file);
    rt_identity_free(m->identity);
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

/* A share of a matrix. */
static void add_cost(const rt_mat *m, double share, rt_cost *w) {
    w->bytes += share * (double)mat_bytes(m);
    *(mat_is_int8(m) ? &w->i8 : &w->f32) += share * (double)mat_rows(m) * (double)mat_cols(m);
}

void rt_model_cost(const rt_model *m, rt_cost *layers, rt_cost *output) {
    const rt_hparams *hp = &m->hp;
    *layers = *output = (rt_cost){0};
    add_cost(m->output, 1, output);
    for (size_t i = 0; i < m->n_mats; i++)
        add_cost(m->mats[i], 1, layers);
    const size_t n = hp->n_layer * 3 * (size_t)hp->n_expert;
    for (size_t i = 0; i < n; i++) /* of which some are read for a token */
        if (m->experts[i])
            add_cost(m->experts[i], (double)hp->n_expert_used / hp->n_expert - 1, layers);
}

size_t rt_model_bytes(const rt_model *m) {
    size_t bytes = (all_vectors(m->file) + 1) * sizeof *m->vectors + m->embd->nbytes + mat_bytes(m->output);
    for (size_t i = 0; i < m->n_mats; i++)
        bytes += mat_bytes(m->mats[i]);
    return bytes;
}
