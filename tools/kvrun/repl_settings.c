/* /set and /show: the options of sampling, from the rows of the command line. */
#include "kvrun/repl_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 48, VALUE = 200 };

typedef struct rows {
    cli_opt v[MOST_ROWS];
    size_t n;
} rows;

static rows rows_of(cli_sampling *s, int64_t *n_max) {
    const cli_opt all[] = {
        CLI_SAMPLING_ROWS(s),
        {"--predict", "-n", CLI_INT, "N", n_max, -1, 1 << 30, "most tokens of an answer; -1: until the model is done"},
        {0},
    };
    rows r = {.n = sizeof all / sizeof *all - 1};
    _Static_assert(sizeof all / sizeof *all <= MOST_ROWS, "rows has room for all");
    memcpy(r.v, all, sizeof all);
    return r;
}

/* By its name, with or without the dashes in front. */
static const cli_opt *find(const rows *r, const char *name, size_t len) {
    while (len && *name == '-') {
        name++;
        len--;
    }
    for (size_t i = 0; i < r->n; i++) {
        const char *is = r->v[i].name + 2, *alias = r->v[i].alias;
        if ((strlen(is) == len && !memcmp(is, name, len)) ||
            (alias && strlen(alias) == len + 1 && !memcmp(alias + 1, name, len)))
            return &r->v[i];
    }
    return NULL;
}

/* ---- values ---- */

static kv_status copy_list(cli_strs *to, const cli_strs *from, kv_err *err) {
    *to = (cli_strs){0};
    if (!from->n)
        return KV_OK;
    if (!(to->v = malloc(from->n * sizeof *to->v)))
        return kv_fail(err, KV_ENOMEM, "out of memory for settings");
    memcpy(to->v, from->v, from->n * sizeof *to->v);
    to->n = from->n;
    return KV_OK;
}

/* What was said, without what was made of it. To be freed on failure, too. */
static kv_status copy_sampling(cli_sampling *to, const cli_sampling *from, kv_err *err) {
    *to = (cli_sampling){.how = from->how, .seed = from->seed};
    to->how.bias = NULL;
    to->how.n_bias = 0;
    to->how.dry_breakers = NULL;
    to->how.n_dry_breakers = 0;
    kv_status st = copy_list(&to->bias, &from->bias, err);
    return st ? st : copy_list(&to->breakers, &from->breakers, err);
}

