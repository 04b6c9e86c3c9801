/* Manual pages and completions: what the files that make them share. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include "cli/cli_internal.h"

/* What an option takes, as a completion sees it. */
typedef enum cli_values { CLI_NO_VALUE, CLI_WORDS, CLI_FILES, CLI_PROFILES, CLI_MODELS, CLI_ANYTHING } cli_values;
cli_values cli_values_of(const cli_opt *o);
void cli_words(const cli_opt *o, FILE *to); /* with blanks between them */

/* The help of an option up to where details begin. */
enum { CLI_SHORT = 256 };
void cli_short_help(const cli_opt *o, char buf[CLI_SHORT]);

/* The name of a tool with `with` for blanks: "kveval_ppl" is a function, "kveval-ppl" a page. */
enum { CLI_JOINED = 64 };
void cli_joined(const char *tool, char with, char buf[CLI_JOINED]);
bool cli_is_subcommand(const cli_spec *spec);

/* A shell: how its file begins, up to the name of the tool; what completes a tool, or a subcommand of one; and what completes a
 * tool with subcommands, and comes behind those of these. */
typedef struct cli_shell {
    const char *name, *first;
    void (*tool)(const cli_spec *spec, FILE *to);
    void (*commands)(const char *tool, const cli_command *commands, FILE *to);
} cli_shell;
extern const cli_shell cli_shells[]; /* ends with {0} */

void cli_bash(const cli_spec *spec, FILE *to);
void cli_bash_commands(const char *tool, const cli_command *commands, FILE *to);
void cli_zsh(const cli_spec *spec, FILE *to);
void cli_zsh_commands(const char *tool, const cli_command *commands, FILE *to);
void cli_fish(const cli_spec *spec, FILE *to);
void cli_fish_commands(const char *tool, const cli_command *commands, FILE *to);

/* brief: what the tool is, in a few words. */
void cli_man(const cli_spec *spec, const char *brief);
void cli_command_man(const char *tool, const char *summary, const cli_command *commands);

#endif
