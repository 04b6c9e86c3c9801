/* Shared by cli.c and cli_help.c. */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

#include "cli/cli.h"

#include <stdio.h>

/* Whether o is a row, as opposed to the end of the table. */
bool cli_opt_at(const cli_opt *o);
/* Colour on this descriptor: a terminal, and NO_COLOR (no-color.org) unset or empty. */
bool cli_color(int fd);
/* Keep `candidate` in *best if it is a likelier reading of `given` than what was there. Start with *best_distance = SIZE_MAX.
 */
void cli_consider(const char *given, const char *candidate, const char **best, size_t *best_distance);

/* No output among what was parsed is an input or another output: cli_paths_check on all rows that name files. */
kv_status cli_check_files(const cli_spec *spec, kv_err *err);

void cli_help(const cli_spec *spec);
void cli_command_help(const char *tool, const char *summary, const cli_command *commands, FILE *to);

#endif
