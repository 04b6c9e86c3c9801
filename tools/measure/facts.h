/* Whether facts survive in the cache: documents are made from a seed, with facts hidden at many depths, and questions are asked
 * about them, each from the state that reading left. Some take two hops: one fact leads to another.
 *
 * A document is filler of its kind (facts_text.h), or paragraphs of a text from outside, cut to a length in tokens; the facts
 * that are asked for, and near misses: the same said of other keys. Answers stand in the text once.
 */
#ifndef FACTS_H
#define FACTS_H

#include "eval/eval.h"
#include "measure/facts_text.h"
#include "measure/paired.h"
#include "measure/qa.h"

enum {
    FACTS_ANSWER_TOKENS = 64,
    FACTS_ONE_HOP = 5,
    FACTS_TWO_HOPS = 2,
    FACTS_QUESTIONS = FACTS_ONE_HOP + FACTS_TWO_HOPS, /* one for each family of facts */
    FACTS_MOST_ENTRIES = 4,                           /* of a family: what is asked for, and near misses */
    FACTS_MOST_QUESTIONS = FACTS_QUESTIONS * FACTS_MOST_ENTRIES,
    FACTS_MOST_LENGTHS = 16
};

/* How to answer. A sentence repeats what is asked for, and small models then find the fact that it is about; when a few words
 * were wanted, Qwen2.5-Coder-0.5B named the near miss about as often with an exact cache. */
#define FACTS_HOW "Answer in one full sentence."

/* ---- filler from outside (facts_source.c) ---- */

typedef struct facts_source {
    char *text;
    struct facts_span {
        size_t at, len;
    } * paragraph;
    size_t n;
    char hash[33]; /* XXH3-128 of the file */
} facts_source;    /* free with facts_source_free */
/* The paragraphs of a text file: what empty lines separate, or in a text without those, lines. KV_EFORMAT: not UTF-8, or there
 * are fewer than FACTS_LEAST_PARAGRAPHS with at least a sentence. */
enum { FACTS_LEAST_PARAGRAPHS = 16 };
kv_status facts_source_load(const char *path, facts_source *out, kv_err *err);
void facts_source_free(facts_source *s);

/* ---- documents (facts_doc.c) ---- */

typedef struct facts_cfg {
    uint32_t tokens[FACTS_MOST_LENGTHS]; /* of context: all that is read, asked and answered */
    size_t n_tokens;
    uint32_t docs; /* of every length; kinds take turns */
    uint64_t seed;
    bool near_misses;           /* are asked for, too */
    const facts_source *source; /* NULL: filler of our own; borrowed */
} facts_cfg;

typedef struct facts_question {
    char text[256], wanted[FACTS_WANTED];
    unsigned hops;
    struct facts_span fact[2]; /* what it needs, in bytes of the text; the answer is in the last one */
} facts_question;

typedef struct facts_doc {
    int style;
    size_t i_length; /* of cfg->tokens */
    char *text;
    size_t len, n_tokens; /* of the document alone */
    facts_question q[FACTS_MOST_QUESTIONS];
    size_t n;
} facts_doc; /* free with facts_doc_free */

/* Document `index` of a length: a function of seed, length, index, source and the model's tokenizer. With every head and tail
 * around it and room for an answer, it fits into that many tokens, and comes close. KV_ERANGE: it cannot, or the source holds
 * so many numbers and names that answers would not be unique (says what would help). */
kv_status facts_doc_new(const facts_cfg *cfg, const ask_frame *f, size_t i_length, size_t index, facts_doc *out, kv_err *err);
void facts_doc_free(facts_doc *d);

/* ---- measuring (facts.c) ---- */

/* All documents, shorter ones first. */
typedef struct facts_set {
    facts_cfg cfg;
    facts_doc *v;
    size_t n, n_questions;
} facts_set; /* free with facts_set_free */
kv_status facts_set_new(const facts_cfg *cfg, const ask_frame *f, facts_set *out, kv_err *err);
void facts_set_free(facts_set *s);

/* Of one setting. */
typedef struct facts_result {
    qa_answer *answers; /* (n_questions), document by document */
    bool answered;      /* false: answers are empty, it was only asked how likely those of the reference are */
    double *logprob;    /* (n_questions) of the answers that the reference gave, in nats; 0 where it was not asked */
    size_t kv_bytes[FACTS_MOST_LENGTHS], kv_bytes_f16[FACTS_MOST_LENGTHS];
    double bits_k, bits_v, seconds;
} facts_result; /* free with facts_result_free */

typedef struct facts_job { /* all borrowed */
    const rt_model *m;
    const facts_set *set;
    const ask_frame *frame;
    const eval_setting *settings;
    size_t n, reference; /* settings, and which of them the others are held against */
    bool answers, rates; /* what is asked of the others: to answer, and how likely the reference's answers are */
} facts_job;
/* Measure settings one after the other, the reference first; out (n). All of them are tried out before anything is read.
 * progress: 0..1; false: KV_ECANCEL. On failure nothing is left to be freed. */
kv_status facts_run(const facts_job *job, kv_progress progress, void *user, facts_result *out, kv_err *err);
void facts_result_free(facts_result *r);

/* Which questions count; -1: all. */
typedef struct facts_where {
    int style, hops, i_length;
} facts_where;
#define FACTS_ANYWHERE ((facts_where){-1, -1, -1})
ask_tally facts_tally(const facts_set *s, const facts_result *r, facts_where w);
/* By how much less likely the reference's answers are: mean over answers in nats, and its standard error. NaN for none. */
typedef struct facts_loss {
    double mean, se;
} facts_loss;
facts_loss facts_lost(const facts_set *s, const facts_result *first, const facts_result *other, facts_where w);
/* The same questions with two settings: `first` is the reference. */
paired facts_compare(const facts_set *s, const facts_result *first, const facts_result *other, facts_where w);

#endif
