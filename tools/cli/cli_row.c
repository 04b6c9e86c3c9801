/* Rows of the table of options, looked at one by one: which words an option takes, what it is called elsewhere. */
#include "cli/cli_print.h"
#include "machine/cpu.h"
#include "profile/codec_id.h"
#include "profile/evict_id.h"

#include <string.h>

bool cli_opt_word(const cli_opt *o, int i, char word[CLI_WORD]) {
    const char *from = o->kind == CLI_CODEC && i < KV_CODEC_COUNT   ? kv_codec_names[i].name
                       : o->kind == CLI_EVICT && i < KV_EVICT_COUNT ? kv_evict_names[i].name
                       : o->kind == CLI_CPU && i == 0               ? "auto"
                       : o->kind == CLI_CPU && i <= RT_CPU_COUNT    ? rt_cpu_name((rt_cpu)(i - 1))
                       : o->kind == CLI_CHOICE                      ? o->arg
                                                                    : NULL;
    for (int skip = o->kind == CLI_CHOICE ? i : 0; from && skip > 0; skip--)
        if ((from = strchr(from, '|')))
            from++;
    if (from)
        snprintf(word, CLI_WORD, "%.*s", (int)strcspn(from, "|"), from);
    return from != NULL;
}

bool cli_opt_differs(const cli_opt *a, const cli_opt *b) {
    switch (a->kind) {
    case CLI_FLAG:
        return *(bool *)a->dst != *(bool *)b->dst;
    case CLI_INT:
    case CLI_SIZE:
        return *(int64_t *)a->dst != *(int64_t *)b->dst;
    case CLI_REAL:
        return *(double *)a->dst != *(double *)b->dst;
    case CLI_CODEC:
    case CLI_EVICT:
        return *(int *)a->dst != *(int *)b->dst;
    case CLI_BUDGET: {
        const kv_budget *x = a->dst, *y = b->dst;
        return x->tokens != y->tokens || x->share != y->share;
    }
    case CLI_STR:
    case CLI_IN:
    case CLI_MODEL:
    case CLI_MODEL_OR_ELSE:
    case CLI_PROFILE:
    case CLI_OUT:
    case CLI_OUT_OR_STDOUT:
    case CLI_CPU:
    case CLI_CHOICE: {
        const char *x = *(const char **)a->dst, *y = *(const char **)b->dst;
        return x && y ? strcmp(x, y) != 0 : x != y;
    }
    case CLI_STRS:
    case CLI_EACH:
    case CLI_INS:
        return ((cli_strs *)a->dst)->n != ((cli_strs *)b->dst)->n;
    case CLI_HEADING:
    case CLI_OLD_NAME:
        break;
    }
    return false;
}

bool cli_is_subcommand(const cli_spec *spec) {
    return strchr(spec->tool, ' ') != NULL;
}

void cli_joined(const char *tool, char with, char buf[CLI_JOINED]) {
    snprintf(buf, CLI_JOINED, "%s", tool);
    for (char *c = buf; (c = strchr(c, ' '));)
        *c = with;
}

void cli_short_help(const cli_opt *o, char buf[CLI_SHORT]) {
    const char *semicolon = strchr(o->help, ';'), *bracket = strstr(o->help, " (");
    const char *end = semicolon && (!bracket || semicolon < bracket) ? semicolon : bracket;
    snprintf(buf, CLI_SHORT, "%.*s", end ? (int)(end - o->help) : (int)strlen(o->help), o->help);
}

cli_values cli_values_of(const cli_opt *o) {
    char word[CLI_WORD];
    if (cli_opt_word(o, 0, word))
        return CLI_WORDS;
    switch (o->kind) {
    case CLI_FLAG:
        return CLI_NO_VALUE;
    case CLI_MODEL:
    case CLI_MODEL_OR_ELSE:
        return CLI_MODELS;
    case CLI_IN:
    case CLI_INS:
    case CLI_OUT:
    case CLI_OUT_OR_STDOUT:
        return CLI_FILES;
    case CLI_PROFILE:
        return CLI_PROFILES;
    default:
        return CLI_ANYTHING;
    }
}

void cli_words(const cli_opt *o, FILE *to) {
    char word[CLI_WORD];
    for (int i = 0; cli_opt_word(o, i, word); i++)
        fprintf(to, "%s%s", i ? " " : "", word);
}
