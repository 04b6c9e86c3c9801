/* The results of questions about a document as a table, JSON, CSV and a page. */
#include "kveval/qa_write.h"

#include "base/atomic_file.h"
#include "base/format.h"
#include "kveval/eval_out.h"
#include "kveval/sweep.h"
#include "report/report_parts.h"

#include <string.h>

/* ---- table ---- */

static void print_misses(const qa_report *r, size_t i) {
    for (size_t q = 0; q < r->test->questions->n; q++) {
        const qa_answer *a = &r->results[i].answers[q];
        if (!a->right)
            cli_say(stdout, "  %s\n    wanted: %s; said: %s\n", r->test->questions->v[q].text, r->test->questions->v[q].wanted,
                    a->said);
    }
}

kv_status qa_print(const qa_report *r, kv_err *err) {
    enum { CODEC = 14, RIGHT = 9, SHARE = 16, CACHE = 10 };
    size_t name = strlen("setting");
    char buf[64], codecs[48];
    for (size_t i = 0; i < r->settings->n; i++) {
        const size_t n = eval_columns(r->settings->v[i].name);
        name = n > name ? n : name;
    }
    eval_cell("setting", name, true);
    eval_cell("codec K / V", CODEC, true);
    eval_cell("right", RIGHT, false);
    eval_cell("95 % confidence", SHARE, false);
    printf("%*s\n", CACHE, "cache");
    for (size_t i = 0; i < r->settings->n; i++) {
        const qa_result *x = &r->results[i];
        eval_cell(r->settings->v[i].name, name, true);
        eval_cell(sweep_codec_names(&r->settings->v[i], codecs), CODEC, true);
        snprintf(buf, sizeof buf, "%u of %u", x->tally.hits, x->tally.n);
        eval_cell(buf, RIGHT, false);
        eval_cell(ask_percent(x->tally, true, buf), SHARE, false);
        printf("%*s", CACHE, format_bytes((double)x->cache.bytes, buf));
        puts(sweep_remark(&r->settings->v[i], buf));
    }
    for (size_t i = 0; i < r->settings->n; i++)
        if (r->results[i].tally.hits < r->results[i].tally.n) {
            cli_say(stdout, "\nwrong with %s:\n", r->settings->v[i].name);
            print_misses(r, i);
        }
    printf("\ndocument of %zu tokens, %zu questions, %s\n", r->test->n_document, r->test->questions->n,
           r->chat ? r->chat : "plain text");
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write the result: %m") : KV_OK;
}

/* ---- JSON ---- */

static json_t *setting_json(const qa_report *r, size_t i) {
    const qa_result *x = &r->results[i];
    json_t *answers = json_array();
    for (size_t q = 0; q < r->test->questions->n; q++) {
        const qa_question *k = &r->test->questions->v[q];
        cli_json_add(&answers,
                     json_pack("{s:i, s:s, s:s, s:o, s:b}", "line", (int)k->line, "question", k->text, "wanted", k->wanted,
                               "said", cli_json_text(x->answers[q].said), "right", (int)x->answers[q].right));
    }
    json_t *figures = json_pack("{s:f, s:f, s:I, s:I, s:f, s:o}", "bits_k", x->cache.bits_k, "bits_v", x->cache.bits_v,
                                "kv_bytes", (json_int_t)x->cache.bytes, "kv_bytes_f16", (json_int_t)x->cache.bytes_f16,
                                "seconds", x->seconds, "answers", answers);
    return eval_json_join(eval_tally_json(sweep_setting_json(&r->settings->v[i]), x->tally), figures);
}

kv_status qa_write_json(const qa_report *r, const char *path, kv_err *err) {
    json_t *settings = json_array();
    for (size_t i = 0; i < r->settings->n; i++)
        cli_json_add(&settings, setting_json(r, i));
    json_t *j = eval_json_join(eval_origin_json(&r->origin),
                               json_pack("{s:{s:o, s:s}, s:{s:o, s:s}, s:o, s:b, s:i, s:i, s:i, s:o}", "document", "path",
                                         cli_json_text(r->origin.text), "hash", r->test->hash, "questions", "path",
                                         cli_json_text(r->questions_path), "hash", r->test->questions->hash, "chat",
                                         cli_json_text(r->chat), "exact", (int)rt_model_exec(r->m)->exact, "document_tokens",
                                         (int)r->test->n_document, "ctx", (int)r->test->n_ctx, "answer_tokens",
                                         QA_ANSWER_TOKENS, "settings", settings));
    return eval_write_json(j, path, err);
}

/* ---- CSV (RFC 4180) ---- */

