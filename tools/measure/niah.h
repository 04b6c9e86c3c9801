/* Needle in a haystack: facts hidden in filler at a grid of context lengths and depths, and asked for.
 *
 * A haystack is made from a seed (niah_hay.c) and holds needles at several depths. Where the question is unknown while reading,
 * it is read once and all its needles are asked for from that state (ask.h); where it is known, it is read anew for every
 * needle, with the question in front. All settings and both ways of asking see the same haystacks.
 */
#ifndef NIAH_H
#define NIAH_H

#include "eval/eval.h"
#include "measure/ask.h"
#include "measure/niah_text.h"

enum { NIAH_MOST_CTX = 16, NIAH_MOST_DEPTHS = 21, NIAH_MOST_REPEATS = 1000, NIAH_ANSWER_TOKENS = 24 };

typedef struct niah_cfg {
    uint32_t ctx[NIAH_MOST_CTX];    /* context lengths: all that is read, asked and answered, in tokens */
    double depth[NIAH_MOST_DEPTHS]; /* percent of the filler in front of the needle, ascending */
    int templates[NIAH_TEMPLATES];  /* they take turns over depths and repeats */
    size_t n_ctx, n_depth, n_template;
    uint32_t needles;    /* most in one haystack, near misses and the like not counted; 0: one at every depth */
    uint32_t repeats;    /* needles for every length and depth */
    bool unknown, known; /* whether the question stands in front of the text, too; or both ways */
    uint64_t seed;
} niah_cfg;

/* ---- haystacks (niah_hay.c) ---- */

typedef struct niah_needle {
    int template;
    size_t i_depth; /* of cfg->depth */
    niah_fact fact;
    size_t at; /* byte of the text where fact.text begins */
} niah_needle;

typedef struct niah_hay {
    char *text;
    size_t len, n_tokens;
    niah_needle needles[NIAH_MOST_DEPTHS];
    size_t n;
} niah_hay; /* free with niah_hay_free */

/* Needles in a haystack: cfg->needles, or one at every depth. */
size_t niah_needles(const niah_cfg *cfg);
/* Haystacks are numbered: repeat by repeat, and within one by groups of depths. */
size_t niah_hays(const niah_cfg *cfg);
/* Haystack `index` for cfg->ctx[i_ctx]. Its document, with every head and tail around it and room for an answer, fits into that
 * many tokens, and comes close. KV_ERANGE: it cannot (says what would). */
kv_status niah_hay_new(const niah_cfg *cfg, const ask_frame *f, size_t i_ctx, size_t index, niah_hay *out, kv_err *err);
void niah_hay_free(niah_hay *h);

/* ---- measuring (niah.c) ---- */

typedef struct niah_answer {
    uint32_t i_ctx, i_depth, hay;
    int template;
    bool known, right;
    char wanted[NIAH_ANSWER], said[ASK_ANSWER];
} niah_answer;

/* Of one setting. */
typedef struct niah_result {
    niah_answer *answers; /* (n) in the order they were given */
    size_t n;
    size_t kv_bytes[NIAH_MOST_CTX], kv_bytes_f16[NIAH_MOST_CTX]; /* of one cache for each length */
    double bits_k, bits_v, seconds;
} niah_result; /* free with niah_result_free */

/* Measure n settings one after the other; out (n). All of them are tried out before anything is read. progress: 0..1; false:
 * KV_ECANCEL. On failure nothing is left to be freed. */
kv_status niah_run(const rt_model *m, const niah_cfg *cfg, const eval_setting *settings, size_t n, kv_progress progress,
                   void *user, niah_result *out, kv_err *err);
void niah_result_free(niah_result *r);

/* Which answers count; -1: all. */
typedef struct niah_where {
    int i_ctx, i_depth, template, known;
} niah_where;
#define NIAH_ANYWHERE ((niah_where){-1, -1, -1, -1})
ask_tally niah_tally(const niah_result *r, niah_where where);

#endif
