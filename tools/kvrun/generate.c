#include "kvrun/generate.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

struct gen {
    const rt_model *m;
    rt_ctx *ctx;
    rt_sampler *sampler;
    bool shift, fresh; /* fresh: logits belong to the last id */
    bool (*stop)(void);
    size_t keep;
    int32_t *ids; /* the conversation; the context holds the first rt_ctx_len of them */
    size_t n, cap;
    float *logits; /* (n_vocab) */
    char *text;    /* scratch for streaming */
    size_t text_cap;
    gen_stats stats;
};

kv_status gen_new(const rt_model *m, const gen_cfg *cfg, gen **out, kv_err *err) {
    const uint32_t n_vocab = rt_model_hparams(m)->n_vocab;
    gen *g = calloc(1, sizeof *g);
    if (!g)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    g->m = m;
    g->shift = cfg->shift;
    g->stop = cfg->stop;
    kv_status st = rt_ctx_new(m, &cfg->ctx, &g->ctx, err);
    if (st || (st = rt_sampler_new(&cfg->sampling, n_vocab, &g->sampler, err)))
        goto done;
    g->logits = malloc(n_vocab * sizeof *g->logits);
    if (!g->logits) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", n_vocab);
        goto done;
    }
    *out = g;
    g = NULL;
done:
    gen_free(g);
    return st;
}

void gen_free(gen *g) {
    if (!g)
        return;
    rt_ctx_free(g->ctx);
    rt_sampler_free(g->sampler);
    free(g->ids);
    free(g->logits);
    free(g->text);
    free(g);
}

rt_ctx *gen_ctx(gen *g) {
    return g->ctx;
}

const gen_stats *gen_get_stats(const gen *g) {
    return &g->stats;
}

size_t gen_len(const gen *g) {
    return g->n;
}

const int32_t *gen_ids(const gen *g) {
    return g->ids;
}

void gen_set_keep(gen *g, size_t keep) {
    g->keep = keep;
}

kv_status gen_append(gen *g, const int32_t *ids, size_t n, kv_err *err) {
    if (g->n + n > g->cap) {
        size_t cap = 2 * (g->n + n) + 64;
        int32_t *grown = realloc(g->ids, cap * sizeof *grown);
        if (!grown)
            return kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", cap);
        g->ids = grown;
        g->cap = cap;
    }
    if (n)
        memcpy(g->ids + g->n, ids, n * sizeof *ids);
    g->n += n;
    g->fresh = g->fresh && !n;
    return KV_OK;
}

/* Make the context forget all ids from n on: it goes back there, or to the nearest checkpoint before. */
static void rewind_ctx(gen *g, size_t n) {
    uint32_t reached;
    if (rt_ctx_len(g->ctx) > n)
        rt_seq_go_back(rt_ctx_seq(g->ctx), (uint32_t)n, &reached);
}

void gen_truncate(gen *g, size_t n) {
    if (n >= g->n)
        return;
    g->n = n;
    g->fresh = false;
    rewind_ctx(g, n);
}

static kv_status too_long(const gen *g, kv_err *err) {
    const uint32_t n_ctx = rt_ctx_n_ctx(g->ctx);
    size_t enough = 256;
    while (enough < g->n + g->n / 4)
        enough *= 2;
    return kv_fail(err, KV_ERANGE, "the context of %u tokens is full: %zu are needed; use --ctx %zu%s", n_ctx, g->n, enough,
                   g->shift ? " (even what may not be dropped does not fit)" : " or --context-shift");
}