kv_status qa_write_csv(const qa_report *r, const char *path, kv_err *err) {
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    fputs("name,options,line,question,wanted,said,right\r\n", f);
    for (size_t i = 0; i < r->settings->n; i++)
        for (size_t q = 0; q < r->test->questions->n; q++) {
            const qa_question *k = &r->test->questions->v[q];
            const char *const texts[] = {k->text, k->wanted, r->results[i].answers[q].said};
            eval_csv_text(f, r->settings->v[i].name);
            fputc(',', f);
            eval_csv_text(f, r->settings->v[i].options);
            fprintf(f, ",%u,", k->line);
            for (size_t c = 0; c < 3; c++) {
                eval_csv_text(f, texts[c]);
                fputc(',', f);
            }
            fprintf(f, "%d\r\n", r->results[i].answers[q].right);
        }
    return atomic_file_commit(af, err);
}

/* ---- page ---- */

static void summary(FILE *f, const qa_report *r) {
    rep_section_begin(f, "Results",
                      "Answers count as right where they hold a wanted answer as whole words. The cache is what a context "
                      "of this length allocates.");
    fputs(
        "<div class=\"wide\"><table>\n<thead><tr><th>setting</th><th class=\"text\">codec K / V</th><th>window,<br/>sinks</th>"
        "<th>right</th><th class=\"text\">0 to 100 %</th><th>95 %<br/>confidence</th><th>cache</th><th>smaller<br/>than "
        "f16</th></tr></thead>\n<tbody>\n",
        f);
    for (size_t i = 0; i < r->settings->n; i++) {
        const sweep_setting *x = &r->settings->v[i];
        const qa_result *y = &r->results[i];
        rep_share s = {.n = y->tally.n, .hits = y->tally.hits};
        char kept[64], codecs[48], bytes[24];
        ask_wilson(y->tally, &s.lo, &s.hi);
        fputs("<tr><td>", f);
        rep_text(f, x->name);
        fprintf(f, "</td><td class=\"text\">%s</td><td>%s</td><td>%u of %u</td><td class=\"text\">",
                sweep_codec_names(x, codecs), sweep_kept(x, kept), s.hits, s.n);
        rep_interval(f, s);
        fprintf(f, "</td><td>%.0f–%.0f %%</td><td>%s</td><td>%.2f ×</td></tr>\n", 100 * s.lo, 100 * s.hi,
                format_bytes((double)y->cache.bytes, bytes),
                y->cache.bytes ? (double)y->cache.bytes_f16 / (double)y->cache.bytes : 0);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

static void questions(FILE *f, const qa_report *r) {
    rep_section_begin(f, "Questions", "What each setting answered: ✓ where it was right, else what was said.");
    fputs("<div class=\"wide\"><table>\n<thead><tr><th>question</th><th class=\"text\">wanted</th>", f);
    for (size_t i = 0; i < r->settings->n; i++) {
        fputs("<th class=\"text\">", f);
        rep_text(f, r->settings->v[i].name);
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t q = 0; q < r->test->questions->n; q++) {
        fputs("<tr><td>", f);
        rep_text(f, r->test->questions->v[q].text);
        fputs("</td><td class=\"text\" style=\"white-space:normal\">", f);
        for (const char *s = r->test->questions->v[q].wanted; *s;) {
            char one[256];
            const size_t len = strcspn(s, "|");
            snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : sizeof one - 1), s);
            rep_text(f, one);
            s += len;
            if (*s++ != '|')
                break;
            fputs("<br/>", f);
        }
        fputs("</td>", f);
        for (size_t i = 0; i < r->settings->n; i++) {
            const qa_answer *a = &r->results[i].answers[q];
            fputs("<td class=\"text\" style=\"white-space:normal\">", f);
            if (a->right)
                fputs("✓", f);
            else {
                fputs("✗ ", f);
                rep_text(f, a->said);
            }
            fputs("</td>", f);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table></div>\n", f);
    rep_section_end(f);
}

kv_status qa_write_html(const qa_report *r, const char *path, kv_err *err) {
    char title[256], lead[400];
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    snprintf(title, sizeof title, "Questions about a document: %s", r->origin.model_name);
    snprintf(
        lead, sizeof lead,
        "%zu questions about a document of %zu tokens. It is read once with each cache setting, before any question is known, "
        "and every question is answered from that state.",
        r->test->questions->n, r->test->n_document);
    rep_page_begin(f, title, lead);
    summary(f, r);
    questions(f, r);
    rep_page_end(f, &r->origin, NULL);
    return atomic_file_commit(af, err);
}
