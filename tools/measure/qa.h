/* Questions about a document: read once, everything asked from the same state of the cache.
 *
 * The file of questions has one a line:
 *
 *   question <tab> answer [| another answer that is right, too] ...
 *
 * Empty lines and those that begin with '#' do not count.
 */
#ifndef QA_H
#define QA_H

#include "base/progress.h"
#include "measure/ask.h"

enum { QA_MOST = 10000, QA_ANSWER_TOKENS = 32 };

typedef struct qa_question {
    const char *text, *wanted; /* wanted: answers with '|' between them; both point into the list's text */
    unsigned line;
} qa_question;
typedef struct qa_list {
    qa_question *v;
    size_t n;
    char *text;
    const char *how; /* to answer: a sentence that stands behind every question; NULL: with a few words from the text */
    char hash[33];   /* XXH3-128 of the file */
} qa_list;           /* free with qa_list_free */

/* KV_EFORMAT names file and line: no tab, no question, an answer that has neither letter nor digit, not UTF-8. */
kv_status qa_list_load(const char *path, qa_list *out, kv_err *err);
void qa_list_free(qa_list *l);

/* Append the tail of a question: it, and how to answer, as qa_list has it. */
kv_status qa_tail(const ask_frame *f, const char *question, const char *how, ask_ids *tail, kv_err *err);

/* A document as tokens, with what stands in front of it, and a tail for every question. */
typedef struct qa_test {
    const qa_list *questions; /* borrowed */
    ask_ids document, *tails; /* (questions->n) */
    uint32_t n_ctx;           /* tokens of context: all that is read, the longest question and its answer */
    size_t n_document;        /* tokens of the document alone */
    char hash[33];            /* XXH3-128 of its text */
} qa_test;                    /* free with qa_test_free */
kv_status qa_test_new(const ask_frame *f, const char *text, size_t len, const qa_list *questions, qa_test *out, kv_err *err);
/* The document of a file: text_read, and white space at its end does not count. *text: caller frees. KV_EFORMAT: there is no
 * text in it. */
kv_status qa_document_load(const char *path, char **text, size_t *len, kv_err *err);
void qa_test_free(qa_test *t);

typedef struct qa_answer {
    char said[ASK_ANSWER];
    bool right;
} qa_answer;
/* Ask everything of the document, which the asker has read, with room for answers; answers (t->questions->n). replies: as many,
 * or NULL. */
kv_status qa_ask(asker *a, const qa_test *t, qa_answer *answers, ask_reply *replies, kv_err *err);
/* Most tokens that this takes with answers of QA_ANSWER_TOKENS. */
double qa_work(const qa_test *t);

typedef struct qa_result {
    qa_answer *answers; /* (questions->n) */
    ask_tally tally;
    kv_cache_info cache;
    double seconds;
} qa_result; /* free with qa_result_free */
/* Whether a setting can be run at all: errors of qa_run that need no reading. */
kv_status qa_try(const rt_model *m, const qa_test *t, const rt_ctx_cfg *cache, kv_err *err);
/* One setting: cache, whose n_ctx and n_batch are set here. progress: 0..1 of this setting; false: KV_ECANCEL. On failure
 * nothing is left to be freed. */
kv_status qa_run(const rt_model *m, const qa_test *t, const rt_ctx_cfg *cache, kv_progress progress, void *user, qa_result *out,
                 kv_err *err);
void qa_result_free(qa_result *r);

#endif
