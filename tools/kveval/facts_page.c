/* The HTML report of questions about generated documents. */
#include "kveval/facts_write.h"

#include "base/atomic_file.h"
#include "base/format.h"
#include "kveval/sweep.h"
#include "report/report_parts.h"

#include <string.h>

static void setting_row(FILE *f, const facts_report *r, size_t i) {
    const sweep_setting *x = &r->settings->v[i];
    const facts_result *y = &r->results[i];
    const size_t last = r->set->cfg.n_tokens - 1;
    const ask_tally t = facts_tally(r->set, y, FACTS_ANYWHERE);
    const paired p = facts_compare(r->set, &r->results[r->reference], y, FACTS_ANYWHERE);
    rep_share s = {.n = t.n, .hits = t.hits};
    char kept[64], codecs[48], bytes[24], points[64];
    ask_wilson(t, &s.lo, &s.hi);
    fputs("<tr><td>", f);
    rep_text(f, x->name);
    fprintf(f, "</td><td class=\"text\">%s</td><td>%s</td><td>%u of %u</td><td class=\"text\">", sweep_codec_names(x, codecs),
            sweep_kept(x, kept), s.hits, s.n);
    rep_interval(f, s);
    fprintf(f, "</td><td>%.0f–%.0f %%</td>", 100 * s.lo, 100 * s.hi);
    if (i == r->reference)
        fputs("<td>–</td><td>–</td><td>–</td>", f);
    else
        fprintf(f, "<td>%s</td><td>%u, %u</td><td>%.3f</td>", facts_points(p, true, points), p.lost, p.won, paired_p(p));
    fprintf(f, "<td>%s</td><td>%.2f ×</td></tr>\n", format_bytes((double)y->kv_bytes[last], bytes),
            y->kv_bytes[last] ? (double)y->kv_bytes_f16[last] / (double)y->kv_bytes[last] : 0);
}

static void summary(FILE *f, const facts_report *r) {
    rep_section_begin(
        f, "Results",
        "Answers count as right where they hold a wanted answer as whole words. Points: the difference to the reference "
        "in percent of the questions, with Tango’s 95 % interval for paired proportions. Lost, won: right with the "
        "reference only, right with the setting only. p: McNemar’s exact test. The cache is what the longest context "
        "allocates.");
    fputs(
        "<div class=\"wide\"><table>\n<thead><tr><th>setting</th><th class=\"text\">codec K / V</th><th>window,<br/>sinks</th>"
        "<th>right</th><th class=\"text\">0 to 100 %</th><th>95 %<br/>confidence</th><th>points</th><th>lost, "
        "won</th><th>p</th>"
        "<th>cache</th><th>smaller<br/>than f16</th></tr></thead>\n<tbody>\n",
        f);
    for (size_t i = 0; i < r->settings->n; i++)
        setting_row(f, r, i);
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

static void parts(FILE *f, const facts_report *r) {
    facts_part part[FACTS_PARTS];
    const size_t n = facts_parts(r->set, part);
    char buf[64];
    rep_section_begin(f, "Kinds, hops, lengths",
                      "Share of right answers, and below it the difference to the reference in points.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>setting</th>", f);
    for (size_t k = 0; k < n; k++)
        fprintf(f, "<th>%s</th>", part[k].name);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t i = 0; i < r->settings->n; i++) {
        fputs("<tr><td>", f);
        rep_text(f, r->settings->v[i].name);
        fputs("</td>", f);
        for (size_t k = 0; k < n; k++) {
            const facts_result *x = &r->results[i];
            fprintf(f, "<td>%s", ask_percent(facts_tally(r->set, x, part[k].where), false, buf));
            if (i != r->reference)
                fprintf(f, "<br/>%s",
                        facts_points(facts_compare(r->set, &r->results[r->reference], x, part[k].where), false, buf));
            fputs("</td>", f);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

static void question_row(FILE *f, const facts_report *r, size_t doc, const facts_question *q, size_t at) {
    const facts_doc *d = &r->set->v[doc];
    fprintf(f, "<tr><td>%zu, %s, %u</td><td class=\"text\" style=\"white-space:normal\">", doc, facts_styles[d->style]->name,
            r->set->cfg.tokens[d->i_length]);
    rep_text(f, q->text);
    char wanted[FACTS_WANTED];
    snprintf(wanted, sizeof wanted, "%.*s", (int)strcspn(q->wanted, "|"), q->wanted);
    fputs("</td><td class=\"text\" style=\"white-space:normal\">", f);
    rep_text(f, wanted);
    fputs("</td>", f);
    for (size_t i = 0; i < r->settings->n; i++) {
        const qa_answer *a = &r->results[i].answers[at];
        fprintf(f, "<td class=\"text\" style=\"white-space:normal\">%s ", a->right ? "✓" : "✗");
        rep_text(f, a->said);
        fputs("</td>", f);
    }
    fputs("</tr>\n", f);
}

static void answers(FILE *f, const facts_report *r) {
    const bool one = r->settings->n == 1;
    rep_section_begin(f, one ? "Wrong answers" : "Where settings differ",
                      one ? "What was asked, wanted and said." : "Questions that some settings answered and others did not.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>document</th><th class=\"text\">question</th><th "
          "class=\"text\">wanted</th>",
          f);
    for (size_t i = 0; i < r->settings->n; i++) {
        fputs("<th class=\"text\">", f);
        rep_text(f, r->settings->v[i].name);
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t i = 0, at = 0; i < r->set->n; i++)
        for (size_t k = 0; k < r->set->v[i].n; k++, at++)
            if (one ? !r->results[0].answers[at].right : facts_differ(r, at))
                question_row(f, r, i, &r->set->v[i].q[k], at);
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

kv_status facts_write_html(const facts_report *r, const char *path, kv_err *err) {
    char title[256], lead[400];
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    snprintf(title, sizeof title, "Facts in documents: %s", r->origin.model_name);
    snprintf(
        lead, sizeof lead,
        "%zu questions about %zu generated documents (seed %llu) that hide facts. Each is read once with each cache setting, "
        "before any question is known, and every question is answered from that state.",
        r->set->n_questions, r->set->n, (unsigned long long)r->set->cfg.seed);
    rep_page_begin(f, title, lead);
    summary(f, r);
    parts(f, r);
    answers(f, r);
    rep_page_end(f, &r->origin, NULL);
    return atomic_file_commit(af, err);
}
