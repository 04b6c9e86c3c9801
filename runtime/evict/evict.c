/* Eviction: choosing what a head keeps, and packing it. docs/budgets.md.
 *
 * It happens at multiples of kv_step positions, where the next step would take a head beyond its budget, and then makes room
 * for several steps at once: an eighth of the budget. So what is kept depends on the tokens alone, not on batches. May go:
 * encoded tokens that are neither sinks nor among the newest `recent`. They are sorted by 32-bit keys, greater is better, among
 * equals the newer; a threshold is found by halving. Codes are moved as they are (kv_coder_gather).
 */
#include "evict/evict.h"

#include <math.h>
#include <string.h>

/* What eviction makes of one head. Slots are those of before. */
typedef struct plan {
    kv_head *h;
    uint32_t head;
    uint32_t lo, hi;      /* slots that may go */
    uint32_t end, total;  /* behind the last encoded slot; behind the last one that any stream stores */
    uint32_t most, kept;  /* of lo .. hi-1: that may stay, that do */
    uint32_t *key;        /* (hi) */
    uint64_t *keep;       /* (blocks) of first .. end-1 */
    uint32_t first, down; /* afterwards: first slot, and by how much the newer ones move down */
    uint32_t cap;         /* blocks of its new place in the body, which begins at byte `at` */
    size_t at;
} plan;

/* ---- scores ---- */

/* Floats in the order of unsigned integers. */
static uint32_t ordered(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u >> 31 ? ~u : u | 0x80000000u;
}

/* The best vote among the neighbours of slot s, those that may go. */
static float pooled(const float *score, const plan *p, uint32_t s, uint32_t reach) {
    float best = score[s];
    const uint32_t from = s > p->lo + reach ? s - reach : p->lo, to = min_u32(s + reach + 1, p->hi);
    for (uint32_t i = from; i < to; i++)
        best = fmaxf(best, score[i]);
    return best;
}

static void fill_keys(const kv_job *j, int thread, const plan *p) {
    const kv_evict_name *policy = kv_policy(j->c);
    if (policy->score == KV_SCORE_EXPECTED)
        kv_expect(j, thread, p->head);
    const float *score = kv_scored(j->c) ? kv_scores(j->layer, p->h) : NULL;
    const uint32_t reach = policy->pools ? j->c->evict.pool / 2 : 0;
    for (uint32_t s = p->lo; s < p->hi; s++)
        p->key[s] = score ? ordered(reach ? pooled(score, p, s, reach) : score[s]) : s;
}

/* ---- choosing ---- */

static uint32_t at_least(const plan *p, uint64_t key) {
    uint32_t n = 0;
    for (uint32_t s = p->lo; s < p->hi; s++)
        n += p->key[s] >= key;
    return n;
}

static void keep(plan *p, uint32_t s) {
    p->keep[s / KV_BLOCK] |= (uint64_t)1 << s % KV_BLOCK;
    p->kept++;
}

static uint64_t cost_of_all(const plan *p, const uint64_t *cost, uint32_t n, uint64_t key) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += cost[i] * at_least(&p[i], key);
    return sum;
}

/* The best tokens of n heads: one of head i costs cost[i], and all together may cost `most`. */
static void choose(plan *p, const uint64_t *cost, uint32_t n, uint64_t most) {
    uint64_t lo = 0, hi = (uint64_t)1 << 32; /* the least key with which all that have it or more may stay is in lo .. hi */
    while (lo < hi) {
        const uint64_t mid = (lo + hi) / 2;
        if (cost_of_all(p, cost, n, mid) <= most)
            hi = mid;
        else
            lo = mid + 1;
    }
    most -= cost_of_all(p, cost, n, hi);
    for (uint32_t i = 0; i < n; i++) /* of those just below, the newest, while they fit */
        for (uint32_t s = p[i].hi; s-- > p[i].lo;)
            if (p[i].key[s] >= hi)
                keep(&p[i], s);
            else if (p[i].key[s] + (uint64_t)1 == hi && most >= cost[i]) {
                keep(&p[i], s);
                most -= cost[i];
            }
}

/* AdaKV (Feng et al. 2024, arXiv 2407.11550): heads compete, but each is sure of a fifth of what it would have alone. Cost is
 * counted in bytes, since codes of heads differ in size. */
