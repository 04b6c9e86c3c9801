/* What a context holds of a conversation, and what is to be fed so that it holds the next turn, too. */
#include "kvrun/conversation_internal.h"

#include "base/text.h"
#include "text/prompt.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BROKEN = 64 }; /* ids of an answer that may be left of it and be unlike those of its text */

uint64_t conversation_gone(const conversation *c) {
    uint32_t at_once;
    return c->before + gen_forgotten(c->g, &at_once);
}

/* ---- as text ---- */

kv_status conversation_render(const conversation *c, size_t upto, const char *question, tpl_text *out, kv_err *err) {
    chat_msg *msgs = calloc(2 * upto + 2, sizeof *msgs);
    size_t n = 0;
    if (!msgs)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu turns", upto);
    if (c->chat.system)
        msgs[n++] = (chat_msg){"system", c->chat.system};
    for (size_t i = 0; i < upto; i++) {
        msgs[n++] = (chat_msg){"user", c->chat.turns[i].question};
        msgs[n++] = (chat_msg){"assistant", c->chat.turns[i].answer};
    }
    if (question)
        msgs[n++] = (chat_msg){"user", question};
    kv_status st = chat_render(c->format, msgs, n, true, out, err);
    free(msgs);
    return st;
}

/* Keep the first len bytes. */
static void cut_text(tpl_text *text, size_t len) {
    size_t at = 0, n = 0;
    while (n < text->n_spans && at + text->span[n].len < len)
        at += text->span[n++].len;
    if (n < text->n_spans)
        text->span[n++].len = len - at;
    text->n_spans = n;
    text->len = len;
    text->s[len] = '\0';
}

static kv_status render_asking(const conversation *c, const char *asked, tpl_text *out, kv_err *err) {
    char *question = NULL;
    if (asprintf(&question, "%s%s", c->chat.ahead, asked) < 0)
        return kv_fail(err, KV_ENOMEM, "out of memory for a document");
    kv_status st = conversation_render(c, c->chat.n, question, out, err);
    free(question);
    return st;
}

/* Templates may do anything to what a message says, but two messages are alike as far as they say the same. */
kv_status conversation_render_ahead(const conversation *c, tpl_text *out, kv_err *err) {
    tpl_text other = {0};
    size_t same = 0;
    kv_status st = render_asking(c, "a", out, err);
    if (st || (st = render_asking(c, "b", &other, err)))
        goto done;
    while (same < out->len && same < other.len && out->s[same] == other.s[same])
        same++;
    cut_text(out, same);
done:
    tpl_text_free(&other);
    if (st)
        tpl_text_free(out);
    return st;
}

static bool goes_on(const tpl_text *text, size_t at, const char *with, size_t len) {
    return len <= text->len - at && !memcmp(text->s + at, with, len);
}

/* Where `text` goes on after what the context holds: the last rendering, then the last answer (templates may trim that).
 * 0: it does not begin so; then what both have in common is found by their tokens. */
static size_t after_held(const conversation *c, const tpl_text *text) {
    const size_t sent = c->sent.len;
    if (c->held == HELD_UNKNOWN || !sent || sent > text->len || memcmp(text->s, c->sent.s, sent))
        return 0;
    if (c->held == HELD_AHEAD)
        return sent;
    const char *said = c->chat.turns[c->chat.n - 1].answer;
    size_t len = strlen(said);
    if (goes_on(text, sent, said, len))
        return sent + len;
    while (len && isspace((unsigned char)*said)) {
        said++;
        len--;
    }
    while (len && isspace((unsigned char)said[len - 1]))
        len--;
    return goes_on(text, sent, said, len) ? sent + len : 0;
}

/* ---- as ids ---- */

typedef struct id_list {
    int32_t *v;
    size_t n;
} id_list;

/* more: its ids move. */
static kv_status join(id_list *to, int32_t *more, size_t n, kv_err *err) {
    int32_t *grown = realloc(to->v, (to->n + n + 1) * sizeof *grown);
    if (grown) {
        to->v = grown;
        if (n)
            memcpy(grown + to->n, more, n * sizeof *more);
        to->n += n;
    }
    free(more);
    return grown ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", to->n + n);
}

