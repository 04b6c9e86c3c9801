/* Manual pages, in the macros of man(7): one per tool and per subcommand. */
#include "cli/cli_print.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE = 60 }; /* without escapes */

static const char *const tools[] = {"kvcalib", "kveval", "kvpack", "kvrun"};

/* ---- text ---- */

/* One character that is not to mean anything to roff. */
static void escaped(char c) {
    switch (c) {
    case '\\':
        fputs("\\e", stdout);
        break;
    case '-':
        fputs("\\-", stdout);
        break;
    case '\'':
        fputs("\\(aq", stdout);
        break;
    case '`':
        fputs("\\(ga", stdout);
        break;
    case '"':
        fputs("\\(dq", stdout);
        break;
    case '~':
        fputs("\\(ti", stdout);
        break;
    case '^':
        fputs("\\(ha", stdout);
        break;
    default:
        putchar(c);
    }
}

static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '-';
}

/* A word, names of options in it in bold; `capitals`: what stands for a value in italics. */
static void word(const char *s, size_t len, bool capitals) {
    for (size_t i = 0; i < len;) {
        const bool begins = !i || !is_name(s[i - 1]);
        const bool option = begins && s[i] == '-' && i + 1 < len && (isalpha((unsigned char)s[i + 1]) || s[i + 1] == '-');
        const bool value = capitals && begins && isupper((unsigned char)s[i]);
        if (!option && !value) {
            escaped(s[i++]);
            continue;
        }
        fputs(option ? "\\fB" : "\\fI", stdout);
        while (i < len && (is_name(s[i]) || (value && s[i] == '.')))
            escaped(s[i++]);
        fputs("\\fR", stdout);
    }
}

/* Lines of text, broken at blanks; `at`: what stands on the first one already. '\n' begins a line as `before` says. */
static void prose(const char *s, size_t at, bool capitals, const char *before) {
    bool fresh = true;
    for (; *s; s += *s == ' ') {
        if (*s == '\n') {
            printf("\n%s", before);
            at = 0;
            fresh = true;
            s++;
            continue;
        }
        const size_t len = strcspn(s, " \n");
        if (len && !fresh) {
            const bool full = at + 1 + len > LINE;
            putchar(full ? '\n' : ' ');
            at = full ? 0 : at + 1;
        }
        if (len && !at && *s == '.')
            fputs("\\&", stdout);
        word(s, len, capitals);
        fresh = fresh && !len;
        at += len;
        s += len;
    }
    putchar('\n');
}

static void as_it_is(const char *s) {
    fputs(".EX\n", stdout);
    for (; *s; s++)
        escaped(*s);
    fputs(s[-1] == '\n' ? ".EE\n" : "\n.EE\n", stdout);
}

/* ---- parts of a page ---- */

/* SOURCE_DATE_EPOCH makes builds repeatable (reproducible-builds.org). */
static void begin(const char *tool, const char *brief) {
    char name[CLI_JOINED], date[16];
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    const time_t now = epoch ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &tm));
    cli_joined(tool, '-', name);
    fputs(".TH ", stdout);
    for (const char *c = name; *c; c++)
        escaped((char)toupper((unsigned char)*c));
    printf(" 1 %s \"kvcalib %s\" kvcalib\n.SH NAME\n", date, KV_TOOL_VERSION);
    for (const char *c = name; *c; c++)
        escaped(*c);
    fputs(" \\- ", stdout);
    prose(brief, strlen(name) + 3, false, "");
}

static void option(const cli_opt *o) {
    char text[CLI_HELP];
    fputs(".TP\n", stdout);
    if (o->alias) {
        word(o->alias, strlen(o->alias), false);
        fputs(", ", stdout);
    }
    word(o->name, strlen(o->name), false);
    if (o->arg) {
        putchar(' ');
        word(o->arg, strlen(o->arg), true);
    }
    putchar('\n');
    cli_help_text(o, text);
    prose(text, 0, false, "");
}

