#include "kvrun/repl_internal.h"

#include "base/text.h"
#include "cli/cli_folder.h"
#include "kvrun/repl_input.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Answer, and say what there is to say of it. False: it failed, which was said. */
static bool answer(const repl_cfg *cfg, const char *text, kv_err *err, int *code) {
    gen_end end;
    kv_status st = conversation_say(cfg->c, text, cfg->n_max, &end, err);
    if (st)
        *code = cli_report(cfg->tool, err);
    else
        note_empty_answer(cfg->tool, cfg->g, end);
    note_forgotten(cfg->tool, cfg->c, cfg->verbose);
    return !st;
}

/* ---- a terminal ---- */

static void do_command(repl *r, const char *line) {
    kv_err err = {0};
    if (repl_do(r, line, &err))
        cli_report(r->cfg.tool, &err);
}

static void take(repl *r, const char *text, bool one_line) {
    kv_err err = {0};
    int code;
    if (!text[strspn(text, " \t\n")])
        return;
    if (one_line && repl_is_command(text))
        do_command(r, text);
    else if (answer(&r->cfg, text, &err, &code))
        conversation_mark(r->cfg.c);
    if (r->again && answer(&r->cfg, r->again, &err, &code))
        conversation_mark(r->cfg.c);
    free(r->again);
    r->again = NULL;
}

static void free_repl(repl *r) {
    for (size_t i = 0; i < r->n_words; i++)
        free(r->words[i]);
    free(r->words);
    free(r->saved);
}

/* Where what is typed is kept; where that is impossible, nothing is. */
static const char *history_path(const char *tool, char path[CLI_FOLDER]) {
    kv_err err = {0};
    kv_status st = cli_state_folder(NULL, path, &err);
    if (!st && strlen(path) + sizeof "/history" > CLI_FOLDER)
        st = kv_fail(&err, KV_EINVAL, "the path of a folder is too long");
    if (st) {
        cli_note(tool, "what is typed is not remembered: %s", err.msg);
        return NULL;
    }
    return strcat(path, "/history");
}

static int talk(const repl_cfg *cfg) {
    char path[CLI_FOLDER];
    repl r = {.cfg = *cfg};
    repl_input *in = NULL;
    kv_err err = {0};
    int code = CLI_OK;
    kv_status st = repl_input_new(cfg->tool, history_path(cfg->tool, path), repl_offer_line, &r, &in, &err);
    if (st)
        return cli_report(cfg->tool, &err);
    fputs("Type to talk; /help lists commands.\n", stderr);
    while (!r.leave && code == CLI_OK) {
        const char *text = NULL;
        bool one_line;
        const repl_got got = repl_input_read(in, &text, &one_line);
        if (cli_told_to_leave() || got == REPL_GOT_STOP)
            code = CLI_INTERRUPTED;
        else if (got == REPL_GOT_END)
            r.leave = true;
        else if (got == REPL_GOT_TEXT)
            take(&r, text, one_line);
        if (cli_told_to_leave())
            code = CLI_INTERRUPTED;
        else if (code == CLI_OK)
            cli_clear_interrupt();
    }
    repl_input_free(in);
    free_repl(&r);
    return code;
}

/* ---- a pipe ---- */

/* A line of standard input as a text, without what ends it. */
static kv_status take_line(char *line, size_t len, unsigned number, kv_err *err) {
    char where[32];
    snprintf(where, sizeof where, "stdin, line %u", number);
    kv_status st = text_clean(where, line, &len, err);
    while (!st && len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        line[--len] = '\0';
    return st;
}

/* A script must not go on as if nothing had happened: errors and Ctrl-C end it. */
static int take_lines(const repl_cfg *cfg) {
    char *line = NULL;
    size_t cap = 0;
    unsigned number = 0;
    int code = CLI_OK;
    while (code == CLI_OK) {
        kv_err err = {0};
        const ssize_t got = getline(&line, &cap, stdin);
        if (cli_interrupted())
            code = CLI_INTERRUPTED;
        if (got < 0 || code)
            break;
        if (take_line(line, (size_t)got, ++number, &err))
            code = cli_report(cfg->tool, &err);
        else if (line[strspn(line, " \t")])
            answer(cfg, line, &err, &code);
        if (cli_interrupted())
            code = CLI_INTERRUPTED;
    }
    free(line);
    return code;
}

int repl_run(const repl_cfg *cfg) {
    return isatty(STDIN_FILENO) ? talk(cfg) : take_lines(cfg);
}
