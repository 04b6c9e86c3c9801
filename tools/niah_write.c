/* The results of a needle test as a table, JSON and CSV. */
#include "niah_write.h"

#include "atomic_file.h"
#include "eval_out.h"
#include "report_internal.h"
#include "sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const ways[] = {"unknown", "known"};

static bool asked(const niah_test *t, int known) {
    return known ? t->cfg.known : t->cfg.unknown;
}

/* ---- table ---- */

static void percent(ask_tally x, bool interval, char buf[48]) {
    double lo, hi;
    ask_wilson(x, &lo, &hi);
    if (interval)
        snprintf(buf, 48, "%.0f %% (%.0f–%.0f)", 100 * ask_share(x), 100 * lo, 100 * hi);
    else
        snprintf(buf, 48, "%.0f %%", 100 * ask_share(x));
}

static void print_row(const niah_test *t, const niah_result *r, niah_where w, size_t width) {
    char buf[48];
    for (size_t d = 0; d < t->cfg.n_depth; d++) {
        w.i_depth = (int)d;
        percent(niah_tally(r, w), false, buf);
        eval_cell(buf, 6, false);
    }
    w.i_depth = -1;
    percent(niah_tally(r, w), true, buf);
    eval_cell(buf, width, false);
}

static void print_templates(const niah_test *t, const niah_result *r, int known) {
    char buf[48];
    fputs("  by kind: ", stdout);
    for (size_t i = 0; i < t->cfg.n_template; i++) {
        niah_where w = {-1, -1, t->cfg.templates[i], known};
        percent(niah_tally(r, w), false, buf);
        printf("%s%s %s", i ? ", " : "", niah_templates[t->cfg.templates[i]].name, buf);
    }
    fputs("\n\n", stdout);
}

static void print_setting(const niah_test *t, size_t i, int known) {
    enum { TOTAL = 16 };
    const niah_result *r = &t->results[i];
    char buf[48];
    printf("%s, question %s while reading\n  context  depth: ", t->settings->v[i].name, ways[known]);
    for (size_t d = 0; d < t->cfg.n_depth; d++) {
        snprintf(buf, sizeof buf, "%g %%", t->cfg.depth[d]);
        eval_cell(buf, 6, false);
    }
    printf("%*s  %10s\n", TOTAL, "all", "cache");
    for (size_t c = 0; c < t->cfg.n_ctx; c++) {
        printf("%9u         ", t->cfg.ctx[c]);
        print_row(t, r, (niah_where){(int)c, -1, -1, known}, TOTAL);
        printf("%10s\n", cli_bytes((double)r->kv_bytes[c], buf));
    }
    printf("      all         ");
    print_row(t, r, (niah_where){-1, -1, -1, known}, TOTAL);
    fputs("\n", stdout);
    print_templates(t, r, known);
}

kv_status niah_print(const niah_test *t, kv_err *err) {
    double seconds = 0;
    size_t n = 0;
    for (size_t i = 0; i < t->settings->n; i++) {
        for (int known = 0; known < 2; known++)
            if (asked(t, known))
                print_setting(t, i, known);
        seconds += t->results[i].seconds;
        n += t->results[i].n;
    }
    printf("%zu questions, seed %llu, %s, %.0f s; in brackets: 95 %% confidence (Wilson)\n", n, (unsigned long long)t->cfg.seed,
           t->chat ? t->chat : "plain text", seconds);
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write the result: %m") : KV_OK;
}

/* ---- JSON ---- */

/* Add n, hits and the share with its interval. NULL when out of memory; takes the reference. */
static json_t *with_tally(json_t *j, ask_tally x) {
    double lo, hi;
    ask_wilson(x, &lo, &hi);
    json_t *figures = json_pack("{s:i, s:i, s:f, s:f, s:f}", "n", (int)x.n, "hits", (int)x.hits, "share",
                                x.n ? ask_share(x) : 0, "lo", lo, "hi", hi);
    if (j && figures && !json_object_update(j, figures)) {
        json_decref(figures);
        return j;
    }
    json_decref(figures);
    json_decref(j);
    return NULL;
}

