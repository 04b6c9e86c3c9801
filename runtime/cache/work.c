/* The workspace: memory of the threads and of a call, as large as any cache that it serves asks for, and how work is shared
 * out. */
#include "cache/state.h"

#include <stdlib.h>
#include <string.h>

typedef struct part {
    void *p; /* where the pointer to it is */
    size_t bytes;
} part;

/* The parts of one thread's memory, and what c needs of each. */
static void list_parts(const kv_cache *c, kv_scratch *s, part parts[KV_SCRATCH_PARTS]) {
    const size_t rows = c->rows, q = rows * c->dim, coded = rows * c->cdim, blocks_of_range = KV_RANGE / KV_BLOCK;
    const size_t codes = c->code_slots * rows, tile = c->code_slots ? blocks_of_range * rt_int_tile(c->cdim) : 0;
    const size_t range = c->code_slots ? KV_RANGE : 0, f = sizeof(float);
    size_t work = 0;
    for (size_t i = 0; i < (size_t)c->n_layer * c->n_kv_head * 2; i++)
        work = c->streams[i].coder.scratch > work ? c->streams[i].coder.scratch : work;
    const part all[] = {
        {&s->tile, KV_BLOCK * c->cdim * f},
        {&s->x, KV_BLOCK * c->dim * f},
        {&s->q, q * f},
        {&s->qf, q * f},
        {&s->qc, coded * f},
        {&s->bias, rows * f},
        {&s->no_bias, rows * f},
        {&s->s, rows * KV_BLOCK * f},
        {&s->mix, c->frame && c->stage_bytes ? rows * KV_BLOCK * f : 0},
        {&s->total, kv_acc_floats(c, rows) * f},
        {&s->part, kv_acc_floats(c, rows) * f},
        {&s->work, work},
        {&s->to_model, kv_merges(c) ? (size_t)c->dim * c->cdim * f : 0},
        {&s->constant, kv_merges(c) ? c->dim * f : 0},
        {&s->ktile, tile},
        {&s->vtile, tile},
        {&s->levels, KV_LEVEL_BLOCKS * c->cdim * KV_BLOCK},
        {&s->kgain, range * f},
        {&s->vgain, range * f},
        {&s->wgain, range * f},
        {&s->code, codes * rt_int_row(c->cdim)},
        {&s->p, 16 * 2 * range},
        {&s->cscale, codes * f},
        {&s->cbias, codes * f},
    };
    _Static_assert(sizeof all / sizeof *all == KV_SCRATCH_PARTS, "one for each pointer of a kv_scratch");
    memcpy(parts, all, sizeof all);
}

/* Hand out the parts of one thread's memory from `base`; returns their bytes. base NULL: only count. */
static size_t lay_out(const kv_work *w, const part *parts, char *base) {
    size_t at = 0;
    for (size_t i = 0; i < KV_SCRATCH_PARTS; i++) {
        if (base)
            memcpy(parts[i].p, &(char *){base + at}, sizeof base);
        at += (w->need[i] + 63) / 64 * 64 + 64; /* whole cache lines, and one that keeps strides from being powers of two */
    }
    return at;
}

kv_status kv_work_new(const rt_exec *e, uint32_t n_batch, kv_work **out, kv_err *err) {
    kv_work *w = calloc(1, sizeof *w);
    if (w) {
        w->exec = *e;
        w->n_batch = n_batch;
        w->scratch = calloc((size_t)e->n_threads, sizeof *w->scratch);
        w->jobs = calloc(n_batch, sizeof *w->jobs);
        w->done = calloc(n_batch, sizeof *w->done);
        w->starts = calloc((size_t)n_batch + 1, sizeof *w->starts);
    }
    if (!w || !w->scratch || !w->jobs || !w->done || !w->starts) {
        kv_work_free(w);
        return kv_fail(err, KV_ENOMEM, "no memory for calls of %u tokens", n_batch);
    }
    *out = w;
    return KV_OK;
}

void kv_work_free(kv_work *w) {
    if (!w)
        return;
    free(w->scratch);
    free(w->scratch_mem);
    free(w->parts);
    free(w->passing);
    free(w->stage);
    free(w->keys);
    free(w->keep);
    free(w->fresh);
    free(w->lse);
    free(w->jobs);
    free(w->done);
    free(w->starts);
    free(w);
}

/* Make *p at least `need` elements of `size`. Nothing in it is kept. */
static void grow(void *p, size_t *have, size_t need, size_t size, bool *bad) {
    void *old, *fresh;
    if (*bad || need <= *have)
        return;
    if (!(fresh = need <= SIZE_MAX / 2 / size ? calloc(need, size) : NULL)) {
        *bad = true;
        return;
    }
    memcpy(&old, p, sizeof old);
    free(old);
    memcpy(p, &fresh, sizeof fresh);
    *have = need;
}

