/* What a profile holds, as sections of a page; and the page of a calibration. */
#include "base/format.h"
#include "report/report_parts.h"

#include "base/atomic_file.h"
#include "measure/eval_io.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static prof_head stored(const prof *p, uint32_t layer, uint32_t head, int side) {
    return side ? prof_head_v(p, layer, head) : prof_head_k(p, layer, head);
}

float head_bits(const prof *p, uint32_t layer, uint32_t head, int side) {
    const prof_head h = stored(p, layer, head, side);
    return h.tc         ? (float)prof_tc_vector_bits(h.tc) / (float)h.tc->dim
           : h.bits > 0 ? h.bits
                        : (float)kv_codec_bits(h.codec, !side, p->head_dim);
}

/* ---- bits ---- */

static bool has_heads(const prof *p) {
    return p->layers && p->n_layer && p->n_kv_head;
}

kv_status rep_bits_section(FILE *f, const prof *p, const char *name, kv_err *err) {
    if (!has_heads(p))
        return KV_OK;
    const size_t n = (size_t)p->n_layer * p->n_kv_head;
    float *v = malloc(2 * n * sizeof *v);
    if (!v)
        return kv_fail(err, KV_ENOMEM, "out of memory for the report");
    for (int side = 0; side < 2; side++)
        for (uint32_t l = 0; l < p->n_layer; l++)
            for (uint32_t h = 0; h < p->n_kv_head; h++)
                v[side * n + (size_t)l * p->n_kv_head + h] = h < prof_kv_heads(p, l) ? head_bits(p, l, h, side) : NAN;
    fputs("<section>\n<h2>Bits per layer and head", f);
    if (name) {
        fputs(": ", f);
        rep_text(f, name);
    }
    fputs("</h2>\n<p class=\"caption\">Where the profile spends its memory: true bits per number, metadata included, for every "
          "KV head. Dark "
          "heads are stored precisely because errors there would show; light ones forgive.</p>\n",
          f);
    const rep_grid grids[] = {{"Keys", "KV head ", p->n_layer, p->n_kv_head, v},
                              {"Values", "KV head ", p->n_layer, p->n_kv_head, v + n}};
    rep_heat_map(f, grids, 2, "bits per number", "Map of bits per number, layers across, KV heads down, keys above values");
    rep_section_end(f);
    free(v);
    return KV_OK;
}

/* ---- entropy ---- */

static kv_status entropy_section(FILE *f, const prof *p, kv_err *err) {
    const size_t n = (size_t)p->n_layer * p->n_head;
    bool some = false;
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        some |= p->layers[l].entropy != NULL;
    if (!some || !n)
        return KV_OK;
    float *v = malloc(n * sizeof *v);
    if (!v)
        return kv_fail(err, KV_ENOMEM, "out of memory for the report");
    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t h = 0; h < p->n_head; h++)
            v[(size_t)l * p->n_head + h] = p->layers[l].entropy && h < prof_heads(p, l) ? p->layers[l].entropy[h] : NAN;
    rep_section_begin(
        f, "Attention entropy",
        "How widely each query head looks around: entropy of its attention in bits, mean over tokens. A head of h bits "
        "spreads over about 2<sup>h</sup> tokens: dark heads average many, light ones pick a few.");
    const rep_grid g = {NULL, "head ", p->n_layer, p->n_head, v};
    rep_heat_map(f, &g, 1, "entropy, bits", "Map of attention entropy, layers across, query heads down");
    rep_section_end(f);
    free(v);
    return KV_OK;
}

/* ---- spectra ---- */

static int falling(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Calibrated heads of one side. */
static uint32_t count_heads(const prof *p, int side) {
    uint32_t n = 0;
    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t h = 0; h < prof_kv_heads(p, l); h++)
            n += stored(p, l, h, side).tc != NULL;
    return n;
}