/* The ids of a text from a byte on; a document at its end has ids of its own, as kvrun read has it. */
static kv_status encode(const conversation *c, const tpl_text *text, size_t from, size_t document, id_list *out, kv_err *err) {
    const unsigned flags = from ? 0 : TOK_BOS;
    int32_t *ids = NULL;
    size_t n = 0;
    if (document > text->len - from)
        document = 0;
    if (!document) {
        kv_status st = tok_encode_chat(c->tok, text, from, flags, &ids, &n, err);
        return st ? st : join(out, ids, n, err);
    }
    tpl_text first = {.s = text_copy(text->s, text->len), .len = text->len, .n_spans = text->n_spans};
    kv_status st = KV_OK;
    first.span = malloc((text->n_spans + 1) * sizeof *first.span);
    if (!first.s || !first.span)
        st = kv_fail(err, KV_ENOMEM, "out of memory for a document");
    if (st)
        goto done;
    memcpy(first.span, text->span, text->n_spans * sizeof *first.span);
    cut_text(&first, text->len - document);
    if ((st = tok_encode_chat(c->tok, &first, from, flags, &ids, &n, err)) || (st = join(out, ids, n, err)) ||
        (st = tok_encode_open(c->tok, text->s + text->len - document, document, 0, &ids, &n, err)))
        goto done;
    st = join(out, ids, n, err);
done:
    tpl_text_free(&first);
    return st;
}

/* How many leading ids do not depend on what the user says: the system prompt, kept when the context shifts. */
static kv_status count_kept(const conversation *c, const id_list *ids, size_t *keep, kv_err *err) {
    tpl_text text = {0};
    id_list other = {0};
    size_t same = 0;
    kv_status st = conversation_render(c, 0, "", &text, err);
    if (st || (st = encode(c, &text, 0, 0, &other, err)))
        goto done;
    while (same < ids->n && same < other.n && ids->v[same] == other.v[same])
        same++;
    *keep = same;
done:
    tpl_text_free(&text);
    free(other.v);
    return st;
}

/* Where what the context holds behind `keep` goes on in a rendering of all turns: its ids from `to` on are those of the
 * rendering from `from` on. The first ones may be in the middle of an answer, which is not always made of the tokens of its
 * text; so it is where most is the same. */
typedef struct junction {
    size_t to, from;
} junction;

static junction find_junction(const conversation *c, const id_list *ids, size_t keep, size_t skip) {
    const int32_t *is = gen_ids(c->g);
    const size_t n_held = gen_len(c->g);
    junction best = {keep, keep + skip < ids->n ? keep + skip : keep};
    size_t most = 1;
    for (size_t to = keep; to < n_held && to < keep + MOST_BROKEN; to++)
        for (size_t from = keep; from < ids->n; from++) {
            size_t same = 0;
            while (to + same < n_held && from + same < ids->n && is[to + same] == ids->v[from + same])
                same++;
            if (same >= most) {
                most = same;
                best = (junction){to, from};
            }
        }
    return best;
}

/* All turns anew: what is the same as before stays read. What was forgotten stays so. */
static kv_status set_all(conversation *c, id_list *ids, kv_err *err) {
    const uint64_t was = conversation_gone(c);
    size_t keep;
    kv_status st = count_kept(c, ids, &keep, err);
    if (st)
        return st;
    if (was) {
        const junction j = find_junction(c, ids, keep, was > c->chat.removed ? (size_t)(was - c->chat.removed) : 0);
        if (j.from >= j.to) {
            memcpy(ids->v + keep, gen_ids(c->g) + keep, (j.to - keep) * sizeof *ids->v);
            memmove(ids->v + j.to, ids->v + j.from, (ids->n - j.from) * sizeof *ids->v);
            ids->n -= j.from - j.to;
        }
    }
    c->chat.keep = keep;
    if (!(st = gen_set_keep(c->g, keep, err)))
        st = gen_set(c->g, ids->v, ids->n, err);
    c->before += was - conversation_gone(c); /* a gen that begins anew counts anew */
    return st;
}

/* What it holds up to where the conversation stands. NULL: that is no longer there as it was. */
static const int32_t *held_ids(const conversation *c, size_t *n) {
    const uint64_t gone = conversation_gone(c);
    *n = 0;
    if (c->dropped != gen_dropped(c->g) || c->chat.at < gone + c->chat.keep || c->chat.at - gone > gen_len(c->g))
        return NULL;
    *n = (size_t)(c->chat.at - gone);
    return gen_ids(c->g);
}

