/* Letting go of old tokens, so that a sequence goes on past its context: positions keep .. keep+n-1 are forgotten, and all that
 * came later moves down by n, as if they had never been there. (Keeping the first tokens and renumbering the rest: Xiao et al.,
 * arXiv 2309.17453.)
 *
 * n is a multiple of the block and of the RoPE frame, so blocks of framed keys move as they are and are but numbered anew. All
 * other keys carry the rotation of their position: they are rotated back by n, which for an encoded stream that is not framed
 * means decoding and encoding once more. What a head with a budget kept has no known positions but those of frames: there
 * frames are dropped whole, those behind the one that `keep` ends in.
 */
#include "cache/shift.h"

#include <stdlib.h>
#include <string.h>

/* What a head loses, in slots of before. */
typedef struct gap {
    uint32_t border;   /* the first position that is forgotten */
    uint32_t from, to; /* slots that go */
    uint32_t first;    /* afterwards: the first slot, */
    uint32_t down;     /* and by how much the newer ones have moved down, whole blocks */
} gap;

typedef struct job {
    kv_cache *c;
    const rt_kernels *k;
    uint32_t keep, n;
    gap *gaps;      /* (n_layer, n_kv_head) */
    uint8_t *space; /* of each thread, `each` bytes */
    size_t each;
} job;

/* ---- what may go ---- */

uint32_t kv_shift_step(const kv_cache *c) {
    return max_u32(c->frame, KV_BLOCK);
}

static bool in_groups(const kv_cache *c) {
    bool some = false;
    for (uint32_t i = 0; i < c->n_layer; i++)
        for (uint32_t s = 0; kv_stores(&c->layers[i]) && s < 2 * c->layers[i].n_kv_head; s++)
            some |= !kv_coder_gathers(&c->layers[i].streams[s].coder);
    return some;
}

uint32_t kv_shift_keep(const kv_cache *c, uint32_t keep) {
    keep = max_u32(keep, c->sinks);
    return in_groups(c) ? (keep + KV_BLOCK - 1) & ~(uint32_t)(KV_BLOCK - 1) : keep;
}

/* Sliding layers that reuse their blocks: they hold nothing but what is near. */
static bool reuses(const kv_cache *c, const kv_layer *l) {
    return l->swa && l->body_cap < kv_blocks(c->n_ctx);
}

/* The first position that a head may forget: behind `keep`, but not inside of a frame of which some tokens were evicted. */
static uint32_t border_of(const kv_cache *c, const kv_head *h, uint32_t keep) {
    return keep < h->cut && c->frame ? (keep + c->frame - 1) / c->frame * c->frame : keep;
}

static uint32_t slot_of(const kv_cache *c, const kv_head *h, uint32_t pos) {
    return pos < h->cut ? h->frames[pos / c->frame] : pos - h->shift;
}

/* Tokens that a layer must hold for a head to forget n from `border` on. */
static uint32_t needed(const kv_cache *c, const kv_layer *l, uint32_t border, uint32_t n) {
    uint32_t near = max_u32(l->window + l->group - 1, n / 2); /* not nearly everything */
    if (reuses(c, l))                                         /* what the next query sees must not reach what stays in place */
        near = max_u32(near, l->swa);
    const uint64_t all = (uint64_t)border + n + near;
    return all < UINT32_MAX ? (uint32_t)all : UINT32_MAX;
}

static kv_status no_frames(kv_err *err) {
    return kv_fail(
        err, KV_EUNSUPP,
        "cache: a budget lets go of tokens, and positions of the others are not known without RoPE frames: go on past "
        "the context without a budget, or with a calibrated profile");
}

static kv_status too_short(uint32_t len, uint32_t keep, uint32_t n, uint64_t least, kv_err *err) {
    return kv_fail(
        err, KV_EINVAL,
        "cache: of %u tokens %u cannot be let go of, as %u stay at the beginning, and the newest do: a context of %u "
        "would do",
        len, n, keep, (uint32_t)(least + 255) / 256 * 256);
}

