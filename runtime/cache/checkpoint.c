/* Going back further than the ring reaches. A checkpoint holds what later tokens overwrite, layer by layer:
 *
 *   the ring | sliding layers: the blocks that a query there reads | layers that evict: heads, first slots of frames, scores
 *
 * Everything else only grew since, and what it grew by is wiped: codes of tokens that had left the window, tokens of exact
 * streams. It does not say how much room the cache had, so that one of another n_ctx or n_batch can take it from a file.
 */
#include "cache/cache_file.h"
#include "cache/state.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct kv_checkpoint {
    atomic_uint refs;
    uint32_t len, n_layer;
    uint64_t evictions, shifts; /* then */
    size_t bytes;               /* of data */
    uint8_t data[];
};

typedef enum transfer_way {
    COUNT, /* only how many bytes it takes */
    SAVE,  /* from the cache */
    CHECK, /* look whether what is there can be restored, and change nothing */
    RESTORE
} transfer_way;

/* Between a cache and the data of a checkpoint. */
typedef struct transfer {
    transfer_way way;
    uint8_t *at;
    size_t bytes, room; /* so far, and in all */
    uint64_t evictions; /* of the layers so far */
    bool tight;         /* of the ring no more than it takes to read the last token again */
    bool bad;           /* what was to be read is not there, or makes no sense */
} transfer;

static bool reads_it(const transfer *t) {
    return t->way == CHECK || t->way == RESTORE;
}

/* Room for so many bytes; NULL: nothing is to be done with them. */
static uint8_t *next_bytes(transfer *t, size_t bytes) {
    t->bad |= t->way != COUNT && bytes > t->room - t->bytes;
    if (t->bad)
        return NULL;
    uint8_t *p = t->at + t->bytes;
    t->bytes += bytes;
    return t->way == COUNT ? NULL : p;
}

static void move(transfer *t, void *p, size_t bytes) {
    uint8_t *with = next_bytes(t, bytes);
    if (with && bytes && t->way == SAVE)
        memcpy(with, p, bytes);
    else if (with && bytes && t->way == RESTORE)
        memcpy(p, with, bytes);
}

/* One that is `value` in the cache, and which must be low .. high where it is read. */
static uint32_t number(transfer *t, uint32_t value, uint32_t low, uint32_t high) {
    uint8_t *with = next_bytes(t, sizeof value);
    if (with && t->way == SAVE)
        memcpy(with, &value, sizeof value);
    else if (with)
        memcpy(&value, with, sizeof value);
    if (reads_it(t) && (t->bad || value < low || value > high)) {
        t->bad = true;
        return low;
    }
    return value;
}

/* The same, put in its place. */
static uint32_t field(transfer *t, uint32_t *place, uint32_t value, uint32_t low, uint32_t high) {
    value = number(t, value, low, high);
    if (t->way == RESTORE)
        *place = value;
    return value;
}

static void move_ring(transfer *t, const kv_cache *c, kv_layer *l, uint32_t len) {
    const uint32_t needed = min_u32(max_u32(kv_encoded(l, len), l->sinks), len); /* from there on; sinks are elsewhere */
    const uint32_t before = t->tight && len ? kv_encoded(l, len - 1) : 0;        /* so that the last token can be read again */
    const uint32_t lo = l->ring_cap ? max_u32(l->ring_lo, before) : 0;           /* without a ring it means nothing */
    const uint32_t from = field(t, &l->ring_lo, lo, 0, l->ring_cap ? needed : len), n = len - from;
    if (!l->ring_cap)
        return;
    t->bad |= n > l->ring_cap;
    for (uint32_t i = 0; i < 2 * l->n_kv_head; i++) {
        if (!kv_lossy(&l->streams[i]))
            continue;
        uint16_t *with = (uint16_t *)next_bytes(t, (size_t)n * c->dim * sizeof *with);
        if (with && t->way == SAVE)
            kv_f16_save(c, l, &l->streams[i], from, n, with);
        else if (with && t->way == RESTORE)
            kv_f16_restore(c, l, &l->streams[i], from, n, with);
    }
}

