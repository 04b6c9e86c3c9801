/* A model and the settings to ask it with, for kveval niah and kveval qa. */
#include "kveval/eval_ask.h"

#include "kveval/eval_out.h"

#include <errno.h>
#include <stdlib.h>

kv_status ask_session_open(ask_session *s, const char *tool, const char *path, const ask_options *o, kv_err *err) {
    *s = (ask_session){.base = o->cache};
    s->base.profile = NULL; /* it is loaded with the model */
    s->list.base = &s->base;
    kv_status st = sweep_add_given(&s->list, o->settings, &o->setting, err);
    const cli_path outs[] = {{CLI_OUT_OR_STDOUT, "--json", o->json}, {CLI_OUT, "--csv", o->csv}, {CLI_OUT, "--html", o->html}};
    if (st || (st = sweep_load_profiles(&s->list, outs, 3, err)) ||
        (st = cli_model_open(tool, path, o->cache.profile, &o->machine, o->exact, o->json != NULL, &s->m, err)) ||
        (st = sweep_resolve(&s->list, s->m.model, s->m.profile, err)) || (st = ask_frame_new(s->m.model, &s->frame, err)))
        return st;
    if (!s->frame.format)
        cli_note_plain(tool, s->m.model);
    return KV_OK;
}

void ask_session_close(ask_session *s) {
    ask_frame_free(&s->frame);
    sweep_free(&s->list);
    cli_model_close(&s->m);
}

void ask_session_warn(const ask_session *s, const char *tool, uint32_t n_ctx) {
    const uint32_t trained = rt_model_hparams(s->m.model)->n_ctx_train;
    if (n_ctx > trained)
        cli_note(tool, "a context of %u tokens is more than the %u the model was trained for", n_ctx, trained);
}

kv_status ask_parse_numbers(const char *option, const char *s, double low, double high, double *out, size_t most, size_t *n,
                            kv_err *err) {
    *n = 0;
    for (const char *at = s;; at++) {
        char *end;
        errno = 0;
        const double v = strtod(at, &end);
        if (end == at || errno || !(v >= low && v <= high) || (*end && *end != ','))
            return kv_fail(err, KV_EINVAL, "%s: '%s' is not a list of numbers in %g..%g", option, s, low, high);
        if (*n == most)
            return kv_fail(err, KV_EINVAL, "%s: more than %zu numbers", option, most);
        size_t i = (*n)++;
        for (; i && out[i - 1] > v; i--)
            out[i] = out[i - 1];
        if (i && out[i - 1] == v)
            return kv_fail(err, KV_EINVAL, "%s: %g is there twice", option, v);
        out[i] = v;
        at = end;
        if (!*at)
            return KV_OK;
    }
}

kv_status ask_parse_lengths(const char *option, const char *s, uint32_t low, uint32_t high, uint32_t out[ASK_MOST_LENGTHS],
                            size_t *n, kv_err *err) {
    double v[ASK_MOST_LENGTHS];
    kv_status st = ask_parse_numbers(option, s, low, high, v, ASK_MOST_LENGTHS, n, err);
    for (size_t i = 0; i < *n && !st; i++) {
        out[i] = (uint32_t)v[i];
        if (out[i] != v[i])
            st = kv_fail(err, KV_EINVAL, "%s: %g is not a whole number", option, v[i]);
    }
    return st;
}