/* Words that settings point to live as long as the chat. NULL: no memory. */
static char *keep_word(repl *r, const char *word, size_t len) {
    char **grown = realloc(r->words, (r->n_words + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    r->words = grown;
    if ((grown[r->n_words] = strndup(word, len)))
        return grown[r->n_words++];
    return NULL;
}

static void set_default(const cli_opt *o, const cli_opt *usual) {
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->dst = *(const bool *)usual->dst;
        break;
    case CLI_INT:
        *(int64_t *)o->dst = *(const int64_t *)usual->dst;
        break;
    case CLI_REAL:
        *(double *)o->dst = *(const double *)usual->dst;
        break;
    case CLI_EACH:
        free(((cli_strs *)o->dst)->v);
        *(cli_strs *)o->dst = (cli_strs){0};
        break;
    default:
        *(const char **)o->dst = *(const char *const *)usual->dst;
    }
}

/* One value of what may have several. */
static kv_status set_value(repl *r, const rows *all, const cli_opt *o, const char *value, size_t len, kv_err *err) {
    char *word = NULL;
    if (asprintf(&word, "%s=%.*s", o->name, (int)len, value) < 0)
        return kv_fail(err, KV_ENOMEM, "out of memory for settings");
    char *kept = keep_word(r, word, strlen(word));
    free(word);
    if (!kept)
        return kv_fail(err, KV_ENOMEM, "out of memory for settings");
    char *argv[] = {"/set", kept, NULL};
    const cli_spec spec = {.tool = r->cfg.tool, .err = err, .usage = "", .summary = "", .opts = all->v};
    return cli_parse(&spec, 2, argv) < 0 ? KV_OK : err->code ? err->code : KV_EINVAL;
}

static kv_status set_flag(const cli_opt *o, const char *value, kv_err *err) {
    const bool on = !strcmp(value, "on");
    if (!on && strcmp(value, "off") != 0)
        return kv_fail(err, KV_EINVAL, "%s: '%s' is neither on nor off", o->name, value);
    *(bool *)o->dst = on;
    return KV_OK;
}

static kv_status set_row(repl *r, const rows *all, const cli_opt *o, const cli_opt *usual, const char *value, kv_err *err) {
    kv_status st = KV_OK;
    if (!strcmp(value, "default")) {
        set_default(o, usual);
        return KV_OK;
    }
    if (o->kind == CLI_FLAG)
        return set_flag(o, value, err);
    if (o->kind != CLI_EACH)
        return set_value(r, all, o, value, strlen(value), err);
    set_default(o, usual);
    for (size_t len; *value && !st; value += len + strspn(value + len, " \t")) {
        len = strcspn(value, " \t");
        st = set_value(r, all, o, value, len, err);
    }
    return st;
}

kv_status repl_set(repl *r, const char *arg, kv_err *err) {
    cli_sampling *is = r->cfg.sampling, next, usual = CLI_SAMPLING_DEFAULT;
    int64_t n_max = r->cfg.n_max, usual_n = -1;
    const size_t len = strcspn(arg, " \t=");
    const char *value = arg + len + strspn(arg + len, " \t=");
    kv_status st = copy_sampling(&next, is, err);
    const rows now = rows_of(&next, &n_max), before = rows_of(&usual, &usual_n);
    const cli_opt *o = find(&now, arg, len);
    if (!st && !o)
        st = kv_fail(err, KV_EINVAL, "there is nothing called '%.*s' to set; /show lists what there is",
                     (int)(len < 60 ? len : 60), arg);
    if (!st && !*value)
        st = kv_fail(err, KV_EINVAL, "to what? /set %s %s, or /set %s default (%s)", o->name + 2, o->arg ? o->arg : "on|off",
                     o->name + 2, o->help);
    if (st || (st = set_row(r, &now, o, &before.v[o - now.v], value, err)) ||
        (st = cli_sampling_read(&next, r->cfg.plain, err)))
        goto done;
    const rt_sampler_place at = rt_sampler_where(gen_sampler(r->cfg.g));
    if ((st = gen_set_sampling(r->cfg.g, &next.how, err)))
        goto done;
    if (o->dst != &next.seed && next.how.mirostat == is->how.mirostat && next.how.mirostat_tau == is->how.mirostat_tau)
        rt_sampler_put(gen_sampler(r->cfg.g), at); /* the draw goes on */
    cli_sampling_free(is);
    *is = next;
    r->cfg.n_max = n_max;
    return KV_OK;
done:
    cli_sampling_free(&next);
    return st;
}

/* ---- showing ---- */

static void value_of(const cli_opt *o, char buf[VALUE]) {
    const cli_strs *list = o->dst;
    size_t n = 0;
    switch (o->kind) {
    case CLI_FLAG:
        snprintf(buf, VALUE, "%s", *(const bool *)o->dst ? "on" : "off");
        break;
    case CLI_INT:
        snprintf(buf, VALUE, "%lld", (long long)*(const int64_t *)o->dst);
        break;
    case CLI_REAL:
        snprintf(buf, VALUE, "%g", *(const double *)o->dst);
        break;
    case CLI_EACH:
        snprintf(buf, VALUE, "as usual");
        for (size_t i = 0; i < list->n && n < VALUE; i++)
            n += (size_t)snprintf(buf + n, VALUE - n, "%s%s", i ? " " : "", list->v[i]);
        break;
    default:
        snprintf(buf, VALUE, "%s", *(const char *const *)o->dst ? *(const char *const *)o->dst : "as usual");
    }
}

kv_status repl_show(repl *r, const char *arg, kv_err *err) {
    cli_sampling usual = CLI_SAMPLING_DEFAULT;
    int64_t usual_n = -1;
    const rows is = rows_of(r->cfg.sampling, &r->cfg.n_max), was = rows_of(&usual, &usual_n);
    const rt_hparams *hp = rt_model_hparams(r->cfg.e->model);
    char value[VALUE];
    (void)arg, (void)err;
    cli_say(stderr, "  model                  %s (%s), chat format %s\n", *hp->name ? hp->name : r->cfg.e->cfg.model, hp->arch,
            r->cfg.e->format ? chat_name(r->cfg.e->format) : "none");
    cli_say(stderr, "  context                %u tokens\n", rt_ctx_n_ctx(gen_ctx(r->cfg.g)));
    if (conversation_system(r->cfg.c))
        cli_say(stderr, "  system prompt          %.200s\n", conversation_system(r->cfg.c));
    for (size_t i = 0; i < is.n; i++) {
        value_of(&is.v[i], value);
        cli_say(stderr, "%s %-22s %s\n", cli_opt_differs(&is.v[i], &was.v[i]) ? "*" : " ", is.v[i].name + 2, value);
    }
    fputs("  * as was set; everything else is as usual\n", stderr);
    return KV_OK;
}

void repl_offer_settings(const char *word, repl_offers *out) {
    cli_sampling s = CLI_SAMPLING_DEFAULT;
    int64_t n = -1;
    const rows all = rows_of(&s, &n);
    for (size_t i = 0; i < all.n; i++)
        repl_offer(out, word, all.v[i].name + 2, " ");
}
