#include "kvrun/repl_input.h"

#include "cli/cli.h"
#include "kvrun/repl_history.h"
#include "kvrun/repl_keys.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <utf8proc.h>
#include <wchar.h>

enum {
    PASTED = 0x1E, /* stands for a paste among the characters that libedit is given; no key sends it */
    LOOK_MS = 200,
    SOON_MS = 25,     /* between two looks at Ctrl-C and the size of the window; to wait for the rest of a key */
    MOST_KEPT = 1000, /* entries of the history */
    FOLD_LINES = 8,
    FOLD_BYTES = 2000 /* pastes that are longer are not shown, as the window might be too small for editing */
};

static const char quotes[] = "\"\"\"", main_prompt[] = "> ", more_prompt[] = ". ";

/* A paste that stands as "[pasted text 1: 20 lines]" in the line. */
typedef struct fold {
    char *label, *text;
} fold;

struct repl_input {
    const char *tool;
    char *path;   /* of the history; or NULL */
    EditLine *el; /* NULL: lines are read as they come */
    History *history;
    FILE *out; /* what libedit writes to */
    const char *prompt;
    repl_offering offer;
    void *user;
    repl_keys keys;
    char *pasted; /* what PASTED stands for */
    fold *folds;
    size_t n_folds;
    struct winsize window;
    bool ended, told;
    char *text; /* what was read last */
    size_t len;
    char *line; /* of getline */
    size_t cap;
};

/* ---- keys ---- */

static repl_input *input_of(EditLine *el) {
    void *in = NULL;
    el_get(el, EL_CLIENTDATA, &in);
    return in;
}

/* How many lines below the prompt the cursor is, in a window of so many columns. */
static size_t cursor_line(const repl_input *in, size_t width) {
    const LineInfoW *line = el_wline(in->el);
    size_t at = strlen(in->prompt), lines = 0;
    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        const int w = *c == L'\n' ? 0 : wcwidth(*c);
        at += w > 0 ? (size_t)w : 0;
        if (*c == L'\n' || at > width) {
            lines++;
            at = w > 0 ? (size_t)w : 0;
        }
    }
    return lines + (at == width);
}

/* Most terminals have broken the line anew by now: it is drawn again from where it begins then. */
static void follow_window(repl_input *in) {
    struct winsize now;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &now) || (now.ws_col == in->window.ws_col && now.ws_row == in->window.ws_row))
        return;
    if (now.ws_col && now.ws_col != in->window.ws_col) {
        const size_t up = cursor_line(in, now.ws_col);
        fputc('\r', in->out);
        if (up)
            fprintf(in->out, "\033[%zuA", up);
        fputs("\033[J", in->out);
    }
    in->window = now;
    el_resize(in->el);
    el_set(in->el, EL_REFRESH);
}

/* After Ctrl-Z a shell has the terminal, and gives it back as it likes it. */
static void take_terminal_back(repl_input *in) {
    struct termios is;
    if (tcgetattr(STDIN_FILENO, &is) || !(is.c_lflag & ICANON))
        return;
    el_set(in->el, EL_PREP_TERM, 0);
    el_set(in->el, EL_PREP_TERM, 1);
    fputs("\033[?2004h", in->out);
    el_set(in->el, EL_REFRESH);
}

/* More bytes, or a moment passes. False: Ctrl-C, or the end. */
static bool wait_for_keys(repl_input *in, int ms, bool *late) {
    struct pollfd fd = {STDIN_FILENO, POLLIN, 0};
    char bytes[4096];
    const int ready = poll(&fd, 1, ms);
    *late = !ready;
    if (cli_interrupted())
        return false;
    follow_window(in);
    take_terminal_back(in);
    if (ready <= 0)
        return true;
    const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR)
        return true;
    return repl_keys_push(&in->keys, bytes, n > 0 ? (size_t)n : 0);
}