static void move_blocks(transfer *t, kv_layer *l, uint32_t len) {
    const uint32_t first = len >= l->swa ? (len + 1 - l->swa) / KV_BLOCK : 0, end = kv_blocks(len);
    field(t, &l->body_lo, max_u32(l->body_lo, first), first, end); /* those before are not restored */
    for (uint32_t i = 0; i < 2 * l->n_kv_head; i++)
        for (uint32_t b = first; b < end; b++)
            move(t, kv_body_block(l, &l->streams[i], b), l->streams[i].coder.block_bytes);
}

/* First slots of the frames of what an eviction has left. */
static void move_frames(transfer *t, const kv_cache *c, const kv_head *h, uint32_t cut, uint32_t len) {
    const uint32_t n = c->frames && cut ? (cut - 1) / c->frame + 1 : 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++)
        last = field(t, &h->frames[i], h->frames[i], last, len);
}

/* Blocks of slots that hold tokens; those in the window have none where both streams are encoded. */
static uint32_t blocks_in_use(const kv_layer *l, uint32_t head, uint32_t shift, uint32_t len) {
    const bool lossy = kv_lossy(&l->streams[2 * head]) && kv_lossy(&l->streams[2 * head + 1]);
    const uint32_t stored = lossy ? kv_encoded(l, len) : len;
    return kv_blocks(stored > shift ? stored - shift : 0);
}

static void move_head(transfer *t, kv_cache *c, kv_layer *l, uint32_t head, uint32_t len, size_t *at) {
    kv_head *h = &l->heads[head];
    const uint32_t shift = field(t, &h->shift, h->shift, 0, len & ~(uint32_t)(KV_BLOCK - 1));
    const uint32_t blocks = blocks_in_use(l, head, shift, len);
    field(t, &h->first, h->first, l->sinks, max_u32(l->sinks, len - shift));
    move_frames(t, c, h, field(t, &h->cut, h->cut, 0, len), len);
    t->bad |= reads_it(t) && shift % KV_BLOCK;
    uint32_t cap = l->streams[2 * head].cap;
    if (c->evict.ada) { /* heads share the body */
        const size_t block = kv_head_block_bytes(c, l, head);
        cap = number(t, cap, blocks, (uint32_t)((l->body_bytes - *at) / block));
        if (t->way == RESTORE && !t->bad)
            kv_place_head(c, l, head, cap, *at);
        *at += cap * block;
    }
    t->bad |= blocks > cap;
    if (kv_scored(c))
        move(t, t->bad ? NULL : kv_scores(l, h), blocks * (size_t)KV_BLOCK * sizeof(float));
    if (kv_merges(c))
        move(t, t->bad ? NULL : kv_masses(l, h), blocks * (size_t)KV_BLOCK * sizeof(float));
}

static void move_layer(transfer *t, kv_cache *c, kv_layer *l, uint32_t len) {
    size_t at = 0;
    const uint32_t evicted = field(t, &l->evicted, l->evicted, 0, l->evicts ? len : 0);
    t->evictions += evicted;
    move_ring(t, c, l, len);
    if (l->swa && !l->borrows)
        move_blocks(t, l, len);
    for (uint32_t h = 0; l->evicts && h < l->n_kv_head; h++)
        move_head(t, c, l, h, len, &at);
    if (t->way == RESTORE && l->evicts)
        kv_plan_evictions(c, l, evicted);
}

static void move_all(transfer *t, kv_cache *c, uint32_t len) {
    double reads = c->reads;
    move(t, &reads, sizeof reads);
    for (uint32_t i = 0; i < c->n_layer; i++)
        move_layer(t, c, &c->layers[i], len);
    if (t->way == RESTORE)
        c->reads = isfinite(reads) ? reads : 0;
}

/* Grows with every eviction. */
static uint64_t evictions(const kv_cache *c) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->n_layer; i++)
        sum += c->layers[i].evicted;
    return sum;
}

