/* What tools say on stderr: "tool: error: message", and notes. At a terminal, lines are broken between words. */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAIL = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 }; /* exit codes */

/* Print "tool: error: message" on stderr ("error:" in red on a terminal unless NO_COLOR) and return the exit code for the
 * status: CLI_INTERRUPTED for KV_ECANCEL, CLI_USAGE for KV_EINVAL, else CLI_FAIL. */
int cli_report(const char *tool, const kv_err *err);
void cli_complain(const char *tool, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* the same of any text */
void cli_vcomplain(const char *tool, const char *fmt, va_list ap);
void cli_note(const char *tool, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* one line on stderr */

/* From now on a program whose standard output could not be written ends with CLI_FAIL and says so, if nothing was reported
 * before; the tool is named so. Again: under another name, which is kept. */
void cli_watch_stdout(const char *tool);

/* As fprintf, of text that may be from files: what could act on a terminal is escaped (base/printable.h), but line ends and
 * tabs. */
void cli_say(FILE *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_vsay(FILE *to, const char *fmt, va_list ap);

/* Colour on this descriptor: a terminal, and NO_COLOR (no-color.org) unset or empty. */
bool cli_color(int fd);

/* Columns of the terminal on this descriptor; 80 where it is none. */
size_t cli_width(int fd);
/* Print a text from column `at` on, wrapped to `width` columns at blanks, further lines indented by `indent`; '\n' breaks a
 * line. A newline follows. */
void cli_wrap(FILE *to, const char *text, size_t at, size_t indent, size_t width);

#endif
