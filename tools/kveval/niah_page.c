/* The HTML report of a needle test. */
#include "base/format.h"
#include "kveval/niah_write.h"

#include "base/atomic_file.h"
#include "kveval/sweep.h"
#include "report/report_parts.h"

#include <stdlib.h>
#include <string.h>

enum { LABEL = 24, MOST_MISSES = 40 };

static rep_share share(const niah_result *r, int c, int d, int known) {
    const ask_tally t = niah_tally(r, (niah_where){c, d, -1, known});
    rep_share s = {.n = t.n, .hits = t.hits};
    ask_wilson(t, &s.lo, &s.hi);
    return s;
}

/* ---- maps ---- */

typedef struct labels {
    char column[NIAH_MOST_CTX][LABEL], row[NIAH_MOST_DEPTHS][LABEL];
    const char *columns[NIAH_MOST_CTX], *rows[NIAH_MOST_DEPTHS];
} labels;

static rep_share_axes label_axes(const niah_cfg *cfg, labels *l) {
    for (size_t c = 0; c < cfg->n_ctx; c++) {
        const bool whole = cfg->ctx[c] % 1024 == 0;
        snprintf(l->column[c], LABEL, whole ? "%uK" : "%u", whole ? cfg->ctx[c] / 1024 : cfg->ctx[c]);
        l->columns[c] = l->column[c];
    }
    for (size_t d = 0; d < cfg->n_depth; d++) {
        snprintf(l->row[d], LABEL, "%g %%", cfg->depth[d]);
        l->rows[d] = l->row[d];
    }
    return (rep_share_axes){l->columns, l->rows, cfg->n_ctx, cfg->n_depth};
}

/* -1 in place of an index means all: the last row and column. */
static void fill_map(const niah_test *t, const niah_result *r, int known, rep_share *v) {
    const size_t n_c = t->cfg.n_ctx, n_d = t->cfg.n_depth;
    for (size_t d = 0; d <= n_d; d++)
        for (size_t c = 0; c <= n_c; c++)
            v[d * (n_c + 1) + c] = share(r, c < n_c ? (int)c : -1, d < n_d ? (int)d : -1, known);
}

static kv_status maps(FILE *f, const niah_test *t, int known, kv_err *err) {
    const size_t n = t->settings->n, cells = (t->cfg.n_ctx + 1) * (t->cfg.n_depth + 1);
    labels l;
    const rep_share_axes axes = label_axes(&t->cfg, &l);
    rep_share_map *m = calloc(n, sizeof *m);
    rep_share *v = calloc(n * cells, sizeof *v);
    char(*notes)[48] = calloc(n, sizeof *notes);
    kv_status st = m && v && notes ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the report");
    for (size_t i = 0; i < n && !st; i++) {
        fill_map(t, &t->results[i], known, v + i * cells);
        const rep_share *all = &v[(i + 1) * cells - 1];
        snprintf(notes[i], sizeof *notes, "%.0f %% (%.0f–%.0f)", all->n ? 100.0 * all->hits / all->n : 0, 100 * all->lo,
                 100 * all->hi);
        m[i] = (rep_share_map){t->settings->v[i].name, notes[i], v + i * cells};
    }
    if (!st)
        rep_share_maps(f, m, n, &axes,
                       "Maps of the percentage of facts found, context lengths across, depths down, one for each "
                       "setting");
    free(m);
    free(v);
    free(notes);
    return st;
}

/* ---- tables ---- */

static void percent_cell(FILE *f, rep_share s) {
    fprintf(f, s.n ? "<td>%.0f %%</td>" : "<td>–</td>", s.n ? 100.0 * s.hits / s.n : 0);
}

static void summary_row(FILE *f, const niah_test *t, size_t i, int known) {
    const sweep_setting *x = &t->settings->v[i];
    const niah_result *r = &t->results[i];
    const size_t last = t->cfg.n_ctx - 1;
    const rep_share all = share(r, -1, -1, known);
    char kept[64], codecs[48], bytes[24];
    fputs("<tr><td>", f);
    rep_text(f, x->name);
    fprintf(f, "</td><td class=\"text\">%s</td><td>%s</td>", sweep_codec_names(x, codecs), sweep_kept(x, kept));
    fprintf(f, "<td>%u of %u</td><td class=\"text\">", all.hits, all.n);
    rep_interval(f, all);
    fprintf(f, "</td><td>%.0f–%.0f %%</td>", 100 * all.lo, 100 * all.hi);
    for (size_t c = 0; c <= last; c++)
        percent_cell(f, share(r, (int)c, -1, known));
    fprintf(f, "<td>%s</td><td>%.2f ×</td></tr>\n", format_bytes((double)r->kv_bytes[last], bytes),
            r->kv_bytes[last] ? (double)r->kv_bytes_f16[last] / (double)r->kv_bytes[last] : 0);
}

static void summary(FILE *f, const niah_test *t, int known) {
    labels l;
    label_axes(&t->cfg, &l);
    fputs(
        "<div class=\"wide\"><table>\n<thead><tr><th>setting</th><th class=\"text\">codec K / V</th><th>window,<br/>sinks</th>"
        "<th>found</th><th class=\"text\">0 to 100 %</th><th>95 %<br/>confidence</th>",
        f);
    for (size_t c = 0; c < t->cfg.n_ctx; c++)
        fprintf(f, "<th>%s</th>", l.columns[c]);
    fprintf(f, "<th>cache,<br/>%s</th><th>smaller<br/>than f16</th></tr></thead>\n<tbody>\n", l.columns[t->cfg.n_ctx - 1]);
    for (size_t i = 0; i < t->settings->n; i++)
        summary_row(f, t, i, known);
    fputs("</tbody></table></div>\n", f);
}

