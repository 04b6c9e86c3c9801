/* What can be done in a chat beside talking: one table, from which the help, the reading of lines and Tab come. */
#include "kvrun/repl_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kv_status do_help(repl *r, const char *arg, kv_err *err);

static kv_status do_undo(repl *r, const char *arg, kv_err *err) {
    (void)arg;
    if (conversation_drop_documents(r->cfg.c)) {
        cli_note(r->cfg.tool, "what was read for the next question is taken back");
        return KV_OK;
    }
    char *question = conversation_undo(r->cfg.c);
    if (!question)
        return kv_fail(err, KV_EINVAL, "there is nothing to take back");
    cli_note(r->cfg.tool, "taken back: %.*s", (int)strcspn(question, "\n"), question);
    free(question);
    return KV_OK;
}

static kv_status do_regen(repl *r, const char *arg, kv_err *err) {
    (void)arg;
    if (conversation_has_documents(r->cfg.c))
        return kv_fail(err, KV_EINVAL, "something was read since the last answer: ask about it, or /undo takes it back");
    r->again = conversation_undo(r->cfg.c);
    return r->again ? KV_OK : kv_fail(err, KV_EINVAL, "there is no answer to give once more");
}

static kv_status do_clear(repl *r, const char *arg, kv_err *err) {
    (void)arg, (void)err;
    conversation_reset(r->cfg.c);
    return KV_OK;
}

static kv_status do_system(repl *r, const char *arg, kv_err *err) {
    const char *is = conversation_system(r->cfg.c);
    if (!*arg) {
        if (is)
            cli_note(r->cfg.tool, "%s", is);
        else
            cli_note(r->cfg.tool, "there is no system prompt but what the model's template may have");
        return KV_OK;
    }
    kv_status st = conversation_set_system(r->cfg.c, strcmp(arg, "none") ? arg : NULL, err);
    if (!st && conversation_turns(r->cfg.c))
        cli_note(r->cfg.tool, "it stands before all that was said: the next question reads that again, %zu tokens",
                 gen_len(r->cfg.g));
    return st;
}

static kv_status do_exit(repl *r, const char *arg, kv_err *err) {
    (void)arg, (void)err;
    r->leave = true;
    return KV_OK;
}

static const repl_command commands[] = {
    {"/help", NULL, REPL_NOTHING, do_help, "this list"},
    {"/?", NULL, REPL_NOTHING, do_help, NULL},
    {"/save", "[FILE.kv]", REPL_KV, repl_save, "keep the chat and all that was read in a file"},
    {"/load", "FILE.kv", REPL_KV, repl_load, "go on with a chat from there, as if it had never stopped"},
    {"/read", "FILE", REPL_FILE, repl_read, "read a document, for the next question"},
    {"/docs", "[NAME]", REPL_DOCUMENT, repl_docs, "list the library of documents, or read one of it"},
    {"/undo", NULL, REPL_NOTHING, do_undo, "take back the last question and its answer, or what was read since"},
    {"/regen", NULL, REPL_NOTHING, do_regen, "answer the last question once more"},
    {"/retry", NULL, REPL_NOTHING, do_regen, NULL},
    {"/clear", NULL, REPL_NOTHING, do_clear, "forget all that was said, but the system prompt"},
    {"/reset", NULL, REPL_NOTHING, do_clear, NULL},
    {"/set", "NAME VALUE", REPL_SETTING, repl_set, "choose words otherwise: /set temp 0.2; default: as without it"},
    {"/show", NULL, REPL_NOTHING, repl_show, "what is set"},
    {"/system", "[TEXT]", REPL_TEXT, do_system, "another system prompt, or which it is; none: without"},
    {"/context", NULL, REPL_NOTHING, repl_context, "what the context holds, and what it costs"},
    {"/exit", NULL, REPL_NOTHING, do_exit, "leave"},
    {"/quit", NULL, REPL_NOTHING, do_exit, NULL},
    {"/bye", NULL, REPL_NOTHING, do_exit, NULL},
};
enum { COMMANDS = sizeof commands / sizeof *commands, COLUMN = 20, INDENT = 6, NARROW = 60 };

