/* Lines to cache settings. Options are read by cli_parse against the rows that all tools share. */
#include "kveval/sweep_settings.h"

#include "cli/cli_profile.h"

#include "base/text.h"
#include "codec/codec.h"
#include "kveval/eval_out.h"
#include "measure/eval_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { MAX_FILE = 1 << 20, MAX_WORDS = 32 };
static const char blank[] = " \t\r";

/* Cut `s` in place into words; a word may be quoted with "". Returns how many, or -1: too many, or a quote without end. */
static int split(char *s, char **words) {
    int n = 0;
    while (*(s += strspn(s, blank))) {
        if (n == MAX_WORDS)
            return -1;
        const bool quoted = *s == '"';
        words[n++] = s += quoted;
        s += strcspn(s, quoted ? "\"" : blank);
        if (quoted && !*s)
            return -1;
        if (*s)
            *s++ = '\0';
    }
    return n;
}

static kv_status parse_options(sweep_setting *s, const char *where, kv_err *err) {
    char *words[MAX_WORDS + 1] = {NULL};
    int n = split(s->words, words + 1);
    if (n < 0)
        return kv_fail(err, KV_EINVAL, "%s: a quote without end, or more than %d words", where, MAX_WORDS);
    const cli_opt opts[] = {CLI_CACHE_ROWS(&s->cache), {0}};
    kv_err why = {0};
    const cli_spec spec = {.tool = "kveval sweep", .err = &why, .where = where, .usage = "", .opts = opts};
    if (cli_parse(&spec, n + 1, words) >= 0)
        return kv_fail(err, why.code, "%s", why.msg);
    return KV_OK;
}

static bool printable(const char *s, size_t len) {
    for (size_t at = 0; at < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s + at, (utf8proc_ssize_t)(len - at), &c);
        if (n <= 0 || c < ' ' || c == 0x7f)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* The name before the colon, without blanks around it. */
static kv_status take_name(const sweep_list *l, const char *where, const char *line, const char *colon, char **name,
                           kv_err *err) {
    if (!colon)
        return kv_fail(err, KV_EINVAL, "%s: a setting is \"name: options\"; there is no colon", where);
    const char *from = line + strspn(line, blank), *to = colon;
    while (to > from && strchr(blank, to[-1]))
        to--;
    if (to <= from || to - from > SWEEP_NAME || !printable(from, (size_t)(to - from)))
        return kv_fail(err, KV_EINVAL, "%s: the name before the colon must be 1 to %d bytes of printable UTF-8", where,
                       SWEEP_NAME);
    *name = strndup(from, (size_t)(to - from));
    if (!*name)
        return kv_fail(err, KV_ENOMEM, "out of memory for the settings");
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->v[i].name, *name))
            return kv_fail(err, KV_EINVAL, "%s: there is a setting '%s' already", where, *name);
    return KV_OK;
}

static void free_setting(sweep_setting *s) {
    free(s->name);
    free(s->options);
    free(s->words);
    prof_free(s->own);
}

kv_status sweep_add(sweep_list *l, const char *where, const char *line, kv_err *err) {
    sweep_setting s = {.cache = l->base ? *l->base : CLI_CACHE_DEFAULT};
    const char *colon = strchr(line, ':');
    kv_status st = take_name(l, where, line, colon, &s.name, err);
    if (!st && l->n == SWEEP_MOST)
        st = kv_fail(err, KV_EINVAL, "%s: more than %d settings", where, SWEEP_MOST);
    if (!st) {
        s.options = strdup(colon + 1 + strspn(colon + 1, blank));
        for (char *c = s.options; c && (c = strpbrk(c, "\t\r"));)
            *c = ' ';
        s.words = s.options ? strdup(s.options) : NULL;
        sweep_setting *grown = realloc(l->v, (l->n + 1) * sizeof *grown);
        l->v = grown ? grown : l->v;
        if (!s.words || !grown)
            st = kv_fail(err, KV_ENOMEM, "out of memory for the settings");
        else if (!printable(s.options, strlen(s.options)))
            st = kv_fail(err, KV_EINVAL, "%s: the options are not printable UTF-8", where);
    }
    if (st || (st = parse_options(&s, where, err))) {
        free_setting(&s);
        return st;
    }
    l->v[l->n++] = s;
    return KV_OK;
}

kv_status sweep_add_file(sweep_list *l, const char *path, kv_err *err) {
    char *text = NULL, where[4096 + 32];
    size_t len, before = l->n;
    unsigned number = 0;
    kv_status st = text_read(path, MAX_FILE, &text, &len, err);
    for (char *line = text, *next; !st && line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        snprintf(where, sizeof where, "%s:%u", path, ++number);
        line += strspn(line, blank);
        if (*line && *line != '#')
            st = sweep_add(l, where, line, err);
    }
    if (!st && l->n == before)
        st = kv_fail(err, KV_EFORMAT, "%s: no setting in it; a line is \"name: options\"", path);
    free(text);
    return st;
}