kv_status conversation_feed(conversation *c, const tpl_text *text, size_t document, kv_err *err) {
    id_list all = {0};
    size_t n_held;
    const int32_t *is = held_ids(c, &n_held);
    const size_t from = is ? after_held(c, text) : 0;
    kv_status st = KV_OK;
    if (from) {
        int32_t *copy = malloc((n_held + 1) * sizeof *copy);
        if (!copy)
            return kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", n_held);
        memcpy(copy, is, n_held * sizeof *copy);
        st = join(&all, copy, n_held, err);
    }
    if (!st && !(st = encode(c, text, from, document, &all, err)))
        st = from ? gen_set(c->g, all.v, all.n, err) : set_all(c, &all, err);
    free(all.v);
    return st;
}

kv_status conversation_settle(conversation *c, kv_err *err) {
    const size_t n = c->chat.n;
    tpl_text text = {0}, sent = {0};
    kv_status st = KV_OK;
    if (c->held != HELD_UNKNOWN || !c->format || (!n && !c->chat.ahead))
        return KV_OK;
    if (c->chat.ahead) {
        if (!(st = conversation_render_ahead(c, &text, err)) && !(st = conversation_feed(c, &text, 0, err)))
            conversation_stands(c, &text, HELD_AHEAD);
        goto done;
    }
    const ctx_turn *last = &c->chat.turns[n - 1];
    if ((st = conversation_render(c, n - 1, last->question, &sent, err)) ||
        (st = conversation_render(c, n - 1, last->question, &text, err)) ||
        (st = tpl_text_add(&text, last->answer, strlen(last->answer), err)) ||
        (st = conversation_feed(c, &text, strlen(last->answer), err)))
        goto done;
    conversation_stands(c, &sent, HELD_ANSWER);
    c->chat.turns[n - 1].end = c->chat.at;
done:
    tpl_text_free(&text);
    tpl_text_free(&sent);
    return st;
}

/* ---- places ---- */

void conversation_stands(conversation *c, tpl_text *text, held_text held) {
    tpl_text_free(&c->sent);
    c->sent = *text;
    *text = (tpl_text){0};
    c->held = held;
    c->chat.at = gen_len(c->g) + conversation_gone(c);
    if (c->dropped == gen_dropped(c->g))
        return;
    for (size_t i = 0; i + (held == HELD_ANSWER) < c->chat.n; i++) /* they ended where nothing of it is now */
        c->chat.turns[i].end = c->chat.turns[i].ahead_end = 0;
    c->dropped = gen_dropped(c->g);
}

void conversation_find_place(conversation *c, uint64_t at) {
    const size_t n = c->chat.n;
    tpl_text text = {0};
    tpl_text_free(&c->sent);
    c->held = HELD_UNKNOWN;
    c->chat.at = c->chat.ahead ? at : n ? c->chat.turns[n - 1].end : 0;
    if (!c->format || c->chat.at < conversation_gone(c) + c->chat.keep || (!n && !c->chat.ahead) || !c->chat.at)
        return;
    kv_status st = c->chat.ahead ? conversation_render_ahead(c, &text, NULL)
                                 : conversation_render(c, n - 1, c->chat.turns[n - 1].question, &text, NULL);
    if (st)
        return;
    c->sent = text;
    c->held = c->chat.ahead ? HELD_AHEAD : HELD_ANSWER;
}

static void free_turn(ctx_turn *t) {
    free(t->question);
    free(t->answer);
}

kv_status conversation_remove_turns(conversation *c, kv_err *err) {
    ctx_chat *chat = &c->chat;
    size_t turns = 0;
    tpl_text rest = {0};
    while (turns + 1 < chat->n && chat->turns[turns].end <= chat->keep + conversation_gone(c))
        turns++;
    if (!turns || c->held != HELD_ANSWER)
        return KV_OK;
    ctx_turn *all = chat->turns;
    chat->turns += turns; /* up to the last question */
    kv_status st = conversation_render(c, chat->n - turns - 1, all[chat->n - 1].question, &rest, err);
    chat->turns = all;
    if (st)
        return st;
    chat->removed = all[turns - 1].end - chat->keep;
    for (size_t i = 0; i < turns; i++)
        free_turn(&all[i]);
    memmove(all, all + turns, (chat->n - turns) * sizeof *all);
    chat->n -= turns;
    chat->n_removed += turns;
    tpl_text_free(&c->sent);
    c->sent = rest;
    return KV_OK;
}
