/* How tokens are stored, hashed: whoever has the same stamp can take the bytes. */
#define XXH_STATIC_LINKING_ONLY /* the state on the stack */
#include "cache/state.h"

#include <string.h>
#include <xxhash.h>

static void add(XXH3_state_t *h, const void *data, size_t bytes) {
    if (bytes)
        XXH3_128bits_update(h, data, bytes);
}

static void add_number(XXH3_state_t *h, uint64_t n) {
    add(h, &n, sizeof n);
}

static void add_tc(XXH3_state_t *h, const prof_tc *t) {
    const size_t n = t->dim;
    add(h, t->bits, n);
    add(h, t->mean, n * sizeof *t->mean);
    add(h, t->basis, n * n * sizeof *t->basis);
    add(h, t->sigma, n * sizeof *t->sigma);
    for (int b = 0; b <= PROF_MAX_BITS; b++)
        for (size_t i = 0; i < n; i++)
            if (t->bits[i] == b) { /* tables that are in use */
                add(h, &t->step[b], sizeof *t->step);
                break;
            }
    add(h, t->levels, TRELLIS_LEVELS);
}

static void add_stream(XXH3_state_t *h, const kv_stream *stream, const kv_codec_sel *sel) {
    const char *name = kv_codec_names[sel->id].name;
    add(h, name, strlen(name) + 1);
    add_number(h, kv_lossy(stream)); /* a window that covers all makes it f16 */
    add_number(h, stream->coder.block_bytes);
    add_number(h, stream->framed);
    if (sel->tc && kv_lossy(stream))
        add_tc(h, sel->tc);
}

static void add_eviction(XXH3_state_t *h, const kv_cache *c, uint32_t layer) {
    const kv_layer *l = &c->layers[layer];
    const kv_evict_cfg *e = &c->evict;
    const char *policy = kv_policy(c)->name;
    add(h, policy, strlen(policy) + 1);
    const uint32_t fields[] = {e->ada, e->observe, e->pool, c->sinks};
    add(h, fields, sizeof fields);
    for (uint32_t i = 0; i < l->n_kv_head; i++) {
        const uint32_t head[] = {l->heads[i].budget, l->heads[i].recent};
        add(h, head, sizeof head);
    }
    if (e->queries && e->queries[layer])
        add(h, e->queries[layer], (size_t)l->n_kv_head * PROF_QUERIES * c->dim * sizeof(float));
}

void kv_make_stamp(kv_cache *c, const kv_cache_cfg *cfg) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_128bits_reset(&h);
    const uint32_t shape[] = {c->n_layer, c->n_kv_head, c->dim, c->frame, c->rope.n_rot, c->rope.neox};
    add(&h, shape, sizeof shape);
    if (c->rope.inv_freq)
        add(&h, c->rope.inv_freq, (size_t)c->n_ropes * (c->rope.n_rot / 2) * sizeof(float));
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        const uint32_t layer[] = {l->n_kv_head, l->borrows, l->swa, l->rope, l->window, l->sinks, l->group, l->evicts};
        add(&h, layer, sizeof layer);
        for (uint32_t s = 0; kv_stores(l) && s < 2 * l->n_kv_head; s++)
            add_stream(&h, &l->streams[s], (s % 2 ? cfg->v : cfg->k) + (size_t)i * c->n_kv_head + s / 2);
        if (l->evicts)
            add_eviction(&h, c, i);
    }
    const XXH128_hash_t sum = XXH3_128bits_digest(&h);
    c->stamp[0] = sum.high64;
    c->stamp[1] = sum.low64;
}
