/* Budgets of heads: long texts in which passages recur, and what heads lose on them that read less.
 *
 * Most heads read what is near, a few fetch what is far, and these only show where there is something to fetch. So two thirds
 * of a text are passages in their order, and the last third repeats some of them in another order, every second one in part
 * only.
 */
#include "calibrate/calibrate_budget.h"

#include "backward/backward.h"
#include "base/splitmix64.h"

#include <stdlib.h>
#include <string.h>

enum {
    PASSAGE_MOST = 200, /* tokens; and at most a 16th of the text */
    PASSAGES = 16,
    PASSAGE_LEAST = 5, /* of that, a fifth at least */
    PART_LEAST = 16
};

/* ---- texts ---- */

/* The calibration text as one stream: without the BOS that chunks may begin with. Where it ends it starts again. */
typedef struct stream {
    const calibrate_text *text;
    const tok *t;
    uint32_t skip;      /* of every chunk */
    size_t least, most; /* tokens of a passage: up to the end of a line */
} stream;

static size_t stream_len(const stream *s) {
    return (size_t)s->text->n_fit * (s->text->ctx - s->skip);
}

static int32_t stream_at(const stream *s, size_t i) {
    const size_t useful = s->text->ctx - s->skip;
    i %= stream_len(s);
    return s->text->fit[i / useful * s->text->ctx + s->skip + i % useful];
}

static bool ends_line(const tok *t, int32_t id) {
    size_t len;
    const char *piece = tok_piece(t, id, false, &len);
    return memchr(piece, '\n', len) != NULL;
}

/* Tokens of the passage that begins at i. */
static size_t passage_len(const stream *s, size_t i) {
    size_t n = s->least;
    while (n < s->most && !ends_line(s->t, stream_at(s, i + n - 1)))
        n++;
    return n;
}

typedef struct writer {
    int32_t *to;
    size_t n, room;
} writer;

static void put(writer *w, const stream *s, size_t from, size_t n) {
    for (size_t i = 0; i < n && w->n < w->room; i++)
        w->to[w->n++] = stream_at(s, from + i);
}

/* Passages from `from` on, up to two thirds; then again, as chance wants it. places: (room) scratch. */
static void write_recurring(writer *w, const stream *s, size_t from, uint64_t *seed, size_t *places) {
    size_t n_places = 0, left = 0;
    if (s->skip)
        w->to[w->n++] = tok_bos(s->t);
    while (w->n < w->room * 2 / 3) {
        places[n_places++] = from;
        const size_t n = passage_len(s, from);
        put(w, s, from, n);
        from += n;
    }
    while (w->n < w->room) {
        left = left ? left : n_places; /* all have been repeated: once more */
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): two thirds of the room took at least one place */
        const size_t pick = splitmix64(seed) % left, at = places[pick], n = passage_len(s, at);
        const bool whole = splitmix64(seed) % 2 || n <= PART_LEAST;
        const size_t part = whole ? n : PART_LEAST + splitmix64(seed) % (n - PART_LEAST);
        const bool end = splitmix64(seed) % 2;
        places[pick] = places[--left];
        places[left] = at;
        put(w, s, end ? at + n - part : at, part);
    }
}

static uint32_t long_ctx(const rt_model *m, const stream *s) {
    const size_t most = stream_len(s) * 3 / 2; /* two thirds of it without a repetition */
    const uint32_t n = rt_model_hparams(m)->n_ctx_train;
    const size_t ctx = n < CALIBRATE_LONG ? n : CALIBRATE_LONG;
    return (uint32_t)(ctx < most ? ctx : most);
}

kv_status calibrate_long_texts(const rt_model *m, const calibrate_text *text, uint64_t seed, calibrate_long *out, kv_err *err) {
    const tok *t = rt_model_tok(m);
    stream s = {text, t, tok_add_bos(t) && tok_bos(t) >= 0, 0, 0};
    *out = (calibrate_long){.n = CALIBRATE_LONG_TEXTS, .ctx = long_ctx(m, &s)};
    s.most = out->ctx / PASSAGES < PASSAGE_MOST ? out->ctx / PASSAGES + 1 : PASSAGE_MOST;
    s.least = (s.most + PASSAGE_LEAST - 1) / PASSAGE_LEAST;
    size_t *places = malloc((out->ctx + 1) * sizeof *places);
    out->ids = malloc((size_t)out->n * out->ctx * sizeof *out->ids);
    if (!places || !out->ids) {
        free(places);
        return kv_fail(err, KV_ENOMEM, "out of memory for texts of %u tokens", out->ctx);
    }
    for (uint32_t i = 0; i < out->n; i++) {
        writer w = {out->ids + (size_t)i * out->ctx, 0, out->ctx};
        const size_t from = i * stream_len(&s) / out->n;
        write_recurring(&w, &s, from, &seed, places);
    }
    free(places);
    return KV_OK;
}

void calibrate_long_free(calibrate_long *t) {
    free(t->ids);
    *t = (calibrate_long){0};
}

/* ---- losses ---- */

typedef struct taker {
    cal_losses *losses;
    uint32_t from;
} taker;

static void take(void *user, const rt_backward_view *v) {
    const taker *t = user;
    if (v->cut)
        cal_losses_add(t->losses, v->layer, v->n, t->from, v->cut);
}

kv_status calibrate_losses(const rt_model *m, const calibrate_cfg *cfg, const calibrate_long *texts, uint32_t i,
                           cal_losses *losses, calibrate_progress progress, kv_err *err) {
    taker t = {losses, texts->ctx / 2};
    kv_progress_part part = {progress.call, progress.user, (double)i / texts->n, (i + 1.0) / texts->n};
    const rt_backward_cfg how = {.seed = ~cfg->seed - i, /* not those of the chunks */
                                 .cuts = kv_cuts,
                                 .n_cut = KV_CUTS,
                                 .cut_sinks = cfg->sinks,
                                 .tap = take,
                                 .tap_user = &t,
                                 .progress = kv_progress_of_part,
                                 .progress_user = &part};
    return rt_backward(m, texts->ids + (size_t)i * texts->ctx, texts->ctx, &how, err);
}

double calibrate_share(kv_budget b, uint32_t ctx) {
    return b.tokens == 0 ? (double)b.share : b.tokens < ctx ? (double)b.tokens / ctx : 0.5;
}
