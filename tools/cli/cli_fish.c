/* Completion for fish. */
#include "cli/cli_print.h"

#include <string.h>

static void quoted(const char *s, FILE *to) {
    fputc('\'', to);
    for (; *s; s++)
        fprintf(to, *s == '\'' || *s == '\\' ? "\\%c" : "%c", *s);
    fputc('\'', to);
}

/* "complete -c kveval", for a subcommand where that was said before, for a tool where none of its subcommands was. */
static void begin(const cli_spec *spec, FILE *to) {
    const char *tool = spec->tool, *sub = strchr(tool, ' ');
    if (sub)
        fprintf(to, "complete -c %.*s -n '__fish_seen_subcommand_from %s'", (int)(sub - tool), tool, sub + 1);
    else
        fprintf(to, "complete -c %s", tool);
    if (!spec->commands)
        return;
    fputs(" -n 'not __fish_seen_subcommand_from", to);
    for (const cli_command *c = spec->commands; c->name; c++)
        fprintf(to, " %s", c->name);
    fputc('\'', to);
}

/* The first word may be a subcommand; `else_files`: or a file. */
static void command_rows(const char *tool, const cli_command *commands, bool else_files, FILE *to) {
    for (const cli_command *c = commands; c && c->name; c++) {
        fprintf(to, "complete -c %s -n __fish_use_subcommand%s -a %s -d ", tool, else_files ? "" : " -f", c->name);
        quoted(c->summary, to);
        fputc('\n', to);
    }
}

/* -s: one letter; -o: several after one dash. */
static void option(const cli_opt *o, const cli_spec *spec, FILE *to) {
    char help[CLI_SHORT];
    const cli_values v = cli_values_of(o);
    cli_short_help(o, help);
    begin(spec, to);
    if (o->alias)
        fprintf(to, " -%c %s", o->alias[2] ? 'o' : 's', o->alias + 1);
    fprintf(to, " -l %s", o->name + 2);
    if (v == CLI_WORDS) {
        fputs(" -x -a '", to);
        cli_words(o, to);
        fputc('\'', to);
    } else if (v == CLI_PROFILES || v == CLI_MODELS)
        fprintf(to, " -r -F -a '(%.*s --print-%s 2>/dev/null)'", (int)strcspn(spec->tool, " "), spec->tool,
                v == CLI_MODELS ? "models" : "profiles");
    else if (v != CLI_NO_VALUE)
        fputs(v == CLI_FILES ? " -r -F" : " -x", to);
    fputs(" -d ", to);
    quoted(help, to);
    fputc('\n', to);
}

void cli_fish(const cli_spec *spec, FILE *to) {
    command_rows(spec->tool, spec->commands, true, to);
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o))
            option(o, spec, to);
    for (const cli_opt *o = cli_common_opts; cli_opt_at(o); o++)
        option(o, spec, to);
    for (const cli_arg *a = spec->args; a && a->name; a++)
        if (a->kind == CLI_PROFILE || a->kind == CLI_MODEL || a->kind == CLI_MODEL_OR_ELSE) {
            begin(spec, to);
            fprintf(to, " -a '(%.*s --print-%s 2>/dev/null)'\n", (int)strcspn(spec->tool, " "), spec->tool,
                    a->kind == CLI_PROFILE ? "profiles" : "models");
        }
}

void cli_fish_commands(const char *tool, const cli_command *commands, FILE *to) {
    command_rows(tool, commands, false, to);
    fprintf(to,
            "complete -c %s -n __fish_use_subcommand -s h -l help -d 'this page'\n"
            "complete -c %s -n __fish_use_subcommand -l version -d 'the version'\n",
            tool, tool);
}
