/* Reading a command line against a table of options.
 *
 * One pass over argv. Every message names the option, what was given and what would be right, and ends with where to read on.
 * Help, manual pages and completions are in other files; all read the same rows.
 */
#include "cli/cli.h"

#include "base/format.h"
#include "cli/cli_internal.h"
#include "cli/cli_json.h"
#include "cli/cli_models.h"
#include "cli/cli_near.h"
#include "profile/evict_id.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* About what is being parsed: printed, or for the caller who asked for that. */
__attribute__((format(printf, 2, 3))) static void refuse(const cli_spec *spec, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (spec->err) {
        int n =
            snprintf(spec->err->msg, sizeof spec->err->msg, "%s%s", spec->where ? spec->where : "", spec->where ? ": " : "");
        if (n >= 0 && (size_t)n < sizeof spec->err->msg)
            vsnprintf(spec->err->msg + n, sizeof spec->err->msg - (size_t)n, fmt, ap);
        spec->err->code = KV_EINVAL;
    } else
        cli_vcomplain(spec->tool, fmt, ap);
    va_end(ap);
}

static int unknown_option(const cli_spec *spec, const char *given) {
    const char *best = NULL, *ours, *why;
    size_t dist = SIZE_MAX;
    if (cli_foreign_option(spec, given, &ours, &why)) {
        if (ours)
            refuse(spec, "unknown option %s; here it is called %s ('%s --help' lists all)", given, ours, spec->tool);
        else
            refuse(spec, "unknown option %s; leave it out: %s", given, why);
        return CLI_USAGE;
    }
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o)) {
            cli_consider(given, o->name, &best, &dist);
            cli_consider(given, o->alias, &best, &dist);
        }
    if (!spec->err) {
        cli_consider(given, "--help", &best, &dist);
        cli_consider(given, "--version", &best, &dist);
    }
    if (best)
        refuse(spec, "unknown option %s; did you mean %s? ('%s --help' lists all)", given, best, spec->tool);
    else
        refuse(spec, "unknown option %s ('%s --help' lists all)", given, spec->tool);
    return CLI_USAGE;
}

static bool is_named(const cli_opt *o, const char *s, size_t len) {
    return o->kind != CLI_HEADING && ((strlen(o->name) == len && !memcmp(o->name, s, len)) ||
                                      (o->alias && strlen(o->alias) == len && !memcmp(o->alias, s, len)));
}

static const cli_opt *find_option(const cli_spec *spec, const char *s, size_t len) {
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (is_named(o, s, len))
            return o->kind == CLI_OLD_NAME ? find_option(spec, o->arg, strlen(o->arg)) : o;
    return NULL;
}

static bool looks_like_option(const char *s) {
    return s[0] == '-' && s[1] != '\0';
}

static bool take_number(const cli_spec *spec, const cli_opt *o, const char *s) {
    char *end;
    errno = 0;
    if (o->kind == CLI_INT) {
        long long v = strtoll(s, &end, 10);
        if (end != s && !*end && !errno && (double)v >= o->min && (double)v <= o->max) {
            *(int64_t *)o->dst = v;
            return true;
        }
        refuse(spec, "%s: '%s' is not a whole number in %.0f..%.0f", o->name, s, o->min, o->max);
    } else {
        double v = strtod(s, &end);
        if (end != s && !*end && isfinite(v) && v >= o->min && v <= o->max) {
            *(double *)o->dst = v;
            return true;
        }
        refuse(spec, "%s: '%s' is not a number in %g..%g", o->name, s, o->min, o->max);
    }
    return false;
}

/* One word of several. */
static bool take_word(const cli_spec *spec, const cli_opt *o, const char *s) {
    const char *what = o->kind == CLI_CODEC   ? "a cache type"
                       : o->kind == CLI_EVICT ? "a policy"
                       : o->kind == CLI_CPU   ? "an instruction set"
                                              : "possible here";
    char names[256] = "", word[CLI_WORD];
    size_t len = 0;
    for (int i = 0; cli_opt_word(o, i, word); i++) {
        if (!strcmp(word, s)) {
            if (o->kind == CLI_CODEC || o->kind == CLI_EVICT)
                *(int *)o->dst = i;
            else
                *(const char **)o->dst = s;
            return true;
        }
        if (len < sizeof names)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", i ? ", " : "", word);
    }
    const char *near = o->kind == CLI_CODEC ? cli_foreign_codec(s) : NULL;
    refuse(spec, "%s: '%s' is not %s%s%s; known are %s", o->name, s, what, near ? ", the nearest one is " : "",
           near ? near : "", names);
    return false;
}

