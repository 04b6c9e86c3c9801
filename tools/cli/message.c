#include "cli/message.h"

#include "base/printable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

bool cli_color(int fd) {
    const char *no_color = getenv("NO_COLOR");
    return isatty(fd) && !(no_color && *no_color);
}

enum { AS_IT_IS = -1 };

/* Of a message that begins in a column: blanks become ends of lines where the word behind them would not fit on a terminal. */
static void break_lines(char *s, size_t n, size_t at) {
    const size_t width = cli_width(STDERR_FILENO);
    size_t blank = n, since = 0; /* columns since the blank */
    utf8proc_int32_t c;
    for (size_t i = 0, took; i < n; i += took) {
        const utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        const size_t w = got > 0 ? (size_t)utf8proc_charwidth(c) : 1;
        took = got > 0 ? (size_t)got : 1;
        at += w;
        since += w;
        if (c == ' ') {
            blank = i;
            since = 0;
        }
        if (at > width && blank < n) {
            s[blank] = '\n';
            blank = n;
            at = since;
        }
    }
}

/* s is overwritten. */
static void put_shown(FILE *to, char *s, size_t n, int at) {
    if (at != AS_IT_IS && isatty(STDERR_FILENO))
        break_lines(s, n, (size_t)at);
    fwrite(s, 1, n, to);
}

/* Formatted and escaped. Without memory for it, as much as there is always room for: that there is no memory must be said, too.
 * at: the column where it begins, of what is to be broken into lines at a terminal. */
static void put(FILE *to, const char *keep, int at, const char *fmt, va_list ap) {
    enum { ALWAYS = 1024 };
    char said[ALWAYS], shown[PRINTABLE_GROWTH * ALWAYS + 1];
    va_list again;
    va_copy(again, ap);
    const int len = vsnprintf(said, sizeof said, fmt, ap);
    const size_t cut = len < 0        ? 0
                       : len < ALWAYS ? (size_t)len
                                      : ALWAYS - 1,
                 room = PRINTABLE_GROWTH * (size_t)(len < 0 ? 0 : len) + 1;
    char *all = len >= ALWAYS ? malloc((size_t)len + 1) : NULL, *out = all ? malloc(room) : NULL;
    if (out) {
        vsnprintf(all, (size_t)len + 1, fmt, again);
        put_shown(to, out, printable(all, (size_t)len, keep, out, room), at);
    } else {
        put_shown(to, shown, printable(said, cut, keep, shown, sizeof shown), at);
    }
    va_end(again);
    free(all);
    free(out);
}

void cli_vsay(FILE *to, const char *fmt, va_list ap) {
    put(to, "\n\t", AS_IT_IS, fmt, ap);
}

void cli_say(FILE *to, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    cli_vsay(to, fmt, ap);
    va_end(ap);
}

void cli_vcomplain(const char *tool, const char *fmt, va_list ap) {
    bool color = cli_color(STDERR_FILENO);
    fprintf(stderr, "%s: %serror:%s ", tool, color ? "\033[1;31m" : "", color ? "\033[0m" : "");
    put(stderr, NULL, (int)(strlen(tool) + strlen(": error: ")), fmt, ap);
    fputc('\n', stderr);
}

void cli_complain(const char *tool, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    cli_vcomplain(tool, fmt, ap);
    va_end(ap);
}

static bool reported;

int cli_report(const char *tool, const kv_err *err) {
    reported = true;
    cli_complain(tool, "%s", err->msg);
    return err->code == KV_ECANCEL ? CLI_INTERRUPTED : err->code == KV_EINVAL ? CLI_USAGE : CLI_FAIL;
}

void cli_note(const char *tool, const char *fmt, ...) {
    fprintf(stderr, "%s: ", tool);
    va_list ap;
    va_start(ap, fmt);
    put(stderr, NULL, (int)(strlen(tool) + strlen(": ")), fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* ---- standard output ---- */

static const char *watching;

static void close_stdout(void) {
    errno = 0;
    const bool lost = fflush(stdout) || ferror(stdout);
    if (!lost || reported)
        return;
    cli_complain(watching, "standard output could not be written: %s", errno ? strerror(errno) : "some of it is lost");
    _exit(CLI_FAIL);
}

void cli_watch_stdout(const char *tool) {
    if (!watching)
        atexit(close_stdout);
    watching = tool;
}

/* ---- width ---- */

size_t cli_width(int fd) {
    struct winsize ws;
    return ioctl(fd, TIOCGWINSZ, &ws) || !ws.ws_col ? 80 : ws.ws_col;
}

/* Characters, not bytes, of UTF-8 text. */
static size_t columns(const char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xC0) != 0x80;
    return n;
}

void cli_wrap(FILE *to, const char *text, size_t at, size_t indent, size_t width) {
    bool fresh = true;
    while (*text) {
        if (*text == '\n') {
            fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
            fresh = true;
            text++;
            continue;
        }
        if (*text == ' ') {
            text++;
            continue;
        }
        size_t len = strcspn(text, " \n"), cols = columns(text, len);
        if (!fresh && at + 1 + cols > width) {
            fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
            fresh = true;
        }
        fprintf(to, "%s%.*s", fresh ? "" : " ", (int)len, text);
        at += cols + !fresh;
        fresh = false;
        text += len;
    }
    fputc('\n', to);
}