static void head_spectrum(const prof_tc *t, float *variance, float *bits) {
    for (uint32_t i = 0; i < t->dim; i++) {
        variance[i] = t->sigma[i] * t->sigma[i];
        bits[i] = t->bits[i];
    }
    qsort(variance, t->dim, sizeof *variance, falling);
    qsort(bits, t->dim, sizeof *bits, falling);
    const float first = variance[0] > 0 ? variance[0] : 1;
    for (uint32_t i = 0; i < t->dim; i++)
        variance[i] /= first;
}

/* variance, bits: caller frees, even on failure. */
static bool gather(const prof *p, int side, rep_spectra *s, float **variance, float **bits) {
    const size_t size = (size_t)s->n * s->dim;
    *variance = calloc(size + 1, sizeof **variance);
    *bits = calloc(size + 1, sizeof **bits);
    if (!*variance || !*bits)
        return false;
    uint32_t at = 0;
    for (uint32_t l = 0; l < p->n_layer; l++) {
        for (uint32_t h = 0; h < prof_kv_heads(p, l); h++) {
            const prof_tc *t = stored(p, l, h, side).tc;
            if (!t)
                continue;
            head_spectrum(t, *variance + (size_t)at * s->dim, *bits + (size_t)at * s->dim);
            at++;
        }
    }
    s->variance = *variance;
    s->bits = *bits;
    return true;
}

static kv_status spectra_section(FILE *f, const prof *p, kv_err *err) {
    rep_spectra s[2] = {{.name = "Keys", .colour = "#0072b2", .dim = p->head_dim},
                        {.name = "Values", .colour = "#d55e00", .dim = p->head_dim}};
    float *variance[2] = {NULL, NULL}, *bits[2] = {NULL, NULL};
    kv_status st = KV_OK;
    if (!has_heads(p))
        return KV_OK;
    for (int side = 0; side < 2; side++)
        s[side].n = count_heads(p, side);
    if (!s[0].n && !s[1].n)
        return KV_OK;
    for (int side = 0; side < 2 && !st; side++)
        if (!gather(p, side, &s[side], &variance[side], &bits[side]))
            st = kv_fail(err, KV_ENOMEM, "out of memory for the report");
    if (!st) {
        rep_section_begin(
            f, "Importance spectra",
            "What calibration finds in each head: variance of the transformed coefficients in falling order, a thin line per "
            "head, the median bold. The steeper a line, the fewer directions matter and the more the transform saves; bits "
            "follow the variance (below: mean over heads, band from least to most).");
        st = rep_spectra_chart(f, s, err);
        rep_section_end(f);
    }
    for (int side = 0; side < 2; side++) {
        free(variance[side]);
        free(bits[side]);
    }
    return st;
}

kv_status rep_profile_sections(FILE *f, const prof *p, kv_err *err) {
    kv_status st = rep_bits_section(f, p, NULL, err);
    if (!st)
        st = spectra_section(f, p, err);
    if (!st)
        st = entropy_section(f, p, err);
    return st ? st : rep_budget_section(f, p, err);
}

/* ---- the page of a calibration ---- */

static double mean_bits(const prof *p, int side) {
    double sum = 0;
    if (!has_heads(p)) /* a policy for any model */
        return (double)head_bits(p, 0, 0, side);
    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t h = 0; h < prof_kv_heads(p, l); h++)
            sum += (double)head_bits(p, l, h, side);
    return sum / prof_all_kv_heads(p);
}

