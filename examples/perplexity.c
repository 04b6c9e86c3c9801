/* perplexity MODEL TEXT [PROFILE]: how well the model predicts a text, as far as it fits into its context, with the profile
 * that is in the model, or a shipped one by name ("balanced"). Written so that it is C and C++. */
#include <kv/kv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const uint32_t BATCH = 64;

/* -log of the probability that logits give to a token. */
static double loss(const float *logits, uint32_t n, int32_t token) {
    double most = logits[0], sum = 0;
    for (uint32_t i = 1; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    for (uint32_t i = 0; i < n; i++)
        sum += exp(logits[i] - most);
    return most + log(sum) - logits[token];
}

static kv_status measure(kv_session *session, uint32_t n_vocab, const int32_t *ids, uint32_t n, double *mean, kv_err *err) {
    float *logits = (float *)malloc((size_t)BATCH * n_vocab * sizeof *logits);
    double sum = 0;
    kv_status st = KV_OK;
    if (!logits) {
        snprintf(err->msg, sizeof err->msg, "out of memory");
        return KV_ENOMEM;
    }
    for (uint32_t at = 0; !st && at + 1 < n; at += BATCH) {
        const uint32_t left = n - 1 - at, here = left < BATCH ? left : BATCH;
        st = kv_session_forward(session, ids + at, here, here, logits, err);
        for (uint32_t i = 0; !st && i < here; i++)
            sum += loss(logits + (size_t)i * n_vocab, n_vocab, ids[at + i + 1]);
    }
    free(logits);
    *mean = sum / (n - 1);
    return st;
}

static kv_status run(const kv_model *model, const char *text, size_t len, const char *name, kv_err *err) {
    kv_model_facts facts = KV_MODEL_FACTS_INIT;
    kv_session_options options = KV_SESSION_OPTIONS_INIT;
    kv_session_facts cache = KV_SESSION_FACTS_INIT;
    kv_session *session = NULL;
    kv_profile *profile = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    double mean = 0;
    kv_status st = kv_model_get_facts(model, &facts, err);
    if (!st && name)
        st = kv_profile_find(NULL, name, &profile, err);
    if (!st)
        st = kv_text_tokenize(model, text, len, KV_TEXT_BOS, &ids, &n, err);
    n = n < facts.n_ctx_train ? n : facts.n_ctx_train;
    options.n_ctx = (uint32_t)n;
    options.n_batch = BATCH;
    options.profile = profile;
    if (!st && n > 1 && !(st = kv_session_new(model, &options, &session, err)) &&
        !(st = measure(session, facts.n_vocab, ids, (uint32_t)n, &mean, err)) &&
        !(st = kv_session_get_facts(session, &cache, err)))
        printf("perplexity %.4f over %u tokens; K %.2f, V %.2f bits per number\n", exp(mean), (unsigned)n - 1, cache.bits_k,
               cache.bits_v);
    kv_session_free(session);
    kv_profile_free(profile);
    kv_free(ids);
    return st;
}

int main(int argc, char **argv) {
    static char text[1 << 20];
    kv_err err = {KV_EINVAL, "usage: perplexity MODEL TEXT [PROFILE]"};
    kv_model *model = NULL;
    FILE *f = argc > 2 ? fopen(argv[2], "rb") : NULL;
    const size_t len = f ? fread(text, 1, sizeof text, f) : 0;
    if (f)
        fclose(f);
    kv_status st = f ? kv_model_load(argv[1], NULL, &model, &err) : KV_EINVAL;
    if (!st)
        st = run(model, text, len, argc > 3 ? argv[3] : NULL, &err);
    kv_model_free(model);
    if (st)
        fprintf(stderr, "perplexity: %s\n", err.msg);
    return st != KV_OK;
}