static bool take_budget(const cli_spec *spec, const cli_opt *o, const char *s) {
    if (kv_budget_parse(s, o->dst))
        return true;
    refuse(spec, "%s: '%s' is neither a number of tokens (2048) nor a share of the context (50%%)", o->name, s);
    return false;
}

static bool take_size(const cli_spec *spec, const cli_opt *o, const char *s) {
    const uint64_t bytes = format_parse_bytes(s);
    if (bytes || !strcmp(s, "0")) {
        *(int64_t *)o->dst = (int64_t)bytes;
        return true;
    }
    refuse(spec, "%s: '%s' is not a size, such as 500M or 2G, or 0", o->name, s);
    return false;
}

static bool take_value(const cli_spec *spec, const cli_opt *o, const char *s, bool *full) {
    switch (o->kind) {
    case CLI_INT:
    case CLI_REAL:
        return take_number(spec, o, s);
    case CLI_CODEC:
    case CLI_EVICT:
    case CLI_CPU:
    case CLI_CHOICE:
        return take_word(spec, o, s);
    case CLI_BUDGET:
        return take_budget(spec, o, s);
    case CLI_SIZE:
        return take_size(spec, o, s);
    case CLI_OUT:
        if (!strcmp(s, "-")) {
            refuse(spec, "%s: '-' does not stand for standard output here; name a file (./- for one that is called so)",
                   o->name);
            return false;
        }
        *(const char **)o->dst = s;
        return true;
    case CLI_STR:
    case CLI_IN:
    case CLI_MODEL:
    case CLI_MODEL_OR_ELSE:
    case CLI_PROFILE:
    case CLI_OUT_OR_STDOUT:
        *(const char **)o->dst = s;
        return true;
    case CLI_STRS:
    case CLI_EACH:
    case CLI_INS: {
        cli_strs *list = o->dst;
        const char **grown = realloc(list->v, (list->n + 1) * sizeof *grown);
        if (!grown) {
            refuse(spec, "%s: out of memory", o->name);
            *full = true;
            return false;
        }
        grown[list->n++] = s;
        list->v = grown;
        return true;
    }
    case CLI_FLAG:
    case CLI_HEADING:
    case CLI_OLD_NAME:
        break;
    }
    return false;
}

static bool is_list(const cli_opt *o) {
    return o->kind == CLI_STRS || o->kind == CLI_EACH || o->kind == CLI_INS;
}

/* An option that we do not have by this name. True: *o is the one that is meant, or it was taken, and left aside. */
static bool take_foreign(const cli_spec *spec, int argc, char **argv, int *i, cli_aside *aside, const cli_opt **o,
                         bool *taken) {
    const char *word = argv[*i], *next = *i + 1 < argc ? argv[*i + 1] : NULL, *what;
    switch (cli_foreign_take(spec, word, next, aside, &what)) {
    case CLI_FOREIGN_SAME:
        *o = find_option(spec, what, strlen(what));
        return true;
    case CLI_FOREIGN_ASIDE_VALUE:
        if (!next || !strcmp(next, "--") || find_option(spec, next, strlen(next))) {
            refuse(spec, "%s needs a value%s%s", word, next ? ", but is followed by " : "", next ? next : "");
            return false;
        }
        ++*i;
        return *taken = true;
    case CLI_FOREIGN_ASIDE:
        return *taken = true;
    case CLI_FOREIGN_REFUSED:
        refuse(spec, "%.*s of llama.cpp cannot be had here: %s", (int)strcspn(word, "="), word, what);
        return false;
    default:
        unknown_option(spec, word);
        return false;
    }
}

