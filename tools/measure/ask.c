/* Reading once, asking often. */
#include "measure/ask.h"

#include "eval/eval.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 512, LONGEST_CHARACTER = 4, RATED = 16 /* tokens of an answer at once */ };

/* Where the user's text goes in a rendered turn: a control character that no template holds. */
static const char place[] = "\x1a";
static const char plain_question[] = "Question: ", plain_answer[] = "\nAnswer:";
static const char intro[] = "Read the text below. A question about it follows after it.\n\n";
static const char intro_known[] = "Read the text below to answer this question: ";

void ask_ids_free(ask_ids *ids) {
    free(ids->v);
    *ids = (ask_ids){0};
}

static kv_status put(const tok *t, const char *text, size_t len, unsigned flags, ask_ids *ids, kv_err *err) {
    int32_t *more = NULL;
    size_t n = 0;
    kv_status st = tok_encode_open(t, text, len, flags, &more, &n, err);
    if (st)
        return st;
    int32_t *grown = realloc(ids->v, (ids->n + n + 1) * sizeof *grown);
    if (grown) {
        memcpy(grown + ids->n, more, n * sizeof *more);
        ids->v = grown;
        ids->n += n;
    } else
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", ids->n + n);
    free(more);
    return st;
}

/* ---- the frame ---- */

kv_status ask_frame_new(const rt_model *m, ask_frame *out, kv_err *err) {
    tpl_text text = {0};
    ask_frame f = {.t = rt_model_tok(m)};
    const chat_msg turn = {"user", place};
    *out = (ask_frame){0};
    kv_status st = chat_open(rt_model_gguf(m), f.t, NULL, &f.format, err);
    if (st && st != KV_ENOMEM) {
        f.format = NULL; /* tools say so: cli_note_plain */
        st = KV_OK;
    }
    if (st || (f.format && (st = chat_render(f.format, &turn, 1, true, &text, err))))
        goto done;
    const char *at = text.s ? strstr(text.s, place) : NULL;
    if (f.format && !at) {
        st = kv_fail(err, KV_EUNSUPP, "the chat format %s loses the text of a turn", chat_name(f.format));
        goto done;
    }
    f.name = f.format ? chat_name(f.format) : NULL;
    f.before = at ? strndup(text.s, (size_t)(at - text.s)) : strdup("");
    f.after = strdup(at ? at + strlen(place) : plain_answer);
    if (!f.before || !f.after) {
        st = kv_fail(err, KV_ENOMEM, "out of memory");
        goto done;
    }
    *out = f;
    f = (ask_frame){0};
done:
    tpl_text_free(&text);
    ask_frame_free(&f);
    return st;
}

void ask_frame_free(ask_frame *f) {
    free(f->before);
    free(f->after);
    chat_free(f->format);
    *f = (ask_frame){0};
}

kv_status ask_head(const ask_frame *f, const char *known, ask_ids *ids, kv_err *err) {
    const char *first = known ? intro_known : intro;
    kv_status st = put(f->t, f->before, strlen(f->before), TOK_BOS | TOK_SPECIAL, ids, err);
    if (!st)
        st = put(f->t, first, strlen(first), 0, ids, err);
    if (!st && known && !(st = put(f->t, known, strlen(known), 0, ids, err)))
        st = put(f->t, "\n\n", 2, 0, ids, err);
    return st;
}

kv_status ask_document(const ask_frame *f, const char *text, size_t len, ask_ids *ids, kv_err *err) {
    return put(f->t, text, len, f->parse_special ? TOK_SPECIAL : 0, ids, err);
}

kv_status ask_tail(const ask_frame *f, const char *question, const char *prime, ask_ids *ids, kv_err *err) {
    const size_t len = strlen(f->after);
    const bool apart = len && strchr(" \n", f->after[len - 1]);
    kv_status st = put(f->t, "\n\n", 2, 0, ids, err);
    if (!st && !f->format)
        st = put(f->t, plain_question, strlen(plain_question), 0, ids, err);
    if (!st && !(st = put(f->t, question, strlen(question), 0, ids, err)))
        st = put(f->t, f->after, len, TOK_SPECIAL, ids, err);
    if (!st && prime) {
        char *text = NULL;
        if (asprintf(&text, "%s%s", apart ? "" : " ", prime) < 0)
            return kv_fail(err, KV_ENOMEM, "out of memory");
        st = put(f->t, text, strlen(text), 0, ids, err);
        free(text);
    }
    return st;
}

/* ---- asking ---- */

struct asker {
    const rt_model *m;
    rt_ctx *seen, *asked;
    ask_cfg cfg;
    float *logits; /* (RATED, n_vocab) */
};

