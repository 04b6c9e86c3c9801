#include "cli/message.h"

#include "base/printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool cli_color(int fd) {
    const char *no_color = getenv("NO_COLOR");
    return isatty(fd) && !(no_color && *no_color);
}

/* Formatted and escaped. */
static void put(FILE *to, const char *keep, const char *fmt, va_list ap) {
    char *said = NULL;
    const int len = vasprintf(&said, fmt, ap);
    char *out = len >= 0 ? malloc(PRINTABLE_GROWTH * (size_t)len + 1) : NULL;
    if (out)
        fwrite(out, 1, printable(said, (size_t)len, keep, out, PRINTABLE_GROWTH * (size_t)len + 1), to);
    if (len >= 0)
        free(said);
    free(out);
}

void cli_vsay(FILE *to, const char *fmt, va_list ap) {
    put(to, "\n\t", fmt, ap);
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
    put(stderr, NULL, fmt, ap);
    fputc('\n', stderr);
}

void cli_complain(const char *tool, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    cli_vcomplain(tool, fmt, ap);
    va_end(ap);
}

int cli_report(const char *tool, const kv_err *err) {
    cli_complain(tool, "%s", err->msg);
    return err->code == KV_ECANCEL ? CLI_INTERRUPTED : err->code == KV_EINVAL ? CLI_USAGE : CLI_FAIL;
}

void cli_note(const char *tool, const char *fmt, ...) {
    fprintf(stderr, "%s: ", tool);
    va_list ap;
    va_start(ap, fmt);
    put(stderr, NULL, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}
