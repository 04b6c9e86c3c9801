#include "session/session_internal.h"

#include "text/thought.h"

#include <stdlib.h>
#include <string.h>

static uint32_t n_vocab(const rt_session *s) {
    return rt_model_hparams(s->m)->n_vocab;
}

/* ctx: moves, also on failure. */
static kv_status new_session(const rt_model *m, const rt_ctx_cfg *cfg, rt_ctx *ctx, rt_session **out, kv_err *err) {
    rt_session *s = calloc(1, sizeof *s);
    float *logits = malloc(rt_model_hparams(m)->n_vocab * sizeof *logits);
    if (!s || !logits) {
        rt_ctx_free(ctx);
        free(s);
        free(logits);
        return kv_fail(err, KV_ENOMEM, "out of memory for a session");
    }
    *s = (rt_session){.m = m, .cfg = *cfg, .ctx = ctx, .logits = logits, .refs = 1};
    *out = s;
    return KV_OK;
}

kv_status rt_session_new(const rt_model *m, const rt_ctx_cfg *cfg, rt_session **out, kv_err *err) {
    rt_ctx *ctx;
    kv_status st = rt_ctx_new(m, cfg, &ctx, err);
    return st ? st : new_session(m, cfg, ctx, out, err);
}

/* Whose blocks somebody uses stays until they do not. */
static void let_go(rt_session *s) {
    while (s && atomic_fetch_sub(&s->refs, 1) == 1) {
        rt_session *lender = s->lender;
        rt_ctx_free(s->ctx);
        ctx_file_close(s->file);
        tok_writer_free(&s->text);
        free(s->ids);
        free(s->logits);
        free(s->rows);
        free(s);
        s = lender;
    }
}

void rt_session_free(rt_session *s) {
    if (s && atomic_load(&s->refs) > 1) /* what nobody uses of it need not wait for that */
        rt_seq_leave_shared(rt_ctx_seq(s->ctx), s->lent);
    let_go(s);
}

void rt_session_give_back(rt_session *s) {
    if (!s->lender || rt_ctx_len(s->ctx) || atomic_load(&s->refs) > 1) /* others may use the lender's by way of it */
        return;
    let_go(s->lender);
    s->lender = NULL;
}

rt_ctx *rt_session_ctx(rt_session *s) {
    return s->ctx;
}

const rt_model *rt_session_model(const rt_session *s) {
    return s->m;
}

const rt_ctx_cfg *rt_session_cfg(const rt_session *s) {
    return &s->cfg;
}

size_t rt_session_bytes(const rt_session *s) {
    const rt_hparams *hp = rt_model_hparams(s->m);
    size_t bytes = hp->n_vocab * sizeof *s->logits;
    for (uint32_t i = 0; i < hp->n_layer; i++)
        bytes += kv_cache_get_layer(rt_ctx_cache(s->ctx), i).bytes;
    return bytes;
}

/* ---- ids ---- */

uint32_t rt_session_len(const rt_session *s) {
    return (uint32_t)s->n;
}

const int32_t *rt_session_ids(const rt_session *s) {
    return s->ids;
}

static kv_status make_room(rt_session *s, size_t n, kv_err *err) {
    if (n <= s->cap - s->n)
        return KV_OK;
    const size_t cap = 2 * (s->n + n) + 64;
    int32_t *grown = cap > INT32_MAX ? NULL : realloc(s->ids, cap * sizeof *grown);
    if (!grown)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", cap);
    s->ids = grown;
    s->cap = cap;
    return KV_OK;
}

static kv_status add(rt_session *s, const int32_t *ids, size_t n, kv_err *err) {
    kv_status st = make_room(s, n, err);
    if (st || !n)
        return st;
    memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
    s->fresh = false;
    return KV_OK;
}

/* Make the context hold no more than n tokens: those, or where it cannot go there, fewer. */
static void rewind_ctx(rt_session *s, uint32_t n) {
    uint32_t reached = rt_ctx_len(s->ctx);
    rt_seq_go_back(rt_ctx_seq(s->ctx), n < reached ? n : reached, &reached);
}

void rt_session_leave_guesses(rt_session *s) {
    s->n_guess = 0;
    if (rt_ctx_len(s->ctx) <= s->n)
        return;
    rewind_ctx(s, (uint32_t)s->n);
    s->fresh &= rt_ctx_len(s->ctx) == s->n; /* else more is to be read again */
}

kv_status rt_session_add(rt_session *s, const int32_t *ids, size_t n, kv_err *err) {
    rt_session_leave_guesses(s);
    return add(s, ids, n, err);
}

