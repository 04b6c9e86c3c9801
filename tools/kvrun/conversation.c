#include "kvrun/conversation_internal.h"

#include "cli/cli.h"
#include "kvrun/show_answer.h"
#include "session/store.h"
#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

/* What stands before a document, as in kvrun read: what that has kept can be used. Between documents, and before the question,
 * are empty lines. */
static const char intro[] = "Read the text below. A question about it follows after it.\n\n", apart[] = "\n\n";

kv_status conversation_new(const rt_model *m, gen *g, const chat_format *format, const char *system, conversation **out,
                           kv_err *err) {
    conversation *c = calloc(1, sizeof *c);
    char *copy = system ? strdup(system) : NULL;
    if (!c || (system && !copy)) {
        free(c);
        free(copy);
        return kv_fail(err, KV_ENOMEM, "out of memory");
    }
    *c = (conversation){.m = m, .tok = rt_model_tok(m), .g = g, .format = format, .chat = {.system = copy}};
    c->dropped = gen_dropped(g);
    *out = c;
    return KV_OK;
}

/* All turns; system stays. */
static void forget_all(conversation *c) {
    char *system = c->chat.system;
    c->chat.system = NULL;
    ctx_chat_free(&c->chat);
    c->chat.system = system;
    c->cap = 0;
    c->before = c->told = 0;
    c->held = HELD_UNKNOWN;
    c->dropped = gen_dropped(c->g);
    tpl_text_free(&c->sent);
}

void conversation_reset(conversation *c) {
    forget_all(c);
    gen_truncate(c->g, 0);
    gen_set_keep(c->g, 0, NULL); /* which was possible before */
}

void conversation_free(conversation *c) {
    if (!c)
        return;
    forget_all(c);
    free(c->chat.system);
    free(c);
}

size_t conversation_turns(const conversation *c) {
    return c->chat.n;
}

bool conversation_last(const conversation *c, const char **question, const char **answer) {
    if (!c->chat.n)
        return false;
    const ctx_turn *t = &c->chat.turns[c->chat.n - 1];
    *question = t->question + t->ahead;
    *answer = t->answer;
    return true;
}

const char *conversation_system(const conversation *c) {
    return c->chat.system;
}

kv_status conversation_set_system(conversation *c, const char *system, kv_err *err) {
    char *copy = system ? strdup(system) : NULL;
    if (!c->format) {
        free(copy);
        return kv_fail(err, KV_EINVAL, "without a chat format there is no place for a system prompt");
    }
    if (system && !copy)
        return kv_fail(err, KV_ENOMEM, "out of memory for a system prompt");
    free(c->chat.system);
    c->chat.system = copy;
    c->held = HELD_UNKNOWN;
    tpl_text_free(&c->sent);
    return KV_OK;
}

void note_forgotten(const char *tool, conversation *c, bool every) {
    const ctx_chat *chat = &c->chat;
    const uint64_t all = conversation_gone(c), more = all - c->told;
    uint32_t at_once;
    char turns[64] = "";
    size_t last = (size_t)chat->n_removed;
    for (size_t i = 0; i < chat->n && (i ? chat->turns[i - 1].end : chat->keep) < chat->keep + all; i++)
        last++;
    gen_forgotten(c->g, &at_once);
    if (!more || (c->told && !every))
        return;
    if (last)
        snprintf(turns, sizeof turns, last > 1 ? ", of turns 1 to %zu" : ", of turn %zu", last);
    if (c->told)
        cli_note(tool, "%llu more tokens are forgotten, the oldest: %llu in all%s", (unsigned long long)more,
                 (unsigned long long)all, turns);
    else
        cli_note(tool, "the context of %u tokens is full: the oldest %llu are forgotten%s; so it will go on, by %u at a time%s",
                 rt_ctx_n_ctx(gen_ctx(c->g)), (unsigned long long)all, turns, at_once, every ? "" : " (-v tells each time)");
    c->told = all;
}

void note_empty_answer(const char *tool, gen *g, gen_end end) {
    const gen_stats *s = gen_get_stats(g);
    if (s->last_visible || end == GEN_STOPPED || (end == GEN_LIMIT && !s->last_tokens))
        return;
    if (s->last_tokens)
        cli_note(tool, "the answer is empty: none of its %zu tokens shows any text", s->last_tokens);
    else
        cli_note(tool, "the answer is empty: the model ended it at once");
}

/* ---- a turn ---- */

/* Text that grows: what an answer streams into, besides where it is shown. */
typedef struct answer {
    gen_emit emit;
    void *user;
    char *text;
    size_t len, cap;
    bool failed;
} answer;

static void collect(void *user, const char *text, size_t len) {
    answer *a = user;
    a->emit(a->user, text, len);
    if (a->len + len + 1 > a->cap) {
        size_t cap = 2 * (a->len + len) + 256;
        char *grown = realloc(a->text, cap);
        if (!grown) {
            a->failed = true;
            return;
        }
        a->text = grown;
        a->cap = cap;
    }
    memcpy(a->text + a->len, text, len);
    a->len += len;
    a->text[a->len] = '\0';
}

