/* The HTML report of a sweep, and its chart of loss over size as a picture of its own. */
#include "base/format.h"
#include "kveval/sweep.h"

#include "base/atomic_file.h"
#include "report/report_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int family(const sweep_setting *s) {
    return rep_family(sweep_codec(s, false), sweep_codec(s, true));
}

/* (settings), NULL when out of memory; caller frees. */
static rep_point *rate_points(const sweep *s, kv_err *err) {
    const size_t n = s->settings->n;
    rep_point *points = calloc(n, sizeof *points);
    if (!points)
        kv_fail(err, KV_ENOMEM, "out of memory for the report");
    for (size_t i = 0; points && i < n; i++) {
        const sweep_setting *x = &s->settings->v[i];
        const eval_result *r = &s->results[i];
        points[i] = (rep_point){.name = x->name,
                                .bits = (r->bits_k + r->bits_v) / 2,
                                .kld = r->kld,
                                .kld_se = r->kld_se,
                                .family = family(x),
                                .window = sweep_window(x)};
    }
    return points;
}

static kv_status rate_section(FILE *f, const sweep *s, kv_err *err) {
    rep_point *points = rate_points(s, err);
    if (!points)
        return KV_ENOMEM;
    rep_section_begin(
        f, "Loss over size",
        "Every point is a cache setting: the further left, the smaller the cache; the lower, the closer the model stays to "
        "what it says without compression. Bars are one standard error.");
    kv_status st = rep_rate_chart(f, points, s->settings->n, err);
    rep_section_end(f);
    free(points);
    return st;
}

static void setting_cell(FILE *f, const sweep_setting *x) {
    fputs("<tr><td><svg viewBox=\"0 0 18 18\">", f);
    rep_marker(f, family(x), sweep_window(x) > 0, 9, 9, 6.5);
    fputs("</svg>", f);
    rep_text(f, x->name);
    fputs("</td>", f);
}