static void choose_together(const kv_cache *c, const kv_layer *l, plan *p) {
    const uint64_t one = 1;
    uint64_t cost[PROF_MAX_HEADS], most = 0;
    for (uint32_t i = 0; i < l->n_kv_head; i++) {
        cost[i] = kv_head_block_bytes(c, l, i) / KV_BLOCK;
        most += cost[i] * p[i].most;
        choose(&p[i], &one, 1, p[i].most / 5);
        for (uint32_t s = p[i].lo; s < p[i].hi; s++)
            if (p[i].keep[s / KV_BLOCK] >> s % KV_BLOCK & 1)
                p[i].key[s] = UINT32_MAX;
        p[i].kept = 0;
    }
    choose(p, cost, l->n_kv_head, most);
}

/* ---- packing ---- */

static void pack_lane(const kv_layer *l, const plan *p, const kv_stream *stream, uint8_t *dst) {
    const uint32_t end = kv_lossy(stream) ? p->end : p->total;
    memset(dst, 0, p->cap * stream->coder.block_bytes);
    for (uint32_t b = 0; !kv_lossy(stream) && b * KV_BLOCK < l->sinks; b++)
        kv_coder_append(&stream->coder, dst, b * KV_BLOCK, kv_body_block(l, stream, b), kv_span(b * KV_BLOCK, 0, l->sinks));
    uint32_t to = p->first;
    for (uint32_t b = p->h->first / KV_BLOCK; b * KV_BLOCK < end; b++)
        to = kv_coder_append(&stream->coder, dst, to, kv_body_block(l, stream, b),
                             p->keep[b] | kv_span(b * KV_BLOCK, p->end, end));
}

/* Also those of tokens that an exact stream has stored before they are encoded in the other. */
static void pack_floats(const plan *p, const float *src, float *dst, uint32_t stored) {
    uint32_t to = p->first;
    for (uint32_t s = p->h->first; s < p->end; s++)
        if (p->keep[s / KV_BLOCK] >> s % KV_BLOCK & 1)
            dst[to++] = src[s];
    if (stored > p->end)
        memcpy(dst + to, src + p->end, (stored - p->end) * sizeof *dst);
}

/* Votes of the last queries are counted anew, others go on. */
static bool scores_last(const kv_cache *c) {
    return kv_policy(c)->votes != KV_VOTES_NEAR && kv_policy(c)->votes != KV_VOTES_LAST;
}

static void pack_head(const kv_job *j, plan *p) {
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    uint8_t *dst = j->w->stage + p->at;
    for (uint32_t i = 2 * p->head; i < 2 * p->head + 2; i++) {
        pack_lane(l, p, &l->streams[i], dst);
        dst += p->cap * l->streams[i].coder.block_bytes;
    }
    if (!kv_scored(c))
        return;
    const uint32_t stored = kv_lossy(&l->streams[2 * p->head]) ? p->end : p->total;
    const size_t bytes = p->cap * KV_BLOCK * sizeof(float);
    memset(dst, 0, bytes);
    if (scores_last(c))
        pack_floats(p, kv_scores(l, p->h), (float *)dst, stored);
    if (kv_merges(c))
        pack_floats(p, kv_masses(l, p->h), (float *)(dst + bytes), stored);
}

/* First slots of RoPE frames, from those of before. */
static void pack_frames(const kv_cache *c, const plan *p, uint32_t *fresh) {
    kv_head *h = p->h;
    uint32_t to = p->first, next = 0;
    for (uint32_t s = h->first, end; s < p->end; s = end) {
        const uint32_t frame = kv_frame_of(c, h, s, &end);
        end = min_u32(end, p->end);
        while (next <= frame)
            fresh[next++] = to;
        for (uint32_t b = s / KV_BLOCK; b * KV_BLOCK < end; b++)
            to += (uint32_t)__builtin_popcountll(p->keep[b] & kv_span(b * KV_BLOCK, s, end));
    }
    memcpy(h->frames, fresh, next * sizeof *fresh);
}

/* ---- all of it ---- */

/* Which slots may go, and how many of them may stay. */
static void begin(const kv_job *j, plan *p, uint32_t head) {
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    kv_head *h = &l->heads[head];
    const uint32_t len = j->pos + j->n, in_slots = len - h->shift, guard = h->first + (c->sinks - l->sinks);
    *p = (plan){.h = h, .head = head, .key = p->key, .keep = p->keep, .cap = l->streams[2 * head].cap};
    p->end = kv_encoded(l, len) - h->shift;
    p->total = kv_lossy(&l->streams[2 * head]) && kv_lossy(&l->streams[2 * head + 1]) ? p->end : in_slots;
    p->hi = min_u32(p->end, in_slots > h->recent ? in_slots - h->recent : 0);
    p->lo = min_u32(guard, p->hi);
    const uint32_t stay = kv_held(l, h, len) - (p->hi - p->lo), may = h->budget - kv_slack(h->budget);
    p->most = min_u32(may > stay ? may - stay : 0, p->hi - p->lo);
    memset(p->keep, 0, kv_blocks(p->total) * sizeof *p->keep);
}