/* json_array_append_new takes NULL as a failure. */
static bool add(json_t *list, json_t *item) {
    return !json_array_append_new(list, item);
}

static json_t *cells_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t c = 0; c < t->cfg.n_ctx; c++)
        for (size_t d = 0; d < t->cfg.n_depth && good; d++)
            good = add(list, with_tally(json_pack("{s:i, s:f}", "ctx", (int)t->cfg.ctx[c], "depth", t->cfg.depth[d]),
                                        niah_tally(r, (niah_where){(int)c, (int)d, -1, known})));
    return list;
}

static json_t *lengths_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t c = 0; c < t->cfg.n_ctx && good; c++)
        good = add(list, with_tally(json_pack("{s:i, s:I, s:I}", "ctx", (int)t->cfg.ctx[c], "kv_bytes",
                                              (json_int_t)r->kv_bytes[c], "kv_bytes_f16", (json_int_t)r->kv_bytes_f16[c]),
                                    niah_tally(r, (niah_where){(int)c, -1, -1, known})));
    return list;
}

static json_t *depths_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t d = 0; d < t->cfg.n_depth && good; d++)
        good = add(
            list, with_tally(json_pack("{s:f}", "depth", t->cfg.depth[d]), niah_tally(r, (niah_where){-1, (int)d, -1, known})));
    return list;
}

static json_t *kinds_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < t->cfg.n_template && good; i++)
        good = add(list, with_tally(json_pack("{s:s}", "template", niah_templates[t->cfg.templates[i]].name),
                                    niah_tally(r, (niah_where){-1, -1, t->cfg.templates[i], known})));
    return list;
}

static json_t *answers_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < r->n && good; i++) {
        const niah_answer *a = &r->answers[i];
        if (a->known == known)
            good = add(list, json_pack("{s:i, s:f, s:i, s:s, s:s, s:o, s:b}", "ctx", (int)t->cfg.ctx[a->i_ctx], "depth",
                                       t->cfg.depth[a->i_depth], "haystack", (int)a->hay, "template",
                                       niah_templates[a->template].name, "wanted", a->wanted, "said", eval_json_text(a->said),
                                       "right", (int)a->right));
    }
    return list;
}

static json_t *way_json(const niah_test *t, const niah_result *r, int known) {
    return with_tally(json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "question", ways[known], "cells", cells_json(t, r, known),
                                "by_ctx", lengths_json(t, r, known), "by_depth", depths_json(t, r, known), "by_template",
                                kinds_json(t, r, known), "answers", answers_json(t, r, known)),
                      niah_tally(r, (niah_where){-1, -1, -1, known}));
}

static const char *codec_name(int id) {
    return id == SWEEP_MIXED ? "mixed" : kv_codec_names[id].name;
}

static json_t *setting_json(const niah_test *t, size_t i) {
    const sweep_setting *x = &t->settings->v[i];
    const niah_result *r = &t->results[i];
    json_t *runs = json_array();
    bool good = runs != NULL;
    for (int known = 0; known < 2 && good; known++)
        good = !asked(t, known) || add(runs, way_json(t, r, known));
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:f, s:f, s:I, s:I, s:f, s:o}", "name", x->name, "options",
                     x->options, "codec_k", codec_name(sweep_codec(x, false)), "codec_v", codec_name(sweep_codec(x, true)),
                     "window", (int)sweep_window(x), "sinks", (int)sweep_sinks(x), "profile_hash",
                     x->profile_hash[0] ? json_string(x->profile_hash) : json_null(), "bits_k", r->bits_k, "bits_v", r->bits_v,
                     "kv_bytes", (json_int_t)r->kv_bytes[t->cfg.n_ctx - 1], "kv_bytes_f16",
                     (json_int_t)r->kv_bytes_f16[t->cfg.n_ctx - 1], "seconds", r->seconds, "runs", runs);
}

