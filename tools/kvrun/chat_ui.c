#include "kvrun/chat_ui.h"

#include "base/format.h"
#include "base/text.h"
#include "cli/cli.h"
#include "text/prompt.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BROKEN = 64 }; /* ids of an answer that may be left of it and be unlike those of its text */

struct conversation {
    const tok *tok;
    gen *g;
    const chat_format *format;
    const char *system;
    chat_msg *msgs; /* their text is ours, but for the system prompt's */
    size_t n, cap;
    tpl_text sent; /* the rendering of the last turn, which the context holds together with the answer to it; or nothing */
    /* Of what an endless gen forgot, in ids of all that was ever read, from `keep` on: */
    size_t keep;
    uint64_t before;  /* what the gen no longer counts, */
    uint64_t removed; /* and what is not in msgs any more: so many turns */
    size_t n_removed;
    uint64_t *ends; /* where each turn of msgs ends */
    size_t n_turns;
    uint64_t told; /* how much of it was said on stderr */
};

/* All that was forgotten. */
static uint64_t gone(const conversation *c) {
    uint32_t at_once;
    return c->before + gen_forgotten(c->g, &at_once);
}

/* Text that grows: what an answer streams into, besides the terminal. */
typedef struct answer {
    FILE *to;
    char *text;
    size_t len, cap;
    bool failed;
} answer;

kv_status conversation_new(const rt_model *m, gen *g, const chat_format *format, const char *system, conversation **out,
                           kv_err *err) {
    conversation *c = calloc(1, sizeof *c);
    if (!c)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    *c = (conversation){.tok = rt_model_tok(m), .g = g, .format = format, .system = system};
    *out = c;
    return KV_OK;
}

void conversation_reset(conversation *c) {
    for (size_t i = 0; i < c->n; i++)
        if (c->msgs[i].text != c->system)
            free((char *)c->msgs[i].text);
    c->n = c->n_turns = c->n_removed = c->keep = 0;
    c->before = c->removed = c->told = 0;
    tpl_text_free(&c->sent);
    gen_truncate(c->g, 0);
    gen_set_keep(c->g, 0, NULL); /* which was possible before */
}

void conversation_free(conversation *c) {
    if (!c)
        return;
    conversation_reset(c);
    free(c->msgs);
    free(c->ends);
    free(c);
}

/* text: moves, but for the system prompt. */
static kv_status push(conversation *c, const char *role, const char *text, kv_err *err) {
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 8;
        chat_msg *grown = realloc(c->msgs, cap * sizeof *grown);
        if (!grown) {
            if (text != c->system)
                free((char *)text);
            return kv_fail(err, KV_ENOMEM, "out of memory for %zu messages", cap);
        }
        c->msgs = grown;
        c->cap = cap;
        uint64_t *ends = realloc(c->ends, cap * sizeof *ends);
        if (!ends) {
            if (text != c->system)
                free((char *)text);
            return kv_fail(err, KV_ENOMEM, "out of memory for %zu messages", cap);
        }
        c->ends = ends;
    }
    c->msgs[c->n++] = (chat_msg){role, text};
    return KV_OK;
}

static void pop(conversation *c) {
    if (c->n)
        free((char *)c->msgs[--c->n].text);
}

static bool goes_on(const tpl_text *text, size_t at, const char *with, size_t len) {
    return len <= text->len - at && !memcmp(text->s + at, with, len);
}

/* Where `text` goes on after what the context holds: the last rendering, then the last answer (templates may trim that).
 * 0: it does not begin so; then what both have in common is found by their tokens. */