/* gen_answer, with a newline at the end where the model wrote none. text: caller frees. */
static kv_status speak(conversation *c, int64_t n_max, gen_emit emit, void *user, gen_end *end, char **text, kv_err *err) {
    answer a = {.emit = emit, .user = user};
    kv_status st = gen_answer(c->g, n_max, collect, &a, end, err);
    if (a.len && a.text[a.len - 1] != '\n')
        emit(user, "\n", 1);
    if (!st && a.failed)
        st = kv_fail(err, KV_ENOMEM, "out of memory for the answer");
    if (!st && !a.text && !(a.text = strdup("")))
        st = kv_fail(err, KV_ENOMEM, "out of memory for the answer");
    *text = a.text;
    return st;
}

/* What is asked, with the documents that were read for it in front. Caller frees; NULL: no memory. */
static char *whole_question(const conversation *c, const char *text) {
    char *whole = NULL;
    if (!c->chat.ahead)
        return strdup(text);
    return asprintf(&whole, "%s%s%s", c->chat.ahead, apart, text) < 0 ? NULL : whole;
}

static kv_status plain_turn(conversation *c, const char *text, int64_t n_max, gen_emit emit, void *user, gen_end *end,
                            kv_err *err) {
    int32_t *ids = NULL;
    size_t n;
    char *said = NULL;
    const uint64_t was = conversation_gone(c);
    kv_status st = tok_encode_open(c->tok, text, strlen(text), TOK_BOS | TOK_SPECIAL, &ids, &n, err);
    if (st || (st = gen_set(c->g, ids, n, err)))
        goto done;
    c->before += was - conversation_gone(c);
    c->chat.keep = n && tok_add_bos(c->tok) ? 1 : 0;
    if ((st = gen_set_keep(c->g, (size_t)c->chat.keep, err)))
        goto done;
    st = speak(c, n_max, emit, user, end, &said, err);
done:
    free(ids);
    free(said);
    return st;
}

static kv_status make_room(conversation *c, kv_err *err) {
    if (c->chat.n < c->cap)
        return KV_OK;
    const size_t cap = c->cap ? 2 * c->cap : 8;
    ctx_turn *grown = realloc(c->chat.turns, cap * sizeof *grown);
    if (!grown)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu turns", cap);
    c->chat.turns = grown;
    c->cap = cap;
    return KV_OK;
}

/* What was to be fed could not be, or not be answered: the conversation stands where it stood. What was read in vain stays,
 * where somebody stopped it, and makes the next try short. */
static void stay(conversation *c, kv_status st) {
    const uint64_t gone = conversation_gone(c);
    if (c->dropped != gen_dropped(c->g)) {
        c->held = HELD_UNKNOWN;
        c->dropped = gen_dropped(c->g);
    }
    if (st == KV_ECANCEL)
        gen_truncate(c->g, rt_ctx_len(gen_ctx(c->g)));
    else if (c->held != HELD_UNKNOWN || !c->chat.n)
        gen_truncate(c->g, c->chat.at > gone ? (size_t)(c->chat.at - gone) : 0);
}

/* question, said: move. */
static kv_status add_turn(conversation *c, char *question, char *said, tpl_text *text, kv_err *err) {
    ctx_turn t = {.question = question, .answer = said};
    if (c->chat.ahead) {
        t.ahead = strlen(c->chat.ahead) + strlen(apart);
        t.ahead_end = c->held == HELD_AHEAD && c->dropped == gen_dropped(c->g) ? c->chat.at : 0;
        free(c->chat.ahead);
        c->chat.ahead = NULL;
    }
    c->chat.turns[c->chat.n++] = t;
    conversation_stands(c, text, HELD_ANSWER);
    c->chat.turns[c->chat.n - 1].end = c->chat.at;
    return conversation_gone(c) > c->chat.removed ? conversation_remove_turns(c, err) : KV_OK;
}

kv_status conversation_turn(conversation *c, const char *text, int64_t n_max, gen_emit emit, void *user, gen_end *end,
                            kv_err *err) {
    char *question = whole_question(c, text), *said = NULL;
    tpl_text now = {0};
    kv_status st = question ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the prompt");
    if (st)
        return st;
    if (!c->format) {
        st = plain_turn(c, question, n_max, emit, user, end, err);
        free(question);
        return st;
    }
    if ((st = make_room(c, err)) || (st = conversation_render(c, c->chat.n, question, &now, err)) ||
        (st = conversation_feed(c, &now, 0, err)) || (st = speak(c, n_max, emit, user, end, &said, err))) {
        stay(c, st);
        free(question);
        free(said);
    } else {
        st = add_turn(c, question, said, &now, err);
    }
    tpl_text_free(&now);
    return st;
}