/* The option at argv[*i] and its value or values; *i ends on the last word used. */
static bool take_option(const cli_spec *spec, int argc, char **argv, int *i, bool *full, cli_aside *aside) {
    const char *word = argv[*i], *eq = strchr(word, '=');
    const cli_opt *o = find_option(spec, word, eq ? (size_t)(eq - word) : strlen(word));
    bool taken = false;
    if (!o && !take_foreign(spec, argc, argv, i, aside, &o, &taken))
        return false;
    if (taken)
        return true;
    if (o->kind == CLI_FLAG) {
        if (eq) {
            refuse(spec, "%s takes no value (given: '%s')", o->name, eq + 1);
            return false;
        }
        *(bool *)o->dst = true;
        return true;
    }
    if (eq)
        return take_value(spec, o, eq + 1, full);
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (o->kind == CLI_OUT_OR_STDOUT && (!next || looks_like_option(next)))
        return take_value(spec, o, "-", full);
    /* A forgotten value must not swallow the option after it; "--name=--other" says that it is meant. */
    if (!next || !strcmp(next, "--") || find_option(spec, next, strlen(next))) {
        refuse(spec, "%s needs a value (%s)%s%s", o->name, o->arg, next ? ", but is followed by " : "", next ? next : "");
        return false;
    }
    do
        if (!take_value(spec, o, argv[++*i], full))
            return false;
    while (is_list(o) && o->kind != CLI_EACH && *i + 1 < argc && !looks_like_option(argv[*i + 1]));
    return true;
}

/* "usage: ", each way to use it in a line of its own. */
static void say_usage(const cli_spec *spec) {
    const char *at = spec->usage;
    for (size_t len; *at; at += len + (at[len] == '\n')) {
        len = strcspn(at, "\n");
        fprintf(stderr, "%s%s %.*s\n", at == spec->usage ? "usage: " : "       ", spec->tool, (int)len, at);
    }
}

/* A word too many: perhaps the first one was meant as a subcommand. */
static int unexpected_argument(const cli_spec *spec, const char *given, const char *first) {
    const char *best = NULL;
    size_t dist = SIZE_MAX;
    for (const cli_command *c = spec->commands; c && c->name && first; c++)
        cli_consider(first, c->name, &best, &dist);
    if (best)
        refuse(spec, "unexpected argument '%s'; did you mean '%s %s'? (a subcommand comes first)", given, spec->tool, best);
    else
        refuse(spec, "unexpected argument '%s'", given);
    if (!spec->err)
        say_usage(spec);
    return CLI_USAGE;
}

static int missing_argument(const cli_spec *spec, size_t filled) {
    refuse(spec, filled ? "an argument is missing" : "nothing to work on");
    say_usage(spec);
    fprintf(stderr, "('%s --help' explains)\n", spec->tool);
    return CLI_USAGE;
}

static int parse_words(const cli_spec *spec, int argc, char **argv) {
    if (!spec->err && cli_print_tool(spec, argc, argv))
        return CLI_OK;
    for (int i = 1; i < argc && strcmp(argv[i], "--") && !spec->err; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            cli_help(spec);
            return CLI_OK;
        }
        if (!strcmp(argv[i], "--version")) {
            cli_version(spec->tool);
            return CLI_OK;
        }
    }
    static const cli_arg none = {0};
    const cli_arg *arg = spec->args ? spec->args : &none;
    size_t filled = 0;
    bool options = true;
    cli_aside aside = {0};
    for (int i = 1; i < argc; i++) {
        if (options && !strcmp(argv[i], "--")) {
            options = false;
        } else if (options && looks_like_option(argv[i])) {
            bool full = false;
            if (!take_option(spec, argc, argv, &i, &full, &aside))
                return full ? CLI_FAIL : CLI_USAGE;
        } else if (arg->name) {
            *arg++->dst = argv[i];
            filled++;
        } else if (spec->rest) {
            bool full = false;
            if (!take_value(spec, spec->rest, argv[i], &full))
                return CLI_FAIL;
        } else {
            return unexpected_argument(spec, argv[i], filled ? *spec->args->dst : NULL);
        }
    }
    if (filled < spec->n_required)
        return missing_argument(spec, filled);
    if (*aside.names)
        cli_note(spec->tool, "options of llama.cpp that mean nothing here were left aside (%s): %s", aside.names, aside.why);
    return -1;
}

static void empty_list(const cli_opt *o) {
    if (!is_list(o))
        return;
    free(((cli_strs *)o->dst)->v);
    *(cli_strs *)o->dst = (cli_strs){0};
}

