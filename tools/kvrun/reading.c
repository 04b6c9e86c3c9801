#include "kvrun/reading.h"

#include "base/clock.h"
#include "base/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    QUESTIONS = 2048, /* tokens that are left for questions and answers where nobody says how many */
    ROUND = 1024
};

static const double keep_every = 30, keep_share = 0.05; /* seconds between partial files, and what they may take of the time */

/* ---- tokens ---- */

kv_status reading_ids(const engine *e, const document *d, ask_ids *ids, kv_err *err) {
    ask_frame f;
    kv_status st = ask_frame_new(e->model, &f, err);
    if (!st && !(st = ask_head(&f, NULL, ids, err)))
        st = ask_document(&f, d->text, d->len, ids, err);
    ask_frame_free(&f);
    return st;
}

/* What the cache of n_ctx tokens takes, in words. */
static const char *cache_bytes(const engine *e, const rt_ctx_cfg *cfg, uint32_t n_ctx, char buf[FORMAT_BYTES]) {
    kv_cache_cfg cc;
    kv_cache_info info;
    if (rt_cache_cfg_new(rt_model_hparams(e->model), cfg, &cc, NULL))
        return "an unknown amount";
    const kv_status st = kv_cache_size(&cc, &n_ctx, 1, &info, NULL);
    rt_cache_cfg_free(&cc);
    return st ? "an unknown amount" : format_bytes((double)info.bytes, buf);
}

static uint32_t round_up(size_t n) {
    return (uint32_t)((n + ROUND - 1) / ROUND * ROUND);
}

/* How many tokens of context n tokens of a document get. */
static kv_status choose_ctx(const reading *r, const char *what, size_t n, rt_ctx_cfg *cfg, kv_err *err) {
    const uint32_t trained = rt_model_hparams(r->e->model)->n_ctx_train;
    char bytes[FORMAT_BYTES];
    if (n > 1 << 24)
        return kv_fail(err, KV_ERANGE, "%s: takes %zu tokens, and no context has more than %d", what, n, 1 << 24);
    kv_status st = engine_ctx_cfg(r->e, r->ctx < 0 ? 1 : r->ctx, cfg, err);
    if (st)
        return st;
    if (r->ctx < 0)
        cfg->n_ctx = round_up(n + QUESTIONS) < trained ? round_up(n + QUESTIONS) : trained;
    if (n < cfg->n_ctx)
        return KV_OK;
    return kv_fail(
        err, KV_ERANGE,
        "%s: takes %zu tokens, and a question some more, but the context has %u and the model was trained for %u: read less "
        "of "
        "it (kvrun text shows what is read), take a model that was trained for more, or --ctx %u, whose cache takes %s%s",
        what, n, cfg->n_ctx, trained, round_up(n + QUESTIONS), cache_bytes(r->e, cfg, round_up(n + QUESTIONS), bytes),
        round_up(n + QUESTIONS) > trained ? " (beyond what the model was trained for, answers get worse)" : "");
}

/* ---- reading ---- */

typedef struct watch {
    const reading *r;
    rt_session *s;
    cli_progress bar;
    double from, to; /* of the whole, what the call that runs now does */
} watch;

static bool go_on(void *user, double done) {
    watch *w = user;
    cli_progress_set(&w->bar, w->from + (w->to - w->from) * done);
    return !cli_interrupted();
}

/* What was read so far, for the next time. One that cannot be kept is none: reading goes on. */
static void keep_partial(const watch *w) {
    const rt_save_cfg cfg = {.title = "partial", .program = "kvrun " KV_TOOL_VERSION, .lean = true};
    kv_err err = {0};
    if (w->r->partial && rt_session_len(w->s) && rt_session_save(w->s, w->r->partial, &cfg, NULL, NULL, &err))
        cli_note(w->r->e->cfg.tool, "what was read cannot be kept for the next time: %s", err.msg);
}

/* The session of a partial file, if it is the beginning of these ids; else a new one. */
static kv_status begin(const reading *r, const rt_ctx_cfg *cfg, const ask_ids *ids, rt_session **out, kv_err *err) {
    rt_session *s = NULL;
    if (r->partial && !access(r->partial, R_OK) && !rt_session_open(r->e->model, NULL, cfg, r->partial, NULL, NULL, &s, NULL)) {
        const uint32_t n = rt_session_len(s);
        if (n < ids->n && !memcmp(rt_session_ids(s), ids->v, n * sizeof *ids->v)) {
            cli_note(r->e->cfg.tool, "going on after %u of %zu tokens, which were read before", n, ids->n);
            *out = s;
            return KV_OK;
        }
        rt_session_free(s);
    }
    size_t read;
    kv_status st = rt_session_new(r->e->model, cfg, out, err);
    if (!st && r->memory && (st = remember_recall(r->memory, *out, ids->v, ids->n, &read, err))) {
        rt_session_free(*out);
        *out = NULL;
    }
    return st;
}

/* In steps, between which what was read can be kept. */
static kv_status read_rest(watch *w, const ask_ids *ids, kv_err *err) {
    const uint32_t step = 4 * RT_BATCH;
    double kept = clock_now(), took = 0;
    kv_status st = KV_OK;
    for (size_t at = rt_session_len(w->s); at < ids->n && !st;) {
        const size_t n = ids->n - at < step ? ids->n - at : step;
        const double now = clock_now();
        w->from = (double)at / (double)ids->n;
        w->to = (double)(at + n) / (double)ids->n;
        if (now - kept > keep_every && took < keep_share * (now - kept)) {
            keep_partial(w);
            kept = clock_now();
            took = kept - now;
        }
        if (!(st = rt_session_add(w->s, ids->v + at, n, err)))
            st = rt_session_read(w->s, go_on, w, err);
        if (st == KV_ECANCEL) { /* whole batches are there */
            const uint32_t done = rt_ctx_len(rt_session_ctx(w->s));
            rt_session_go_back(w->s, done > at ? done : (uint32_t)at);
        }
        at += n;
    }
    return st;
}