static json_t *templates_json(const niah_cfg *cfg) {
    json_t *list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < cfg->n_template && good; i++) {
        const niah_template *x = &niah_templates[cfg->templates[i]];
        good = add(list, json_pack("{s:s, s:s, s:s, s:s}", "name", x->name, "fact", x->fact, "question", x->question, "prime",
                                   x->prime));
    }
    return list;
}

static json_t *document(const niah_test *t) {
    const niah_cfg *cfg = &t->cfg;
    const report_origin *o = &t->origin;
    char *command = report_command(o), date[REPORT_DATE];
    json_t *ctx = json_array(), *depths = json_array(), *settings = json_array();
    for (size_t i = 0; i < cfg->n_ctx; i++)
        json_array_append_new(ctx, json_integer(cfg->ctx[i]));
    for (size_t i = 0; i < cfg->n_depth; i++)
        json_array_append_new(depths, json_real(cfg->depth[i]));
    for (size_t i = 0; i < t->settings->n; i++)
        json_array_append_new(settings, setting_json(t, i));
    json_t *j = json_pack(
        "{s:s, s:s, s:s, s:o, s:{s:o, s:o, s:o}, s:o, s:b, s:I, s:o, s:o, s:i, s:i, s:i, s:o, s:o}", "tool", o->tool, "version",
        KV_TOOL_VERSION, "date", report_date(date), "command", eval_json_text(command), "model", "path",
        eval_json_text(o->model_path), "name", eval_json_text(o->model_name), "hash", eval_json_text(o->model_hash), "chat",
        eval_json_text(t->chat), "exact", (int)rt_model_exec(t->m)->exact, "seed", (json_int_t)cfg->seed, "ctx", ctx, "depths",
        depths, "needles", (int)(cfg->needles && cfg->needles < cfg->n_depth ? cfg->needles : cfg->n_depth), "repeats",
        (int)cfg->repeats, "answer_tokens", NIAH_ANSWER_TOKENS, "templates", templates_json(cfg), "settings", settings);
    const bool whole = j && json_array_size(json_object_get(j, "settings")) == t->settings->n;
    free(command);
    if (whole)
        return j;
    json_decref(j);
    return NULL;
}

kv_status niah_write_json(const niah_test *t, const char *path, kv_err *err) {
    return eval_write_json(document(t), path, err);
}

/* ---- CSV (RFC 4180) ---- */

static void csv_row(FILE *f, const niah_test *t, size_t i, size_t c, size_t d, int known) {
    const niah_result *r = &t->results[i];
    const ask_tally x = niah_tally(r, (niah_where){(int)c, (int)d, -1, known});
    double lo, hi;
    ask_wilson(x, &lo, &hi);
    eval_csv_text(f, t->settings->v[i].name);
    fputc(',', f);
    eval_csv_text(f, t->settings->v[i].options);
    fprintf(f, ",%s,%u,%g,%u,%u,%.6f,%.6f,%.6f,%zu,%zu\r\n", ways[known], t->cfg.ctx[c], t->cfg.depth[d], x.n, x.hits,
            x.n ? ask_share(x) : 0, lo, hi, r->kv_bytes[c], r->kv_bytes_f16[c]);
}

kv_status niah_write_csv(const niah_test *t, const char *path, kv_err *err) {
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    fputs("name,options,question,ctx,depth,n,hits,share,lo,hi,kv_bytes,kv_bytes_f16\r\n", f);
    for (size_t i = 0; i < t->settings->n; i++)
        for (int known = 0; known < 2; known++)
            for (size_t c = 0; c < t->cfg.n_ctx && asked(t, known); c++)
                for (size_t d = 0; d < t->cfg.n_depth; d++)
                    csv_row(f, t, i, c, d, known);
    return atomic_file_commit(af, err);
}