static kv_status new_checkpoint(const kv_cache *c, uint32_t len, size_t bytes, kv_checkpoint **out, kv_err *err) {
    kv_checkpoint *p = malloc(sizeof *p + bytes);
    if (!p)
        return kv_fail(err, KV_ENOMEM, "no memory for a checkpoint of %u tokens", len);
    *p = (kv_checkpoint){.refs = 1, .len = len, .n_layer = c->n_layer, .shifts = c->shifts, .bytes = bytes};
    *out = p;
    return KV_OK;
}

static kv_status take(const kv_cache *from, bool tight, kv_checkpoint **out, kv_err *err) {
    kv_cache *c = (kv_cache *)from; /* not written to on the way there */
    transfer t = {.way = COUNT, .tight = tight};
    move_all(&t, c, c->len);
    kv_status st = new_checkpoint(c, c->len, t.bytes, out, err);
    if (st)
        return st;
    t = (transfer){.way = SAVE, .at = (*out)->data, .room = t.bytes, .tight = tight};
    move_all(&t, c, c->len);
    (*out)->evictions = t.evictions;
    return KV_OK;
}

kv_status kv_checkpoint_new(const kv_cache *c, kv_checkpoint **out, kv_err *err) {
    return take(c, false, out, err);
}

kv_status kv_checkpoint_tight(const kv_cache *c, kv_checkpoint **out, kv_err *err) {
    return take(c, true, out, err);
}

kv_status kv_checkpoint_read(const kv_cache *for_cache, uint32_t len, const void *data, size_t bytes, kv_checkpoint **out,
                             kv_err *err) {
    kv_cache *c = (kv_cache *)for_cache; /* nor here */
    *out = NULL;
    if (!len || len > c->n_ctx)
        return kv_fail(err, KV_EFORMAT, "a checkpoint of %u tokens, of %u", len, c->n_ctx);
    transfer t = {.way = CHECK, .at = (uint8_t *)(uintptr_t)data, .room = bytes};
    move_all(&t, c, len);
    if (t.bad || t.bytes != bytes)
        return kv_fail(err, KV_EFORMAT, "the checkpoint of %u tokens is not one of this cache", len);
    kv_status st = new_checkpoint(c, len, bytes, out, err);
    if (st)
        return st;
    (*out)->evictions = t.evictions;
    memcpy((*out)->data, data, bytes);
    return KV_OK;
}

const void *kv_checkpoint_data(const kv_checkpoint *p, size_t *bytes) {
    *bytes = p->bytes;
    return p->data;
}

void kv_checkpoint_free(kv_checkpoint *p) {
    if (p && atomic_fetch_sub(&p->refs, 1) == 1)
        free(p);
}

kv_checkpoint *kv_checkpoint_ref(kv_checkpoint *p) {
    atomic_fetch_add(&p->refs, 1);
    return p;
}

uint32_t kv_checkpoint_len(const kv_checkpoint *p) {
    return p->len;
}

size_t kv_checkpoint_bytes(const kv_checkpoint *p) {
    return sizeof *p + p->bytes;
}

bool kv_checkpoint_reached(const kv_checkpoint *p, const kv_cache *c) {
    return c->len >= p->len && c->n_layer == p->n_layer && evictions(c) == p->evictions && c->shifts == p->shifts;
}

void kv_checkpoint_restore(kv_cache *c, const kv_checkpoint *p) {
    transfer t = {.way = RESTORE, .at = (uint8_t *)p->data, .room = p->bytes};
    move_all(&t, c, p->len);
    for (uint32_t i = 0; i < c->n_layer; i++) {
        kv_layer *l = &c->layers[i];
        if (!l->swa)
            kv_layer_forget(l, p->len);
        l->end = p->len;
    }
    c->len = p->len;
}

kv_status kv_cache_go_back(kv_cache *c, const kv_checkpoint *p, kv_err *err) {
    if (c->len < p->len || c->n_layer != p->n_layer)
        return kv_fail(err, KV_EINVAL, "cache: %u tokens are held, fewer than the %u of the checkpoint", c->len, p->len);
    if (!kv_checkpoint_reached(p, c))
        return kv_fail(err, KV_EINVAL, "cache: tokens were let go of since the checkpoint of %u tokens", p->len);
    kv_checkpoint_restore(c, p);
    return KV_OK;
}
