/* The results of questions about generated documents as a table, JSON and CSV. */
#include "kveval/facts_write.h"

#include "base/atomic_file.h"
#include "base/format.h"
#include "kveval/eval_out.h"
#include "kveval/sweep.h"

#include <math.h>
#include <string.h>

/* ---- parts ---- */

size_t facts_parts(const facts_set *s, facts_part out[FACTS_PARTS]) {
    size_t n = 0;
    for (int i = 0; i < FACTS_STYLES && i < (int)s->cfg.docs; i++) {
        out[n].where = (facts_where){i, -1, -1};
        strcpy(out[n++].name, facts_styles[i]->name);
    }
    for (int i = 1; i <= 2; i++) {
        out[n].where = (facts_where){-1, i, -1};
        strcpy(out[n++].name, i == 1 ? "one hop" : "two hops");
    }
    for (size_t i = 0; i < s->cfg.n_tokens && s->cfg.n_tokens > 1; i++) {
        out[n].where = (facts_where){-1, -1, (int)i};
        snprintf(out[n++].name, sizeof out->name, "%u tokens", s->cfg.tokens[i]);
    }
    return n;
}

char *facts_points(paired p, bool interval, char buf[64]) {
    double lo, hi;
    paired_interval(p, &lo, &hi);
    if (!p.n)
        strcpy(buf, "–");
    else if (interval)
        snprintf(buf, 64, "%+.1f (%+.1f to %+.1f)", 100 * paired_difference(p), 100 * lo, 100 * hi);
    else
        snprintf(buf, 64, "%+.1f", 100 * paired_difference(p));
    return buf;
}

bool facts_differ(const facts_report *r, size_t question) {
    for (size_t i = 1; i < r->settings->n; i++)
        if (r->results[i].answered && r->results[0].answered &&
            r->results[i].answers[question].right != r->results[0].answers[question].right)
            return true;
    return false;
}

/* ---- table ---- */

static size_t name_width(const facts_report *r) {
    size_t width = strlen("setting");
    for (size_t i = 0; i < r->settings->n; i++) {
        const size_t n = eval_columns(r->settings->v[i].name);
        width = n > width ? n : width;
    }
    return width;
}

static void print_summary(const facts_report *r, size_t name) {
    enum { CODEC = 14, RIGHT = 10, SHARE = 16, POINTS = 22, LOST = 11, P = 6, NATS = 14, CACHE = 10 };
    const char *first = r->settings->v[r->reference].name;
    char buf[64], codecs[48];
    eval_cell("setting", name, true);
    eval_cell("codec K / V", CODEC, true);
    eval_cell("right", RIGHT, false);
    eval_cell("95 % confidence", SHARE, false);
    if (r->settings->n > 1) {
        eval_cell("points (95 %)", POINTS, false);
        eval_cell("lost, won", LOST, false);
        eval_cell("p", P, false);
        eval_cell("nats", NATS, false);
    }
    printf("%*s\n", CACHE, "cache");
    for (size_t i = 0; i < r->settings->n; i++) {
        const facts_result *x = &r->results[i];
        const ask_tally t = facts_tally(r->set, x, FACTS_ANYWHERE);
        eval_cell(r->settings->v[i].name, name, true);
        eval_cell(sweep_codec_names(&r->settings->v[i], codecs), CODEC, true);
        snprintf(buf, sizeof buf, "%u of %u", t.hits, t.n);
        eval_cell(buf, RIGHT, false);
        eval_cell(ask_percent(t, true, buf), SHARE, false);
        if (r->settings->n > 1) {
            const paired p = facts_compare(r->set, &r->results[r->reference], x, FACTS_ANYWHERE);
            const bool same = i == r->reference;
            eval_cell(same ? "" : facts_points(p, true, buf), POINTS, false);
            snprintf(buf, sizeof buf, "%u, %u", p.lost, p.won);
            eval_cell(same ? "" : buf, LOST, false);
            snprintf(buf, sizeof buf, "%.3f", paired_p(p));
            eval_cell(same ? "" : buf, P, false);
            const facts_loss lost = facts_lost(r->set, &r->results[r->reference], x, FACTS_ANYWHERE);
            eval_cell(same ? "" : eval_plus_minus(lost.mean, lost.se, false, buf), NATS, false);
        }
        printf("%*s", CACHE, format_bytes((double)x->kv_bytes[r->set->cfg.n_tokens - 1], buf));
        puts(sweep_remark(&r->settings->v[i], buf));
    }
    if (r->settings->n > 1)
        cli_say(stdout,
                "\npoints: difference to %s, %% of the questions, with Tango's interval; lost, won: right with %s only, right "
                "with the setting only; p: McNemar's exact test; nats: by how much less likely an answer of %s is\n",
                first, first, first);
}