/* How long a context must be for that: with a budget the last eviction may be as long ago as it makes room for, an eighth. */
static uint64_t least_context(const kv_cache *c, const kv_layer *l, uint32_t border, uint32_t n) {
    const uint64_t least = needed(c, l, border, n);
    return l->evicts ? (least + KV_STEP) * 8 / 7 + 1 : least;
}

kv_status kv_shift_fits(const kv_cache *c, uint32_t keep, uint32_t n, kv_err *err) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        if (!l->n_kv_head)
            continue;
        if (l->evicts && !c->frame)
            return no_frames(err);
        const uint32_t border = l->evicts ? (keep + c->frame - 1) / c->frame * c->frame : keep;
        const uint64_t least = least_context(c, l, border, n);
        most = least > most ? least : most;
    }
    return most > c->n_ctx ? too_short(c->n_ctx, keep, n, most, err) : KV_OK;
}

static kv_status check_layer(const job *j, uint32_t index, kv_err *err) {
    const kv_cache *c = j->c;
    kv_layer *l = &j->c->layers[index];
    kv_status st = kv_layer_rewind(c, l, c->len, true, err);
    for (uint32_t h = 0; h < l->n_kv_head && !st; h++) {
        const kv_head *head = &l->heads[h];
        const uint32_t border = border_of(c, head, j->keep), least = needed(c, l, border, j->n);
        if (head->cut > j->keep && !c->frame)
            return no_frames(err);
        if (c->len < least || (l->evicted && l->evicted < border + j->n))
            return too_short(c->len, j->keep, j->n, least_context(c, l, border, j->n), err);
    }
    return st;
}

static kv_status check(const job *j, kv_err *err) {
    const kv_cache *c = j->c;
    kv_status st = KV_OK;
    if (!j->n || j->n % kv_shift_step(c) || kv_shift_keep(c, j->keep) != j->keep || (uint64_t)j->keep + j->n > c->len)
        return kv_fail(err, KV_EINVAL, "cache: of %u tokens %u cannot be let go of, from %u on: multiples of %u, from %u on",
                       c->len, j->n, j->keep, kv_shift_step(c), kv_shift_keep(c, j->keep));
    for (uint32_t i = 0; i < c->n_layer && !st; i++)
        st = check_layer(j, i, err);
    return st;
}

/* ---- slots ---- */

static gap gap_of(const job *j, const kv_layer *l, const kv_head *h) {
    gap g = {.border = border_of(j->c, h, j->keep)};
    g.from = slot_of(j->c, h, g.border);
    g.to = slot_of(j->c, h, g.border + j->n);
    const uint32_t free = h->first - l->sinks + g.to - g.from;
    g.down = free & ~(uint32_t)(KV_BLOCK - 1);
    g.first = l->sinks + free - g.down;
    return g;
}

static gap *gap_at(const job *j, const kv_layer *l, uint32_t head) {
    return &j->gaps[(size_t)(l - j->c->layers) * j->c->n_kv_head + head];
}

/* Slots from .. end-1 of a stream -> those from `to` on of blocks dst, which are zero. Blocks that stay as they are may hold
 * groups. */
static void put(const kv_layer *l, const kv_stream *stream, uint32_t from, uint32_t end, uint8_t *dst, uint32_t to) {
    const kv_coder *k = &stream->coder;
    for (uint32_t b = from / KV_BLOCK; b * KV_BLOCK < end; b++) {
        const uint8_t *src = kv_body_block(l, stream, b);
        const uint64_t bits = kv_span(b * KV_BLOCK, from, end);
        if (to % KV_BLOCK == 0 && (bits == UINT64_MAX || !kv_coder_gathers(k))) {
            memcpy(dst + to / KV_BLOCK * k->block_bytes, src, k->block_bytes);
            to += (uint32_t)__builtin_popcountll(bits);
        } else {
            to = kv_coder_append(k, dst, to, src, bits);
        }
    }
}

