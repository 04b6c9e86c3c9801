/* Numbers of layers, heads and dimensions: what all layers have, or each for itself. */
#include "model/hparams_internal.h"

#include <string.h>

static bool is_integer(gguf_type t) {
    return t != GGUF_F32 && t != GGUF_F64 && t != GGUF_BOOL && t != GGUF_STRING && t != GGUF_ARRAY;
}

/* A number that all layers have, or one for each: `all` (n_layer) gets them, `most` the greatest. Without the key both stay. */
static kv_status read_layers(const rt_reader *r, const char *suffix, bool required, uint32_t n_layer, uint32_t *all,
                             uint32_t *most) {
    char key[RT_KEY];
    const gguf_kv *kv = gguf_find(r->g, rt_key_of(r, suffix, key));
    kv_status st = KV_OK;
    if (!kv || kv->type != GGUF_ARRAY) {
        st = gguf_get_u32(r->g, key, required, most, r->err);
        for (uint32_t l = 0; kv && !st && l < n_layer; l++)
            all[l] = *most;
        return st;
    }
    if (!is_integer(kv->elem_type) || kv->count != n_layer)
        return kv_fail(r->err, KV_EFORMAT, "%s: %s: a list of %llu values: expected one integer for each of %u layers",
                       gguf_path(r->g), key, (unsigned long long)kv->count, n_layer);
    *most = 0;
    for (uint32_t l = 0; l < n_layer; l++) {
        const int64_t v = gguf_array_i64(kv, l);
        if (v < 0 || v > UINT32_MAX)
            return kv_fail(r->err, KV_EFORMAT, "%s: %s: %lld of layer %u is out of range", gguf_path(r->g), key, (long long)v,
                           l);
        all[l] = (uint32_t)v;
        *most = all[l] > *most ? all[l] : *most;
    }
    return KV_OK;
}

static kv_status check_shape(const rt_reader *r, const rt_hparams *hp) {
    const struct {
        const char *name;
        uint32_t value, max, multiple;
    } rows[] = {
        {"block_count", hp->n_layer, PROF_MAX_LAYERS, 1},
        {"embedding_length", hp->n_embd, 1 << 20, 32},
        {"feed_forward_length", hp->n_ff, 1 << 22, 32},
        {"attention.head_count", hp->n_head, PROF_MAX_HEADS, 1},
        {"attention.head_count_kv", hp->n_kv_head, PROF_MAX_HEADS, 1},
        {"attention.key_length", hp->key_dim, PROF_MAX_DIM, 2},
        {"attention.value_length", hp->value_dim, PROF_MAX_DIM, 2},
        {"rope.dimension_count", hp->n_rot, hp->key_dim, 2},
        {"context_length", hp->n_ctx_train, 1u << 30, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].value || rows[i].value > rows[i].max || rows[i].value % rows[i].multiple)
            return kv_fail(r->err, KV_EUNSUPP, "%s: %s.%s = %u: expected a multiple of %u in %u..%u", gguf_path(r->g), r->arch,
                           rows[i].name, rows[i].value, rows[i].multiple, rows[i].multiple, rows[i].max);
    return KV_OK;
}

static kv_status check_layer(const rt_reader *r, const rt_arch *a, const rt_hparams *hp, uint32_t l) {
    const uint32_t heads = hp->heads[l], kv = hp->kv_heads[l], ff = hp->ff[l];
    if (ff % 32)
        return kv_fail(r->err, KV_EUNSUPP, "%s: layer %u: an FFN of width %u: expected a multiple of 32", gguf_path(r->g), l,
                       ff);
    if (!a->sparse && (!heads || !kv || !ff))
        return kv_fail(r->err, KV_EUNSUPP,
                       "%s: layer %u has %u heads, %u KV heads and an FFN of width %u: '%s' needs all three", gguf_path(r->g),
                       l, heads, kv, ff, r->arch);
    if (heads && !ff)
        return kv_fail(r->err, KV_EUNSUPP, "%s: layer %u has attention, but no FFN: what it would compute is not known",
                       gguf_path(r->g), l);
    if (kv && (!heads || heads % kv))
        return kv_fail(r->err, KV_EFORMAT, "%s: layer %u: %u heads cannot share %u KV heads evenly", gguf_path(r->g), l, heads,
                       kv);
    return KV_OK;
}

/* Those that the file counts as layers, but that nobody reads. */
static kv_status read_nextn(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    kv_status st = a->nextn ? rt_key_u32(r, "nextn_predict_layers", false, &hp->n_nextn) : KV_OK;
    if (!st && hp->n_nextn && hp->n_nextn >= hp->n_layer)
        st = kv_fail(r->err, KV_EFORMAT, "%s: %s.nextn_predict_layers = %u of %u layers", gguf_path(r->g), r->arch, hp->n_nextn,
                     hp->n_layer);
    return st;
}

