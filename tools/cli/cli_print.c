/* What the build asks the tools for: manual pages and completions, made from the same rows as --help. Shown nowhere.
 *
 *   --print-man [BRIEF]       the manual page; BRIEF: what the tool is in a few words, for one whose table does not say
 *   --print-completion SHELL  bash, zsh or fish; of a subcommand only its part, which the tool puts into the whole
 *   --print-commands          names of subcommands
 *   --print-profiles          names of ready-made profiles, for completions that ask when they are used
 *   --print-models            names of models that are here, likewise
 */
#include "cli/cli_print.h"
#include "cli/cli_internal.h"
#include "cli/cli_models.h"
#include "cli/cli_profile.h"

#include <string.h>

const cli_shell cli_shells[] = {
    {"bash", "# bash completion of ", cli_bash, cli_bash_commands},
    {"zsh", "#compdef ", cli_zsh, cli_zsh_commands},
    {"fish", "# fish completion of ", cli_fish, cli_fish_commands},
    {0},
};

static const cli_shell *shell_by_name(const char *name) {
    for (const cli_shell *s = cli_shells; name && s->name; s++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

static void first_lines(const cli_shell *shell, const char *tool) {
    printf("%s%s\n# made from what %s says of its options\n\n", shell->first, tool, tool);
}

static void command_names(const cli_command *commands) {
    for (const cli_command *c = commands; c->name; c++)
        puts(c->name);
}

/* What completes each subcommand. */
static void command_parts(const cli_command *commands, char **argv) {
    for (const cli_command *c = commands; c && c->name; c++)
        c->run(3, (char *[]){(char *)c->name, argv[1], argv[2], NULL});
}

bool cli_print_tool(const cli_spec *spec, int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "", *value = argc > 2 ? argv[2] : NULL;
    const cli_shell *shell = !strcmp(what, "--print-completion") ? shell_by_name(value) : NULL;
    if (!strcmp(what, "--print-commands") && spec->commands)
        command_names(spec->commands);
    else if (!strcmp(what, "--print-man"))
        cli_man(spec, value ? value : spec->brief ? spec->brief : spec->summary);
    else if (!strcmp(what, "--print-profiles"))
        cli_profile_names(stdout);
    else if (!strcmp(what, "--print-models"))
        cli_models_names(stdout);
    else if (shell) {
        if (!cli_is_subcommand(spec))
            first_lines(shell, spec->tool);
        command_parts(spec->commands, argv);
        shell->tool(spec, stdout);
    } else
        return false;
    return true;
}

bool cli_print_commands(const char *tool, const char *summary, const cli_command *commands, int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "", *value = argc > 2 ? argv[2] : NULL;
    const cli_shell *shell = !strcmp(what, "--print-completion") ? shell_by_name(value) : NULL;
    if (!strcmp(what, "--print-man"))
        cli_command_man(tool, summary, commands);
    else if (!strcmp(what, "--print-profiles"))
        cli_profile_names(stdout);
    else if (!strcmp(what, "--print-models"))
        cli_models_names(stdout);
    else if (!strcmp(what, "--print-commands"))
        command_names(commands);
    else if (shell) {
        first_lines(shell, tool);
        command_parts(commands, argv);
        shell->commands(tool, commands, stdout);
    } else
        return false;
    return true;
}