kv_status asker_new(const rt_model *m, const ask_cfg *cfg, asker **out, kv_err *err) {
    const uint32_t n_vocab = rt_model_hparams(m)->n_vocab;
    rt_ctx_cfg ctx = cfg->ctx;
    asker *a = calloc(1, sizeof *a);
    if (!a)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    a->m = m;
    a->cfg = *cfg;
    if (!ctx.n_batch)
        ctx.n_batch = ctx.n_ctx && ctx.n_ctx < BATCH ? ctx.n_ctx : BATCH;
    kv_status st = rt_ctx_new(m, &ctx, &a->seen, err);
    if (st || (st = rt_ctx_new(m, &ctx, &a->asked, err)))
        goto done;
    a->logits = malloc((size_t)RATED * n_vocab * sizeof *a->logits);
    if (!a->logits) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", n_vocab);
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
    rt_ctx_free(a->seen);
    rt_ctx_free(a->asked);
    free(a->logits);
    free(a);
}

kv_cache_info asker_cache_info(const asker *a) {
    return kv_cache_get_info(rt_ctx_cache(a->seen));
}

static kv_status feed(asker *a, rt_ctx *c, const int32_t *ids, size_t n, bool wanted, kv_err *err) {
    const uint32_t batch = rt_ctx_n_batch(c);
    for (size_t at = 0; at < n;) {
        const uint32_t step = n - at < batch ? (uint32_t)(n - at) : batch;
        kv_status st = rt_forward(c, ids + at, step, wanted && at + step == n, a->logits, err);
        if (st)
            return st;
        at += step;
        if (a->cfg.progress && !a->cfg.progress(a->cfg.user, step))
            return kv_fail(err, KV_ECANCEL, "stopped while reading");
    }
    return KV_OK;
}

kv_status asker_read(asker *a, const int32_t *ids, size_t n, kv_err *err) {
    rt_ctx_clear(a->seen);
    return feed(a, a->seen, ids, n, false, err);
}

static int32_t likeliest(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return (int32_t)best;
}

typedef struct reply {
    char *text; /* ASK_ANSWER bytes */
    size_t len;
    tok_stream stream;
} reply;

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

static void keep(ask_reply *r, const float *logits, size_t n_vocab, int32_t id) {
    if (!r || r->n == ASK_REPLY)
        return;
    r->ids[r->n++] = id;
    r->logprob += logprob(logits, n_vocab, id);
}

static kv_status begin(asker *a, const int32_t *ids, size_t n, kv_err *err) {
    const kv_status st = kv_cache_copy(rt_ctx_cache(a->asked), rt_ctx_cache(a->seen), err);
    return st ? st : feed(a, a->asked, ids, n, true, err);
}

kv_status asker_rate(asker *a, const int32_t *ids, size_t n, const ask_reply *given, double *sum, kv_err *err) {
    const size_t n_vocab = rt_model_hparams(a->m)->n_vocab;
    const uint32_t batch = rt_ctx_n_batch(a->asked), most = batch < RATED ? batch : RATED;
    kv_status st = begin(a, ids, n, err);
    *sum = st || !given->n ? 0 : logprob(a->logits, n_vocab, given->ids[0]);
    for (uint32_t at = 1; at < given->n && !st;) {
        const uint32_t step = given->n - at < most ? given->n - at : most;
        st = rt_forward(a->asked, given->ids + at - 1, step, step, a->logits, err);
        for (uint32_t i = 0; i < step && !st; i++)
            *sum += logprob(a->logits + i * n_vocab, n_vocab, given->ids[at + i]);
        at += step;
    }
    return st;
}

kv_status asker_ask(asker *a, const int32_t *ids, size_t n, char answer[ASK_ANSWER], ask_reply *kept, kv_err *err) {
    const tok *t = rt_model_tok(a->m);
    const uint32_t n_vocab = rt_model_hparams(a->m)->n_vocab;
    reply r = {.text = answer};
    bool open = true;
    kv_status st = begin(a, ids, n, err);
    if (kept)
        *kept = (ask_reply){0};
    for (uint32_t i = 0; i < a->cfg.answer_tokens && !st; i++) {
        const int32_t id = likeliest(a->logits, n_vocab);
        size_t piece_len;
        const char *piece = tok_piece(t, id, false, &piece_len);
        keep(kept, a->logits, n_vocab, id);
        if (tok_is_eog(t, id) || !(open = add(&r, piece, piece_len)))
            break;
        if (i + 1 < a->cfg.answer_tokens)
            st = feed(a, a->asked, &id, 1, true, err);
    }
    if (open)
        add(&r, "", 0);
    while (r.len && answer[r.len - 1] == ' ')
        r.len--;
    answer[r.len] = '\0';
    return st;
}
