/* Completion for zsh, by its _arguments. */
#include "cli/cli_print.h"

#include <string.h>

/* Within single quotes; brackets and backslashes as _arguments wants them, and colons where they would end the text. */
static void quoted(const char *s, bool colons, FILE *to) {
    for (; *s; s++)
        if (*s == '\'')
            fputs("'\\''", to);
        else
            fprintf(to, strchr("[]\\", *s) || (colons && *s == ':') ? "\\%c" : "%c", *s);
}

/* What comes after the message: how to complete a value. */
static void action(cli_kind kind, const cli_opt *o, const char *tool, FILE *to) {
    const bool model = kind == CLI_MODEL || kind == CLI_MODEL_OR_ELSE;
    const cli_values v = o                     ? cli_values_of(o)
                         : kind == CLI_PROFILE ? CLI_PROFILES
                         : model               ? CLI_MODELS
                         : kind == CLI_STR     ? CLI_ANYTHING
                                               : CLI_FILES;
    if (v == CLI_WORDS) {
        fputc('(', to);
        cli_words(o, to);
        fputc(')', to);
    } else if (v == CLI_FILES)
        fputs("_files", to);
    else if (v == CLI_PROFILES || v == CLI_MODELS)
        fprintf(to, "_%.*s_%s", (int)strcspn(tool, " "), tool, v == CLI_MODELS ? "models" : "profiles");
    else
        fputc(' ', to);
}

static void option(const cli_opt *o, const char *tool, FILE *to) {
    char help[CLI_SHORT];
    const bool list = o->kind == CLI_STRS || o->kind == CLI_EACH || o->kind == CLI_INS, value = o->kind != CLI_FLAG;
    cli_short_help(o, help);
    fputs(" \\\n        ", to);
    if (o->alias && list)
        fprintf(to, "'*'{%s,%s=}'", o->alias, o->name);
    else if (o->alias)
        fprintf(to, "'(%s %s)'{%s,%s%s}'", o->alias, o->name, o->alias, o->name, value ? "=" : "");
    else
        fprintf(to, "'%s%s%s", list ? "*" : "", o->name, value ? "=" : "");
    fputc('[', to);
    quoted(help, false, to);
    fputc(']', to);
    if (value) {
        fputs(o->kind == CLI_OUT_OR_STDOUT ? "::" : ":", to);
        quoted(o->arg, true, to);
        fputc(':', to);
        action(o->kind, o, tool, to);
    }
    fputc('\'', to);
}

static void register_tool(const char *tool, FILE *to) {
    fprintf(to,
            "_%s_profiles() {\n"
            "    _alternative \"profiles:profile:($(%s --print-profiles 2>/dev/null))\" 'files:file:_files'\n"
            "}\n\n"
            "_%s_models() {\n"
            "    _alternative \"models:model:($(%s --print-models 2>/dev/null))\" 'files:file:_files'\n"
            "}\n\n"
            "_%s \"$@\"\n",
            tool, tool, tool, tool, tool);
}

/* An array of subcommands with what they do. */
static void command_list(const cli_command *commands, FILE *to) {
    fputs("    local -a subcommands=(", to);
    for (const cli_command *c = commands; c->name; c++) {
        fprintf(to, "\n        '%s:", c->name);
        quoted(c->summary, false, to);
        fputc('\'', to);
    }
    fputs("\n    )\n", to);
}

/* The first word is a subcommand, or what the tool takes without one: a file. */
static void first_word(const char *id, const cli_command *commands, FILE *to) {
    fprintf(to, "_%s_first() {\n    local found=1\n", id);
    command_list(commands, to);
    fputs("    _describe subcommand subcommands && found=0\n    _files && found=0\n    return found\n}\n\n", to);
}

/* Behind a subcommand, what completes it. */
static void commands_first(const char *id, const cli_command *commands, FILE *to) {
    fputs("    case $((CURRENT > 2)):$words[2] in\n", to);
    for (const cli_command *c = commands; c->name; c++)
        fprintf(to, "    1:%s)\n        shift words\n        ((CURRENT--))\n        _%s_%s\n        return\n        ;;\n",
                c->name, id, c->name);
    fputs("    esac\n", to);
}

void cli_zsh(const cli_spec *spec, FILE *to) {
    char id[CLI_JOINED];
    size_t place = 0;
    cli_joined(spec->tool, '_', id);
    if (spec->commands)
        first_word(id, spec->commands, to);
    fprintf(to, "_%s() {\n", id);
    if (spec->commands)
        commands_first(id, spec->commands, to);
    fputs("    _arguments", to);
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o))
            option(o, spec->tool, to);
    for (const cli_opt *o = cli_common_opts; cli_opt_at(o); o++)
        option(o, spec->tool, to);
    for (const cli_arg *a = spec->args; a && a->name; a++) {
        place++;
        fprintf(to, " \\\n        '%zu%s%s:", place, place > spec->n_required ? "::" : ":", a->name);
        if (place == 1 && spec->commands)
            fprintf(to, "_%s_first", id);
        else
            action(a->kind, NULL, spec->tool, to);
        fputc('\'', to);
    }
    if (spec->rest) {
        fprintf(to, " \\\n        '*:%s:", spec->rest->name);
        action(spec->rest->kind == CLI_INS ? CLI_IN : CLI_STR, NULL, spec->tool, to);
        fputc('\'', to);
    }
    fputs("\n}\n\n", to);
    if (!cli_is_subcommand(spec))
        register_tool(spec->tool, to);
}

void cli_zsh_commands(const char *tool, const cli_command *commands, FILE *to) {
    fprintf(to, "_%s() {\n", tool);
    command_list(commands, to);
    fputs("    if ((CURRENT == 2)); then\n        _describe subcommand subcommands\n"
          "        _arguments '(-h --help)'{-h,--help}'[this page]' '--version[the version]'\n        return\n    fi\n"
          "    local sub=$words[2]\n    shift words\n    ((CURRENT--))\n    case $sub in\n",
          to);
    for (const cli_command *c = commands; c->name; c++)
        fprintf(to, "    %s) _%s_%s ;;\n", c->name, tool, c->name);
    fputs("    esac\n}\n\n", to);
    register_tool(tool, to);
}