void rt_session_cut(rt_session *s, uint32_t at, uint32_t n) {
    memmove(s->ids + at, s->ids + at + n, (s->n - at - n) * sizeof *s->ids);
    s->n -= n;
    s->fresh = false;
    rt_ctx_clear(s->ctx);
    rt_session_give_back(s);
}

/* ---- reading ---- */

bool rt_session_is_read(const rt_session *s) {
    return s->fresh;
}

const float *rt_session_logits(const rt_session *s) {
    return s->logits;
}

/* How many tokens the context takes before some must be forgotten. */
static size_t room(const rt_session *s) {
    return s->endless ? rt_ctx_n_ctx(s->ctx) - rt_ctx_len(s->ctx) : SIZE_MAX;
}

/* Where the context is full: forget what is due. */
static kv_status find_room(rt_session *s, kv_err *err) {
    if (room(s))
        return KV_OK;
    kv_status st = rt_ctx_shift(s->ctx, s->keep, s->gone, err);
    if (st)
        return st;
    s->n -= s->gone;
    memmove(s->ids + s->keep, s->ids + s->keep + s->gone, (s->n - s->keep) * sizeof *s->ids);
    s->forgotten += s->gone;
    return KV_OK;
}

kv_status rt_session_read(rt_session *s, kv_progress progress, void *user, kv_err *err) {
    if (!s->n)
        return kv_fail(err, KV_EINVAL, "the session is empty: there is nothing to go on from");
    if (s->fresh)
        return KV_OK;
    rewind_ctx(s, (uint32_t)s->n - 1); /* the last is read again for its logits */
    const size_t all = s->n - rt_ctx_len(s->ctx), n_batch = rt_ctx_n_batch(s->ctx);
    for (size_t left = all; left;) {
        size_t n = left < n_batch ? left : n_batch;
        if (progress && !progress(user, (double)(all - left) / (double)all))
            return kv_fail(err, KV_ECANCEL, "stopped in prefill, after %zu of %zu tokens", s->n - left, s->n);
        kv_status st = find_room(s, err);
        n = n < room(s) ? n : room(s);
        if (st || (st = rt_forward(s->ctx, s->ids + (s->n - left), (uint32_t)n, n == left, s->logits, err)))
            return st;
        left -= n;
    }
    s->fresh = true;
    if (progress)
        progress(user, 1);
    return s->file ? ctx_file_unchanged(s->file, err) : KV_OK;
}

/* Read what the context would have to have read for going on. */
static kv_status catch_up(rt_session *s, kv_err *err) {
    rt_session_leave_guesses(s);
    return rt_ctx_len(s->ctx) < s->n ? rt_session_read(s, NULL, NULL, err) : KV_OK;
}

kv_status rt_session_guess(rt_session *s, const int32_t *ids, uint32_t *n, kv_err *err) {
    int32_t batch[2 * RT_GUESSES];
    const size_t read = rt_ctx_len(s->ctx) < s->n ? rt_ctx_len(s->ctx) : s->n - 1, due = s->n - read;
    const uint32_t guesses = *n;
    *n = 0;
    if (s->fresh) /* perhaps by guesses of before, of which more may turn out right */
        return KV_OK;
    s->n_guess = s->n_right = 0;
    if (!guesses || due > RT_GUESSES || guesses > RT_GUESSES || due + guesses > rt_ctx_n_batch(s->ctx) ||
        s->n + guesses > rt_ctx_n_ctx(s->ctx))
        return rt_session_read(s, NULL, NULL, err);
    if (!s->rows && !(s->rows = malloc((RT_GUESSES + 1) * (size_t)n_vocab(s) * sizeof *s->rows)))
        return kv_fail(err, KV_ENOMEM, "out of memory for guesses");
    rewind_ctx(s, (uint32_t)read);
    if (rt_ctx_len(s->ctx) != read) /* more is to be read again */
        return rt_session_read(s, NULL, NULL, err);
    memcpy(batch, s->ids + read, due * sizeof *batch);
    memcpy(batch + due, ids, guesses * sizeof *batch);
    kv_status st = rt_forward(s->ctx, batch, (uint32_t)due + guesses, guesses + 1, s->rows, err);
    if (st)
        return st;
    memcpy(s->guess, ids, guesses * sizeof *ids);
    memcpy(s->logits, s->rows, n_vocab(s) * sizeof *s->logits);
    s->n_guess = *n = guesses;
    s->fresh = true;
    return s->file ? ctx_file_unchanged(s->file, err) : KV_OK;
}

uint32_t rt_session_guessed_right(const rt_session *s) {
    return s->n_right;
}