static void result_section(FILE *f, const sweep *s) {
    rep_section_begin(
        f, "Results",
        "Bits are true bits per number of the encoded part, scales and other metadata included. The cache is what a context of "
        "this length allocates, sinks and window included. ± are standard errors over tokens.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>setting</th><th class=\"text\">codec K / "
          "V</th><th>window,<br/>sinks</th><th>bits "
          "K / V</th><th>KL divergence,<br/>nats</th><th>same top<br/>token</th><th>perplexity, "
          "%</th><th>cache</th><th>smaller<br/>than "
          "f16</th></tr></thead>\n<tbody>\n",
          f);
    for (size_t i = 0; i < s->settings->n; i++) {
        const sweep_setting *x = &s->settings->v[i];
        const eval_result *r = &s->results[i];
        char kept[64], codecs[48], kld[EVAL_PM], ppl[EVAL_PM], bytes[24];
        setting_cell(f, x);
        fprintf(f, "<td class=\"text\">%s</td><td>%s</td><td>%.2f / %.2f</td><td>%s</td><td>%.2f %%</td><td>%s</td>",
                sweep_codec_names(x, codecs), sweep_kept(x, kept), r->bits_k, r->bits_v,
                eval_plus_minus(r->kld, r->kld_se, false, kld), r->top1,
                eval_plus_minus(r->dppl_percent, r->dppl_se, true, ppl));
        fprintf(f, "<td>%s</td><td>%.2f ×</td></tr>\n", format_bytes((double)r->kv_bytes, bytes),
                (double)r->kv_bytes_f16 / (double)r->kv_bytes);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

static void percentile_section(FILE *f, const sweep *s) {
    rep_section_begin(
        f, "How the loss spreads over tokens",
        "A mean can hide a few tokens that go badly wrong. Each column says below which KL divergence that share of all scored "
        "tokens lies.");
    fputs(
        "<div class=\"wide\"><table>\n<thead><tr><th>setting</th><th>mean</th><th>50 %</th><th>90 %</th><th>99 %</th><th>99.9 "
        "%</th><th>greatest</th></tr></thead>\n<tbody>\n",
        f);
    for (size_t i = 0; i < s->settings->n; i++) {
        const eval_result *r = &s->results[i];
        const double v[] = {r->kld, r->kld_p50, r->kld_p90, r->kld_p99, r->kld_p999, r->kld_max};
        setting_cell(f, &s->settings->v[i]);
        for (size_t k = 0; k < sizeof v / sizeof *v; k++)
            fprintf(f, "<td>%.*f</td>", v[k] < 0.1 ? 5 : v[k] < 1 ? 4 : 3, v[k]);
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

/* The profile that sections about a model show, since entropy and spectra are nearly the same in all of them: its own, else the
 * first calibrated one. */
static const prof *main_profile(const sweep *s, const char **name) {
    if (s->profile && s->profile->layers)
        return s->profile;
    for (size_t i = 0; i < s->settings->n; i++) {
        *name = s->settings->v[i].name;
        if (s->settings->v[i].cfg.profile && s->settings->v[i].cfg.profile->layers)
            return s->settings->v[i].cfg.profile;
    }
    return NULL;
}

/* A map of bits for every other profile that settings use. */
static kv_status other_profiles(FILE *f, const sweep *s, const prof *shown, kv_err *err) {
    enum { MOST = 8 };
    const sweep_setting *v = s->settings->v;
    int n = 0;
    kv_status st = KV_OK;
    for (size_t i = 0; i < s->settings->n && n < MOST && !st; i++) {
        bool seen = !v[i].cfg.profile || v[i].cfg.profile == shown || !v[i].cfg.profile->layers;
        for (size_t k = 0; k < i && !seen; k++)
            seen = !strcmp(v[k].profile_hash, v[i].profile_hash);
        if (!seen) {
            st = rep_bits_section(f, v[i].cfg.profile, v[i].name, err);
            n++;
        }
    }
    return st;
}

static kv_status sections(FILE *f, const sweep *s, const prof **shown, kv_err *err) {
    const char *name = NULL;
    kv_status st = rate_section(f, s, err);
    if (st)
        return st;
    result_section(f, s);
    percentile_section(f, s);
    *shown = main_profile(s, &name);
    if (*shown && !(st = rep_profile_sections(f, *shown, err)))
        st = other_profiles(f, s, *shown, err);
    return st;
}

kv_status sweep_write_html(const sweep *s, const char *path, kv_err *err) {
    char title[256], lead[400];
    const prof *shown = NULL;
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    snprintf(title, sizeof title, "KV cache settings of %s", s->origin.model_name);
    snprintf(lead, sizeof lead,
             "%zu settings against the same model with an %s cache, on the same %zu tokens (context %u, the second half of "
             "each chunk "
             "of text is scored). Every attended token is read from the cache.",
             s->settings->n, kv_codec_names[s->cfg.baseline].name, s->results[0].tokens, s->cfg.ctx);
    rep_page_begin(f, title, lead);
    if ((st = sections(f, s, &shown, err))) {
        atomic_file_abort(af);
        return st;
    }
    rep_page_end(f, &s->origin, shown);
    return atomic_file_commit(af, err);
}

/* A path without its folders. */
static const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

kv_status sweep_write_svg(const sweep *s, const char *path, kv_err *err) {
    char title[256], lead[400];
    atomic_file *af = NULL;
    rep_point *points = rate_points(s, err);
    kv_status st = points ? atomic_file_open(path, &af, err) : KV_ENOMEM;
    if (st)
        goto done;
    const char *model = path_name(s->origin.model_path), *text = path_name(s->origin.text);
    /* Names are cut, as the picture has no second line for them. */
    snprintf(title, sizeof title, "%.60s: what a smaller KV cache loses", model);
    snprintf(lead, sizeof lead,
             "KL divergence from the same model with an %s cache, on %zu tokens of %.40s, context %u; bars are standard errors",
             kv_codec_names[s->cfg.baseline].name, s->results[0].tokens, text, s->cfg.ctx);
    st = rep_rate_picture(atomic_file_stream(af), title, lead, points, s->settings->n, err);
    if (st)
        atomic_file_abort(af);
    else
        st = atomic_file_commit(af, err);
done:
    free(points);
    return st;
}