kv_status sweep_add_all(sweep_list *l, const char *path, const cli_strs *lines, kv_err *err) {
    kv_status st = path ? sweep_add_file(l, path, err) : KV_OK;
    for (size_t i = 0; i < lines->n && !st; i++)
        st = sweep_add(l, "--setting", lines->v[i], err);
    return st;
}

kv_status sweep_add_given(sweep_list *l, const char *path, const cli_strs *lines, kv_err *err) {
    kv_status st = sweep_add_all(l, path, lines, err);
    if (!st && !l->n && !(st = sweep_add(l, "options", "as given:", err)))
        l->v[0].unnamed = true;
    return st;
}

kv_status sweep_add_default(sweep_list *l, uint32_t head_dim, const prof *models_own, int baseline, kv_err *err) {
    static const char own[] = "profile:", bare[] = "profile, window 0: --window 0";
    char line[128];
    kv_status st = models_own ? sweep_add(l, "defaults", own, err) : KV_OK;
    for (int i = 0; i < KV_CODEC_COUNT && !st; i++) {
        const kv_codec_name *c = &kv_codec_names[i];
        bool suits;
        if (c->calibrated || i == baseline || (st = kv_codec_suits(kv_codec_get((kv_codec_id)i), head_dim, &suits, err)) ||
            !suits)
            continue;
        snprintf(line, sizeof line, "%s: -ctk %s -ctv %s --window 0 --sinks 4", c->name, c->name, c->name);
        st = sweep_add(l, "defaults", line, err);
    }
    return st || !models_own || !models_own->window ? st : sweep_add(l, "defaults", bare, err);
}

kv_status sweep_load_profiles(sweep_list *l, const cli_path *outs, size_t n, kv_err *err) {
    char what[SWEEP_NAME + 40];
    kv_status st = KV_OK;
    for (size_t i = 0; i < l->n * n && !st; i++) {
        const sweep_setting *s = &l->v[i / n];
        snprintf(what, sizeof what, "--profile of setting '%s'", s->name);
        st = cli_paths_check((const cli_path[]){outs[i % n], {CLI_PROFILE, what, s->cache.profile}}, 2, err);
    }
    for (size_t i = 0; i < l->n && !st; i++) {
        const char *path = l->v[i].cache.profile;
        if (path && strcmp(path, "none"))
            st = cli_find_profile(path, &l->v[i].own, NULL, err);
    }
    return st;
}

static kv_status hash_profile(const prof *p, char hash[33], kv_err *err) {
    char *text;
    size_t len;
    kv_status st = prof_format(p, &text, &len, err);
    if (st)
        return st;
    eval_hash(text, len, hash);
    free(text);
    return KV_OK;
}

static kv_status name_by_codec(sweep_setting *s, kv_err *err) {
    char codecs[48], name[SWEEP_NAME];
    const uint32_t window = sweep_window(s);
    snprintf(name, sizeof name, window ? "%s, window %u" : "%s", sweep_codec_names(s, codecs), window);
    free(s->name);
    s->name = strdup(name);
    return s->name ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the settings");
}

kv_status sweep_resolve(sweep_list *l, const rt_model *m, const prof *models_own, kv_err *err) {
    for (size_t i = 0; i < l->n; i++) {
        sweep_setting *s = &l->v[i];
        const char *path = s->cache.profile;
        const bool none = path && !strcmp(path, "none");
        kv_status st = path && !none && !s->own ? cli_find_profile(path, &s->own, NULL, err) : KV_OK;
        if (!st && s->own)
            st = rt_profile_fits(rt_model_hparams(m), rt_model_hash(m), s->own, path, err);
        const prof *p = s->own || none ? s->own : models_own;
        if (!st && p)
            st = hash_profile(p, s->profile_hash, err);
        if (st)
            return st;
        kv_err why = {0};
        if ((st = cli_cache_cfg(&s->cache, p, &s->cfg, &why)))
            return s->unnamed ? kv_fail(err, st, "%s", why.msg) : kv_fail(err, st, "setting '%s': %s", s->name, why.msg);
        if (s->unnamed && (st = name_by_codec(s, err)))
            return st;
    }
    return KV_OK;
}

/* Whether it is f16, and nothing is let go of. What else is wrong with a setting is said when it is used. */
static kv_status is_exact(const sweep_setting *s, const rt_model *m, bool *exact, kv_err *err) {
    kv_cache_cfg cache = {0};
    *exact = false;
    if (sweep_codec(s, false) != KV_F16 || sweep_codec(s, true) != KV_F16)
        return KV_OK;
    const kv_status st = rt_cache_cfg_new(rt_model_hparams(m), &s->cfg, &cache, err);
    *exact = !st && cache.evict.policy == KV_EVICT_NONE;
    rt_cache_cfg_free(&cache);
    return st == KV_ENOMEM ? st : KV_OK;
}