/* The same for what fits. */
static kv_status forward(rt_session *s, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits, kv_err *err) {
    kv_status st = rt_forward(s->ctx, ids, n, n_out ? n_out : 1, n_out ? logits : s->logits, err);
    if (st)
        return st;
    if (n_out)
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): who wants some has room for them */
        memcpy(s->logits, logits + (size_t)(n_out - 1) * n_vocab(s), n_vocab(s) * sizeof *logits);
    memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += n;
    s->fresh = true;
    return KV_OK;
}

kv_status rt_session_forward(rt_session *s, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits, kv_err *err) {
    kv_status st = make_room(s, n, err);
    if (st || (st = catch_up(s, err)))
        return st;
    do {
        if ((st = find_room(s, err)))
            break;
        const uint32_t some = n < room(s) ? n : (uint32_t)room(s), rest = n - some, out = n_out > rest ? n_out - rest : 0;
        if ((st = forward(s, ids, some, out, logits, err)))
            break;
        logits = logits ? logits + (size_t)out * n_vocab(s) : NULL;
        ids += some;
        n = rest;
        n_out -= out;
    } while (n);
    return st;
}

/* ---- past the context ---- */

kv_status rt_session_endless(rt_session *s, uint32_t keep, uint32_t n, kv_err *err) {
    const kv_cache *c = rt_ctx_cache(s->ctx);
    const uint32_t step = kv_shift_step(c), steps = n ? n / step + (n % step > 0) : rt_ctx_n_ctx(s->ctx) / 8 / step;
    const uint32_t gone = (steps ? steps : 1) * step;
    keep = kv_shift_keep(c, keep);
    kv_status st = rt_ctx_shifts(s->ctx, keep, gone, err);
    if (st)
        return st;
    s->endless = true;
    s->keep = keep;
    s->gone = gone;
    return KV_OK;
}

uint64_t rt_session_forgotten(const rt_session *s) {
    return s->forgotten;
}

uint32_t rt_session_forgets(const rt_session *s, uint32_t *from) {
    *from = s->keep;
    return s->gone;
}

/* ---- ways back ---- */

uint32_t rt_session_go_back(rt_session *s, uint32_t n) {
    s->n_guess = 0;
    rewind_ctx(s, n);
    s->forgotten = n > s->keep ? s->forgotten : 0;
    s->fresh = s->fresh && s->n == n && rt_ctx_len(s->ctx) == n;
    s->n = n;
    const float *there = s->fresh || rt_ctx_len(s->ctx) < n ? NULL : rt_seq_checkpoint_logits(rt_ctx_seq(s->ctx));
    if (there) {
        memcpy(s->logits, there, n_vocab(s) * sizeof *there);
        s->fresh = true;
    }
    rt_session_give_back(s);
    return rt_ctx_len(s->ctx);
}

kv_status rt_session_truncate(rt_session *s, uint32_t n, kv_err *err) {
    kv_status st = n < rt_ctx_len(s->ctx) ? kv_cache_truncate(rt_ctx_cache(s->ctx), n, err) : KV_OK;
    if (!st)
        rt_session_go_back(s, n); /* which is where it is now */
    return st;
}

kv_status rt_session_prompt(rt_session *s, const int32_t *ids, size_t n, uint32_t *reused, kv_err *err) {
    uint32_t same = 0;
    while (same < n && same < s->n && s->ids[same] == ids[same])
        same++;
    *reused = rt_session_go_back(s, same);
    if (same && same == n && !s->fresh) /* for its logits */
        *reused = rt_session_go_back(s, --same);
    return rt_session_add(s, ids + same, n - same, err);
}

kv_status rt_session_checkpoint(rt_session *s, kv_err *err) {
    rt_session_leave_guesses(s);
    kv_status st = s->n ? rt_session_read(s, NULL, NULL, err) : KV_OK;
    return st || !s->n ? st : rt_seq_checkpoint(rt_ctx_seq(s->ctx), s->logits, err); /* one becomes empty without help */
}

/* ---- answers ---- */

kv_status rt_session_say(rt_session *s, int32_t id, const char **text, size_t *len, kv_err *err) {
    size_t n;
    const char *piece = thought_piece(rt_model_tok(s->m), id, &n);
    kv_status st = make_room(s, 1, err);
    if (st || (st = tok_writer_push(&s->text, piece, n, text, len, err)))
        return st;
    if (!s->fresh || s->n_right >= s->n_guess || s->guess[s->n_right] != id)
        return rt_session_add(s, &id, 1, err);
    if ((st = add(s, &id, 1, err)))
        return st;
    s->n_right++; /* it was read already */
    memcpy(s->logits, s->rows + (size_t)s->n_right * n_vocab(s), n_vocab(s) * sizeof *s->logits);
    s->fresh = true;
    return KV_OK;
}

kv_status rt_session_said(rt_session *s, const char **text, size_t *len, kv_err *err) {
    return tok_writer_end(&s->text, text, len, err);
}