static size_t after_last_answer(const conversation *c, const tpl_text *text) {
    const size_t sent = c->sent.len;
    if (!sent || c->n < 2 || sent > text->len || memcmp(text->s, c->sent.s, sent))
        return 0;
    const char *said = c->msgs[c->n - 2].text;
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

/* How many leading ids do not depend on what the user says: the system prompt, kept when the context shifts. */
static kv_status count_kept(conversation *c, const int32_t *ids, size_t n, size_t *keep, kv_err *err) {
    tpl_text text = {0};
    int32_t *other = NULL;
    size_t n_other = 0, same = 0;
    chat_msg empty[2] = {c->msgs[0], {"user", ""}};
    if (!c->system)
        empty[0] = empty[1];
    kv_status st = chat_render(c->format, empty, c->system ? 2 : 1, true, &text, err);
    if (st || (st = tok_encode_chat(c->tok, &text, 0, TOK_BOS, &other, &n_other, err)))
        goto done;
    while (same < n && same < n_other && ids[same] == other[same])
        same++;
    *keep = same;
done:
    tpl_text_free(&text);
    free(other);
    return st;
}

/* Where what the context holds behind `keep` goes on in a rendering of all turns: its ids from `to` on are those of the
 * rendering from `from` on. The first ones may be in the middle of an answer, which is not always made of the tokens of its
 * text; so it is where most is the same. */
typedef struct junction {
    size_t to, from;
} junction;

static junction find_junction(const conversation *c, const int32_t *ids, size_t n, size_t keep, size_t skip) {
    const int32_t *held = gen_ids(c->g);
    const size_t n_held = gen_len(c->g);
    junction best = {keep, keep + skip < n ? keep + skip : keep};
    size_t most = 1;
    for (size_t to = keep; to < n_held && to < keep + MOST_BROKEN; to++)
        for (size_t from = keep; from < n; from++) {
            size_t same = 0;
            while (to + same < n_held && from + same < n && held[to + same] == ids[from + same])
                same++;
            if (same >= most) {
                most = same;
                best = (junction){to, from};
            }
        }
    return best;
}

/* All turns anew: what is the same as before stays read. What was forgotten stays so. */
static kv_status set_all(conversation *c, int32_t *ids, size_t n, kv_err *err) {
    const uint64_t was = gone(c);
    size_t keep;
    kv_status st = count_kept(c, ids, n, &keep, err);
    if (st)
        return st;
    if (was) {
        const junction j = find_junction(c, ids, n, keep, was > c->removed ? (size_t)(was - c->removed) : 0);
        if (j.from >= j.to) {
            memcpy(ids + keep, gen_ids(c->g) + keep, (j.to - keep) * sizeof *ids);
            memmove(ids + j.to, ids + j.from, (n - j.from) * sizeof *ids);
            n -= j.from - j.to;
        }
    }
    c->keep = keep;
    if (!(st = gen_set_keep(c->g, keep, err)))
        st = gen_set(c->g, ids, n, err);
    c->before += was - gone(c); /* a gen that begins anew counts anew */
    return st;
}

/* Hand the turn that was just pushed to the generator. */
static kv_status append_turn(conversation *c, kv_err *err) {
    tpl_text text = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    kv_status st = chat_render(c->format, c->msgs, c->n, true, &text, err);
    if (st)
        goto done;
    const size_t from = after_last_answer(c, &text);
    if ((st = tok_encode_chat(c->tok, &text, from, from ? 0 : TOK_BOS, &ids, &n, err)) ||
        (st = from ? gen_append(c->g, ids, n, err) : set_all(c, ids, n, err)))
        goto done;
    tpl_text_free(&c->sent);
    c->sent = text;
    text = (tpl_text){0};
done:
    tpl_text_free(&text);
    free(ids);
    return st;
}

/* ---- what is forgotten ---- */

/* Turns of which nothing is left in the context are no longer rendered, so that they need no memory and no time. */
static kv_status remove_turns(conversation *c, kv_err *err) {
    const size_t told = c->system != NULL;
    tpl_text rest = {0};
    size_t turns = 0;
    while (turns + 1 < c->n_turns && c->ends[turns] <= c->keep + gone(c))
        turns++;
    if (!turns || !c->sent.len)
        return KV_OK;
    chat_msg *first = c->msgs + told + 2 * turns; /* of those that stay; the system prompt comes before them once more */
    const chat_msg was = first[-1];
    if (told)
        first[-1] = c->msgs[0];
    kv_status st = chat_render(c->format, first - told, c->n - 2 * turns - 1, true, &rest, err); /* up to the last question */
    first[-1] = was;
    if (st)
        return st;
    for (size_t i = told; i < told + 2 * turns; i++)
        free((char *)c->msgs[i].text);
    memmove(c->msgs + told, first, (c->n - told - 2 * turns) * sizeof *c->msgs);
    c->n -= 2 * turns;
    c->removed = c->ends[turns - 1] - c->keep;
    memmove(c->ends, c->ends + turns, (c->n_turns - turns) * sizeof *c->ends);
    c->n_turns -= turns;
    c->n_removed += turns;
    tpl_text_free(&c->sent);
    c->sent = rest;
    return KV_OK;
}

void note_forgotten(const char *tool, conversation *c, bool every) {
    const uint64_t all = gone(c), more = all - c->told;
    uint32_t at_once;
    char turns[64] = "";
    size_t last = c->n_removed;
    for (size_t i = 0; i < c->n_turns && (i ? c->ends[i - 1] : c->keep) < c->keep + all; i++)
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

/* ---- a turn ---- */

static void collect(void *user, const char *text, size_t len) {
    answer *a = user;
    fwrite(text, 1, len, a->to);
    fflush(a->to);
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
static kv_status speak(conversation *c, int64_t n_max, FILE *to, gen_end *end, char **text, kv_err *err) {
    answer a = {.to = to};
    kv_status st = gen_answer(c->g, n_max, collect, &a, end, err);
    if (a.len && a.text[a.len - 1] != '\n')
        fputc('\n', to);
    if (!st && (fflush(to) || ferror(to)))
        st = kv_fail(err, KV_EIO, "cannot write the answer: %s", strerror(errno));
    if (!st && a.failed)
        st = kv_fail(err, KV_ENOMEM, "out of memory for the answer");
    if (!st && !a.text && !(a.text = strdup("")))
        st = kv_fail(err, KV_ENOMEM, "out of memory for the answer");
    *text = a.text;
    return st;
}

static kv_status plain_turn(conversation *c, const char *text, int64_t n_max, FILE *to, gen_end *end, kv_err *err) {
    int32_t *ids = NULL;
    size_t n;
    char *said = NULL;
    const uint64_t was = gone(c);
    kv_status st = tok_encode_open(c->tok, text, strlen(text), TOK_BOS | TOK_SPECIAL, &ids, &n, err);
    if (st || (st = gen_set(c->g, ids, n, err)))
        goto done;
    c->before += was - gone(c);
    c->keep = n && tok_add_bos(c->tok) ? 1 : 0;
    if ((st = gen_set_keep(c->g, c->keep, err)))
        goto done;
    st = speak(c, n_max, to, end, &said, err);
done:
    free(ids);
    free(said);
    return st;
}

kv_status conversation_turn(conversation *c, const char *text, int64_t n_max, FILE *to, gen_end *end, kv_err *err) {
    if (!c->format)
        return plain_turn(c, text, n_max, to, end, err);
    char *copy = strdup(text), *said = NULL;
    kv_status st = copy ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the prompt");
    if (!st && !c->n && c->system)
        st = push(c, "system", c->system, err);
    const uint64_t held = gen_len(c->g) + gone(c);
    if (st) {
        free(copy);
        return st;
    }
    if ((st = push(c, "user", copy, err)))
        return st;
    if ((st = append_turn(c, err)) || (st = speak(c, n_max, to, end, &said, err))) {
        /* Forget the turn. The rendering on record no longer fits, so the next turn starts from the first message. */
        free(said);
        pop(c);
        gen_truncate(c->g, held > gone(c) ? (size_t)(held - gone(c)) : 0);
        tpl_text_free(&c->sent);
        return st;
    }
    if ((st = push(c, "assistant", said, err)))
        return st;
    c->ends[c->n_turns++] = gen_len(c->g) + gone(c);
    return gone(c) > c->removed ? remove_turns(c, err) : KV_OK;
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

char *conversation_undo(conversation *c) {
    if (c->n < 2 || strcmp(c->msgs[c->n - 1].role, "assistant"))
        return NULL;
    pop(c);
    c->n_turns--;
    tpl_text_free(&c->sent); /* what is left is rendered anew, and compared with what was read */
    return (char *)c->msgs[--c->n].text;
}

/* ---- the loop ---- */

static void help(void) {
    fputs("  /retry    answer the last question once more\n"
          "  /undo     take the last question and its answer back\n"
          "  /reset    forget the conversation\n"
          "  /context  how full the context is\n"
          "  /exit     leave (so does Ctrl-D)\n"
          "  Ctrl-C stops an answer\n",
          stderr);
}

static void show_context(const char *tool, gen *g) {
    char now[24], f16[24];
    kv_cache_info info = kv_cache_get_info(rt_ctx_cache(gen_ctx(g)));
    cli_note(tool, "%zu of %u tokens used; the cache has %s (as f16: %s)", gen_len(g), rt_ctx_n_ctx(gen_ctx(g)),
             format_bytes((double)info.bytes, now), format_bytes((double)info.bytes_f16, f16));
    cli_note(tool, "places to go back to take %s", format_bytes((double)rt_seq_checkpoint_bytes(rt_ctx_seq(gen_ctx(g))), now));
    uint32_t at_once;
    const uint64_t forgotten = gen_forgotten(g, &at_once);
    if (forgotten)
        cli_note(tool, "%llu older tokens are forgotten", (unsigned long long)forgotten);
    if (info.most < rt_ctx_n_ctx(gen_ctx(g)))
        cli_note(tool, "%u tokens seen, %.0f kept by a KV head on average (at most %.0f)", rt_ctx_len(gen_ctx(g)), info.held,
                 info.most);
}

/* True: the line was a command. *again: what is to be asked once more; caller frees. */
static bool command(const char *tool, conversation *c, gen *g, const char *line, bool *leave, char **again) {
    if (line[0] != '/')
        return false;
    const bool undo = !strcmp(line, "/undo");
    if (undo || !strcmp(line, "/retry")) {
        *again = conversation_undo(c);
        if (!*again)
            cli_note(tool, "there is nothing to take back");
        if (undo) {
            free(*again);
            *again = NULL;
        }
        return true;
    }
    if (!strcmp(line, "/exit") || !strcmp(line, "/quit"))
        *leave = true;
    else if (!strcmp(line, "/reset"))
        conversation_reset(c);
    else if (!strcmp(line, "/context"))
        show_context(tool, g);
    else if (!strcmp(line, "/help"))
        help();
    else
        return false;
    return true;
}

/* A line of standard input as a text, without what ends it. */
static kv_status take_line(char *line, size_t len, unsigned number, kv_err *err) {
    char where[32];
    snprintf(where, sizeof where, "stdin, line %u", number);
    kv_status st = text_clean(where, line, &len, err);
    while (!st && len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        line[--len] = '\0';
    return st;
}

int chat_loop(const char *tool, conversation *c, gen *g, int64_t n_max, bool verbose) {
    const bool tty = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t cap = 0;
    unsigned number = 0;
    int code = CLI_OK;
    bool leave = false;
    if (tty)
        fputs("Type to talk; /help lists commands.\n", stderr);
    while (!leave) {
        if (tty)
            fputs("> ", stderr);
        ssize_t got = getline(&line, &cap, stdin);
        if (cli_interrupted())
            code = CLI_INTERRUPTED;
        if (got < 0 || code == CLI_INTERRUPTED)
            break;
        char *again = NULL;
        kv_err err = {0};
        kv_status st = take_line(line, (size_t)got, ++number, &err);
        if (!st && (!line[strspn(line, " \t")] || (tty && command(tool, c, g, line, &leave, &again) && !again)))
            continue;
        gen_end end;
        if (!st)
            st = conversation_turn(c, again ? again : line, n_max, stdout, &end, &err);
        free(again);
        if (st)
            code = cli_report(tool, &err);
        else
            note_empty_answer(tool, g, end);
        note_forgotten(tool, c, verbose);
        /* At a terminal Ctrl-C and errors only end the answer; a script must not go on as if nothing had happened. */
        if (cli_interrupted() && !tty)
            code = CLI_INTERRUPTED;
        if (!tty && code)
            break;
        code = CLI_OK;
        cli_clear_interrupt();
    }
    if (tty && !leave)
        fputc('\n', stderr);
    free(line);
    return code;
}