/* A stream of a layer that holds everything, or what eviction left of it. */
static void pull_up(const job *j, const kv_layer *l, uint32_t index, const kv_space *s) {
    kv_stream *stream = &l->streams[index];
    const kv_head *h = &l->heads[index / 2];
    const gap *g = gap_at(j, l, index / 2);
    const uint32_t stored = kv_lossy(stream) ? kv_encoded(l, j->c->len) : j->c->len, end = stored - h->shift;
    const uint32_t up = g->first - h->first, start = up ? 0 : g->from / KV_BLOCK, stop = kv_blocks(end - g->down);
    const size_t bytes = stream->coder.block_bytes;
    uint32_t low = start * KV_BLOCK;
    memset(s->blocks, 0, (stop - start) * bytes);
    if (!kv_lossy(stream) && low < l->sinks) {
        put(l, stream, low, l->sinks, s->blocks, 0);
        low = l->sinks;
    }
    low = max_u32(low, h->first);
    if (low < g->from)
        put(l, stream, low, g->from, s->blocks, low + up - start * KV_BLOCK);
    put(l, stream, g->to, end, s->blocks, g->to - g->down - start * KV_BLOCK);
    kv_turn_back(s, l, stream, j->n, g->from + up - start * KV_BLOCK, end - g->down - start * KV_BLOCK);
    stream->n_base = min_u32(stream->n_base, start);
    memcpy(kv_body_block(l, stream, start), s->blocks, (stop - start) * bytes);
}

/* A stream of a layer that reuses its blocks: those that the next query sees. */
static void slide(const job *j, const kv_layer *l, uint32_t index, const kv_space *s) {
    const kv_stream *stream = &l->streams[index];
    const uint32_t end = kv_lossy(stream) ? kv_encoded(l, j->c->len) : j->c->len;
    const uint32_t start = (j->c->len + 1 - l->swa) / KV_BLOCK, stop = kv_blocks(end);
    const size_t bytes = stream->coder.block_bytes;
    for (uint32_t b = start; b < stop; b++)
        memcpy(s->blocks + (b - start) * bytes, kv_body_block(l, stream, b), bytes);
    if (start < stop)
        kv_turn_back(s, l, stream, j->n, 0, end - start * KV_BLOCK);
    for (uint32_t b = start; b < stop; b++)
        memcpy(kv_body_block(l, stream, b - j->n / KV_BLOCK), s->blocks + (b - start) * bytes, bytes);
}

static void streams(void *arg, int thread, size_t first, size_t end) {
    const job *j = arg;
    const uint32_t each = 2 * j->c->n_kv_head;
    for (size_t i = first; i < end; i++) {
        kv_layer *l = &j->c->layers[i / each];
        const uint32_t index = (uint32_t)(i % each);
        const kv_space s = kv_space_at(j->c, j->k, j->space + (size_t)thread * j->each);
        if (index >= 2 * l->n_kv_head)
            continue;
        if (l->ring_cap && kv_lossy(&l->streams[index]))
            kv_shift_ring(&s, l, &l->streams[index], max_u32(l->ring_lo, j->keep + j->n), j->n);
        if (l->borrows || (kv_lossy(&l->streams[index]) && kv_encoded(l, j->c->len) <= l->sinks))
            continue;
        (reuses(j->c, l) ? slide : pull_up)(j, l, index, &s);
    }
}

/* ---- heads ---- */

static void move_floats(const kv_head *h, const gap *g, float *x, uint32_t end) {
    memmove(x + g->first, x + h->first, (g->from - h->first) * sizeof *x);
    memmove(x + g->to - g->down, x + g->to, (end - g->to) * sizeof *x);
}

