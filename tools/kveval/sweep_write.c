/* The results of a sweep as a table, JSON and CSV. */
#include "base/format.h"
#include "kveval/sweep.h"

#include "base/atomic_file.h"
#include "kveval/eval_out.h"
#include "report/report_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- table ---- */

kv_status sweep_print(const sweep *s, kv_err *err) {
    enum { CODEC = 14, BITS = 11, KLD = 21, DPPL = 16, CACHE = 10, DECODE = 18 };
    static const double ALL = 99.5;
    bool evicts = false;
    size_t name = strlen("setting");
    char buf[EVAL_PM], codecs[48], remark[64];
    for (size_t i = 0; i < s->settings->n; i++) {
        size_t n = eval_columns(s->settings->v[i].name);
        name = n > name ? n : name;
    }
    eval_cell("setting", name, true);
    eval_cell("codec K / V", CODEC, true);
    printf("window  sinks  ");
    eval_cell("bits K / V", BITS, false);
    eval_cell("KL divergence", KLD, false);
    eval_cell("99 % within", BITS, false);
    printf("same top  ");
    eval_cell("perplexity, %", DPPL, false);
    printf("%*s", CACHE, "cache");
    for (size_t i = 0; i < s->settings->n; i++)
        evicts |= s->results[i].reads_percent < ALL;
    fputs(s->cfg.decode ? "  decode, tokens/s" : "", stdout);
    puts(evicts ? "  keeps tokens, reads" : "");
    for (size_t i = 0; i < s->settings->n; i++) {
        const sweep_setting *x = &s->settings->v[i];
        const eval_result *r = &s->results[i];
        eval_cell(x->name, name, true);
        eval_cell(sweep_codec_names(x, codecs), CODEC, true);
        printf("%6u  %5u  ", sweep_window(x), sweep_sinks(x));
        snprintf(buf, sizeof buf, "%.2f / %.2f", r->bits_k, r->bits_v);
        eval_cell(buf, BITS, false);
        eval_cell(eval_plus_minus(r->kld, r->kld_se, false, buf), KLD, false);
        snprintf(buf, sizeof buf, "%.4f", r->kld_p99);
        eval_cell(buf, BITS, false);
        printf("%6.2f %%  ", r->top1);
        eval_cell(eval_plus_minus(r->dppl_percent, r->dppl_se, true, buf), DPPL, false);
        printf("%*s", CACHE, format_bytes((double)r->kv_bytes, buf));
        if (s->cfg.decode)
            printf("%*.1f", DECODE, r->decode_tps);
        if (r->reads_percent < ALL)
            printf("  %7.0f  %3.0f %%", r->held, r->reads_percent);
        puts(sweep_remark(x, remark));
    }
    printf("\nbaseline %s, context %u, %zu tokens scored (chunks: %u), %.0f s\n", kv_codec_names[s->cfg.baseline].name,
           s->cfg.ctx, s->results[0].tokens, s->results[0].chunks, s->results[0].seconds);
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write the result: %m") : KV_OK;
}

/* ---- JSON ---- */

static const char *codec_name(int id) {
    return id == SWEEP_MIXED ? "mixed" : kv_codec_names[id].name;
}

json_t *sweep_setting_json(const sweep_setting *x) {
    return json_pack("{s:s, s:o, s:s, s:s, s:i, s:i, s:o, s:o}", "name", x->name, "options", cli_json_text(x->options),
                     "codec_k", codec_name(sweep_codec(x, false)), "codec_v", codec_name(sweep_codec(x, true)), "window",
                     (int)sweep_window(x), "sinks", (int)sweep_sinks(x), "profile_hash",
                     x->profile_hash[0] ? json_string(x->profile_hash) : json_null(), "made_for_window",
                     sweep_made_for(x) ? json_integer(sweep_made_for(x)) : json_null());
}

static json_t *setting_json(const sweep_setting *x, const eval_result *r) {
    json_t *j = sweep_setting_json(x);
    if (j && eval_set_figures(j, r))
        return j;
    json_decref(j);
    return NULL;
}

static json_t *document(const sweep *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->settings->n; i++)
        cli_json_add(&list, setting_json(&s->settings->v[i], &s->results[i]));
    const report_origin *o = &s->origin;
    return eval_json_join(eval_origin_json(o),
                          json_pack("{s:{s:o, s:o}, s:i, s:s, s:b, s:o}", "text", "path", cli_json_text(o->text), "hash",
                                    cli_json_text(o->text_hash), "ctx", (int)s->cfg.ctx, "baseline",
                                    kv_codec_names[s->cfg.baseline].name, "exact", (int)s->exact, "settings", list));
}

kv_status sweep_write_json(const sweep *s, const char *path, kv_err *err) {
    return eval_write_json(document(s), path, err);
}

/* ---- CSV (RFC 4180) ---- */

static void csv_row(FILE *f, const sweep_setting *x, const eval_result *r) {
    eval_figure figures[EVAL_FIGURES];
    eval_figures(r, figures);
    eval_csv_text(f, x->name);
    fputc(',', f);
    eval_csv_text(f, x->options);
    fprintf(f, ",%s,%s,%u,%u", codec_name(sweep_codec(x, false)), codec_name(sweep_codec(x, true)), sweep_window(x),
            sweep_sinks(x));
    for (size_t i = 0; i < EVAL_FIGURES; i++)
        fprintf(f, isfinite(figures[i].value) ? ",%.9g" : ",", figures[i].value);
    fputs("\r\n", f);
}

kv_status sweep_write_csv(const sweep *s, const char *path, kv_err *err) {
    eval_figure figures[EVAL_FIGURES];
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    eval_figures(&s->results[0], figures);
    fputs("name,options,codec_k,codec_v,window,sinks", f);
    for (size_t i = 0; i < EVAL_FIGURES; i++)
        fprintf(f, ",%s", figures[i].key);
    fputs("\r\n", f);
    for (size_t i = 0; i < s->settings->n; i++)
        csv_row(f, &s->settings->v[i], &s->results[i]);
    return atomic_file_commit(af, err);
}
