/* Questions about a document: reading the files, asking. */
#include "measure/qa.h"

#include "base/clock.h"
#include "base/text.h"
#include "measure/eval_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { MAX_TEXT = 1 << 26 };
static const char briefly[] = "Answer with a few words from the text.";
static const char blank[] = " \t\r";

/* ---- questions ---- */

static char *trim(char *s) {
    s += strspn(s, blank);
    size_t len = strlen(s);
    while (len && strchr(blank, s[len - 1]))
        s[--len] = '\0';
    return s;
}

static bool is_utf8(const char *s) {
    utf8proc_int32_t c;
    for (utf8proc_ssize_t n; *s; s += n)
        if ((n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c)) <= 0)
            return false;
    return true;
}

/* Every answer has something that can be compared. */
static kv_status check_answers(const char *path, unsigned number, const char *wanted, kv_err *err) {
    for (const char *one = wanted;; one++) {
        const size_t len = strcspn(one, "|");
        char *raw = strndup(one, len), *words = raw ? ask_normalise(raw) : NULL;
        const bool empty = words && !*words, failed = !words;
        free(raw);
        free(words);
        if (failed)
            return kv_fail(err, KV_ENOMEM, "out of memory for the questions");
        if (empty)
            return kv_fail(err, KV_EFORMAT, "%s:%u: '%.*s' is no answer: it needs a word or a number", path, number, (int)len,
                           one);
        one += len;
        if (!*one)
            return KV_OK;
    }
}

static kv_status add_line(qa_list *l, const char *path, unsigned number, char *line, kv_err *err) {
    if (!is_utf8(line))
        return kv_fail(err, KV_EFORMAT, "%s:%u: not UTF-8", path, number);
    char *tab = strchr(line, '\t');
    if (!tab)
        return kv_fail(err, KV_EFORMAT, "%s:%u: no tab between question and answer", path, number);
    *tab = '\0';
    const qa_question q = {.text = trim(line), .wanted = trim(tab + 1), .line = number};
    if (!*q.text)
        return kv_fail(err, KV_EFORMAT, "%s:%u: no question in front of the tab", path, number);
    if (strchr(q.wanted, '\t'))
        return kv_fail(err, KV_EFORMAT, "%s:%u: more than one tab; answers are separated by |", path, number);
    if (l->n == QA_MOST)
        return kv_fail(err, KV_EFORMAT, "%s:%u: more than %d questions", path, number, QA_MOST);
    kv_status st = check_answers(path, number, q.wanted, err);
    if (st)
        return st;
    qa_question *grown = realloc(l->v, (l->n + 1) * sizeof *grown);
    if (!grown)
        return kv_fail(err, KV_ENOMEM, "out of memory for the questions");
    l->v = grown;
    l->v[l->n++] = q;
    return KV_OK;
}

kv_status qa_list_load(const char *path, qa_list *out, kv_err *err) {
    qa_list l = {0};
    size_t len;
    unsigned number = 0;
    kv_status st = text_read(path, MAX_TEXT, &l.text, &len, err);
    *out = (qa_list){0};
    if (st)
        return st;
    eval_hash(l.text, len, l.hash);
    for (char *line = l.text, *next; !st && line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        number++;
        if (line[strspn(line, blank)] && *line != '#')
            st = add_line(&l, path, number, line, err);
    }
    if (!st && !l.n)
        st = kv_fail(err, KV_EFORMAT, "%s: no question in it; a line is a question, a tab and its answer", path);
    if (st)
        qa_list_free(&l);
    *out = l;
    return st;
}

void qa_list_free(qa_list *l) {
    free(l->v);
    free(l->text);
    *l = (qa_list){0};
}

/* ---- the document ---- */

kv_status qa_tail(const ask_frame *f, const char *question, const char *how, ask_ids *tail, kv_err *err) {
    char *text;
    if (asprintf(&text, "%s %s", question, how ? how : briefly) < 0)
        return kv_fail(err, KV_ENOMEM, "out of memory for the questions");
    kv_status st = ask_tail(f, text, NULL, tail, err);
    free(text);
    return st;
}

