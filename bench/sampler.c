/* Time of choosing a token, by what is switched on: best of many, a vocabulary of 151,936 and 32,768 tokens that were said.
 *
 * Logits are a sum of six uniform numbers, near to normal: 2.8 nats of deviation.
 */
#include "base/clock.h"
#include "sample/sample_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { VOCAB = 151936, SAID = 32768, ROWS = 8, ROUNDS = 200 };

static uint64_t seed = 1;
static double uniform(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / (1 << 24);
}

static int time_it(const char *name, const rt_sampling *cfg, const float *logits, const int32_t *ids) {
    rt_sampler *s = NULL;
    kv_err err;
    double best = 1e9;
    if (sample_new(cfg, &(sample_vocab){.n_vocab = VOCAB, .n_ctx_train = SAID}, &s, &err)) {
        fprintf(stderr, "%s: %s\n", name, err.msg);
        return 1;
    }
    for (int i = 0; i < ROUNDS; i++) {
        const double started = clock_now();
        rt_sample(s, logits + (size_t)(i % ROWS) * VOCAB, ids, SAID);
        const double took = clock_now() - started;
        best = took < best ? took : best;
    }
    rt_sampler_free(s);
    printf("%-28s %8.3f ms\n", name, 1e3 * best);
    return 0;
}

int main(void) {
    float *logits = malloc((size_t)ROWS * VOCAB * sizeof *logits);
    int32_t *ids = malloc(SAID * sizeof *ids);
    int failed = 0;
    if (!logits || !ids)
        return 1;
    for (size_t i = 0; i < (size_t)ROWS * VOCAB; i++) {
        double sum = -3;
        for (int j = 0; j < 6; j++)
            sum += uniform();
        logits[i] = (float)(4 * sum);
    }
    for (int i = 0; i < SAID; i++)
        ids[i] = (int32_t)(500 * uniform());
    rt_sampling cfg[10];
    for (int i = 0; i < 10; i++)
        cfg[i] = RT_SAMPLING_DEFAULT;
    cfg[1].temp = 0;
    cfg[2].repeat_penalty = 1.1;
    cfg[3].dry_multiplier = 0.8;
    cfg[4].top_n_sigma = 1;
    cfg[5].typical_p = 0.9;
    cfg[6].xtc_probability = 0.5;
    cfg[7].dynatemp_range = 0.5;
    cfg[8].mirostat = 2;
    cfg[9].top_k = 0;
    cfg[9].top_p = 1;
    const char *const names[] = {"defaults",       "--temp 0",           "--repeat-penalty 1.1",  "--dry-multiplier 0.8",
                                 "--top-nsigma 1", "--typical 0.9",      "--xtc-probability 0.5", "--dynatemp-range 0.5",
                                 "--mirostat 2",   "--top-k 0 --top-p 1"};
    for (int i = 0; i < 10; i++)
        failed |= time_it(names[i], &cfg[i], logits, ids);
    free(logits);
    free(ids);
    return failed;
}
