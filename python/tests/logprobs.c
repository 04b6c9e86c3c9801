/* logprobs MODEL ID...: what test_real.py compares with, to the bit: the public API in C, without profile. */
#include <kv/kv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 512 };

static double logprob(const float *x, uint32_t n, int32_t id) {
    double most = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (uint32_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return x[id] - (most + log(sum));
}

int main(int argc, char **argv) {
    static int32_t ids[MOST];
    kv_err err = {KV_EINVAL, "usage: logprobs MODEL ID..."};
    kv_session_options options = KV_SESSION_OPTIONS_INIT;
    kv_model_facts facts = KV_MODEL_FACTS_INIT;
    kv_model *model = NULL;
    kv_session *session = NULL;
    float *logits = NULL;
    const uint32_t n = argc > 2 && argc - 2 < MOST ? (uint32_t)argc - 2 : 0;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = atoi(argv[i + 2]);
    options.flags = KV_SESSION_NO_PROFILE;
    kv_status st = n ? kv_model_load(argv[1], NULL, &model, &err) : KV_EINVAL;
    if (!st && !(st = kv_model_get_facts(model, &facts, &err)) && (logits = malloc(facts.n_vocab * sizeof *logits)))
        st = kv_session_new(model, &options, &session, &err);
    for (uint32_t i = 0; !st && logits && i + 1 < n; i++)
        if (!(st = kv_session_step(session, ids[i], logits, &err)))
            printf("%a\n", logprob(logits, facts.n_vocab, ids[i + 1]));
    free(logits);
    kv_session_free(session);
    kv_model_free(model);
    if (st)
        fprintf(stderr, "logprobs: %s\n", err.msg);
    return st != KV_OK;
}
