#include "kvrun/show_answer.h"

#include "base/printable.h"
#include "cli/message.h"
#include "reply/reply.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#define DIM   "\033[2m"
#define PLAIN "\033[0m"

enum { TAB = 8, FENCE = 3 };

/* Words that wait and where they would stand. Inside fences of ``` lines stay as they are: they are code. */
struct show_answer {
    show_answer_cfg cfg;
    reply *parts; /* thoughts and content; NULL: none is looked for */
    char *word;   /* since the last white space */
    size_t len, cap, columns;
    size_t at;       /* column where the word begins */
    size_t fence;    /* backquotes at the beginning of this line, without a gap */
    bool line_start; /* nothing but these is on it */
    bool code;
    bool dim, thought; /* colours are dim now; a thought was shown */
};

/* ---- words ---- */

static void out(show_answer *s, const char *text, size_t len) {
    fwrite(text, 1, len, s->cfg.to);
}

/* What could act on the terminal is spelled. */
static void out_word(show_answer *s) {
    char safe[4 * 256 + 1];
    for (size_t i = 0, n; i < s->len; i += n) {
        n = s->len - i < 256 ? s->len - i : 256;
        while (i + n < s->len && n > 1 && (s->word[i + n] & 0xC0) == 0x80)
            n--;
        out(s, safe, printable(s->word + i, n, "\n\t", safe, sizeof safe));
    }
}

static bool wraps(const show_answer *s) {
    return s->cfg.width && !s->code;
}

/* The word comes out, on the next line if it does not fit. One that is longer than a line is broken by the terminal. */
static void end_word(show_answer *s) {
    if (!s->len)
        return;
    if (wraps(s) && s->at && s->at + s->columns > s->cfg.width && s->columns <= s->cfg.width) {
        out(s, "\n", 1);
        s->at = 0;
    }
    out_word(s);
    s->at += s->columns;
    if (s->cfg.width && s->at > s->cfg.width)
        s->at = (s->at - 1) % s->cfg.width + 1;
    s->len = s->columns = 0;
}

static void add(show_answer *s, const char *c, size_t n, size_t columns) {
    if (s->len + n > s->cap) {
        char *grown = realloc(s->word, 2 * s->cap + n + 64);
        if (!grown) { /* without memory for words they are not kept whole */
            end_word(s);
            out(s, c, n);
            return;
        }
        s->word = grown;
        s->cap = 2 * s->cap + n + 64;
    }
    memcpy(s->word + s->len, c, n);
    s->len += n;
    s->columns += columns;
}

static void end_line(show_answer *s) {
    end_word(s);
    out(s, "\n", 1);
    s->at = s->fence = 0;
    s->line_start = true;
}

/* White space ends words; at the end of a full line it goes. */
static void space(show_answer *s, char c) {
    end_word(s);
    const size_t columns = c == '\t' ? TAB - s->at % TAB : 1;
    if (wraps(s) && s->at + columns > s->cfg.width)
        return;
    out(s, &c, 1);
    s->at += columns;
}

static void note_fence(show_answer *s, char c) {
    if (c == '`' && s->line_start && ++s->fence == FENCE)
        s->code = !s->code;
    s->line_start = s->line_start && (c == '`' || c == ' ');
}

/* Text with its words kept whole. */
static void put(show_answer *s, const char *text, size_t len) {
    for (size_t i = 0, n; i < len; i += n) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        n = took > 0 ? (size_t)took : 1;
        const bool spelled = took <= 0 || c < 0x20 || (c >= 0x7F && c < 0xA0); /* as \xHH */
        const int width = spelled ? 4 : utf8proc_charwidth(c);
        note_fence(s, text[i]);
        if (text[i] == '\n')
            end_line(s);
        else if (text[i] == ' ' || text[i] == '\t')
            space(s, text[i]);
        else {
            if (width > 1) /* scripts without white space may be broken anywhere */
                end_word(s);
            add(s, text + i, n, (size_t)width);
            if (width > 1)
                end_word(s);
        }
    }
}

/* ---- thoughts ---- */

static void set_dim(show_answer *s, bool dim) {
    if (s->dim == dim)
        return;
    end_word(s);
    out(s, dim ? DIM : PLAIN, strlen(dim ? DIM : PLAIN));
    s->dim = dim;
}

static void thought(void *user, const char *text, size_t len) {
    show_answer *s = user;
    set_dim(s, true);
    s->thought = true;
    put(s, text, len);
}

static void content(void *user, const char *text, size_t len) {
    show_answer *s = user;
    set_dim(s, false);
    if (s->thought) {
        if (s->at || s->len)
            end_line(s);
        end_line(s);
        s->code = false;
    }
    s->thought = false;
    put(s, text, len);
}

/* ---- from outside ---- */

show_answer_cfg show_answer_for(FILE *to, bool thinking) {
    struct winsize w;
    const int fd = fileno(to);
    const char *term = getenv("TERM");
    const bool terminal = isatty(fd), plain = !term || !strcmp(term, "dumb");
    return (show_answer_cfg){.to = to,
                             .terminal = terminal,
                             .dim = terminal && !plain && cli_color(fd),
                             .width = terminal && !ioctl(fd, TIOCGWINSZ, &w) ? w.ws_col : 0,
                             .thinking = thinking};
}

/* Of an answer. */
static kv_status begin(show_answer *s, kv_err *err) {
    const reply_cfg cfg = {.format = reply_format_named("json"),
                           .thinking = s->cfg.thinking,
                           .events = {.content = content, .thought = thought},
                           .user = s};
    s->at = s->fence = 0;
    s->line_start = true;
    s->code = s->thought = false;
    return s->cfg.terminal && s->cfg.dim ? reply_new(&cfg, &s->parts, err) : KV_OK;
}

kv_status show_answer_new(const show_answer_cfg *cfg, show_answer **made, kv_err *err) {
    show_answer *s = calloc(1, sizeof *s);
    kv_status st;
    *made = NULL;
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    s->cfg = *cfg;
    if ((st = begin(s, err))) {
        show_answer_free(s);
        return st;
    }
    *made = s;
    return KV_OK;
}

void show_answer_free(show_answer *s) {
    if (!s)
        return;
    reply_free(s->parts);
    free(s->word);
    free(s);
}

void show_answer_text(void *user, const char *text, size_t len) {
    show_answer *s = user;
    if (!s->cfg.terminal)
        out(s, text, len);
    else if (!s->parts || reply_push(s->parts, text, len, NULL)) /* without memory: as it is */
        put(s, text, len);
    fflush(s->cfg.to);
}

void show_answer_end(show_answer *s) {
    if (s->parts)
        reply_end(s->parts, NULL);
    end_word(s);
    set_dim(s, false);
    fflush(s->cfg.to);
    reply_free(s->parts);
    s->parts = NULL;
    if (begin(s, NULL))
        s->parts = NULL;
}