static void fit_scratch(kv_work *w, const kv_cache *c, bool *bad) {
    part parts[KV_SCRATCH_PARTS];
    kv_scratch s;
    bool fits = w->scratch_mem != NULL;
    list_parts(c, &s, parts);
    for (size_t i = 0; i < KV_SCRATCH_PARTS; i++)
        if (parts[i].bytes > w->need[i]) {
            w->need[i] = parts[i].bytes;
            fits = false;
        }
    if (fits || *bad)
        return;
    const size_t bytes = lay_out(w, parts, NULL);
    void *mem = calloc(1, (size_t)w->exec.n_threads * bytes + 63);
    if (!mem) {
        *bad = true;
        return;
    }
    free(w->scratch_mem);
    w->scratch_mem = mem;
    char *base = (char *)(((uintptr_t)mem + 63) / 64 * 64);
    for (int t = 0; t < w->exec.n_threads; t++) {
        list_parts(c, &w->scratch[t], parts);
        lay_out(w, parts, base + (size_t)t * bytes);
    }
}

kv_status kv_work_fit(kv_work *w, const kv_cache *c, kv_err *err) {
    const uint32_t ranges = (c->n_ctx + KV_RANGE - 1) / KV_RANGE;
    bool bad = false;
    size_t rows = 0; /* most of all jobs that are cut into ranges */
    for (uint32_t i = 0; i < c->n_layer; i++)
        if (c->layers[i].n_kv_head) {
            const uint32_t jobs = KV_SPLIT_HEADS * (uint32_t)w->exec.n_threads / c->layers[i].n_kv_head;
            const size_t most = (size_t)max_u32(1, jobs) * c->layers[i].n_head;
            rows = most > rows ? most : rows;
        }
    fit_scratch(w, c, &bad);
    grow(&w->parts, &w->parts_floats, ranges * kv_acc_floats(c, rows), sizeof(float), &bad);
    /* Keys are read in whole blocks, the last row of the last part too. */
    grow(&w->passing, &w->passing_elems, kv_passing_tokens(w->n_batch) * c->passing_elems + KV_BLOCK, sizeof *w->passing, &bad);
    grow(&w->stage, &w->stage_bytes, c->stage_bytes, 1, &bad);
    grow(&w->keys, &w->n_keys, (size_t)c->stage_blocks * KV_BLOCK, sizeof *w->keys, &bad);
    grow(&w->keep, &w->n_keep, c->stage_blocks, sizeof *w->keep, &bad);
    grow(&w->fresh, &w->n_fresh, c->stage_blocks ? (size_t)c->n_kv_head * kv_n_frames(c) : 0, sizeof *w->fresh, &bad);
    grow(&w->lse, &w->n_lse, c->stage_blocks && kv_observes(c) ? (size_t)w->n_batch * c->n_head : 0, sizeof *w->lse, &bad);
    return bad ? kv_fail(err, KV_ENOMEM, "no memory for working on a cache of %u tokens: ask for a smaller context", c->n_ctx)
               : KV_OK;
}

size_t kv_work_bytes(const kv_work *w) {
    size_t thread = 0;
    for (size_t i = 0; i < KV_SCRATCH_PARTS; i++)
        thread += (w->need[i] + 63) / 64 * 64 + 64;
    return (size_t)w->exec.n_threads * thread + (w->parts_floats + w->n_lse) * sizeof(float) +
           w->passing_elems * sizeof *w->passing + w->stage_bytes + (w->n_keys + w->n_fresh) * sizeof(uint32_t) +
           w->n_keep * sizeof *w->keep + w->n_batch * (sizeof *w->jobs + sizeof *w->done + sizeof *w->starts);
}

/* There is room for all tokens of the round, and for some more, so that parts of the buffer are no power of two as long as
 * these last.
 */
void kv_take_passing(kv_job *j) {
    kv_work *w = j->w;
    const size_t more = kv_passing_tokens(j->n) - j->n, pad = more <= w->passing_spare ? more : 0;
    j->passing_at = w->passing + w->passing_taken;
    j->passing_cap = j->n + (uint32_t)pad;
    w->passing_taken += (size_t)j->passing_cap * j->layer->f16_elems;
    w->passing_spare -= pad;
}

/* ---- sharing out ---- */

typedef struct sharing {
    const kv_work *w;
    const kv_stage *stage;
} sharing;

static void run_pieces(void *arg, int thread, size_t first, size_t end) {
    const sharing *s = arg;
    const size_t *starts = s->w->starts;
    uint32_t lo = 0, hi = s->w->n_jobs - 1; /* the job that `first` is of */
    while (lo < hi) {
        const uint32_t mid = (lo + hi + 1) / 2;
        if (starts[mid] <= first)
            lo = mid;
        else
            hi = mid - 1;
    }
    for (size_t i = first; i < end; i++) {
        while (i >= starts[lo + 1])
            lo++;
        s->stage->piece(&s->w->jobs[lo], thread, i - starts[lo]);
    }
}

void kv_run(kv_work *w, const kv_stage *stage) {
    for (uint32_t i = 0; i < w->n_jobs; i++)
        w->starts[i + 1] = w->starts[i] + stage->count(&w->jobs[i]);
    rt_for(&w->exec, w->starts[w->n_jobs], 1, run_pieces, &(sharing){w, stage});
}
