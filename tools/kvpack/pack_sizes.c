/* What a profile costs: per head, per token, per cache. Sizes of caches come from the runtime's own computation. */
#include "kvpack/pack_show.h"

const uint32_t pack_tokens[PACK_SIZES] = {4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10};

static kv_status sizes(const prof *p, const rt_hparams *hp, const uint32_t *n_ctx, uint32_t n, kv_cache_info *out,
                       kv_err *err) {
    kv_cache_cfg cc;
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.profile = p;
    cfg.n_ctx = n_ctx[n - 1];
    cfg.n_batch = PACK_BATCH;
    kv_status st = rt_cache_cfg_new(hp, &cfg, &cc, err);
    if (st)
        return st;
    st = kv_cache_size(&cc, n_ctx, n, out, err);
    rt_cache_cfg_free(&cc);
    return st;
}

kv_status pack_sizes(const prof *p, const rt_hparams *hp, kv_cache_info out[PACK_SIZES], kv_err *err) {
    return sizes(p, hp, pack_tokens, PACK_SIZES, out, err);
}

/* Without a model: what the profile says of its heads, if it says it of all. */
static pack_token by_profile(const prof *p) {
    double bits = 0;
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        for (int v = 0; v < 2; v++) {
            pack_stream stream = pack_sum(p, NULL, v, l);
            if (!(stream.bits > 0) && prof_kv_heads(p, l))
                return (pack_token){0};
            bits += stream.bits * prof_kv_heads(p, l);
        }
    return (pack_token){bits / 8 * p->head_dim, p->layers ? 4.0 * prof_all_kv_heads(p) * p->head_dim : 0};
}

kv_status pack_token_bytes(const prof *p, const rt_hparams *hp, pack_token *out, kv_err *err) {
    *out = (pack_token){0};
    if (!hp) {
        *out = by_profile(p);
        return KV_OK;
    }
    const uint32_t n_ctx = 1u << 22; /* longer than any window */
    const double elements = (double)rt_stored_heads(hp) * hp->head_dim;
    kv_cache_info info;
    kv_status st = sizes(p, hp, &n_ctx, 1, &info, err);
    if (!st)
        *out = (pack_token){elements * (info.bits_k + info.bits_v) / 8, elements * 4};
    return st;
}

uint32_t pack_n_heads(const prof *p, const rt_hparams *hp, uint32_t layer) {
    return hp ? rt_layer_stored(hp, layer) : p->n_kv_head ? prof_kv_heads(p, layer) : 1;
}

prof_head pack_head(const prof *p, const rt_hparams *hp, bool v, uint32_t layer, uint32_t head) {
    prof_head h = v ? prof_head_v(p, layer, head) : prof_head_k(p, layer, head);
    if (hp && !h.tc)
        h.bits = kv_codec_bits(h.codec, !v, hp->head_dim);
    return h;
}

pack_stream pack_sum(const prof *p, const rt_hparams *hp, bool v, uint32_t layer) {
    const uint32_t n = pack_n_heads(p, hp, layer);
    if (!n)
        return (pack_stream){.codec = KV_F16};
    const prof_head first = pack_head(p, hp, v, layer, 0);
    pack_stream stream = {.codec = first.codec};
    double sum = 0;
    bool all = true;
    for (uint32_t h = 0; h < n; h++) {
        const prof_head head = pack_head(p, hp, v, layer, h);
        stream.mixed |= head.codec != first.codec;
        stream.uneven |= head.codec != first.codec || head.bits != first.bits;
        all &= head.bits > 0;
        sum += (double)head.bits;
    }
    stream.bits = all ? sum / n : 0;
    return stream;
}

uint32_t pack_n_layers(const prof *p, const rt_hparams *hp) {
    return p->layers ? p->n_layer : p->n_override && hp ? hp->n_layer : 0;
}
