/* What several tests need: where models and data are, and how well a model agrees with reference log-probabilities. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include "session/session.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SMOLLM2 "SmolLM2-135M-Instruct.Q4_1.gguf"
#define QWEN    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
#define GEMMA   "gemma-3-270m-q4_k_m.gguf"

/* Path of a real model in the model cache; NULL, said on stdout, where it is not there. path: 4096 bytes. */
static inline const char *find_model(const char *name, char *path) {
    const char *dir = getenv("KV_MODEL_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (dir)
        snprintf(path, 4096, "%s/%s", dir, name);
    else if (xdg)
        snprintf(path, 4096, "%s/kvcalib/models/%s", xdg, name);
    else
        snprintf(path, 4096, "%s/.cache/kvcalib/models/%s", home ? home : ".", name);
    if (access(path, R_OK) == 0)
        return path;
    printf("skipped: no %s (scripts/fetch-model gets it)\n", path);
    return NULL;
}

/* Path of a file under $KV_EVAL_DATA; NULL, said on stdout, where that is not set or not there. */
static inline const char *find_eval_data(const char *name, char *path) {
    const char *dir = getenv("KV_EVAL_DATA");
    if (dir)
        snprintf(path, 4096, "%s/%s", dir, name);
    if (dir && access(path, R_OK) == 0)
        return path;
    printf("skipped: %s: KV_EVAL_DATA is not set or does not hold it\n", name);
    return NULL;
}

/* Agreement with a reference file {"chunks":[{"tokens":[...], "scored":[{"pos":p, "top":[[id, lp], ...]}, ...]}]}. */
typedef struct agreement {
    double mean_abs, max_abs; /* |difference| of the log-probability of the reference's top token */
    double top1;              /* share of positions with the same most likely token */
    double firm_top1;         /* the same where the reference's first leads its second by 0.1 nats: no coin toss */
    double ppl, ref_ppl;      /* second half of each chunk; 0 where the file has no perplexity */
    size_t n, n_firm;
} agreement;

/* Runs the model over the file's tokens; fails the running cmocka test on any error. */
agreement compare_with_reference(const char *model_path, const char *ref_path, const char *cpu, int n_threads, bool exact,
                                 uint32_t n_batch);

/* The model of tests/data/NAME.gguf, "tiny/llama" say; cpu NULL: the best there is. Fails the running test where it cannot be
 * loaded. Caller frees. */
rt_model *load_test_model(const char *name, const char *cpu, int n_threads);
/* n ids of its vocabulary; the same for the same seed. */
void draw_ids(const rt_model *m, uint32_t seed, int32_t *ids, size_t n);
/* rt_session_new, which must not fail. */
rt_session *new_test_session(const rt_model *m, const rt_ctx_cfg *cfg);
/* Not every codec takes heads of every width: false where that is why there can be no session. */
bool cache_suits(const rt_model *m, const rt_ctx_cfg *cfg);
/* Add n ids and read them, which must not fail. */
void read_test_ids(rt_session *s, const int32_t *ids, size_t n);
/* Both hold the same bytes. */
void assert_same_files(const char *a, const char *b);

#endif