/* libedit's next character: 1; 0 at the end, -1 where reading is to stop. */
static int next_char(EditLine *el, wchar_t *out) {
    repl_input *in = input_of(el);
    bool late = false;
    for (;;) {
        uint32_t c = 0;
        char *text = NULL;
        const repl_key key = cli_interrupted() ? REPL_KEY_NONE : repl_keys_next(&in->keys, late, &c, &text);
        switch (key) {
        case REPL_KEY_CHAR:
            *out = (wchar_t)c;
            return 1;
        case REPL_KEY_PASTE:
            free(in->pasted);
            in->pasted = text;
            *out = PASTED;
            return 1;
        case REPL_KEY_END:
            in->ended = true;
            return 0;
        case REPL_KEY_NONE:
        case REPL_KEY_BEGUN:
            fflush(in->out);
            if (!wait_for_keys(in, key == REPL_KEY_BEGUN ? SOON_MS : LOOK_MS, &late))
                return -1;
        }
    }
}

/* ---- pastes ---- */

static size_t count_lines(const char *text) {
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n' && text[1];
    return n;
}

static const char *fold_paste(repl_input *in, char *text) {
    fold *grown = realloc(in->folds, (in->n_folds + 1) * sizeof *grown);
    char *label = NULL;
    if (!grown)
        return text;
    in->folds = grown;
    const size_t lines = count_lines(text);
    if (asprintf(&label, "[pasted text %zu: %zu line%s]", in->n_folds + 1, lines, lines == 1 ? "" : "s") < 0)
        return text;
    in->folds[in->n_folds++] = (fold){label, text};
    return label;
}

static unsigned char insert_paste(EditLine *el, int key) {
    repl_input *in = input_of(el);
    char *text = in->pasted;
    (void)key;
    in->pasted = NULL;
    if (!text)
        return CC_ERROR;
    size_t len = strlen(text);
    while (len && text[len - 1] == '\n') /* what ends the paste ends no line of the turn */
        text[--len] = '\0';
    const bool large = len > FOLD_BYTES || count_lines(text) > FOLD_LINES;
    const char *shown = large ? fold_paste(in, text) : text;
    const bool bad = el_insertstr(el, shown) != 0;
    if (shown == text)
        free(text);
    return bad ? CC_ERROR : CC_REFRESH;
}

static void forget_folds(repl_input *in) {
    for (size_t i = 0; i < in->n_folds; i++) {
        free(in->folds[i].label);
        free(in->folds[i].text);
    }
    in->n_folds = 0;
}

/* ---- what was read ---- */

static bool append(repl_input *in, const char *s, size_t n) {
    char *grown = realloc(in->text, in->len + n + 1);
    if (!grown)
        return false;
    memcpy(grown + in->len, s, n);
    in->text = grown;
    in->len += n;
    in->text[in->len] = '\0';
    return true;
}

/* A line, with what stands for pastes replaced by them. */
static bool append_line(repl_input *in, const char *line, size_t n) {
    const char *end = line + n;
    while (line < end) {
        const char *next = end;
        const fold *f = NULL;
        for (size_t i = 0; i < in->n_folds; i++) {
            const char *at = memmem(line, (size_t)(end - line), in->folds[i].label, strlen(in->folds[i].label));
            if (at && at < next) {
                next = at;
                f = &in->folds[i];
            }
        }
        if (!append(in, line, (size_t)(next - line)) || (f && !append(in, f->text, strlen(f->text))))
            return false;
        line = next + (f ? strlen(f->label) : 0);
    }
    return true;
}

static void remember_text(repl_input *in) {
    HistEvent event;
    kv_err err = {0};
    if (in->history)
        history(in->history, &event, H_ENTER, in->text);
    if (in->path && history_file_add(in->path, in->text, &err) && !in->told) {
        cli_note(in->tool, "%s", err.msg);
        in->told = true;
    }
}

/* ---- lines ---- */

static char *prompt_of(EditLine *el) {
    return (char *)(uintptr_t)input_of(el)->prompt;
}

static const char *edit_line(repl_input *in, const char *prompt, size_t *len, repl_got *why) {
    int n = 0;
    in->prompt = prompt;
    el_set(in->el, EL_PREP_TERM, 1); /* before the prompt: what comes from then on is read key by key */
    fputs("\033[?2004h", in->out);
    fflush(in->out);
    const char *line = el_gets(in->el, &n);
    fputs("\033[?2004l", in->out);
    if (!line || n <= 0) {
        const LineInfo *was = el_line(in->el);
        *why = !cli_interrupted() ? REPL_GOT_END : was && was->lastchar > was->buffer ? REPL_GOT_NOTHING : REPL_GOT_STOP;
        fputc('\n', in->out);
        line = NULL;
    }
    fflush(in->out);
    *len = line ? (size_t)n : 0;
    return line;
}