static kv_status read_heads(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    uint32_t heads[PROF_MAX_LAYERS], kv[PROF_MAX_LAYERS];
    kv_status st;
    if (hp->n_layer > PROF_MAX_LAYERS)
        return check_shape(r, hp);
    if ((st = read_layers(r, "feed_forward_length", true, hp->n_layer, hp->ff, &hp->n_ff)) ||
        (st = read_layers(r, "attention.head_count", true, hp->n_layer, heads, &hp->n_head)))
        return st;
    memcpy(kv, heads, sizeof kv);
    hp->n_kv_head = hp->n_head;
    if ((st = read_layers(r, "attention.head_count_kv", false, hp->n_layer, kv, &hp->n_kv_head)) || (st = read_nextn(r, a, hp)))
        return st;
    if (hp->n_head > PROF_MAX_HEADS || hp->n_kv_head > PROF_MAX_HEADS)
        return check_shape(r, hp);
    hp->n_layer -= hp->n_nextn;
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): read_layers filled all */
        hp->heads[l] = (uint16_t)heads[l];
        hp->kv_heads[l] = (uint16_t)kv[l];
        hp->kv_layer[l] = (uint16_t)l;
    }
    return KV_OK;
}

kv_status rt_read_shape(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    kv_status st;
    if ((st = rt_key_u32(r, "block_count", true, &hp->n_layer)) ||
        (st = rt_key_u32(r, "embedding_length", true, &hp->n_embd)) ||
        (st = rt_key_u32(r, "context_length", true, &hp->n_ctx_train)) || (st = read_heads(r, a, hp)))
        return st;
    uint32_t first = 0; /* layer with attention, whose heads share the stream among them unless the file says otherwise */
    while (first < hp->n_layer && !hp->heads[first])
        first++;
    hp->key_dim = first < hp->n_layer ? hp->n_embd / hp->heads[first] : 0;
    if ((st = rt_key_u32(r, "attention.key_length", false, &hp->key_dim)) ||
        (hp->value_dim = hp->key_dim, st = rt_key_u32(r, "attention.value_length", false, &hp->value_dim)) ||
        (hp->n_rot = hp->key_dim, st = rt_key_u32(r, "rope.dimension_count", false, &hp->n_rot)) || (st = check_shape(r, hp)))
        return st;
    hp->head_dim = ((hp->key_dim > hp->value_dim ? hp->key_dim : hp->value_dim) + 3) / 4 * 4;
    for (uint32_t l = 0; !st && l < hp->n_layer; l++)
        st = check_layer(r, a, hp, l);
    return st;
}

/* The last layers may have no keys and values of their own, but read those of the last layer before them that has and attends
 * as they do. */
kv_status rt_read_shared(const rt_reader *r, const rt_arch *a, rt_hparams *hp) {
    uint32_t n = 0;
    kv_status st = a->shares_kv ? rt_key_u32(r, "attention.shared_kv_layers", false, &n) : KV_OK;
    if (st || !n)
        return st;
    for (uint32_t l = n < hp->n_layer ? hp->n_layer - n : 0; l < hp->n_layer; l++) {
        uint32_t from = n < hp->n_layer ? hp->n_layer - n : 0;
        while (from > 0 && !(rt_layer_swa(hp, from - 1) == rt_layer_swa(hp, l) && hp->kv_heads[from - 1] == hp->kv_heads[l]))
            from--;
        if (!from)
            return kv_fail(r->err, KV_EFORMAT,
                           "%s: %s.attention.shared_kv_layers = %u: layer %u finds no layer before these whose keys and values "
                           "it could read",
                           gguf_path(r->g), r->arch, n, l);
        hp->kv_layer[l] = (uint16_t)(from - 1);
    }
    return KV_OK;
}

uint32_t rt_stored_heads(const rt_hparams *hp) {
    uint32_t n = 0;
    for (uint32_t l = 0; l < hp->n_layer; l++)
        n += rt_layer_stored(hp, l);
    return n;
}

prof_shape rt_prof_shape(const rt_hparams *hp, uint16_t stored[PROF_MAX_LAYERS]) {
    for (uint32_t l = 0; l < hp->n_layer; l++)
        stored[l] = (uint16_t)rt_layer_stored(hp, l);
    return (prof_shape){hp->n_layer, hp->n_kv_head, hp->head_dim, stored};
}

kv_status rt_profile_fits(const rt_hparams *hp, const char *hash, const prof *p, const char *where, kv_err *err) {
    uint16_t stored[PROF_MAX_LAYERS];
    const prof_shape shape = rt_prof_shape(hp, stored);
    if (*hp->folded_from && !strcmp(p->model_hash, hp->folded_from))
        return kv_fail(
            err, KV_EMISMATCH,
            "%s: made for this model before scales were folded into it, which gave it other keys: use the profile that "
            "is inside, or fold the original with this one (kvpack MODEL PROFILE --fold --out FILE)",
            where);
    return prof_matches(p, hash, &shape, where, err);
}

kv_status rt_own_profile(const gguf *g, const rt_hparams *hp, const char *hash, prof **out, kv_err *err) {
    uint16_t stored[PROF_MAX_LAYERS];
    const prof_shape shape = rt_prof_shape(hp, stored);
    return prof_from_gguf(g, &(prof_model){hash, &shape}, out, err);
}