static void exit_status(void) {
    printf(".SH EXIT STATUS\n.TP\n%d\ndone\n.TP\n%d\nfailed\n.TP\n%d\nwrong usage\n.TP\n%d\ninterrupted\n", CLI_OK, CLI_FAIL,
           CLI_USAGE, CLI_INTERRUPTED);
}

static void environment(bool profiles, bool models) {
    fputs(".SH ENVIRONMENT\n", stdout);
    if (profiles)
        fputs(".TP\nKVCALIB_PROFILES\ndirectories, with colons between them, where profiles are looked for first\n"
              ".TP\nXDG_DATA_HOME\nwhere they are looked for next, in kvcalib/profiles; without it ~/.local/share\n",
              stdout);
    if (models)
        fputs(".TP\nKV_MODEL_DIR\nwhere models are that are found by name; without it kvcalib/models in XDG_CACHE_HOME, or in "
              "~/.cache\n",
              stdout);
    fputs(".TP\nNO_COLOR\nno colour on terminals, where it is not empty\n", stdout);
}

/* The tools, and the subcommands of this one or the tool that it is a subcommand of. */
static void see_also(const char *tool, const cli_command *commands) {
    const size_t len = strcspn(tool, " ");
    const char *before = "";
    fputs(".SH SEE ALSO\n", stdout);
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
        if (tool[len] || strcmp(tools[i], tool) != 0) {
            printf("%s.BR %s (1)", before, tools[i]);
            before = ",\n";
        }
    for (const cli_command *c = commands; c && c->name; c++)
        printf("%s.BR %s\\-%s (1)", before, tool, c->name);
    putchar('\n');
}

static void subcommands(const cli_command *commands) {
    fputs(".SH SUBCOMMANDS\n", stdout);
    for (const cli_command *c = commands; c->name; c++) {
        printf(".TP\n\\fB%s\\fR\n", c->name);
        prose(c->summary, 0, false, "");
    }
    fputs(".PP\nEach has a page of its own.\n", stdout);
}

static bool reads(const cli_spec *spec, cli_kind kind) {
    for (const cli_arg *a = spec->args; a && a->name; a++)
        if (a->kind == kind)
            return true;
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (o->kind == kind)
            return true;
    return false;
}

/* ---- pages ---- */

void cli_man(const cli_spec *spec, const char *brief) {
    char again[CLI_JOINED + 16];
    begin(spec->tool, brief);
    snprintf(again, sizeof again, ".br\n\\fB%s\\fR ", spec->tool);
    printf(".SH SYNOPSIS\n%s", again + strlen(".br\n"));
    prose(spec->usage, strlen(spec->tool), true, again);
    fputs(".SH DESCRIPTION\n", stdout);
    prose(spec->summary, 0, false, ".PP\n");
    if (spec->commands)
        subcommands(spec->commands);
    fputs(".SH OPTIONS\n", stdout);
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (o->kind == CLI_HEADING) {
            fputs(".SS ", stdout);
            word(o->help, strlen(o->help), false);
            putchar('\n');
        } else if (cli_opt_shown(o))
            option(o);
    if (spec->opts[0].kind == CLI_HEADING)
        fputs(".SS Help\n", stdout);
    for (const cli_opt *o = cli_common_opts; cli_opt_at(o); o++)
        option(o);
    exit_status();
    environment(reads(spec, CLI_PROFILE), reads(spec, CLI_MODEL) || reads(spec, CLI_MODEL_OR_ELSE));
    if (spec->examples) {
        fputs(".SH EXAMPLES\n", stdout);
        as_it_is(spec->examples);
    }
    see_also(spec->tool, spec->commands);
}

void cli_command_man(const char *tool, const char *summary, const cli_command *commands) {
    begin(tool, summary);
    printf(".SH SYNOPSIS\n\\fB%s\\fR \\fISUBCOMMAND\\fR [options]\n", tool);
    subcommands(commands);
    exit_status();
    environment(true, true);
    see_also(tool, commands);
}