static const char *plain_line(repl_input *in, const char *prompt, size_t *len, repl_got *why) {
    fputs(prompt, stderr);
    errno = 0;
    const ssize_t n = getline(&in->line, &in->cap, stdin);
    if (n < 0 || cli_interrupted()) {
        *why = cli_interrupted() ? REPL_GOT_STOP : REPL_GOT_END;
        fputc('\n', stderr);
        return NULL;
    }
    *len = (size_t)n;
    return in->line;
}

/* Without what ends it; NULL: there is none, *why. */
static const char *next_line(repl_input *in, const char *prompt, size_t *len, repl_got *why) {
    const char *line = in->el ? edit_line(in, prompt, len, why) : plain_line(in, prompt, len, why);
    while (line && *len && (line[*len - 1] == '\n' || line[*len - 1] == '\r'))
        --*len;
    return line;
}

static bool ends_quoted(const repl_input *in, size_t from) {
    const size_t n = strlen(quotes);
    return in->len >= from + n && !memcmp(in->text + in->len - n, quotes, n);
}

/* The text that three quotes have begun, up to the three that end it. */
static repl_got read_quoted(repl_input *in) {
    repl_got why = REPL_GOT_TEXT;
    memmove(in->text, in->text + strlen(quotes), in->len - strlen(quotes) + 1);
    in->len -= strlen(quotes);
    for (size_t from = 0; !ends_quoted(in, from);) {
        size_t n;
        const char *line = next_line(in, more_prompt, &n, &why);
        if (!line)
            return why == REPL_GOT_STOP ? REPL_GOT_NOTHING : why;
        from = in->len;
        if ((from && !append(in, "\n", 1)) || !append_line(in, line, n))
            return REPL_GOT_END;
    }
    in->len -= strlen(quotes);
    while (in->len && in->text[in->len - 1] == '\n')
        in->len--;
    in->text[in->len] = '\0';
    return REPL_GOT_TEXT;
}

repl_got repl_input_read(repl_input *in, const char **text, bool *one_line) {
    repl_got why = REPL_GOT_TEXT;
    size_t n;
    const char *line = next_line(in, main_prompt, &n, &why);
    in->len = 0;
    if (!line) {
        forget_folds(in);
        return why;
    }
    if (!append(in, "", 0) || !append_line(in, line, n))
        return REPL_GOT_END;
    *one_line = !strchr(in->text, '\n');
    if (*one_line && !strncmp(in->text, quotes, strlen(quotes))) {
        *one_line = false;
        why = read_quoted(in);
    }
    forget_folds(in);
    if (why == REPL_GOT_TEXT && in->text[strspn(in->text, " \t\n")])
        remember_text(in);
    *text = in->text;
    return why;
}

/* ---- completion ---- */

static size_t columns(const char *s) {
    size_t n = 0;
    utf8proc_int32_t c;
    for (utf8proc_ssize_t took; *s && (took = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c)) != 0;
         s += took > 0 ? took : 1)
        n += took > 0 ? (size_t)utf8proc_charwidth(c) : 1;
    return n;
}

/* In columns; of paths, what follows the last slash. */
static void list_offers(repl_input *in, const repl_offers *o) {
    size_t widest = 0, at = 0;
    const size_t width = in->window.ws_col ? in->window.ws_col : 80;
    for (size_t i = 0; i < o->n; i++) {
        const size_t w = columns(o->v[i]);
        widest = w > widest ? w : widest;
    }
    fputc('\n', in->out);
    for (size_t i = 0; i < o->n; i++) {
        const size_t w = columns(o->v[i]);
        if (at && at + widest > width) {
            fputc('\n', in->out);
            at = 0;
        }
        cli_say(in->out, "%s", o->v[i]);
        const bool more = i + 1 < o->n && at + 2 * widest + 2 <= width;
        fprintf(in->out, "%*s", more ? (int)(widest - w + 2) : 0, "");
        at = more ? at + widest + 2 : width;
    }
    fputc('\n', in->out);
}