kv_status sweep_reference(sweep_list *l, const rt_model *m, size_t *index, bool *added, kv_err *err) {
    static const char *const lines[] = {"f16: --profile none -ctk f16 -ctv f16",
                                        "f16 reference: --profile none -ctk f16 -ctv f16"};
    bool taken = false;
    *added = false;
    for (*index = 0; *index < l->n; ++*index) {
        bool exact;
        const kv_status st = is_exact(&l->v[*index], m, &exact, err);
        if (st || exact)
            return st;
        taken |= !strcmp(l->v[*index].name, "f16");
    }
    const cli_cache *base = l->base;
    l->base = NULL;
    kv_status st = sweep_add(l, "reference", lines[taken], err);
    l->base = base;
    if (st)
        return st;
    const sweep_setting last = l->v[l->n - 1];
    memmove(l->v + 1, l->v, (l->n - 1) * sizeof *l->v);
    l->v[0] = last;
    *index = 0;
    *added = true;
    return cli_cache_cfg(&l->v[0].cache, NULL, &l->v[0].cfg, err);
}

kv_status sweep_to_eval(const sweep_list *l, eval_setting **out, kv_err *err) {
    eval_setting *settings = calloc(l->n, sizeof *settings);
    if (!settings)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", l->n);
    for (size_t i = 0; i < l->n; i++)
        settings[i] = (eval_setting){l->v[i].name, l->v[i].cfg};
    *out = settings;
    return KV_OK;
}

void sweep_free(sweep_list *l) {
    for (size_t i = 0; i < l->n; i++)
        free_setting(&l->v[i]);
    free(l->v);
    *l = (sweep_list){0};
}

int sweep_codec(const sweep_setting *s, bool values) {
    const prof *p = s->cfg.profile;
    const int chosen = values ? s->cfg.ctv : s->cfg.ctk;
    if (chosen >= 0 || !p)
        return chosen >= 0 ? chosen : KV_F16;
    prof_head (*head)(const prof *, uint32_t, uint32_t) = values ? prof_head_v : prof_head_k;
    uint32_t some = 0; /* layer that stores any */
    while (p->kv_heads && !p->kv_heads[some])
        some++;
    const int first = (int)head(p, some, 0).codec;
    for (uint32_t l = some; p->layers && l < p->n_layer; l++)
        for (uint32_t h = 0; h < (p->n_kv_head ? prof_kv_heads(p, l) : 1);
             h++) /* how many is not always said: then all are alike */
            if ((int)head(p, l, h).codec != first)
                return SWEEP_MIXED;
    for (uint32_t i = 0; i < p->n_override; i++)
        if ((values ? p->overrides[i].v : p->overrides[i].k).set)
            return SWEEP_MIXED;
    return first;
}

uint32_t sweep_window(const sweep_setting *s) {
    return s->cfg.window >= 0 ? (uint32_t)s->cfg.window : s->cfg.profile ? s->cfg.profile->window : 0;
}

uint32_t sweep_sinks(const sweep_setting *s) {
    return s->cfg.sinks >= 0 ? (uint32_t)s->cfg.sinks : s->cfg.profile ? s->cfg.profile->sinks : 0;
}

uint32_t sweep_made_for(const sweep_setting *s) {
    const prof *p = s->cfg.profile;
    const bool reads = p && p->model_hash[0] && (s->cfg.ctk < 0 || s->cfg.ctv < 0);
    return reads && sweep_window(s) < p->window ? p->window : 0;
}

char *sweep_kept(const sweep_setting *s, char buf[64]) {
    char made[32] = "";
    if (sweep_made_for(s))
        snprintf(made, sizeof made, " (made for %u)", sweep_made_for(s));
    snprintf(buf, 64, "%u%s, %u", sweep_window(s), made, sweep_sinks(s));
    return buf;
}

const char *sweep_remark(const sweep_setting *s, char buf[64]) {
    buf[0] = '\0';
    if (sweep_made_for(s))
        snprintf(buf, 64, "  (profile made for window %u)", sweep_made_for(s));
    return buf;
}

char *sweep_codec_names(const sweep_setting *s, char buf[48]) {
    int k = sweep_codec(s, false), v = sweep_codec(s, true);
    const char *kn = k == SWEEP_MIXED ? "mixed" : kv_codec_names[k].name;
    const char *vn = v == SWEEP_MIXED ? "mixed" : kv_codec_names[v].name;
    snprintf(buf, 48, k == v ? "%s" : "%s / %s", kn, vn);
    return buf;
}