/* ---- many at once ---- */

struct rt_pool {
    const rt_model *m;
    rt_work *work;
    uint32_t n_batch;
    rt_row *rows;  /* (n_batch) */
    float *logits; /* of the rows that want some; grows */
    size_t n_logits;
    float *states; /* (n_batch, n_embd), once they were to be kept */
};

kv_status rt_pool_new(const rt_model *m, uint32_t n_batch, rt_pool **out, kv_err *err) {
    rt_pool *p = calloc(1, sizeof *p);
    kv_status st;
    if (!p)
        return kv_fail(err, KV_ENOMEM, "out of memory for a pool");
    p->m = m;
    p->n_batch = n_batch ? n_batch : RT_BATCH;
    if ((st = rt_work_new(m, p->n_batch, &p->work, err)))
        goto done;
    if (!(p->rows = calloc(p->n_batch, sizeof *p->rows))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for steps of %u tokens", p->n_batch);
        goto done;
    }
    *out = p;
    p = NULL;
done:
    rt_pool_free(p);
    return st;
}

void rt_pool_free(rt_pool *p) {
    if (!p)
        return;
    rt_work_free(p->work);
    free(p->rows);
    free(p->logits);
    free(p->states);
    free(p);
}

kv_status rt_pool_keep_states(rt_pool *p, bool keep, kv_err *err) {
    const size_t floats = (size_t)p->n_batch * rt_model_hparams(p->m)->n_embd;
    if (keep && !p->states && !(p->states = malloc(floats * sizeof *p->states)))
        return kv_fail(err, KV_ENOMEM, "out of memory for the states of %u tokens", p->n_batch);
    rt_work_set_states(p->work, keep ? p->states : NULL);
    return KV_OK;
}

const float *rt_pool_states(const rt_pool *p) {
    return p->states;
}

uint32_t rt_pool_n_batch(const rt_pool *p) {
    return p->n_batch;
}

size_t rt_pool_bytes(const rt_pool *p) {
    const rt_hparams *hp = rt_model_hparams(p->m);
    const size_t states = p->states ? (size_t)p->n_batch * hp->n_embd : 0;
    return rt_work_bytes(p->work) + p->n_batch * sizeof *p->rows + (p->n_logits + states) * sizeof(float);
}

kv_status rt_session_new_in(rt_pool *p, const rt_ctx_cfg *cfg, rt_session **out, kv_err *err) {
    rt_ctx *ctx;
    kv_status st = rt_ctx_new_in(p->work, cfg, &ctx, err);
    return st ? st : new_session(p->m, cfg, ctx, out, err);
}

static bool is_last(const rt_pool_row *rows, uint32_t n, uint32_t i) {
    return i + 1 == n || rows[i + 1].s != rows[i].s;
}

/* Everything that can go wrong but the step itself; *wanted: rows whose logits are. */
static kv_status prepare(rt_pool *p, const rt_pool_row *rows, uint32_t n, uint32_t *wanted, kv_err *err) {
    kv_status st = KV_OK;
    *wanted = 0;
    for (uint32_t i = 0; i < n; i++) {
        const bool last = is_last(rows, n, i);
        p->rows[i] = (rt_row){rt_ctx_seq(rows[i].s->ctx), rows[i].id, last && rows[i].logits};
        *wanted += p->rows[i].logits;
        if (last &&
            ((st = make_room(rows[i].s, n, err)) || (st = catch_up(rows[i].s, err)) || (st = find_room(rows[i].s, err))))
            return st;
    }
    const size_t floats = (size_t)*wanted * rt_model_hparams(p->m)->n_vocab;
    if (floats <= p->n_logits)
        return KV_OK;
    free(p->logits);
    p->logits = malloc(floats * sizeof *p->logits);
    p->n_logits = p->logits ? floats : 0;
    return p->logits ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the logits of %u sessions", *wanted);
}

kv_status rt_pool_step(rt_pool *p, const rt_pool_row *rows, uint32_t n, kv_err *err) {
    uint32_t wanted;
    if (n < 1 || n > p->n_batch)
        return kv_fail(err, KV_EINVAL, "a step of %u rows: 1..%u are possible", n, p->n_batch);
    kv_status st = prepare(p, rows, n, &wanted, err);
    if (st || (st = rt_step(p->work, p->rows, n, p->logits, err)))
        return st;
    const float *next = p->logits;
    for (uint32_t i = 0; i < n; i++) {
        rt_session *s = rows[i].s;
        s->ids[s->n++] = rows[i].id;
        s->fresh = p->rows[i].logits;
        if (!s->fresh)
            continue;
        memcpy(s->logits, next, n_vocab(s) * sizeof *next);
        next += n_vocab(s);
    }
    return KV_OK;
}