static kv_status make_room(gen *g, kv_err *err) {
    const size_t n_ctx = rt_ctx_n_ctx(g->ctx);
    if (g->n <= n_ctx)
        return KV_OK;
    const size_t over = g->n - n_ctx, rest = g->n > g->keep ? g->n - g->keep : 0;
    /* What the context has not seen yet is a prompt: dropping its beginning would answer something else than was asked. */
    const size_t seen = rt_ctx_len(g->ctx), droppable = seen > g->keep ? seen - g->keep : 0;
    if (!g->shift || over > droppable)
        return too_long(g, err);
    size_t drop = rest / 2;
    if (drop > droppable)
        drop = droppable;
    if (drop < over)
        drop = over;
    memmove(g->ids + g->keep, g->ids + g->keep + drop, (g->n - g->keep - drop) * sizeof *g->ids);
    g->n -= drop;
    g->fresh = false;
    rt_ctx_clear(g->ctx);
    return KV_OK;
}

/* Feed what the context has not seen; afterwards the logits are those of the last id. */
static kv_status catch_up(gen *g, bool prompt, kv_err *err) {
    if (g->fresh)
        return KV_OK;
    if (!g->n)
        return kv_fail(err, KV_EINVAL, "the prompt is empty");
    if (rt_ctx_len(g->ctx) == g->n)
        rewind_ctx(g, g->n - 1);
    const double started = clock_now();
    const size_t from = rt_ctx_len(g->ctx);
    const uint32_t n_batch = rt_ctx_n_batch(g->ctx);
    for (size_t at = from; at < g->n;) {
        if (prompt && g->stop && g->stop())
            return kv_fail(err, KV_ECANCEL, "stopped in prefill, after %zu of %zu tokens", at, g->n);
        const uint32_t step = g->n - at < n_batch ? (uint32_t)(g->n - at) : n_batch;
        kv_status st = rt_forward(g->ctx, g->ids + at, step, at + step == g->n, g->logits, err);
        if (st)
            return st;
        at += step;
    }
    g->fresh = true;
    if (prompt) {
        kv_status st = rt_seq_checkpoint(rt_ctx_seq(g->ctx), err);
        if (st)
            return st;
        g->stats.prompt_tokens += g->n - from;
        g->stats.prompt_seconds += clock_now() - started;
    }
    return KV_OK;
}

static kv_status say(gen *g, tok_stream *stream, const char *piece, size_t len,
                     void (*emit)(void *user, const char *text, size_t len), void *user, kv_err *err) {
    if (g->text_cap < 3 * len + 4) {
        char *grown = realloc(g->text, 3 * len + 4);
        if (!grown)
            return kv_fail(err, KV_ENOMEM, "out of memory for a token of %zu bytes", len);
        g->text = grown;
        g->text_cap = 3 * len + 4;
    }
    size_t n = tok_stream_push(stream, piece, len, g->text);
    if (n)
        emit(user, g->text, n);
    return KV_OK;
}

kv_status gen_answer(gen *g, int64_t n_max, void (*emit)(void *user, const char *text, size_t len), void *user, gen_end *end,
                     kv_err *err) {
    const tok *t = rt_model_tok(g->m);
    tok_stream stream = {0};
    *end = GEN_LIMIT;
    kv_status st = make_room(g, err);
    if (st || (st = catch_up(g, true, err)))
        return st;
    const double started = clock_now();
    for (int64_t i = 0; i != n_max; i++) {
        /* A shift or the last token may have to be fed first. */
        if ((st = make_room(g, err)) || (st = catch_up(g, false, err)))
            break;
        if (g->stop && g->stop()) {
            *end = GEN_STOPPED;
            break;
        }
        const int32_t id = rt_sample(g->sampler, g->logits);
        if (tok_is_eog(t, id)) {
            *end = GEN_DONE;
            break;
        }
        size_t len;
        const char *piece = tok_piece(t, id, false, &len);
        if ((st = gen_append(g, &id, 1, err)) || (len && (st = say(g, &stream, piece, len, emit, user, err))))
            break;
        g->stats.answer_tokens++;
    }
    g->stats.answer_seconds += clock_now() - started;
    kv_status flushed = say(g, &stream, "", 0, emit, user, err);
    return st ? st : flushed;
}
