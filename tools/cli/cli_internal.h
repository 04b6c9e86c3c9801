/* Shared by the files of this room. */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

#include "cli/cli.h"

#include <stdio.h>

/* Whether o is a row, as opposed to the end of the table. */
static inline bool cli_opt_at(const cli_opt *o) {
    return o->name || o->kind == CLI_HEADING;
}

/* Whether it is an option that pages and completions show. */
static inline bool cli_opt_shown(const cli_opt *o) {
    return o->kind != CLI_HEADING && o->kind != CLI_OLD_NAME;
}

/* The words that an option takes where it takes no others: copies number `i` of them into `word`. False: there are no more, or
 * it is not an option of that kind. */
enum { CLI_WORD = 32 };
bool cli_opt_word(const cli_opt *o, int i, char word[CLI_WORD]);

/* No output among what was parsed is an input or another output: cli_paths_check on all rows that name files; and options of a
 * command line name what can be read or written: KV_EIO. */
kv_status cli_check_files(const cli_spec *spec, kv_err *err);

/* An option that another program has, with or without "=value": what does the same here (an option of this tool), or NULL and
 * why none is needed. False: nobody is known to have it. */
bool cli_foreign_option(const cli_spec *spec, const char *given, const char **ours, const char **why);
/* Options of llama.cpp on a command line that takes them (cli_spec.llama): what was left aside, and why. */
typedef struct cli_aside {
    char names[4096], why[2048];
} cli_aside;
typedef enum cli_foreign_use {
    CLI_FOREIGN_UNKNOWN,     /* nobody takes it */
    CLI_FOREIGN_SAME,        /* *what: our option, which is meant */
    CLI_FOREIGN_ASIDE,       /* means nothing here: is noted in aside */
    CLI_FOREIGN_ASIDE_VALUE, /* the same, with its value, the next word */
    CLI_FOREIGN_REFUSED      /* *what: why that cannot be had here */
} cli_foreign_use;
cli_foreign_use cli_foreign_take(const cli_spec *spec, const char *given, const char *next, cli_aside *aside,
                                 const char **what);
/* The cache type that comes nearest to one of another program; NULL: none is known. */
const char *cli_foreign_codec(const char *given);

extern const cli_opt cli_common_opts[]; /* what every tool has; nowhere to put values. Ends with {0} */

/* The help of an option with the names it takes and its default. */
enum { CLI_HELP = 1024 };
void cli_help_text(const cli_opt *o, char buf[CLI_HELP]);

/* Manual pages and completions (cli_print.c). False: the words ask for something else. */
bool cli_print_tool(const cli_spec *spec, int argc, char **argv);
bool cli_print_commands(const char *tool, const char *summary, const cli_command *commands, int argc, char **argv);

/* Two lines: "kvrun 0.1.0 (avx2; gcc 12.2.0, Release)" with the instruction set that is chosen where --cpu does not say, and
 * those that were compiled in. */
void cli_version(const char *tool);
void cli_help(const cli_spec *spec);
void cli_command_help(const char *tool, const char *summary, const cli_command *commands, FILE *to);

#endif