/* Put the path of the model that a word means in place of the word, in argv, too, which keeps it until the process ends. */
static kv_status find_model(cli_kind kind, const char **dst, int argc, char **argv, kv_err *err) {
    char path[CLI_FOLDER];
    bool found = false;
    if ((kind != CLI_MODEL && kind != CLI_MODEL_OR_ELSE) || !*dst)
        return KV_OK;
    kv_status st = cli_model_path(*dst, path, kind == CLI_MODEL ? NULL : &found, err);
    if (st || !strcmp(path, *dst))
        return st;
    char *kept = strdup(path);
    if (!kept)
        return kv_fail(err, KV_ENOMEM, "out of memory for a path");
    for (int i = 1; i < argc; i++)
        if (*dst >= argv[i] && *dst <= argv[i] + strlen(argv[i])) { /* "--model=NAME", too */
            argv[i] = kept;
            break;
        }
    *dst = kept;
    return KV_OK;
}

static kv_status find_models(const cli_spec *spec, int argc, char **argv, kv_err *err) {
    kv_status st = KV_OK;
    for (const cli_arg *a = spec->args; a && a->name && !st; a++)
        st = find_model(a->kind, a->dst, argc, argv, err);
    for (const cli_opt *o = spec->opts; cli_opt_at(o) && !st; o++)
        st = find_model(o->kind, o->dst, argc, argv, err);
    return st;
}

/* What can be lost without a sign is watched from here on. */
static void begin(const char *tool) {
    cli_watch_stdout(tool);
    cli_json_watch();
}

int cli_parse(const cli_spec *spec, int argc, char **argv) {
    kv_err err = {0};
    if (!spec->err)
        begin(spec->tool);
    int code = parse_words(spec, argc, argv);
    kv_status st = code < 0 ? find_models(spec, argc, argv, &err) : KV_OK;
    if (code < 0 && !st)
        st = cli_check_files(spec, &err);
    if (st) {
        refuse(spec, "%s", err.msg);
        if (spec->err)
            spec->err->code = st;
        code = st == KV_EINVAL ? CLI_USAGE : CLI_FAIL;
    }
    for (const cli_opt *o = spec->opts; code >= 0 && cli_opt_at(o); o++)
        empty_list(o);
    if (code >= 0 && spec->rest)
        empty_list(spec->rest);
    return code;
}

static const cli_command *find_command(const cli_command *commands, const char *name) {
    for (const cli_command *c = commands; c->name; c++)
        if (name && !strcmp(name, c->name))
            return c;
    return NULL;
}

/* A manual page begins with what the table says of its subcommand. */
static int run_command(const cli_command *c, int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[2], "--print-man"))
        return c->run(3, (char *[]){argv[1], argv[2], (char *)c->summary, NULL});
    return c->run(argc - 1, argv + 1);
}

int cli_dispatch(const char *tool, const char *summary, const cli_command *commands, int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : NULL;
    begin(tool);
    if (!word || !strcmp(word, "--help") || !strcmp(word, "-h")) {
        cli_command_help(tool, summary, commands, word ? stdout : stderr);
        return word ? CLI_OK : CLI_USAGE;
    }
    if (!strcmp(word, "--version")) {
        cli_version(tool);
        return CLI_OK;
    }
    if (cli_print_commands(tool, summary, commands, argc, argv))
        return CLI_OK;
    const cli_command *named = find_command(commands, word);
    if (named)
        return run_command(named, argc, argv);
    const char *best = NULL;
    size_t dist = SIZE_MAX;
    for (const cli_command *c = commands; c->name; c++)
        cli_consider(word, c->name, &best, &dist);
    if (best)
        cli_complain(tool, "unknown subcommand '%s'; did you mean '%s'? ('%s --help' lists all)", word, best, tool);
    else
        cli_complain(tool, "unknown subcommand '%s' ('%s --help' lists all)", word, tool);
    return CLI_USAGE;
}

int cli_dispatch_or(const cli_command *commands, int (*otherwise)(const cli_command *commands, int argc, char **argv), int argc,
                    char **argv) {
    const cli_command *named = find_command(commands, argc > 1 ? argv[1] : NULL);
    return named ? run_command(named, argc, argv) : otherwise(commands, argc, argv);
}