kv_status reading_session(const reading *r, const char *what, const ask_ids *ids, rt_session **out, kv_err *err) {
    rt_ctx_cfg cfg;
    watch w = {.r = r};
    *out = NULL;
    kv_status st = choose_ctx(r, what, ids->n, &cfg, err);
    if (!st && r->memory && r->memory->c)
        cfg.checkpoint_every = RT_BATCH; /* documents may part anywhere */
    if (st || (st = begin(r, &cfg, ids, &w.s, err)))
        return st;
    cli_progress_start(&w.bar, "prefill", r->quiet);
    st = read_rest(&w, ids, err);
    cli_progress_end(&w.bar);
    if (st == KV_ECANCEL) {
        cli_clear_interrupt();
        keep_partial(&w);
        if (r->partial)
            kv_fail(err, st, "stopped after %u of %zu tokens; the same command goes on from there", rt_session_len(w.s),
                    ids->n);
    }
    if (!st)
        st = rt_session_checkpoint(w.s, err);
    if (r->memory && (!st || st == KV_ECANCEL) && rt_session_len(w.s))
        remember_keep(r->memory, w.s, what);
    if (st)
        rt_session_free(w.s);
    else
        *out = w.s;
    return st;
}

/* ---- files ---- */

static kv_status save(rt_session *s, const char *title, const char *out, bool packed, reading_result *result, kv_err *err) {
    const rt_save_cfg cfg = {.title = title, .program = "kvrun " KV_TOOL_VERSION, .packed = packed, .lean = true};
    ctx_file *f = NULL;
    kv_status st = rt_session_save(s, out, &cfg, NULL, NULL, err);
    if (st || (st = ctx_file_open(out, false, NULL, NULL, &f, err)))
        return st;
    result->tokens = rt_session_len(s);
    result->n_ctx = rt_ctx_n_ctx(rt_session_ctx(s));
    result->bytes = ctx_file_bytes(f);
    result->bytes_f16 = kv_cache_f16_bytes(rt_ctx_cache(rt_session_ctx(s)), result->tokens);
    ctx_file_close(f);
    return KV_OK;
}

kv_status reading_to_file(const reading *r, const document *d, const char *title, const char *out, bool packed,
                          reading_result *result, kv_err *err) {
    const double started = clock_now();
    rt_session *s = NULL;
    ask_ids ids = {0};
    kv_status st = reading_ids(r->e, d, &ids, err);
    if (!st && !(st = reading_session(r, d->title, &ids, &s, err)))
        st = save(s, title ? title : d->title, out, packed, result, err);
    if (!st && r->partial && unlink(r->partial) && errno != ENOENT)
        cli_note(r->e->cfg.tool, "%s: cannot be removed: %s", r->partial, strerror(errno));
    result->seconds = clock_now() - started;
    rt_session_free(s);
    ask_ids_free(&ids);
    return st;
}

/* Ids of a document that follows another. */
static kv_status more_ids(const engine *e, const document *d, ask_ids *ids, kv_err *err) {
    ask_frame f;
    kv_status st = ask_frame_new(e->model, &f, err);
    if (!st && !(st = ask_document(&f, "\n\n", 2, ids, err)))
        st = ask_document(&f, d->text, d->len, ids, err);
    ask_frame_free(&f);
    return st;
}

/* A session that holds what the file has and room for n more tokens. */
static kv_status reopen(const reading *r, const char *what, const char *from, size_t n, ctx_about *about, rt_session **out,
                        kv_err *err) {
    rt_ctx_cfg cfg;
    ctx_file *f;
    reading how = *r;
    kv_status st = ctx_file_open(from, false, NULL, NULL, &f, err);
    if (st)
        return st;
    st = ctx_file_about(f, about, err);
    ctx_file_close(f);
    if (r->ctx < 0 && about->n_tokens + n + QUESTIONS / 2 < about->n_ctx)
        how.ctx = about->n_ctx; /* as it was, where that will do */
    if (st || (st = choose_ctx(&how, what, about->n_tokens + n, &cfg, err)))
        return st;
    return rt_session_open(r->e->model, NULL, &cfg, from, NULL, NULL, out, err);
}

kv_status reading_append(const reading *r, const document *d, const char *from, const char *out, bool packed,
                         reading_result *result, kv_err *err) {
    const double started = clock_now();
    ask_ids more = {0}, ids = {0};
    ctx_about about;
    watch w = {.r = &(reading){.e = r->e, .ctx = r->ctx, .quiet = r->quiet}};
    kv_status st = more_ids(r->e, d, &more, err);
    if (st || (st = reopen(r, d->title, from, more.n, &about, &w.s, err)))
        goto done;
    ids.n = about.n_tokens + more.n;
    if (!(ids.v = malloc(ids.n * sizeof *ids.v))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", ids.n);
        goto done;
    }
    memcpy(ids.v, rt_session_ids(w.s), about.n_tokens * sizeof *ids.v);
    memcpy(ids.v + about.n_tokens, more.v, more.n * sizeof *more.v);
    cli_progress_start(&w.bar, "prefill", r->quiet);
    st = read_rest(&w, &ids, err);
    cli_progress_end(&w.bar);
    if (!st)
        st = save(w.s, about.title, out, packed, result, err);
    result->seconds = clock_now() - started;
done:
    rt_session_free(w.s);
    ask_ids_free(&ids);
    ask_ids_free(&more);
    return st;
}
