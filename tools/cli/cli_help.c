/* The --help page: usage, summary, the table of options in two columns with the text wrapped, examples, exit codes. */
#include "base/format.h"
#include "cli/cli_internal.h"
#include "profile/codec_id.h"
#include "profile/evict_id.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NARROW = 60, WIDE = 100, INDENT = 2, GAP = 2, MAX_COLUMN = 30 };

const cli_opt cli_common_opts[] = {
    {.name = "--help", .alias = "-h", .kind = CLI_FLAG, .help = "this page"},
    {.name = "--version",
     .kind = CLI_FLAG,
     .help = "the version, the instruction set that will be used, and how this was built"},
    {0},
};

static size_t page_width(void) {
    const size_t is = cli_width(STDOUT_FILENO);
    return is < NARROW ? NARROW : is > WIDE ? WIDE : is;
}

static void label(const cli_opt *o, char *buf, size_t size) {
    snprintf(buf, size, "%s%s%s%s%s", o->alias ? o->alias : "", o->alias ? ", " : "", o->name, o->arg ? " " : "",
             o->arg ? o->arg : "");
}

/* The value before parsing is the default, and cache types have a table: said here so that no help text repeats them. */
void cli_help_text(const cli_opt *o, char buf[CLI_HELP]) {
    const size_t size = CLI_HELP;
    char bytes[FORMAT_BYTES];
    size_t len = 0;
    for (int i = 0; o->kind == CLI_CODEC && i < KV_CODEC_COUNT && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", kv_codec_names[i].name, i + 1 < KV_CODEC_COUNT ? ", " : ": ");
    for (int i = 0; o->kind == CLI_EVICT && i < KV_EVICT_COUNT && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s (%s)%s", kv_evict_names[i].name, kv_evict_names[i].summary,
                                i + 1 < KV_EVICT_COUNT ? ", " : ": ");
    if (len < size)
        len += (size_t)snprintf(buf + len, size - len, "%s", o->help);
    if (len >= size)
        return;
    if (o->kind == CLI_INT && *(int64_t *)o->dst >= 0)
        snprintf(buf + len, size - len, " [%lld]", (long long)*(int64_t *)o->dst);
    else if (o->kind == CLI_REAL && *(double *)o->dst >= 0)
        snprintf(buf + len, size - len, " [%g]", *(double *)o->dst);
    else if (o->kind == CLI_SIZE)
        snprintf(buf + len, size - len, " [%s]", *(int64_t *)o->dst ? format_bytes((double)*(int64_t *)o->dst, bytes) : "0");
    else if (o->kind == CLI_CODEC && *(int *)o->dst >= 0)
        snprintf(buf + len, size - len, " [%s]", kv_codec_names[*(int *)o->dst].name);
}

static void option_row(const cli_opt *o, size_t column, size_t width) {
    char name[96], text[CLI_HELP];
    label(o, name, sizeof name);
    cli_help_text(o, text);
    size_t at = INDENT + strlen(name);
    printf("%*s%s", INDENT, "", name);
    if (at + GAP > column)
        printf("\n%*s", (int)column, "");
    else
        printf("%*s", (int)(column - at), "");
    cli_wrap(stdout, text, column, column, width);
}

static void exit_codes(FILE *to) {
    fprintf(to, "\nExit codes: %d done, %d failed, %d wrong usage, %d interrupted.\n", CLI_OK, CLI_FAIL, CLI_USAGE,
            CLI_INTERRUPTED);
}

static void command_rows(const cli_command *commands, size_t width, FILE *to) {
    size_t column = 0;
    for (const cli_command *c = commands; c->name; c++)
        if (INDENT + strlen(c->name) + GAP > column)
            column = INDENT + strlen(c->name) + GAP;
    for (const cli_command *c = commands; c->name; c++) {
        fprintf(to, "%*s%-*s", INDENT, "", (int)(column - INDENT), c->name);
        cli_wrap(to, c->summary, column, column, width);
    }
}

static void heading(const char *text) {
    bool color = cli_color(STDOUT_FILENO);
    printf("\n%s%s%s\n", color ? "\033[1m" : "", text, color ? "\033[0m" : "");
}

/* Each way to use it in lines of its own. */
static void usage(const cli_spec *spec, size_t width) {
    const size_t column = strlen("usage: ") + strlen(spec->tool) + 1;
    const char *at = spec->usage;
    for (size_t len; *at; at += len + (at[len] == '\n')) {
        char *way = strndup(at, len = strcspn(at, "\n"));
        printf("%s%s ", at == spec->usage ? "usage: " : "       ", spec->tool);
        cli_wrap(stdout, way ? way : "", column, column, width);
        free(way);
    }
}

void cli_help(const cli_spec *spec) {
    size_t width = page_width(), column = 0;
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++) {
        if (!cli_opt_shown(o))
            continue;
        char name[96];
        label(o, name, sizeof name);
        size_t need = INDENT + strlen(name) + GAP;
        if (need > column && need <= MAX_COLUMN)
            column = need;
    }
    if (column < INDENT + strlen("-h, --help") + GAP)
        column = INDENT + strlen("-h, --help") + GAP;

    usage(spec, width);
    fputc('\n', stdout);
    cli_wrap(stdout, spec->summary, 0, 0, width);
    if (spec->commands) {
        heading("Subcommands");
        command_rows(spec->commands, width, stdout);
        printf("'%s SUBCOMMAND --help' explains each.\n", spec->tool);
    }
    if (spec->opts[0].kind != CLI_HEADING)
        heading("Options");
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++) {
        if (o->kind == CLI_HEADING)
            heading(o->help);
        else if (cli_opt_shown(o))
            option_row(o, column, width);
    }
    if (spec->opts[0].kind == CLI_HEADING)
        heading("Help");
    for (const cli_opt *o = cli_common_opts; cli_opt_at(o); o++)
        option_row(o, column, width);
    if (spec->examples) {
        heading("Examples");
        fputs(spec->examples, stdout);
        if (spec->examples[strlen(spec->examples) - 1] != '\n')
            fputc('\n', stdout);
    }
    exit_codes(stdout);
}

void cli_command_help(const char *tool, const char *summary, const cli_command *commands, FILE *to) {
    const size_t width = page_width();
    fprintf(to, "usage: %s SUBCOMMAND [options]\n\n", tool);
    cli_wrap(to, summary, 0, 0, width);
    fputc('\n', to);
    command_rows(commands, width, to);
    fprintf(to, "\n'%s SUBCOMMAND --help' explains each.\n", tool);
    exit_codes(to);
}