/* The rest of what stays, and where it goes. */
static void settle(const kv_layer *l, plan *p) {
    for (uint32_t b = 0; b * KV_BLOCK < p->end; b++)
        p->keep[b] |= kv_span(b * KV_BLOCK, p->h->first, p->lo) | kv_span(b * KV_BLOCK, p->hi, p->end);
    const uint32_t kept = p->kept + (p->lo - p->h->first) + (p->end - p->hi);
    p->down = (p->end - kept - l->sinks) & ~(uint32_t)(KV_BLOCK - 1);
    p->first = p->end - p->down - kept;
}

static void finish(const kv_job *j, const plan *p) {
    const kv_cache *c = j->c;
    kv_layer *l = j->layer;
    kv_head *h = p->h;
    const uint32_t blocks = kv_blocks(p->total - p->down);
    size_t at = p->at;
    kv_place_head(c, l, p->head, p->cap, at);
    for (uint32_t i = 2 * p->head; i < 2 * p->head + 2; i++) {
        memcpy(l->body + at, j->w->stage + at, min_u32(blocks, p->cap) * l->streams[i].coder.block_bytes);
        at += p->cap * l->streams[i].coder.block_bytes;
    }
    memcpy(l->body + at, j->w->stage + at, p->cap * KV_BLOCK * sizeof(float) * (kv_scored(c) + kv_merges(c)));
    h->first = p->first;
    h->cut = p->end + h->shift;
    h->shift += p->down;
}

/* The heads that are due, in order; returns how many. */
static uint32_t due(const kv_job *j, plan *p) {
    uint32_t n = 0;
    size_t block = 0;
    for (uint32_t h = 0; h < j->layer->n_kv_head; h++) {
        if (j->layer->heads[h].next != j->pos + j->n)
            continue;
        p[n] = (plan){.key = j->w->keys + block * KV_BLOCK, .keep = j->w->keep + block};
        begin(j, &p[n], h);
        block += p[n].cap;
        n++;
    }
    return n;
}

/* Places in the body: where heads share it they change. */
static void place(const kv_job *j, plan *p, uint32_t n) {
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        p[i].at = l->streams[2 * p[i].head].body_off;
        if (!c->evict.ada)
            continue;
        p[i].at = at;
        p[i].cap = kv_blocks(p[i].total - p[i].down + kv_slack(p[i].h->budget));
        at += p[i].cap * kv_head_block_bytes(c, l, p[i].head);
    }
}

typedef struct plans {
    const kv_job *j;
    plan *p;
} plans;

static void choose_pieces(void *arg, int thread, size_t first, size_t end) {
    const plans *s = arg;
    const uint64_t one = 1;
    for (plan *p = s->p + first; p < s->p + end; p++) {
        fill_keys(s->j, thread, p);
        if (!s->j->c->evict.ada)
            choose(p, &one, 1, p->most);
    }
}

static void pack_pieces(void *arg, int thread, size_t first, size_t end) {
    const plans *s = arg;
    const kv_cache *c = s->j->c;
    for (plan *p = s->p + first; p < s->p + end; p++) {
        if (kv_merges(c))
            kv_fold(s->j, thread, p->head, p->lo, p->hi, p->keep);
        pack_head(s->j, p);
        if (c->frames)
            pack_frames(c, p, s->j->w->fresh + (size_t)p->head * kv_n_frames(c));
    }
}

static void finish_pieces(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const plans *s = arg;
    for (plan *p = s->p + first; p < s->p + end; p++)
        finish(s->j, p);
}

void kv_evict(const kv_job *j) {
    const rt_exec *e = &j->w->exec;
    const kv_cache *c = j->c;
    plan p[PROF_MAX_HEADS];
    const uint32_t n = due(j, p);
    plans s = {j, p};
    rt_for(e, n, 1, choose_pieces, &s);
    if (c->evict.ada)
        choose_together(c, j->layer, p);
    for (uint32_t i = 0; i < n; i++)
        settle(j->layer, &p[i]);
    place(j, p, n);
    rt_for(e, n, 1, pack_pieces, &s);
    rt_for(e, n, 1, finish_pieces, &s);
    kv_plan_evictions(c, j->layer, j->pos + j->n);
}