static const char about_keys[] = "Lines between \"\"\" and \"\"\" are one text, and so is what is pasted. Tab completes "
                                 "commands and names, Up and Ctrl-R find what "
                                 "was typed. Ctrl-C stops an answer; at an empty prompt it leaves, as Ctrl-D does.";

static kv_status do_help(repl *r, const char *arg, kv_err *err) {
    const size_t width = cli_width(STDERR_FILENO);
    (void)r, (void)arg, (void)err;
    for (size_t i = 0; i < COMMANDS; i++) {
        if (!commands[i].help)
            continue;
        const int n = fprintf(stderr, "  %s %s", commands[i].name, commands[i].arg ? commands[i].arg : "");
        const size_t column = width < NARROW ? INDENT : COLUMN; /* below it, where there is no room beside it */
        if (width < NARROW)
            fprintf(stderr, "\n%*s", INDENT, "");
        else
            fprintf(stderr, "%*s", n < COLUMN ? COLUMN - n : 1, "");
        cli_wrap(stderr, commands[i].help, column, column, width);
    }
    cli_wrap(stderr, about_keys, 0, 0, width);
    return KV_OK;
}

bool repl_is_command(const char *line) {
    size_t n = 1;
    if (*line != '/')
        return false;
    while (isalpha((unsigned char)line[n]) || line[n] == '?')
        n++;
    return !line[n] || isspace((unsigned char)line[n]);
}

static const repl_command *find(const char *name, size_t len) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strlen(commands[i].name) == len && !memcmp(commands[i].name, name, len))
            return &commands[i];
    return NULL;
}

/* The only command that begins so, or the first that has the same letters in another order or one too many. */
static const char *nearest(const char *name, size_t len) {
    const char *best = NULL;
    size_t most = 2; /* letters in common, from the beginning on */
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t same = 0;
        while (same < len && commands[i].name[same] == name[same])
            same++;
        if (same > most || (same == most && !best)) {
            most = same;
            best = commands[i].name;
        }
    }
    return best;
}

static const char *skip_blanks(const char *s) {
    return s + strspn(s, " \t");
}

kv_status repl_do(repl *r, const char *line, kv_err *err) {
    const size_t len = strcspn(line, " \t");
    const repl_command *c = find(line, len);
    if (!c) {
        const char *near = nearest(line, len);
        return kv_fail(err, KV_EINVAL,
                       "there is no command %.*s%s%s%s; /help lists them (a text that begins so: put a blank in front)",
                       (int)(len < 40 ? len : 40), line, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    char *arg = strdup(skip_blanks(line + len));
    if (!arg)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    for (size_t n = strlen(arg); n && isspace((unsigned char)arg[n - 1]);)
        arg[--n] = '\0';
    kv_status st = KV_OK;
    if (*arg && c->kind == REPL_NOTHING)
        st = kv_fail(err, KV_EINVAL, "%s stands alone", c->name);
    else if (!*arg && c->arg && *c->arg != '[')
        st = kv_fail(err, KV_EINVAL, "%s needs something behind it: %s %s", c->name, c->name, c->arg);
    else
        st = c->run(r, arg, err);
    free(arg);
    return st;
}

/* ---- Tab ---- */

static void offer_argument(const repl_command *c, const char *arg, repl_offers *out) {
    switch (c->kind) {
    case REPL_FILE:
        repl_offer_paths(out, arg, NULL);
        break;
    case REPL_KV:
        repl_offer_paths(out, arg, ".kv");
        break;
    case REPL_DOCUMENT:
        repl_offer_documents(arg, out);
        break;
    case REPL_SETTING:
        repl_offer_settings(arg, out);
        break;
    case REPL_NOTHING:
    case REPL_TEXT:
        break;
    }
}

void repl_offer_line(void *user, const char *line, size_t len, repl_offers *out) {
    const size_t name = strcspn(line, " \t");
    (void)user;
    if (*line != '/')
        return;
    if (name == len) {
        for (size_t i = 0; i < COMMANDS; i++)
            if (commands[i].help)
                repl_offer(out, line, commands[i].name, commands[i].arg ? " " : "");
        return;
    }
    const repl_command *c = find(line, name);
    const char *arg = skip_blanks(line + name);
    out->from = (size_t)(arg - line);
    if (c)
        offer_argument(c, arg, out);
}