static void kinds(FILE *f, const niah_test *t) {
    rep_section_begin(
        f, "What was hidden",
        "Kinds of facts take turns. What stands in capitals differs every time; the answer is drawn anew, so that "
        "nobody can know it but from the text. The model answers after the words on the right.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>kind</th><th class=\"text\">fact</th><th class=\"text\">how the answer "
          "begins</th>",
          f);
    for (size_t i = 0; i < t->settings->n; i++) {
        fputs("<th>", f);
        rep_text(f, t->settings->v[i].name);
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t k = 0; k < t->cfg.n_template; k++) {
        const int id = t->cfg.templates[k];
        const niah_template *x = &niah_templates[id];
        niah_fact fact = {.key = "KEY", .answer = "ANSWER"};
        niah_write_fact(x, &fact);
        fprintf(f, "<tr><td>%s: %s</td><td class=\"text\" style=\"white-space:normal\">", x->name, x->summary);
        rep_text(f, fact.text);
        fputs("</td><td class=\"text\" style=\"white-space:normal\">", f);
        rep_text(f, fact.prime);
        fputs("</td>", f);
        for (size_t i = 0; i < t->settings->n; i++) {
            const ask_tally n = niah_tally(&t->results[i], (niah_where){-1, -1, id, -1});
            percent_cell(f, (rep_share){.n = n.n, .hits = n.hits});
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

static void miss_row(FILE *f, const niah_test *t, size_t i, const niah_answer *a) {
    fputs("<tr><td>", f);
    rep_text(f, t->settings->v[i].name);
    fprintf(f, "</td><td>%u</td><td>%g %%</td><td class=\"text\">%s</td><td class=\"text\">%s</td><td class=\"text\">",
            t->cfg.ctx[a->i_ctx], t->cfg.depth[a->i_depth], a->known ? "known" : "unknown", niah_templates[a->template].name);
    rep_text(f, a->wanted);
    fputs("</td><td class=\"text\" style=\"white-space:normal\">", f);
    rep_text(f, a->said);
    fputs("</td></tr>\n", f);
}

static void misses(FILE *f, const niah_test *t) {
    size_t n = 0, shown = 0;
    for (size_t i = 0; i < t->settings->n; i++)
        n += t->results[i].n - niah_tally(&t->results[i], NIAH_ANYWHERE).hits;
    if (!n)
        return;
    rep_section_begin(f, "What was missed",
                      "A wrong answer often shows how: another fact of the same kind, digits that changed, or "
                      "nothing to the point.");
    fputs(
        "<div class=\"wide\"><table>\n<thead><tr><th>setting</th><th>context</th><th>depth</th><th class=\"text\">question</th>"
        "<th class=\"text\">kind</th><th class=\"text\">wanted</th><th class=\"text\">said</th></tr></thead>\n<tbody>\n",
        f);
    for (size_t i = 0; i < t->settings->n; i++)
        for (size_t k = 0; k < t->results[i].n && shown < MOST_MISSES; k++)
            if (!t->results[i].answers[k].right) {
                miss_row(f, t, i, &t->results[i].answers[k]);
                shown++;
            }
    fputs("</tbody></table></div>\n", f);
    if (n > shown)
        fprintf(f, "<p class=\"note\">And %zu more; the JSON holds all answers.</p>\n", n - shown);
    rep_section_end(f);
}

/* ---- page ---- */

static kv_status way_section(FILE *f, const niah_test *t, int known, kv_err *err) {
    if (known ? !t->cfg.known : !t->cfg.unknown)
        return KV_OK;
    if (known)
        rep_section_begin(
            f, "Question known while reading",
            "The question stands in front of the text and again after it: the model can look for the answer as it reads, "
            "and a cache that drops tokens can see what matters. Every needle has its own reading.");
    else
        rep_section_begin(
            f, "Question unknown while reading",
            "The text is read before anything is asked: nothing that happens to the cache on the way can know what "
            "will matter. All needles of a text are asked for from the same state.");
    summary(f, t, known);
    fputs("<div style=\"height:30px\"></div>\n", f);
    kv_status st = maps(f, t, known, err);
    rep_section_end(f);
    return st;
}

kv_status niah_write_html(const niah_test *t, const char *path, kv_err *err) {
    char title[256], lead[480];
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    snprintf(title, sizeof title, "Needles in haystacks: %s", t->origin.model_name);
    snprintf(lead, sizeof lead,
             "Facts hidden in long texts and asked for: %zu questions, the same for each cache setting (seed %llu). Greedy "
             "answers of "
             "at most %d tokens; right where they hold the answer as whole words.",
             t->results[0].n, (unsigned long long)t->cfg.seed, NIAH_ANSWER_TOKENS);
    rep_page_begin(f, title, lead);
    if ((st = way_section(f, t, 0, err)) || (st = way_section(f, t, 1, err))) {
        atomic_file_abort(af);
        return st;
    }
    kinds(f, t);
    misses(f, t);
    rep_page_end(f, &t->origin, NULL);
    return atomic_file_commit(af, err);
}
