/* Reading once, asking often: questions are sequences that share what was read, and go through the model side by side. */
#include "measure/ask.h"

#include "eval/eval.h"

#include <stdlib.h>
#include <string.h>

enum { LANES = 8, OUTS = 2 * LANES /* logits of a step */, LONGEST_CHARACTER = 4 };

/* The text of an answer as it comes. */
typedef struct reply {
    char *text; /* ASK_ANSWER bytes */
    size_t len;
    tok_stream stream;
} reply;

/* A question under way. First its tail is fed, then the answer. */
typedef struct lane {
    rt_seq *seq;       /* made when first needed */
    ask_turn *turn;    /* NULL: idle */
    size_t fed;        /* tokens of tail and answer */
    uint32_t in, outs; /* of this step: rows, and of how many of them logits are wanted */
    reply r;
    int32_t next; /* token of the answer */
} lane;

struct asker {
    const rt_model *m;
    rt_work *work;
    rt_seq *seen;
    lane lanes[LANES];
    ask_cfg cfg;
    uint32_t n_vocab;
    rt_row *rows;  /* (cfg.ctx.n_batch) */
    float *logits; /* (OUTS, n_vocab) */
};

kv_status asker_new(const rt_model *m, const ask_cfg *cfg, asker **out, kv_err *err) {
    asker *a = calloc(1, sizeof *a);
    if (!a)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    a->m = m;
    a->cfg = *cfg;
    a->n_vocab = rt_model_hparams(m)->n_vocab;
    const uint32_t wanted = cfg->ctx.n_batch ? cfg->ctx.n_batch : RT_BATCH;
    const uint32_t batch = cfg->ctx.n_ctx && cfg->ctx.n_ctx < wanted ? cfg->ctx.n_ctx : wanted;
    a->cfg.ctx.n_batch = batch;
    kv_status st = rt_work_new(m, batch, &a->work, err);
    if (st || (st = rt_seq_new(a->work, &a->cfg.ctx, &a->seen, err)))
        goto done;
    a->rows = malloc(batch * sizeof *a->rows);
    a->logits = malloc((size_t)OUTS * a->n_vocab * sizeof *a->logits);
    if (!a->rows || !a->logits) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", a->n_vocab);
        goto done;
    }
    *out = a;
    a = NULL;
done:
    asker_free(a);
    return st;
}

void asker_free(asker *a) {
    if (!a)
        return;
    for (int i = 0; i < LANES; i++)
        rt_seq_free(a->lanes[i].seq);
    rt_seq_free(a->seen);
    rt_work_free(a->work);
    free(a->rows);
    free(a->logits);
    free(a);
}

kv_cache_info asker_cache_info(const asker *a) {
    return kv_cache_get_info(rt_seq_cache(a->seen));
}

static kv_status step(asker *a, uint32_t n, kv_err *err) {
    const kv_status st = rt_step(a->work, a->rows, n, a->logits, err);
    if (!st && a->cfg.progress && !a->cfg.progress(a->cfg.user, n))
        return kv_fail(err, KV_ECANCEL, "stopped while reading");
    return st;
}

kv_status asker_read(asker *a, const int32_t *ids, size_t n, kv_err *err) {
    const uint32_t batch = a->cfg.ctx.n_batch;
    rt_seq_clear(a->seen);
    for (size_t at = 0; at < n;) {
        const uint32_t more = n - at < batch ? (uint32_t)(n - at) : batch;
        for (uint32_t i = 0; i < more; i++)
            a->rows[i] = (rt_row){.seq = a->seen, .token = ids[at + i]};
        const kv_status st = step(a, more, err);
        if (st)
            return st;
        at += more;
    }
    return rt_seq_checkpoint(a->seen, NULL, err);
}

/* ---- answers ---- */

static int32_t likeliest(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return (int32_t)best;
}

/* Add the bytes of a token, as whole characters; n 0: those that are still held back. False: the answer ends here, at its
 * line's end or because it is full. */
static bool add(reply *r, const char *piece, size_t n) {
    static const char blank[] = " \t\r\n";
    char whole[3 * ASK_ANSWER + 4];
    if (n > ASK_ANSWER)
        return false;
    n = tok_stream_push(&r->stream, piece, n, whole);
    for (size_t i = 0; i < n; i++) {
        if (!r->len && strchr(blank, whole[i]))
            continue;
        if (whole[i] == '\n')
            return false;
        const unsigned char b = (unsigned char)whole[i];
        const bool begins = (b & 0xC0) != 0x80, c1 = b == 0xC2 && (unsigned char)whole[i + 1] < 0xA0;
        if (r->len + (begins ? LONGEST_CHARACTER : 1) >= ASK_ANSWER)
            return false;
        r->text[r->len++] = b < ' ' || b == 0x7f || c1 ? ' ' : whole[i];
        i += c1; /* control characters of two bytes */
    }
    return true;
}

/* The log-probability of a token. */
static double logprob(const float *x, size_t n, int32_t id) {
    return (double)x[id] - eval_log_sum_exp(x, n);
}