/* Votes of the last queries before an eviction are counted anew, as it comes later now; others go on. */
static void move_scores(const job *j, const kv_layer *l, uint32_t index) {
    const kv_cache *c = j->c;
    const kv_head *h = &l->heads[index];
    const gap *g = gap_at(j, l, index);
    const kv_votes votes = kv_policy(c)->votes;
    const uint32_t end = (kv_lossy(&l->streams[2 * index]) ? kv_encoded(l, c->len) : c->len) - h->shift;
    if (kv_scored(c)) {
        move_floats(h, g, kv_scores(l, h), end);
        if (votes == KV_VOTES_NEAR || votes == KV_VOTES_LAST)
            memset(kv_scores(l, h), 0, (end - g->down) * sizeof(float));
    }
    if (kv_merges(c))
        move_floats(h, g, kv_masses(l, h), end);
}

static void move_frames(const job *j, kv_head *h, const gap *g) {
    const uint32_t frame = j->c->frame, by = j->n / (frame ? frame : 1), cut = h->cut;
    const uint32_t stay = frame ? (g->border + frame - 1) / frame : 0; /* so many begin before it; their slots just move up */
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): only frames are cut */
    for (uint32_t f = 0; cut && f <= (cut - 1) / frame; f++)
        if (f < stay)
            h->frames[f] += g->first - h->first;
        else if (f >= stay + by)
            h->frames[f - by] = h->frames[f] - g->down;
    if (cut > g->border)
        h->cut = max_u32(cut - min_u32(cut, j->n), g->border);
}

static void move_heads(const job *j, kv_layer *l) {
    for (uint32_t i = 0; i < l->n_kv_head; i++) {
        kv_head *h = &l->heads[i];
        const gap *g = gap_at(j, l, i);
        if (l->evicts)
            move_scores(j, l, i);
        move_frames(j, h, g);
        h->first = g->first;
        h->shift -= j->n - g->down;
    }
}

static void move_layer(const job *j, kv_layer *l) {
    l->end -= j->n;
    l->ring_lo = max_u32(l->ring_lo, j->keep + j->n) - j->n;
    if (reuses(j->c, l))
        l->body_lo = (j->c->len + 1 - l->swa) / KV_BLOCK - j->n / KV_BLOCK;
    else if (!l->borrows)
        move_heads(j, l);
}

/* ---- all of it ---- */

kv_status kv_cache_shift(kv_cache *c, const rt_exec *e, uint32_t keep, uint32_t n, kv_err *err) {
    const size_t heads = (size_t)c->n_layer * c->n_kv_head;
    job j = {.c = c, .k = e->k, .keep = keep, .n = n, .each = kv_space_bytes(c)};
    kv_status st = check(&j, err);
    if (st)
        return st;
    j.gaps = calloc(heads, sizeof *j.gaps);
    j.space = calloc((size_t)e->n_threads, j.each);
    if (!j.gaps || !j.space) {
        st = kv_fail(err, KV_ENOMEM, "no memory for letting go of %u tokens", n);
        goto done;
    }
    for (uint32_t i = 0; i < c->n_layer; i++) {
        kv_layer_rewind(c, &c->layers[i], c->len, false, NULL); /* a batch that failed may have left tokens behind */
        for (uint32_t h = 0; h < c->layers[i].n_kv_head && !c->layers[i].borrows && !reuses(c, &c->layers[i]); h++)
            *gap_at(&j, &c->layers[i], h) = gap_of(&j, &c->layers[i], &c->layers[i].heads[h]);
    }
    rt_for(e, 2 * heads, 1, streams, &j);
    for (uint32_t i = 0; i < c->n_layer; i++)
        move_layer(&j, &c->layers[i]);
    c->len -= n;
    c->shifts++;
    for (uint32_t i = 0; i < c->n_layer; i++)
        if (c->layers[i].evicts)
            kv_plan_evictions(c, &c->layers[i], c->layers[i].evicted ? c->layers[i].evicted - n : 0);
done:
    free(j.gaps);
    free(j.space);
    return st;
}