kv_status qa_test_new(const ask_frame *f, const char *text, size_t len, const qa_list *questions, qa_test *out, kv_err *err) {
    qa_test t = {.questions = questions, .tails = calloc(questions->n, sizeof *t.tails)};
    size_t longest = 0;
    *out = (qa_test){0};
    eval_hash(text, len, t.hash);
    kv_status st = t.tails ? ask_head(f, NULL, &t.document, err) : kv_fail(err, KV_ENOMEM, "out of memory for the questions");
    const size_t head = t.document.n;
    if (!st)
        st = ask_document(f, text, len, &t.document, err);
    for (size_t i = 0; i < questions->n && !st; i++) {
        st = qa_tail(f, questions->v[i].text, questions->how, &t.tails[i], err);
        longest = t.tails[i].n > longest ? t.tails[i].n : longest;
    }
    if (st) {
        qa_test_free(&t);
        return st;
    }
    t.n_document = t.document.n - head;
    t.n_ctx = (uint32_t)(t.document.n + longest + QA_ANSWER_TOKENS);
    *out = t;
    return KV_OK;
}

kv_status qa_document_load(const char *path, char **text, size_t *len, kv_err *err) {
    kv_status st = text_read(path, MAX_TEXT, text, len, err);
    if (st)
        return st;
    while (*len && strchr(" \r\n", (*text)[*len - 1]))
        --*len;
    if (*len)
        return KV_OK;
    free(*text);
    *text = NULL;
    return kv_fail(err, KV_EFORMAT, "%s: there is no text in it", path);
}

void qa_test_free(qa_test *t) {
    for (size_t i = 0; t->tails && i < t->questions->n; i++)
        ask_ids_free(&t->tails[i]);
    free(t->tails);
    ask_ids_free(&t->document);
    *t = (qa_test){0};
}

/* ---- asking ---- */

typedef struct run {
    double done, all; /* tokens */
    kv_progress progress;
    void *user;
} run;

static bool advance(void *user, size_t tokens) {
    run *r = user;
    r->done += (double)tokens;
    return !r->progress || r->progress(r->user, r->done / r->all);
}

double qa_work(const qa_test *t) {
    double sum = (double)t->document.n;
    for (size_t i = 0; i < t->questions->n; i++)
        sum += (double)t->tails[i].n + QA_ANSWER_TOKENS;
    return sum;
}

kv_status qa_ask(asker *a, const qa_test *t, qa_answer *answers, ask_reply *replies, kv_err *err) {
    const size_t n = t->questions->n;
    ask_turn *turns = calloc(n, sizeof *turns);
    if (!turns)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu questions", n);
    for (size_t i = 0; i < n; i++)
        turns[i].tail = &t->tails[i];
    kv_status st = asker_ask(a, turns, n, err);
    for (size_t i = 0; i < n && !st; i++) {
        strcpy(answers[i].said, turns[i].answer);
        if (replies)
            replies[i] = turns[i].reply;
        st = ask_is_right(answers[i].said, t->questions->v[i].wanted, &answers[i].right, err);
    }
    free(turns);
    return st;
}

/* a: as qa_run has it, with n_ctx and n_batch of the test. */
static kv_status open_asker(const rt_model *m, const qa_test *t, const rt_ctx_cfg *cache, run *r, asker **a, kv_err *err) {
    ask_cfg cfg = {.ctx = *cache, .answer_tokens = QA_ANSWER_TOKENS, .progress = advance, .user = r};
    cfg.ctx.n_ctx = t->n_ctx;
    cfg.ctx.n_batch = 0;
    return asker_new(m, &cfg, a, err);
}

kv_status qa_try(const rt_model *m, const qa_test *t, const rt_ctx_cfg *cache, kv_err *err) {
    asker *a = NULL;
    kv_status st = open_asker(m, t, cache, NULL, &a, err);
    asker_free(a);
    return st;
}

kv_status qa_run(const rt_model *m, const qa_test *t, const rt_ctx_cfg *cache, kv_progress progress, void *user, qa_result *out,
                 kv_err *err) {
    const double started = clock_now();
    run r = {.all = qa_work(t), .progress = progress, .user = user};
    asker *a = NULL;
    *out = (qa_result){0};
    kv_status st = open_asker(m, t, cache, &r, &a, err);
    if (st)
        return st;
    out->cache = asker_cache_info(a);
    out->answers = calloc(t->questions->n, sizeof *out->answers);
    st = out->answers ? asker_read(a, t->document.v, t->document.n, err)
                      : kv_fail(err, KV_ENOMEM, "out of memory for %zu answers", t->questions->n);
    if (!st)
        st = qa_ask(a, t, out->answers, NULL, err);
    out->tally.n = (uint32_t)t->questions->n;
    for (size_t i = 0; i < t->questions->n && !st; i++)
        out->tally.hits += out->answers[i].right;
    out->seconds = clock_now() - started;
    asker_free(a);
    if (st)
        qa_result_free(out);
    return st;
}

void qa_result_free(qa_result *r) {
    free(r->answers);
    *r = (qa_result){0};
}