kv_status conversation_say(conversation *c, const char *text, int64_t n_max, gen_end *end, kv_err *err) {
    const show_answer_cfg cfg = show_answer_for(stdout, c->format && chat_begins_thinking(c->format));
    show_answer *shown;
    kv_status st = show_answer_new(&cfg, &shown, err);
    if (st)
        return st;
    st = conversation_turn(c, text, n_max, show_answer_text, shown, end, err);
    show_answer_end(shown);
    show_answer_free(shown);
    if (!st && (fflush(stdout) || ferror(stdout)))
        st = kv_fail(err, KV_EIO, "cannot write the answer: %m");
    return st;
}

char *conversation_undo(conversation *c) {
    if (!c->chat.n)
        return NULL;
    ctx_turn *t = &c->chat.turns[--c->chat.n];
    char *question = t->ahead < strlen(t->question) ? strdup(t->question + t->ahead) : strdup("");
    free(t->answer);
    free(c->chat.ahead);
    c->chat.ahead = NULL;
    if (t->ahead > strlen(apart)) {
        c->chat.ahead = t->question;
        c->chat.ahead[t->ahead - strlen(apart)] = '\0';
    } else {
        free(t->question);
    }
    conversation_find_place(c, t->ahead_end);
    return question;
}

void conversation_mark(conversation *c) {
    if (c->held != HELD_UNKNOWN && c->chat.at - conversation_gone(c) == gen_len(c->g))
        rt_session_checkpoint(gen_session(c->g), NULL);
}

void conversation_tidy(conversation *c) {
    const uint64_t gone = conversation_gone(c);
    const uint32_t read = rt_ctx_len(gen_ctx(c->g));
    if (c->held != HELD_UNKNOWN && c->chat.at >= gone && c->dropped == gen_dropped(c->g))
        gen_truncate(c->g, (size_t)(c->chat.at - gone));
    else if (gen_len(c->g) > read + 1) /* the last of an answer is read when it is kept */
        gen_truncate(c->g, read);
}

/* ---- documents ---- */

/* ahead, with another document. *at: where that begins. Caller frees. */
static kv_status add_document(const conversation *c, const char *text, size_t len, char **out, kv_err *err) {
    const char *before = c->chat.ahead ? c->chat.ahead : intro, *between = c->chat.ahead ? apart : "";
    *out = NULL;
    if (len > INT32_MAX || asprintf(out, "%s%s%.*s", before, between, (int)len, text) < 0) {
        *out = NULL;
        return kv_fail(err, KV_ENOMEM, "out of memory for a document");
    }
    return KV_OK;
}

/* Without a chat format: the document stands by itself, as in kvrun read. */
static kv_status feed_plain(conversation *c, kv_err *err) {
    int32_t *ids = NULL;
    size_t n;
    kv_status st = tok_encode_open(c->tok, c->chat.ahead, strlen(c->chat.ahead), TOK_BOS | TOK_SPECIAL, &ids, &n, err);
    if (!st)
        st = gen_set(c->g, ids, n, err);
    free(ids);
    return st;
}

/* chat.ahead, whose last len bytes are new. */
static kv_status read_ahead(conversation *c, size_t len, kv_progress progress, void *user, conversation_read_result *result,
                            tpl_text *text, kv_err *err) {
    const uint64_t from = c->held != HELD_UNKNOWN ? c->chat.at : 0;
    kv_status st = KV_OK;
    if (!c->format)
        st = feed_plain(c, err);
    else if (!(st = conversation_render_ahead(c, text, err)))
        st = conversation_feed(c, text, len, err);
    if (st)
        return st;
    const size_t was = rt_ctx_len(gen_ctx(c->g)), end = gen_len(c->g);
    if ((st = gen_read(c->g, progress, user, err)))
        return st;
    const uint64_t all = end + conversation_gone(c);
    result->tokens = (uint32_t)(all > from ? all - from : all);
    result->read = (uint32_t)(end > was ? end - was : 0);
    return KV_OK;
}

kv_status conversation_read(conversation *c, const char *text, size_t len, const char *kept, kv_progress progress, void *user,
                            conversation_read_result *result, kv_err *err) {
    char *was = c->chat.ahead, *ahead;
    tpl_text sent = {0};
    kv_status st = add_document(c, text, len, &ahead, err);
    if (st)
        return st;
    if (kept && !gen_len(c->g) && rt_session_load(gen_session(c->g), kept, progress, user, NULL, err) == KV_ECANCEL) {
        free(ahead);
        return KV_ECANCEL;
    }
    c->chat.ahead = ahead;
    if ((st = read_ahead(c, len, progress, user, result, &sent, err))) {
        c->chat.ahead = was;
        free(ahead);
        tpl_text_free(&sent);
        stay(c, st);
        return st;
    }
    free(was);
    conversation_stands(c, &sent, c->format ? HELD_AHEAD : HELD_UNKNOWN);
    return KV_OK;
}

bool conversation_has_documents(const conversation *c) {
    return c->chat.ahead != NULL;
}

bool conversation_drop_documents(conversation *c) {
    const bool there = c->chat.ahead != NULL;
    free(c->chat.ahead);
    c->chat.ahead = NULL;
    if (there)
        conversation_find_place(c, 0);
    return there;
}
