/* Completion for bash, without the package bash-completion. Where nothing is found, readline completes names of files. */
#include "cli/cli_print.h"

#include <string.h>

static void names(const cli_opt *o, FILE *to, const char *between) {
    fprintf(to, "%s%s%s", o->name, o->alias ? between : "", o->alias ? o->alias : "");
}

/* An option that takes something else than files. */
static void value_case(const cli_opt *o, const char *tool, FILE *to) {
    const cli_values v = cli_values_of(o);
    if (v == CLI_NO_VALUE || v == CLI_FILES)
        return;
    fputs("    ", to);
    names(o, to, " | ");
    fputs(")\n        ", to);
    if (v == CLI_WORDS) {
        fputs("COMPREPLY=($(compgen -W '", to);
        cli_words(o, to);
        fputs("' -- \"$cur\"))\n", to);
    } else if (v == CLI_PROFILES || v == CLI_MODELS)
        fprintf(to, "_%.*s_%s\n", (int)strcspn(tool, " "), tool, v == CLI_MODELS ? "models" : "profiles");
    else
        fputs("compopt +o default 2>/dev/null\n", to);
    fputs("        return\n        ;;\n", to);
}

/* "--name=value" comes in three words. */
static const char current[] = "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                              "    if [[ $cur == = ]]; then\n"
                              "        cur=\n"
                              "    elif [[ $prev == = ]]; then\n"
                              "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
                              "    fi\n"
                              "    COMPREPLY=()\n";

/* What arguments may name besides files: profiles, models; or NULL. */
static const char *argument_names(const cli_spec *spec) {
    const char *names = NULL;
    for (const cli_arg *a = spec->args; a && a->name; a++)
        if (a->kind == CLI_PROFILE)
            return "profiles";
        else if (a->kind == CLI_MODEL || a->kind == CLI_MODEL_OR_ELSE)
            names = "models";
    return names;
}

/* Names of profiles, or models, and of files, as the program that is being completed says. */
static void name_function(const char *tool, const char *what, FILE *to) {
    fprintf(to,
            "_%s_%s() {\n"
            "    compopt -o filenames 2>/dev/null\n"
            "    mapfile -t COMPREPLY < <(\n"
            "        compgen -W \"$(\"${COMP_WORDS[0]}\" --print-%s 2>/dev/null)\" -- \"$cur\"\n"
            "        compgen -f -- \"$cur\"\n"
            "    )\n"
            "}\n\n",
            tool, what, what);
}

static void register_tool(const char *tool, FILE *to) {
    name_function(tool, "profiles", to);
    name_function(tool, "models", to);
    fprintf(to, "complete -o default -F _%s %s\n", tool, tool);
}

/* The first word is a subcommand, or what the tool takes without one: a file. */
static void first_word(const cli_command *commands, FILE *to) {
    fputs("    elif ((COMP_CWORD == 1)); then\n        compopt -o filenames 2>/dev/null\n        mapfile -t COMPREPLY < <(\n"
          "            compgen -W '",
          to);
    for (const cli_command *c = commands; c->name; c++)
        fprintf(to, "%s ", c->name);
    fputs("' -- \"$cur\"\n            compgen -W \"$(\"${COMP_WORDS[0]}\" --print-models 2>/dev/null)\" -- \"$cur\"\n"
          "            compgen -f -- \"$cur\"\n        )\n",
          to);
}

void cli_bash(const cli_spec *spec, FILE *to) {
    char id[CLI_JOINED];
    cli_joined(spec->tool, '_', id);
    fprintf(to, "_%s() {\n", id);
    if (spec->commands) {
        fputs("    case $((COMP_CWORD > 1)):${COMP_WORDS[1]} in\n", to);
        for (const cli_command *c = spec->commands; c->name; c++)
            fprintf(to, "    1:%s)\n        _%s_%s\n        return\n        ;;\n", c->name, id, c->name);
        fputs("    esac\n", to);
    }
    fputs(current, to);
    fputs("    case $prev in\n", to);
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o))
            value_case(o, spec->tool, to);
    fputs("    esac\n    if [[ $cur == -* ]]; then\n        COMPREPLY=($(compgen -W '", to);
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o)) {
            names(o, to, " ");
            fputc(' ', to);
        }
    for (const cli_opt *o = cli_common_opts; cli_opt_at(o); o++) {
        names(o, to, " ");
        fputs(cli_opt_at(o + 1) ? " " : "", to);
    }
    fputs("' -- \"$cur\"))\n", to);
    if (spec->commands)
        first_word(spec->commands, to);
    else if (argument_names(spec))
        fprintf(to, "    else\n        _%.*s_%s\n", (int)strcspn(spec->tool, " "), spec->tool, argument_names(spec));
    fputs("    fi\n}\n\n", to);
    if (!cli_is_subcommand(spec))
        register_tool(spec->tool, to);
}

void cli_bash_commands(const char *tool, const cli_command *commands, FILE *to) {
    fprintf(to, "_%s() {\n    COMPREPLY=()\n", tool);
    fputs("    if ((COMP_CWORD == 1)); then\n        compopt +o default 2>/dev/null\n        COMPREPLY=($(compgen -W '", to);
    for (const cli_command *c = commands; c->name; c++)
        fprintf(to, "%s ", c->name);
    fputs("--help -h --version' -- \"${COMP_WORDS[1]}\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n", to);
    for (const cli_command *c = commands; c->name; c++)
        fprintf(to, "    %s) _%s_%s ;;\n", c->name, tool, c->name);
    fputs("    esac\n}\n\n", to);
    register_tool(tool, to);
}
