#include "cli/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool cli_color(int fd) {
    const char *no_color = getenv("NO_COLOR");
    return isatty(fd) && !(no_color && *no_color);
}

void cli_vcomplain(const char *tool, const char *fmt, va_list ap) {
    bool color = cli_color(STDERR_FILENO);
    fprintf(stderr, "%s: %serror:%s ", tool, color ? "\033[1;31m" : "", color ? "\033[0m" : "");
    vfprintf(stderr, fmt, ap);
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
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}
