/* The results of a needle test as a table, JSON and CSV. */
#include "kveval/niah_write.h"

#include "base/atomic_file.h"
#include "base/format.h"
#include "kveval/eval_out.h"
#include "kveval/sweep.h"
#include "report/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const ways[] = {"unknown", "known"};

static bool asked(const niah_test *t, int known) {
    return known ? t->cfg.known : t->cfg.unknown;
}

/* ---- table ---- */

static void print_row(const niah_test *t, const niah_result *r, niah_where w, size_t width) {
    char buf[48];
    for (size_t d = 0; d < t->cfg.n_depth; d++) {
        w.i_depth = (int)d;
        eval_cell(ask_percent(niah_tally(r, w), false, buf), 6, false);
    }
    w.i_depth = -1;
    eval_cell(ask_percent(niah_tally(r, w), true, buf), width, false);
}

static void print_templates(const niah_test *t, const niah_result *r, int known) {
    char buf[48];
    fputs("  by kind: ", stdout);
    for (size_t i = 0; i < t->cfg.n_template; i++) {
        niah_where w = {-1, -1, t->cfg.templates[i], known};
        printf("%s%s %s", i ? ", " : "", niah_templates[t->cfg.templates[i]].name, ask_percent(niah_tally(r, w), false, buf));
    }
    fputs("\n\n", stdout);
}

static void print_setting(const niah_test *t, size_t i, int known) {
    enum { TOTAL = 16 };
    const niah_result *r = &t->results[i];
    char buf[64];
    cli_say(stdout, "%s, question %s while reading%s\n  context  depth: ", t->settings->v[i].name, ways[known],
            sweep_remark(&t->settings->v[i], buf));
    for (size_t d = 0; d < t->cfg.n_depth; d++) {
        snprintf(buf, sizeof buf, "%g %%", t->cfg.depth[d]);
        eval_cell(buf, 6, false);
    }
    printf("%*s  %10s\n", TOTAL, "all", "cache");
    for (size_t c = 0; c < t->cfg.n_ctx; c++) {
        printf("%9u         ", t->cfg.ctx[c]);
        print_row(t, r, (niah_where){(int)c, -1, -1, known}, TOTAL);
        printf("%10s\n", format_bytes((double)r->kv_bytes[c], buf));
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

static json_t *cells_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    for (size_t c = 0; c < t->cfg.n_ctx; c++)
        for (size_t d = 0; d < t->cfg.n_depth; d++)
            cli_json_add(&list, eval_tally_json(json_pack("{s:i, s:f}", "ctx", (int)t->cfg.ctx[c], "depth", t->cfg.depth[d]),
                                                niah_tally(r, (niah_where){(int)c, (int)d, -1, known})));
    return list;
}

static json_t *lengths_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    for (size_t c = 0; c < t->cfg.n_ctx; c++)
        cli_json_add(&list,
                     eval_tally_json(json_pack("{s:i, s:I, s:I}", "ctx", (int)t->cfg.ctx[c], "kv_bytes",
                                               (json_int_t)r->kv_bytes[c], "kv_bytes_f16", (json_int_t)r->kv_bytes_f16[c]),
                                     niah_tally(r, (niah_where){(int)c, -1, -1, known})));
    return list;
}

static json_t *depths_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    for (size_t d = 0; d < t->cfg.n_depth; d++)
        cli_json_add(&list, eval_tally_json(json_pack("{s:f}", "depth", t->cfg.depth[d]),
                                            niah_tally(r, (niah_where){-1, (int)d, -1, known})));
    return list;
}

static json_t *kinds_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->cfg.n_template; i++)
        cli_json_add(&list, eval_tally_json(json_pack("{s:s}", "template", niah_templates[t->cfg.templates[i]].name),
                                            niah_tally(r, (niah_where){-1, -1, t->cfg.templates[i], known})));
    return list;
}

static json_t *answers_json(const niah_test *t, const niah_result *r, int known) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n; i++) {
        const niah_answer *a = &r->answers[i];
        if (a->known == known)
            cli_json_add(&list, json_pack("{s:i, s:f, s:i, s:s, s:s, s:o, s:b}", "ctx", (int)t->cfg.ctx[a->i_ctx], "depth",
                                          t->cfg.depth[a->i_depth], "haystack", (int)a->hay, "template",
                                          niah_templates[a->template].name, "wanted", a->wanted, "said", cli_json_text(a->said),
                                          "right", (int)a->right));
    }
    return list;
}

static json_t *way_json(const niah_test *t, const niah_result *r, int known) {
    return eval_tally_json(json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "question", ways[known], "cells",
                                     cells_json(t, r, known), "by_ctx", lengths_json(t, r, known), "by_depth",
                                     depths_json(t, r, known), "by_template", kinds_json(t, r, known), "answers",
                                     answers_json(t, r, known)),
                           niah_tally(r, (niah_where){-1, -1, -1, known}));
}

static json_t *setting_json(const niah_test *t, size_t i) {
    const sweep_setting *x = &t->settings->v[i];
    const niah_result *r = &t->results[i];
    json_t *runs = json_array();
    for (int known = 0; known < 2; known++)
        if (asked(t, known))
            cli_json_add(&runs, way_json(t, r, known));
    return eval_json_join(sweep_setting_json(x),
                          json_pack("{s:f, s:f, s:I, s:I, s:f, s:o}", "bits_k", r->bits_k, "bits_v", r->bits_v, "kv_bytes",
                                    (json_int_t)r->kv_bytes[t->cfg.n_ctx - 1], "kv_bytes_f16",
                                    (json_int_t)r->kv_bytes_f16[t->cfg.n_ctx - 1], "seconds", r->seconds, "runs", runs));
}

static json_t *templates_json(const niah_cfg *cfg) {
    json_t *list = json_array();
    for (size_t i = 0; i < cfg->n_template; i++) {
        const niah_template *x = &niah_templates[cfg->templates[i]];
        cli_json_add(&list, json_pack("{s:s, s:s, s:s, s:s}", "name", x->name, "fact", x->fact, "question", x->question,
                                      "prime", x->prime));
    }
    return list;
}

static json_t *document(const niah_test *t) {
    const niah_cfg *cfg = &t->cfg;
    json_t *ctx = json_array(), *depths = json_array(), *settings = json_array();
    for (size_t i = 0; i < cfg->n_ctx; i++)
        cli_json_add(&ctx, json_integer(cfg->ctx[i]));
    for (size_t i = 0; i < cfg->n_depth; i++)
        cli_json_add(&depths, json_real(cfg->depth[i]));
    for (size_t i = 0; i < t->settings->n; i++)
        cli_json_add(&settings, setting_json(t, i));
    return eval_json_join(eval_origin_json(&t->origin),
                          json_pack("{s:o, s:b, s:I, s:o, s:o, s:i, s:i, s:i, s:o, s:o}", "chat", cli_json_text(t->chat),
                                    "exact", (int)rt_model_exec(t->m)->exact, "seed", (json_int_t)cfg->seed, "ctx", ctx,
                                    "depths", depths, "needles", (int)niah_needles(cfg), "repeats", (int)cfg->repeats,
                                    "answer_tokens", NIAH_ANSWER_TOKENS, "templates", templates_json(cfg), "settings",
                                    settings));
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
