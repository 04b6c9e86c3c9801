/* Opening a model and the profile that applies to it, the same way in every tool. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cli_folder.h"
#include "cli/cli_profile.h"
#include "model/model.h"
#include "text/chat.h"
#include "text/specials.h"
#include "text/tok.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_TEXT = 1 << 30 };

static kv_status check_profile(const prof *p, const rt_model *m, const char *where, kv_err *err) {
    return rt_profile_fits(rt_model_hparams(m), rt_model_hash(m), p, where, err);
}

kv_status cli_exec(const cli_machine *machine, bool exact, rt_exec *out, kv_err *err) {
    kv_status st = rt_exec_init(out, machine->cpu, (int)machine->threads, exact, err);
    if (st)
        return st;
    out->in_place = machine->no_repack;
    if (machine->wait)
        rt_wait_by_name(machine->wait, &out->wait); /* the option takes no other words */
    return KV_OK;
}

enum { MOST_KEYS = 32, KEYS_TEXT = 4096 };

typedef struct keys {
    const char *list[MOST_KEYS];
    size_t n, len;
    char text[KEYS_TEXT];
} keys;

__attribute__((format(printf, 3, 4))) static kv_status add_key(keys *k, kv_err *err, const char *format, ...) {
    const size_t room = sizeof k->text - k->len;
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(k->text + k->len, room, format, args);
    va_end(args);
    if (k->n == MOST_KEYS || len < 0 || (size_t)len >= room)
        return kv_fail(err, KV_EINVAL, "--override-kv: more than %d keys, or too long ones", MOST_KEYS - 4);
    k->list[k->n++] = k->text + k->len;
    k->len += (size_t)len + 1;
    return KV_OK;
}

/* Options that stand for keys come first, so that --override-kv has the last word. */
static kv_status collect_keys(const cli_keys *from, keys *to, kv_err *err) {
    kv_status st = KV_OK;
    if (from->freq_base > 0)
        st = add_key(to, err, ".rope.freq_base=float:%.9g", from->freq_base);
    if (!st && from->scaling)
        st = add_key(to, err, ".rope.scaling.type=str:%s", from->scaling);
    if (!st && from->scale > 0)
        st = add_key(to, err, ".rope.scaling.factor=float:%.9g", from->scale);
    if (!st && from->orig_ctx)
        st = add_key(to, err, ".rope.scaling.original_context_length=int:%lld", (long long)from->orig_ctx);
    for (const char *at = from->set; !st && at && *at;) {
        const size_t len = strcspn(at, ",");
        st = add_key(to, err, "%.*s", (int)len, at);
        at += len + (at[len] == ',');
    }
    return st;
}

kv_status cli_load(const cli_machine *machine, const char *path, bool exact, rt_model **out, kv_err *err) {
    rt_exec e;
    keys k = {.n = 0, .len = 0};
    char identities[CLI_FOLDER];
    kv_status st = cli_exec(machine, exact, &e, err);
    if (st || (st = collect_keys(&machine->keys, &k, err)))
        return st;
    const rt_load_cfg cfg = {.set = k.list,
                             .n_set = k.n,
                             .progress = cli_go_on,
                             .identities = cli_cache_path("identity", identities, NULL) ? NULL : identities};
    return rt_model_load_cfg(path, &e, &cfg, out, err);
}

kv_status cli_model_open(const char *tool, const char *path, const char *profile_path, const cli_machine *machine, bool exact,
                         bool quiet, cli_model *out, kv_err *err) {
    cli_model m = {0};
    *out = m;
    kv_status st = KV_OK;
    if (profile_path && strcmp(profile_path, "none")) /* first: a model takes longer to load */
        st = cli_find_profile(profile_path, &m.profile, NULL, err);
    if (st || (st = cli_load(machine, path, exact, &m.model, err)))
        goto done;
    if (profile_path
            ? m.profile && (st = check_profile(m.profile, m.model, profile_path, err))
            : (st = rt_own_profile(rt_model_gguf(m.model), rt_model_hparams(m.model), rt_model_hash(m.model), &m.profile, err)))
        goto done;
    cli_note_tok(tool, rt_model_tok(m.model));
    if (!quiet && m.profile)
        cli_note(tool, "profile %s applies: the newest %u and the first %u tokens in f16",
                 profile_path ? profile_path : "in the model file", m.profile->window, m.profile->sinks);
    else if (!quiet)
        cli_note(tool, "no profile (kvcalib makes one): the cache is f16 unless options say otherwise");
    *out = m;
    m = (cli_model){0};
done:
    cli_model_close(&m);
    return st;
}

void cli_note_tok(const char *tool, const tok *t) {
    const char *note;
    for (size_t i = 0; (note = tok_note(t, i)); i++)
        cli_note(tool, "%s", note);
}

uint32_t cli_note_window(const char *tool, const prof *p, int64_t window) {
    p = prof_for_window(p, window);
    if (!p || !p->model_hash[0] || window < 0 || window >= p->window)
        return 0;
    cli_note(tool,
             "the profile was calibrated for a window of %u tokens; for a window of %lld, kvcalib --window %lld makes a "
             "better one",
             p->window, (long long)window, (long long)window);
    return p->window;
}

void cli_note_plain(const char *tool, const rt_model *m) {
    chat_format *f = NULL;
    kv_err why = {0};
    if (chat_open(rt_model_gguf(m), rt_model_tok(m), NULL, &f, &why))
        cli_note(tool, "the model's chat template cannot be used (%s): prompts are fed as plain text, without it", why.msg);
    else
        cli_note(tool, "the model has no chat template: prompts are fed as plain text, which it continues");
    chat_free(f);
}

void cli_note_specials(const char *tool, const rt_model *m, const char *path, bool parse_special) {
    struct stat st;
    char *text = NULL;
    size_t len;
    specials found = {0};
    if (parse_special || !path || stat(path, &st) || !S_ISREG(st.st_mode) || text_read(path, MAX_TEXT, &text, &len, NULL))
        return; /* what is wrong with the file, those who use it say */
    if (!specials_find(rt_model_tok(m), text, len, &found, NULL) && found.n)
        cli_note(tool,
                 "%s holds %zu pieces like %s, special tokens of this model, and reads them as plain text; --parse-special: as "
                 "tokens",
                 path, found.n, found.first);
    free(text);
}

void cli_model_close(cli_model *m) {
    prof_free(m->profile);
    rt_model_free(m->model);
    *m = (cli_model){0};
}
