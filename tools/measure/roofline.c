/* Counting work. A query at position p reads p + 1 tokens of a full layer and at most `swa` of a sliding one; of those, the
 * sinks and the window are f16 where the layer has a lossy codec, and the rest costs what its codec's true bits say.
 */
#include "measure/roofline.h"

static double least(double a, double b) {
    return a < b ? a : b;
}

/* Bytes of an encoded token and of one that is kept in f16, and how many of these a query may meet. */
typedef struct layer_cost {
    double span; /* tokens that a query can see at most */
    double body, full;
    double window, sinks;
} layer_cost;

static uint32_t of_layer(const uint16_t *each, uint32_t most, uint32_t layer) {
    return each ? each[layer] : most;
}

/* Of a layer with KV heads. */
static kv_status cost_of(const kv_cache_cfg *cfg, uint32_t layer, layer_cost *out, kv_err *err) {
    const uint32_t source = of_layer(cfg->kv_layer, layer, layer), swa = cfg->swa ? cfg->swa[layer] : 0;
    const uint32_t n_kv = of_layer(cfg->kv_heads, cfg->n_kv_head, layer);
    const kv_codec_sel *k = cfg->k + (size_t)source * cfg->n_kv_head, *v = cfg->v + (size_t)source * cfg->n_kv_head;
    kv_cache_cfg one = *cfg;
    one.n_layer = 1;
    one.n_head = of_layer(cfg->heads, cfg->n_head, layer);
    one.n_kv_head = n_kv;
    one.heads = one.kv_heads = one.kv_layer = NULL;
    one.swa = &swa;
    one.k = k;
    one.v = v;
    kv_cache_info info;
    kv_status st = kv_cache_size(&one, &cfg->n_ctx, 1, &info, err);
    if (st)
        return st;
    bool lossy = false;
    for (uint32_t h = 0; h < n_kv; h++)
        lossy |= (k[h].id != KV_F16 && k[h].id != KV_F32) || (v[h].id != KV_F16 && v[h].id != KV_F32);
    const double numbers = (double)n_kv * cfg->head_dim;
    *out = (layer_cost){.span = swa ? swa : cfg->n_ctx,
                        .body = numbers * (info.bits_k + info.bits_v) / 8,
                        .full = numbers * 2 * sizeof(uint16_t),
                        .window = lossy ? cfg->window : 0,
                        .sinks = lossy ? cfg->sinks : 0};
    return KV_OK;
}

/* Bytes that the query at position p reads of one layer. */
static double cache_bytes(const layer_cost *c, uint32_t p) {
    const double seen = least(p + 1.0, c->span), sinks = p < c->span ? c->sinks : 0; /* sinks slide out of sight, too */
    const double full = least(seen, c->window + sinks);
    return full * c->full + (seen - full) * c->body;
}

kv_status roof_count(const rt_model *m, const kv_cache_cfg *cfg, uint32_t depth, uint32_t n, bool one_by_one, roof_work *out,
                     kv_err *err) {
    rt_cost layers, output;
    rt_model_cost(m, &layers, &output);
    const double outputs = one_by_one ? n : 1;
    *out = (roof_work){.i8 = n * layers.i8 + outputs * output.i8, .f32 = n * layers.f32 + outputs * output.f32};
    if (one_by_one)
        out->weights = n * (layers.bytes + output.bytes);
    for (uint32_t l = 0; l < cfg->n_layer; l++) {
        layer_cost c;
        if (!of_layer(cfg->kv_heads, cfg->n_kv_head, l))
            continue;
        kv_status st = cost_of(cfg, l, &c, err);
        if (st)
            return st;
        for (uint32_t p = depth; p < depth + n; p++) {
            out->f32 += 2.0 * of_layer(cfg->heads, cfg->n_head, l) * cfg->head_dim *
                        least(p + 1.0, c.span); /* scores and sums of values */
            if (one_by_one)
                out->cache += cache_bytes(&c, p);
        }
    }
    return KV_OK;
}