static void print_parts(const facts_report *r, size_t name) {
    enum { PART = 12, SHARE = 6, POINTS = 8 };
    facts_part part[FACTS_PARTS];
    char buf[64];
    const size_t n = facts_parts(r->set, part);
    printf("\n%*s  ", (int)name, "");
    for (size_t k = 0; k < n; k++)
        eval_cell(part[k].name, PART, false);
    putchar('\n');
    for (size_t i = 0; i < r->settings->n; i++) {
        eval_cell(r->settings->v[i].name, name, true);
        for (size_t k = 0; k < n; k++)
            eval_cell(ask_percent(facts_tally(r->set, &r->results[i], part[k].where), false, buf), PART, false);
        putchar('\n');
        if (i == r->reference || !r->results[i].answered)
            continue;
        eval_cell("  points", name, true);
        for (size_t k = 0; k < n; k++)
            eval_cell(facts_points(facts_compare(r->set, &r->results[r->reference], &r->results[i], part[k].where), false, buf),
                      PART, false);
        putchar('\n');
    }
}

static void print_question(const facts_report *r, const facts_doc *d, size_t doc, const facts_question *q, size_t at,
                           size_t name) {
    cli_say(stdout, "  %s\n    document %zu (%s, %u tokens); wanted: %s\n", q->text, doc, facts_styles[d->style]->name,
            r->set->cfg.tokens[d->i_length], q->wanted);
    for (size_t i = 0; i < r->settings->n; i++) {
        const qa_answer *a = &r->results[i].answers[at];
        printf("    %s ", a->right ? "right" : "wrong");
        eval_cell(r->settings->v[i].name, name, true);
        cli_say(stdout, "%s\n", a->said);
    }
}

/* Questions on which settings differ, or with one setting those that it got wrong. */
static void print_answers(const facts_report *r, size_t name) {
    const bool one = r->settings->n == 1;
    bool any = false;
    for (size_t i = 0, at = 0; i < r->set->n; i++)
        for (size_t k = 0; k < r->set->v[i].n; k++, at++) {
            if (one ? r->results[0].answers[at].right : !facts_differ(r, at))
                continue;
            if (!any)
                puts(one ? "\nwrong:" : "\nwhere settings differ:");
            any = true;
            print_question(r, &r->set->v[i], i, &r->set->v[i].q[k], at, name);
        }
}

kv_status facts_print(const facts_report *r, kv_err *err) {
    const size_t name = name_width(r);
    double seconds = 0;
    for (size_t i = 0; i < r->settings->n; i++)
        seconds += r->results[i].seconds;
    print_summary(r, name);
    print_parts(r, name);
    print_answers(r, name);
    printf("\n%zu documents, %zu questions, seed %llu, %s, %.0f s\n", r->set->n, r->set->n_questions,
           (unsigned long long)r->set->cfg.seed, r->chat ? r->chat : "plain text", seconds);
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write the result: %m") : KV_OK;
}

/* ---- JSON ---- */

