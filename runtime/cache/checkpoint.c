/* Going back further than the ring reaches. A checkpoint holds what later tokens overwrite, layer by layer:
 *
 *   the ring | sliding layers: the blocks that a query there reads | layers that evict: heads, first slots of frames, scores
 *
 * Everything else only grew since, and what it grew by is wiped: codes of tokens that had left the window, tokens of exact
 * streams.
 */
#include "cache/state.h"

#include <stdlib.h>
#include <string.h>

struct kv_checkpoint {
    uint32_t len, n_layer;
    uint64_t evictions; /* then */
    double reads;
    size_t bytes; /* of data */
    uint8_t data[];
};

/* Either way between a cache and a checkpoint; at NULL: only count. */
typedef struct transfer {
    uint8_t *at;
    size_t bytes;
    bool back;
} transfer;

static void move(transfer *t, void *p, size_t bytes) {
    if (t->at && t->back && bytes)
        memcpy(p, t->at + t->bytes, bytes);
    else if (t->at && bytes)
        memcpy(t->at + t->bytes, p, bytes);
    t->bytes += bytes;
}

static void move_blocks(transfer *t, kv_layer *l, uint32_t len) {
    const uint32_t first = len >= l->swa ? (len + 1 - l->swa) / KV_BLOCK : 0, end = kv_blocks(len);
    for (uint32_t i = 0; i < 2 * l->n_kv_head; i++)
        for (uint32_t b = first; b < end; b++)
            move(t, kv_body_block(l, &l->streams[i], b), l->streams[i].coder.block_bytes);
}

static void move_heads(transfer *t, kv_cache *c, kv_layer *l, uint32_t len) {
    for (uint32_t i = 0; i < l->n_kv_head; i++) {
        kv_head *h = &l->heads[i];
        uint32_t *frames = h->frames;
        move(t, h, sizeof *h);
        h->frames = frames;
        if (frames)
            move(t, frames, kv_n_frames(c) * sizeof *frames);
        const size_t slots = kv_blocks(len - h->shift) * (size_t)KV_BLOCK;
        if (kv_scored(c))
            move(t, kv_scores(l, h), slots * sizeof(float));
        if (kv_merges(c))
            move(t, kv_masses(l, h), slots * sizeof(float));
    }
}

static void move_layer(transfer *t, kv_cache *c, kv_layer *l, uint32_t len) {
    move(t, &l->body_lo, sizeof l->body_lo);
    move(t, &l->ring_lo, sizeof l->ring_lo);
    move(t, &l->evicted, sizeof l->evicted);
    move(t, l->ring, (size_t)l->ring_cap * l->f16_elems * sizeof *l->ring);
    if (l->swa && !l->borrows)
        move_blocks(t, l, len);
    if (l->evicts)
        move_heads(t, c, l, len);
}

static size_t move_all(kv_cache *c, uint32_t len, uint8_t *at, bool back) {
    transfer t = {.at = at, .back = back};
    for (uint32_t i = 0; i < c->n_layer; i++)
        move_layer(&t, c, &c->layers[i], len);
    return t.bytes;
}

/* Grows with every eviction. */
static uint64_t evictions(const kv_cache *c) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->n_layer; i++)
        sum += c->layers[i].evicted;
    return sum;
}

kv_status kv_checkpoint_new(const kv_cache *from, kv_checkpoint **out, kv_err *err) {
    kv_cache *c = (kv_cache *)from; /* not written to on the way there */
    const size_t bytes = move_all(c, c->len, NULL, false);
    kv_checkpoint *p = malloc(sizeof *p + bytes);
    if (!p)
        return kv_fail(err, KV_ENOMEM, "no memory for a checkpoint of %u tokens", c->len);
    *p = (kv_checkpoint){.len = c->len, .n_layer = c->n_layer, .evictions = evictions(c), .reads = c->reads, .bytes = bytes};
    move_all(c, c->len, p->data, false);
    *out = p;
    return KV_OK;
}

void kv_checkpoint_free(kv_checkpoint *p) {
    free(p);
}

uint32_t kv_checkpoint_len(const kv_checkpoint *p) {
    return p->len;
}

size_t kv_checkpoint_bytes(const kv_checkpoint *p) {
    return sizeof *p + p->bytes;
}

bool kv_checkpoint_reached(const kv_checkpoint *p, const kv_cache *c) {
    return c->len >= p->len && c->n_layer == p->n_layer && evictions(c) == p->evictions;
}

kv_status kv_cache_go_back(kv_cache *c, const kv_checkpoint *p, kv_err *err) {
    if (c->len < p->len || c->n_layer != p->n_layer)
        return kv_fail(err, KV_EINVAL, "cache: %u tokens are held, fewer than the %u of the checkpoint", c->len, p->len);
    if (!kv_checkpoint_reached(p, c))
        return kv_fail(err, KV_EINVAL, "cache: tokens were let go of since the checkpoint of %u tokens", p->len);
    move_all(c, p->len, (uint8_t *)p->data, true);
    for (uint32_t i = 0; i < c->n_layer; i++) {
        kv_layer *l = &c->layers[i];
        if (!l->swa)
            kv_layer_forget(l, p->len);
        l->end = p->len;
    }
    c->reads = p->reads;
    c->len = p->len;
    return KV_OK;
}