/* No more of this answer; cut: what is held back of a character does not belong to it. */
static void finish(lane *l, bool cut) {
    char *answer = l->turn->answer;
    if (!cut)
        add(&l->r, "", 0);
    while (l->r.len && answer[l->r.len - 1] == ' ')
        l->r.len--;
    answer[l->r.len] = '\0';
    l->turn = NULL;
}

/* The next token of an answer, after `at` others. */
static void go_on(asker *a, lane *l, const float *logits, size_t at) {
    const tok *t = rt_model_tok(a->m);
    ask_reply *r = &l->turn->reply;
    size_t piece_len;
    l->next = likeliest(logits, a->n_vocab);
    if (r->n < ASK_REPLY) {
        r->ids[r->n++] = l->next;
        r->logprob += logprob(logits, a->n_vocab, l->next);
    }
    const char *piece = tok_piece(t, l->next, false, &piece_len);
    if (tok_is_eog(t, l->next))
        finish(l, false);
    else if (!add(&l->r, piece, piece_len))
        finish(l, true);
    else if (at + 1 == a->cfg.answer_tokens)
        finish(l, false);
}

/* One that was given elsewhere: its token at `at`. */
static void rate(asker *a, lane *l, const float *logits, size_t at) {
    const ask_reply *given = l->turn->given;
    l->turn->reply.logprob += logprob(logits, a->n_vocab, given->ids[at]);
    if (at + 1 == given->n)
        finish(l, true);
}

/* ---- questions side by side ---- */

static kv_status begin(asker *a, lane *l, ask_turn *turn, kv_err *err) {
    const uint32_t n = rt_seq_len(a->seen);
    uint32_t reached;
    kv_status st = l->seq ? KV_OK : rt_seq_new(a->work, &a->cfg.ctx, &l->seq, err);
    if (st || (st = rt_seq_share(l->seq, a->seen, n, &reached, err)))
        return st;
    if (reached != n)
        return kv_fail(err, KV_EINVAL, "a question would begin after %u of %u tokens", reached, n);
    *l = (lane){.seq = l->seq, .turn = turn, .r.text = turn->answer};
    turn->reply = (ask_reply){0};
    if (turn->given) {
        turn->reply = *turn->given;
        turn->reply.logprob = 0;
    }
    return KV_OK;
}

/* What of a lane goes into a step that has `used` rows and `outs` logits already. */
static void fill(asker *a, lane *l, uint32_t used, uint32_t outs) {
    const ask_ids *tail = l->turn->tail;
    const ask_reply *given = l->turn->given;
    const size_t upto = given ? tail->n + given->n - 1 : l->fed < tail->n ? tail->n : l->fed + 1;
    l->in = l->outs = 0;
    for (size_t at = l->fed; at < upto && used + l->in < a->cfg.ctx.n_batch; at++) {
        const bool wanted = at + 1 >= tail->n;
        if (wanted && outs + l->outs == OUTS)
            return;
        a->rows[used + l->in++] = (rt_row){l->seq,
                                           at < tail->n ? tail->v[at]
                                           : given      ? given->ids[at - tail->n]
                                                        : l->next,
                                           wanted};
        l->outs += wanted;
    }
}

static void take(asker *a, lane *l, const float *logits) {
    const size_t first = l->fed + l->in - l->outs + 1 - l->turn->tail->n; /* token of the answer; where there are outs */
    l->fed += l->in;
    for (uint32_t i = 0; i < l->outs; i++, logits += a->n_vocab)
        if (l->turn->given)
            rate(a, l, logits, first + i);
        else
            go_on(a, l, logits, first + i);
    if (!l->turn)
        rt_seq_clear(l->seq);
}

/* One step of all lanes. */
static kv_status step_lanes(asker *a, kv_err *err) {
    uint32_t rows = 0, outs = 0;
    for (lane *l = a->lanes; l < a->lanes + LANES; l++)
        if (l->turn) {
            fill(a, l, rows, outs);
            rows += l->in;
            outs += l->outs;
        }
    const kv_status st = step(a, rows, err);
    outs = 0;
    for (lane *l = a->lanes; l < a->lanes + LANES && !st; l++)
        if (l->turn) {
            const float *logits = a->logits + (size_t)outs * a->n_vocab;
            outs += l->outs;
            take(a, l, logits);
        }
    return st;
}

kv_status asker_ask(asker *a, ask_turn *turns, size_t n, kv_err *err) {
    kv_status st = KV_OK;
    for (size_t begun = 0, open = 1; open && !st;) {
        open = 0;
        for (lane *l = a->lanes; l < a->lanes + LANES && !st; l++) {
            if (!l->turn && begun < n)
                st = begin(a, l, &turns[begun++], err);
            open += l->turn != NULL;
        }
        if (open && !st)
            st = step_lanes(a, err);
    }
    for (lane *l = a->lanes; l < a->lanes + LANES && st; l++) {
        l->turn = NULL;
        if (l->seq)
            rt_seq_clear(l->seq);
    }
    return st;
}