static json_t *paired_json(json_t *j, paired p) {
    double lo, hi;
    paired_interval(p, &lo, &hi);
    return eval_json_join(j, json_pack("{s:{s:o, s:f, s:f, s:i, s:i, s:f}}", "difference", "share",
                                       p.n ? json_real(paired_difference(p)) : json_null(), "lo", lo, "hi", hi, "lost",
                                       (int)p.lost, "won", (int)p.won, "p", paired_p(p)));
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *figures(const facts_report *r, size_t i, json_t *j, facts_where w) {
    const facts_result *first = &r->results[r->reference], *x = &r->results[i];
    if (x->answered)
        j = eval_tally_json(j, facts_tally(r->set, x, w));
    if (i == r->reference)
        return j;
    const facts_loss lost = facts_lost(r->set, first, x, w);
    j = eval_json_join(j, json_pack("{s:{s:o, s:o}}", "nats", "mean", real_or_null(lost.mean), "se", real_or_null(lost.se)));
    return x->answered ? paired_json(j, facts_compare(r->set, first, x, w)) : j;
}

static json_t *setting_json(const facts_report *r, size_t i) {
    const facts_result *x = &r->results[i];
    const size_t last = r->set->cfg.n_tokens - 1;
    json_t *parts = json_array(), *answers = json_array();
    facts_part part[FACTS_PARTS];
    const size_t n = facts_parts(r->set, part);
    for (size_t k = 0; k < n; k++)
        cli_json_add(&parts, figures(r, i, json_pack("{s:s}", "part", part[k].name), part[k].where));
    for (size_t k = 0; k < r->set->n_questions && x->answered; k++)
        cli_json_add(&answers,
                     json_pack("{s:o, s:b}", "said", cli_json_text(x->answers[k].said), "right", (int)x->answers[k].right));
    json_t *rest = json_pack("{s:b, s:f, s:f, s:I, s:I, s:f, s:o, s:o}", "reference", (int)(i == r->reference), "bits_k",
                             x->bits_k, "bits_v", x->bits_v, "kv_bytes", (json_int_t)x->kv_bytes[last], "kv_bytes_f16",
                             (json_int_t)x->kv_bytes_f16[last], "seconds", x->seconds, "parts", parts, "answers", answers);
    return eval_json_join(figures(r, i, sweep_setting_json(&r->settings->v[i]), FACTS_ANYWHERE), rest);
}

static json_t *document_json(const facts_report *r, size_t i) {
    const facts_doc *d = &r->set->v[i];
    json_t *questions = json_array();
    for (size_t k = 0; k < d->n; k++) {
        json_t *at = json_array();
        for (unsigned h = 0; h < d->q[k].hops; h++)
            cli_json_add(&at, json_integer((json_int_t)d->q[k].fact[h].at));
        cli_json_add(&questions, json_pack("{s:s, s:s, s:i, s:o}", "question", d->q[k].text, "wanted", d->q[k].wanted, "hops",
                                           (int)d->q[k].hops, "at", at));
    }
    return json_pack("{s:i, s:s, s:i, s:i, s:i, s:o}", "document", (int)i, "kind", facts_styles[d->style]->name, "tokens",
                     (int)r->set->cfg.tokens[d->i_length], "document_tokens", (int)d->n_tokens, "bytes", (int)d->len,
                     "questions", questions);
}

static json_t *whole(const facts_report *r) {
    const facts_cfg *cfg = &r->set->cfg;
    json_t *tokens = json_array(), *documents = json_array(), *settings = json_array();
    for (size_t i = 0; i < cfg->n_tokens; i++)
        cli_json_add(&tokens, json_integer(cfg->tokens[i]));
    for (size_t i = 0; i < r->set->n; i++)
        cli_json_add(&documents, document_json(r, i));
    for (size_t i = 0; i < r->settings->n; i++)
        cli_json_add(&settings, setting_json(r, i));
    json_t *text = r->origin.text ? json_pack("{s:o, s:s}", "path", cli_json_text(r->origin.text), "hash", r->origin.text_hash)
                                  : json_null();
    return eval_json_join(eval_origin_json(&r->origin),
                          json_pack("{s:o, s:o, s:b, s:I, s:o, s:i, s:b, s:i, s:o, s:o}", "text", text, "chat",
                                    cli_json_text(r->chat), "exact", (int)rt_model_exec(r->m)->exact, "seed",
                                    (json_int_t)cfg->seed, "tokens", tokens, "docs", (int)cfg->docs, "near_misses",
                                    (int)cfg->near_misses, "answer_tokens", FACTS_ANSWER_TOKENS, "documents", documents,
                                    "settings", settings));
}

kv_status facts_write_json(const facts_report *r, const char *path, kv_err *err) {
    return eval_write_json(whole(r), path, err);
}

/* ---- CSV (RFC 4180) ---- */

static void csv_row(FILE *f, const facts_report *r, size_t i, size_t doc, const facts_question *q, const qa_answer *a) {
    const facts_doc *d = &r->set->v[doc];
    const char *const texts[] = {q->text, q->wanted, a->said};
    eval_csv_text(f, r->settings->v[i].name);
    fputc(',', f);
    eval_csv_text(f, r->settings->v[i].options);
    fprintf(f, ",%zu,%s,%u,%u,", doc, facts_styles[d->style]->name, r->set->cfg.tokens[d->i_length], q->hops);
    for (size_t c = 0; c < sizeof texts / sizeof *texts; c++) {
        eval_csv_text(f, texts[c]);
        fputc(',', f);
    }
    fprintf(f, "%d\r\n", a->right);
}

kv_status facts_write_csv(const facts_report *r, const char *path, kv_err *err) {
    atomic_file *af = NULL;
    kv_status st = atomic_file_open(path, &af, err);
    if (st)
        return st;
    FILE *f = atomic_file_stream(af);
    fputs("name,options,document,kind,tokens,hops,question,wanted,said,right\r\n", f);
    for (size_t i = 0; i < r->settings->n; i++) {
        const qa_answer *a = r->results[i].answers;
        for (size_t k = 0; k < r->set->n && r->results[i].answered; k++)
            for (size_t q = 0; q < r->set->v[k].n; q++, a++)
                csv_row(f, r, i, k, &r->set->v[k].q[q], a);
    }
    return atomic_file_commit(af, err);
}
