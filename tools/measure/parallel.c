/* Tokens are ordinary ones in a fixed pattern, another one for every sequence. Going back to `depth` is copying the cache of a
 * sequence that holds that much.
 */
#include "measure/parallel.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct bench {
    const parallel_cfg *cfg;
    rt_work *work;
    rt_seq **seqs, *prefix; /* prefix: NULL at depth 0 */
    rt_row *rows;
    float *logits;
    uint32_t n, n_batch, n_vocab;
    kv_progress progress;
    void *user;
    double done;
} bench;

static kv_status check_stop(bench *b, kv_err *err) {
    const bool go_on = !b->progress || b->progress(b->user, b->done);
    return go_on ? KV_OK : kv_fail(err, KV_ECANCEL, "stopped while timing");
}

static int32_t token_at(const bench *b, uint32_t seq, uint32_t pos) {
    return (int32_t)((seq * 101u + pos * 37u + 11u) % (b->n_vocab < 1000 ? b->n_vocab : 1000));
}

static uint32_t fill(bench *b, rt_seq *s, uint32_t index, uint32_t n, bool logits, uint32_t at) {
    const uint32_t pos = rt_seq_len(s);
    for (uint32_t t = 0; t < n; t++)
        b->rows[at + t] = (rt_row){s, token_at(b, index, pos + t), logits};
    return at + n;
}

/* All sequences hold `depth` tokens. */
static kv_status go_back(bench *b, kv_err *err) {
    kv_status st = KV_OK;
    for (uint32_t i = 0; i < b->n && !st; i++) {
        if (b->prefix)
            st = kv_cache_copy(rt_seq_cache(b->seqs[i]), rt_seq_cache(b->prefix), err);
        else
            rt_seq_clear(b->seqs[i]);
    }
    return st;
}

static kv_status read_prefix(bench *b, kv_err *err) {
    kv_status st = KV_OK;
    for (uint32_t at = 0; at < b->cfg->depth && !st;) {
        const uint32_t left = b->cfg->depth - at, n = left < b->n_batch ? left : b->n_batch;
        if (!(st = check_stop(b, err)))
            st = rt_step(b->work, b->rows, fill(b, b->prefix, 0, n, false, 0), NULL, err);
        at += n;
    }
    return st;
}

/* Total tokens a second; each sequence reads `prefill` tokens, in steps that all have a part in. */
static kv_status time_prefill(bench *b, double *tps, kv_err *err) {
    const uint32_t each = b->n_batch / b->n, all = b->cfg->prefill;
    kv_status st = go_back(b, err);
    const double started = clock_now();
    for (uint32_t done = 0; done < all && !st;) {
        const uint32_t n = all - done < each ? all - done : each;
        uint32_t rows = 0;
        for (uint32_t i = 0; i < b->n; i++) {
            rows = fill(b, b->seqs[i], i, n, false, rows);
            b->rows[rows - 1].logits = done + n == all;
        }
        st = rt_step(b->work, b->rows, rows, b->logits, err);
        done += n;
    }
    *tps = (double)all * b->n / (clock_now() - started);
    return st ? st : check_stop(b, err);
}

static kv_status time_decode(bench *b, double *tps, kv_err *err) {
    kv_status st = go_back(b, err);
    const double started = clock_now();
    for (uint32_t t = 0; t < b->cfg->decode && !st; t++) {
        uint32_t rows = 0;
        for (uint32_t i = 0; i < b->n; i++)
            rows = fill(b, b->seqs[i], i, 1, true, rows);
        st = rt_step(b->work, b->rows, rows, b->logits, err);
    }
    *tps = (double)b->cfg->decode * b->n / (clock_now() - started);
    return st ? st : check_stop(b, err);
}

static kv_status time_all(bench *b, double *tps, kv_err *err) {
    const uint32_t all = b->cfg->prefill;
    kv_status st = go_back(b, err);
    const double started = clock_now();
    for (uint32_t done = 0; done < all && !st;) {
        const uint32_t n = all - done < b->n_batch ? all - done : b->n_batch;
        st = rt_step(b->work, b->rows, fill(b, b->seqs[0], 0, n, true, 0), b->logits, err);
        done += n;
    }
    *tps = all / (clock_now() - started);
    return st ? st : check_stop(b, err);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, uint32_t n) {
    qsort(x, n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* In turns, so that what drifts hits all three. */
static kv_status time_rounds(bench *b, parallel_result *r, kv_err *err) {
    const uint32_t reps = b->cfg->reps;
    double *tps = calloc(3 * (size_t)reps, sizeof *tps), unused;
    kv_status st = tps ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for timing");
    for (uint32_t i = 0; i <= reps && !st; i++) {
        b->done = (double)i / (reps + 1);
        if (!(st = time_all(b, i ? &tps[i - 1] : &unused, err)) &&
            !(st = time_prefill(b, i ? &tps[reps + i - 1] : &unused, err)))
            st = time_decode(b, i ? &tps[2 * reps + i - 1] : &unused, err);
    }
    if (!st) {
        r->all_tps = median(tps, reps);
        r->prefill_tps = median(tps + reps, reps);
        r->decode_tps = median(tps + 2 * reps, reps);
    }
    free(tps);
    return st;
}

static size_t resident_bytes(void) {
    unsigned long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%lu %lu", &all, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

kv_status parallel_run(const rt_model *m, const parallel_cfg *cfg, uint32_t n, kv_progress progress, void *user,
                       parallel_result *out, kv_err *err) {
    bench b = {.cfg = cfg, .n = n, .n_vocab = rt_model_hparams(m)->n_vocab, .progress = progress, .user = user};
    rt_ctx_cfg each = cfg->ctx;
    kv_status st;
    *out = (parallel_result){.n = n};
    each.n_ctx = cfg->depth + (cfg->prefill > cfg->decode ? cfg->prefill : cfg->decode);
    b.n_batch = each.n_batch ? each.n_batch : RT_BATCH;
    b.n_batch = n > b.n_batch ? n : b.n_batch;
    each.n_batch = b.n_batch;
    b.seqs = calloc(n, sizeof *b.seqs);
    b.rows = calloc(b.n_batch, sizeof *b.rows);
    b.logits = malloc((size_t)b.n_batch * b.n_vocab * sizeof *b.logits);
    if (!b.seqs || !b.rows || !b.logits) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %u sequences", n);
        goto done;
    }
    if ((st = rt_work_new(m, b.n_batch, &b.work, err)) || (cfg->depth && (st = rt_seq_new(b.work, &each, &b.prefix, err))))
        goto done;
    for (uint32_t i = 0; i < n && !st; i++)
        if (!(st = rt_seq_new(b.work, &each, &b.seqs[i], err)))
            out->kv_bytes += kv_cache_get_info(rt_seq_cache(b.seqs[i])).bytes;
    if (st || (st = read_prefix(&b, err)) || (st = time_rounds(&b, out, err)))
        goto done;
    out->rss = resident_bytes();
done:
    for (uint32_t i = 0; b.seqs && i < n; i++)
        rt_seq_free(b.seqs[i]);
    rt_seq_free(b.prefix);
    rt_work_free(b.work);
    free(b.seqs);
    free(b.rows);
    free(b.logits);
    return st;
}