static unsigned char complete(EditLine *el, int key) {
    repl_input *in = input_of(el);
    const LineInfo *line = el_line(el);
    const size_t len = (size_t)(line->cursor - line->buffer);
    char *copy = strndup(line->buffer, len);
    repl_offers o = {0};
    unsigned char what = CC_REFRESH_BEEP;
    (void)key;
    if (!copy || !in->offer)
        goto done;
    in->offer(in->user, copy, len, &o);
    repl_offers_sort(&o);
    const size_t typed = len - o.from, common = repl_offers_common(&o);
    if (!o.n)
        goto done;
    if (common > typed) {
        char *more = strndup(o.v[0] + typed, common - typed);
        if (more && !el_insertstr(el, more))
            what = CC_REFRESH;
        free(more);
    } else if (o.n > 1) {
        list_offers(in, &o);
        what = CC_REDISPLAY;
    }
done:
    repl_offers_free(&o);
    free(copy);
    return what;
}

/* ---- beginning and end ---- */

/* Whether the terminal can do what editing takes. */
static bool can_edit(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static kv_status load_history(repl_input *in, kv_err *err) {
    HistEvent event;
    history_entries e;
    if (!in->path)
        return KV_OK;
    kv_status st = history_file_read(in->path, &e, err);
    for (size_t i = e.n > MOST_KEPT ? e.n - MOST_KEPT : 0; !st && i < e.n; i++)
        history(in->history, &event, H_ENTER, e.v[i]);
    history_entries_free(&e);
    return st;
}

/* What shifts the rest of a line on a terminal: with characters that take two columns libedit and terminals come to differ
 * about it, so that it draws the rest anew instead. */
static const char *const shifts[] = {"ic", "IC", "im", "ei", "ip", "dc", "DC", "dm", "ed"};

static kv_status start_editing(repl_input *in, kv_err *err) {
    HistEvent event;
    const int fd = dup(STDERR_FILENO);
    in->out = fd < 0 ? NULL : fdopen(fd, "w"); /* stderr itself would write every character by itself */
    if (!in->out && fd >= 0)
        close(fd);
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8"); /* models speak nothing else */
    if (in->out)
        in->el = el_init(in->tool, stdin, in->out, in->out);
    in->history = history_init();
    if (!in->el || !in->history)
        return kv_fail(err, KV_ENOMEM, "the terminal cannot be edited on: out of memory");
    history(in->history, &event, H_SETSIZE, MOST_KEPT);
    history(in->history, &event, H_SETUNIQUE, 1);
    el_set(in->el, EL_CLIENTDATA, in);
    el_set(in->el, EL_PROMPT, prompt_of);
    el_set(in->el, EL_EDITOR, "emacs");
    el_set(in->el, EL_SIGNAL, 0);
    el_set(in->el, EL_GETCFN, next_char);
    el_set(in->el, EL_SETTY, "-d", "-icrnl", "-inlcr", NULL); /* ends of lines as they were pasted */
    el_set(in->el, EL_HIST, history, in->history);
    el_set(in->el, EL_ADDFN, "kv-paste", "insert what was pasted", insert_paste);
    el_set(in->el, EL_ADDFN, "kv-complete", "complete a command or a path", complete);
    el_set(in->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++)
        el_set(in->el, EL_SETTC, shifts[i], "", NULL);
    el_source(in->el, NULL);
    el_set(in->el, EL_BIND, "^I", "kv-complete", NULL);
    el_set(in->el, EL_BIND, "^^", "kv-paste", NULL);
    ioctl(STDERR_FILENO, TIOCGWINSZ, &in->window);
    return KV_OK;
}

kv_status repl_input_new(const char *tool, const char *path, repl_offering offer, void *user, repl_input **out, kv_err *err) {
    repl_input *in = calloc(1, sizeof *in);
    kv_err why = {0};
    if (!in)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    in->tool = tool;
    in->offer = offer;
    in->user = user;
    in->path = path ? strdup(path) : NULL;
    cli_guard_terminal();
    kv_status st = can_edit() ? start_editing(in, err) : KV_OK;
    if (!st && in->el && load_history(in, &why))
        cli_note(tool, "%s", why.msg);
    if (st)
        repl_input_free(in);
    else
        *out = in;
    return st;
}

void repl_input_free(repl_input *in) {
    if (!in)
        return;
    if (in->el)
        el_end(in->el);
    if (in->history)
        history_end(in->history);
    if (in->out)
        fclose(in->out);
    forget_folds(in);
    repl_keys_free(&in->keys);
    free(in->folds);
    free(in->pasted);
    free(in->text);
    free(in->line);
    free(in->path);
    free(in);
}
