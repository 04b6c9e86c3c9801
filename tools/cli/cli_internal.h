/* Shared by cli.c and cli_help.c. */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

#include "cli/cli.h"

#include <stdio.h>

/* Whether o is a row, as opposed to the end of the table. */
static inline bool cli_opt_at(const cli_opt *o) {
    return o->name || o->kind == CLI_HEADING;
}

/* No output among what was parsed is an input or another output: cli_paths_check on all rows that name files. */
kv_status cli_check_files(const cli_spec *spec, kv_err *err);

void cli_help(const cli_spec *spec);
void cli_command_help(const char *tool, const char *summary, const cli_command *commands, FILE *to);

#endif
