/* What is fed: the turn around a document. */
#include "measure/ask.h"

#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