static void cards(FILE *f, const prof *p) {
    const double k = mean_bits(p, 0), v = mean_bits(p, 1);
    char bytes[24];
    fputs("<ul class=\"cards\">\n", f);
    fprintf(f, "<li><b>%.2f ×</b><span>smaller than an f16 cache, beyond the window</span></li>\n", 32 / (k + v));
    fprintf(f, "<li><b>%.2f / %.2f</b><span>true bits per number of keys / values</span></li>\n", k, v);
    if (p->n_measured) {
        const prof_measured *m = &p->measured[0];
        fprintf(f, "<li><b>%.5f</b><span>KL divergence, nats</span></li>\n", m->kld);
        fprintf(f, "<li><b>%+.2f %%</b><span>perplexity</span></li>\n", m->dppl_percent);
    }
    if (p->n_layer && p->n_kv_head)
        fprintf(f, "<li><b>%s</b><span>per token, all layers</span></li>\n",
                format_bytes((double)prof_all_kv_heads(p) * p->head_dim * (k + v) / 8, bytes));
    fputs("</ul>\n", f);
}

static void measured_row(FILE *f, const prof_measured *m) {
    char pm[EVAL_PM];
    fputs("<tr><td>", f);
    rep_text(f, m->text);
    fprintf(f,
            "</td><td>%u</td><td>%u</td><td>%s</td><td>%.2f %%</td><td>%+.2f %%</td><td>%.2f / %.2f</td><td>%.0f (f16: "
            "%.0f)</td></tr>\n",
            m->ctx, m->tokens, eval_plus_minus(m->kld, m->kld_se, false, pm), m->top1, m->dppl_percent, m->bits_k, m->bits_v,
            m->bytes_per_token, m->f16_bytes_per_token);
}

/* Of all windows: each text says its own. */
static void measured_section(FILE *f, const prof *p) {
    if (!p->n_measured)
        return;
    rep_section_begin(f, "Measured on text that was held out",
                      "Against the same model with an f32 cache on the same tokens. A window of 0 is the hard case: every "
                      "token but the sinks "
                      "is read from its compressed form.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>text</th><th>context</th><th>tokens</th><th>KL divergence, "
          "nats</th><th>same top "
          "token</th><th>perplexity</th><th>bits K / V</th><th>bytes per token</th></tr></thead>\n<tbody>\n",
          f);
    for (; p; p = p->narrower)
        for (uint32_t i = 0; i < p->n_measured; i++)
            measured_row(f, &p->measured[i]);
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

static void facts_section(FILE *f, const prof *p) {
    if (!p->n_facts)
        return;
    rep_section_begin(
        f, "Facts hidden in documents",
        "Generated documents hide facts at many depths, and questions ask for them. The difference to an f16 cache "
        "is that of the same questions, with its 95 % interval.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>documents</th><th>tokens of each</th><th>seed</th><th>questions</th>"
          "<th>right with f16</th><th>right with the profile</th><th>difference, points</th></tr></thead>\n<tbody>\n",
          f);
    for (uint32_t i = 0; i < p->n_facts; i++) {
        const prof_facts *x = &p->facts[i];
        fprintf(
            f, "<tr><td>%u</td><td>%u</td><td>%llu</td><td>%u</td><td>%u</td><td>%u</td><td>%+.1f (%+.1f to %+.1f)</td></tr>\n",
            x->docs, x->ctx, (unsigned long long)x->seed, x->questions, x->right_f16, x->right,
            100.0 * ((double)x->right - x->right_f16) / x->questions, x->low, x->high);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

kv_status report_profile(const prof *p, const report_origin *o, const char *path, kv_err *err) {
    const char *name = o->model_name ? o->model_name : p->model_name[0] ? p->model_name : "any model";
    char title[256], lead[320];
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    snprintf(title, sizeof title, "KV cache profile of %s", name);
    snprintf(lead, sizeof lead,
             "How the cache of this model is compressed: the first %u and the newest %u tokens stay in f16, all others are "
             "encoded. What that costs was measured, not estimated.",
             p->sinks, p->window);
    rep_page_begin(f, title, lead);
    cards(f, p);
    measured_section(f, p);
    facts_section(f, p);
    if ((st = rep_profile_sections(f, p, err))) {
        atomic_file_abort(af);
        return st;
    }
    rep_page_end(f, o, p);
    return atomic_file_commit(af, err);
}
