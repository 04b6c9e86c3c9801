/* Scales with which attention loses least: texts as a model attends to them, and the search on keys whose best scales are
 * known, held to attention and rounding written out here. */
#include "calibrate/calibrate_scales.h"
#include "model/fold.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 2, HEADS = 4, KV = 2, GROUP = HEADS / KV, DIM = 64, UNITS = DIM / 2, TOKENS = 200, ASKING = 16 };
enum { LOUD = 5, ASKED = 9, WINDOW = 48, SLIDING = 0 /* layer */ };

/* ---- a text that is made up ---- */

/* Uniform in -1..1. */
static float draw(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(int32_t)*seed * 0x1p-31f;
}

typedef struct made {
    uint32_t at[ASKING];
    float k[LAYERS][KV][TOKENS][DIM], v[LAYERS][KV][TOKENS][DIM], q[LAYERS][KV][ASKING][GROUP][DIM];
    uint16_t unit[DIM];
    rt_hparams hp;
    scales_text text;
} made;

/* Keys of which pair LOUD is 16 times as large as the others, queries of which pair ASKED is 4 times as large. */
static made *make(void) {
    made *m = calloc(1, sizeof *m);
    uint32_t seed = 1;
    assert_non_null(m);
    m->hp = (rt_hparams){.n_layer = LAYERS, .n_head = HEADS, .n_kv_head = KV, .head_dim = DIM, .swa = WINDOW, .swa_every = 2};
    for (uint32_t l = 0; l < LAYERS; l++) {
        m->hp.heads[l] = HEADS;
        m->hp.kv_heads[l] = KV;
        m->hp.kv_layer[l] = (uint16_t)l;
        for (uint32_t h = 0; h < KV; h++)
            for (uint32_t t = 0; t < TOKENS; t++)
                for (uint32_t i = 0; i < DIM; i++) {
                    m->k[l][h][t][i] = draw(&seed) * (i % UNITS == LOUD ? 16 : 1);
                    m->v[l][h][t][i] = draw(&seed);
                    if (t < ASKING * GROUP)
                        m->q[l][h][t / GROUP][t % GROUP][i] = draw(&seed) * (i % UNITS == ASKED ? 1 : 0.25f);
                }
    }
    for (uint32_t i = 0; i < ASKING; i++)
        m->at[i] = (2 * i + 1) * TOKENS / (2 * ASKING);
    for (uint16_t i = 0; i < DIM; i++)
        m->unit[i] = i % UNITS;
    m->text = (scales_text){TOKENS, ASKING, m->at, ***m->k, ***m->v, ****m->q};
    return m;
}

typedef int8_t exponents[LAYERS][KV][DIM];

static void search(const made *m, int n_threads, bool shared, uint32_t n_caches, const kv_codec_id *cache, exponents e) {
    const bool all[LAYERS] = {shared, shared};
    rt_exec here, run;
    kv_err err = {0};
    assert_int_equal(rt_exec_init(&here, NULL, n_threads, false, &err), KV_OK);
    assert_int_equal(rt_exec_start(&here, &run, &err), KV_OK);
    scales_job job = {.hp = &m->hp,
                      .exec = &run,
                      .texts = &m->text,
                      .n_texts = 1,
                      .n_caches = n_caches,
                      .unit = m->unit,
                      .n_units = UNITS,
                      .shared = all};
    memcpy(job.cache, cache, n_caches * sizeof *cache);
    if (scales_search(&job, NULL, NULL, **e, &err))
        fail_msg("%s", err.msg);
    rt_exec_stop(&run);
}

/* ---- its attention, written out ---- */

static void rotate(double *x) {
    double y[DIM] = {0};
    for (int i = 0; i < DIM; i++)
        for (int j = 0; j < DIM; j++)
            y[i] += x[j] * (__builtin_popcount((unsigned)(i & j)) % 2 ? -1 : 1) / 8;
    memcpy(x, y, sizeof y);
}

/* As llama.cpp rounds runs of 32 to 4 bits. */
static void round_to_4_bits(double *x) {
    for (double *run = x; run < x + DIM; run += 32) {
        double top = 0;
        for (int i = 0; i < 32; i++)
            top = fabs(run[i]) > fabs(top) ? run[i] : top;
        for (int i = 0; i < 32 && top != 0; i++)
            run[i] = (fmin(15, floor(run[i] / (top / -8) + 8.5)) - 8) * (top / -8);
    }
}

/* What a query gets: out (DIM). e NULL: from the keys as they are. */
static void attend(const made *m, int l, int h, int query, int head, const int8_t *e, bool rotated, double *out) {
    double weight[TOKENS], sum = 0;
    const int pos = (int)m->at[query], from = l == SLIDING && pos >= WINDOW ? pos + 1 - WINDOW : 0;
    for (int t = from; t <= pos; t++) {
        double x[DIM], score = 0;
        for (int i = 0; i < DIM; i++)
            x[i] = (double)m->k[l][h][t][i] * (e ? exp2(e[i]) : 1);
        if (e && rotated)
            rotate(x);
        if (e)
            round_to_4_bits(x);
        if (e && rotated)
            rotate(x);
        for (int i = 0; i < DIM; i++)
            score += x[i] * (double)m->q[l][h][query][head][i] / (e ? exp2(e[i]) : 1);
        sum += weight[t] = exp(score);
    }
    memset(out, 0, DIM * sizeof *out);
    for (int t = from; t <= pos; t++)
        for (int i = 0; i < DIM; i++)
            out[i] += weight[t] / sum * (double)m->v[l][h][t][i];
}

static double error(const made *m, int l, int h, const int8_t *e, bool rotated) {
    double sum = 0, is[DIM], was[DIM];
    for (int query = 0; query < ASKING; query++)
        for (int head = 0; head < GROUP; head++) {
            attend(m, l, h, query, head, NULL, false, was);
            attend(m, l, h, query, head, e, rotated, is);
            for (int i = 0; i < DIM; i++)
                sum += (is[i] - was[i]) * (is[i] - was[i]);
        }
    return sum;
}

static void closed_form(const made *m, int l, int h, int8_t e[DIM]) {
    double u[UNITS], mean = 0;
    for (int f = 0; f < UNITS; f++) {
        double kk = 0, qq = 0;
        for (int i = f; i < DIM; i += UNITS) {
            for (int t = 0; t < TOKENS; t++)
                kk += (double)m->k[l][h][t][i] * (double)m->k[l][h][t][i];
            for (int query = 0; query < ASKING * GROUP; query++)
                qq += pow((double)m->q[l][h][query / GROUP][query % GROUP][i], 2);
        }
        mean += u[f] = log2(qq / kk) / 4;
    }
    for (int i = 0; i < DIM; i++)
        e[i] = (int8_t)rint(u[i % UNITS] - mean / UNITS);
}

/* ---- tests ---- */

static void scales_search_finds_less_error_than_the_closed_form(void **state) {
    (void)state;
    made *m = make();
    static exponents e[2];
    const int8_t none[DIM] = {0};
    search(m, 1, false, 1, (kv_codec_id[]){KV_Q4_0}, e[0]);
    search(m, 1, false, 1, (kv_codec_id[]){KV_Q4_0H}, e[1]);
    for (int rotated = 0; rotated < 2; rotated++)
        for (int l = 0; l < LAYERS; l++)
            for (int h = 0; h < KV; h++) {
                const int8_t *found = e[rotated][l][h];
                int8_t closed[DIM];
                closed_form(m, l, h, closed);
                assert_true(error(m, l, h, found, rotated) < 0.5 * error(m, l, h, none, rotated));
                assert_true(error(m, l, h, found, rotated) < 0.95 * error(m, l, h, closed, rotated));
                for (int i = 0; i < UNITS; i++)
                    assert_int_equal(found[i], found[i + UNITS]);
                assert_true(found[LOUD] < found[ASKED]);
            }
    free(m);
}

static void scales_search_weighs_caches_against_each_other(void **state) {
    (void)state;
    made *m = make();
    static exponents e;
    const int8_t none[DIM] = {0};
    search(m, 1, false, 2, (kv_codec_id[]){KV_Q4_0, KV_Q4_0H}, e);
    for (int l = 0; l < LAYERS; l++)
        for (int h = 0; h < KV; h++) {
            int8_t closed[DIM];
            closed_form(m, l, h, closed);
            assert_true(error(m, l, h, e[l][h], false) * error(m, l, h, e[l][h], true) <
                        error(m, l, h, closed, false) * error(m, l, h, closed, true));
            assert_true(error(m, l, h, e[l][h], false) < error(m, l, h, none, false));
            assert_true(error(m, l, h, e[l][h], true) < error(m, l, h, none, true));
        }
    free(m);
}

static void scales_search_gives_heads_that_share_a_norm_the_same(void **state) {
    (void)state;
    made *m = make();
    static exponents e, alone, again;
    search(m, 1, true, 1, (kv_codec_id[]){KV_Q4_0}, e);
    for (int l = 0; l < LAYERS; l++)
        assert_memory_equal(e[l][0], e[l][1], DIM);
    search(m, 1, false, 1, (kv_codec_id[]){KV_Q4_0}, alone);
    assert_true(memcmp(alone[0][0], alone[0][1], DIM));
    search(m, 3, false, 1, (kv_codec_id[]){KV_Q4_0}, again); /* any number of threads */
    assert_memory_equal(alone, again, sizeof alone);
    free(m);
}

/* Log-sum-exp of scores as the model has them. */
typedef struct seen {
    float *lse; /* (layers, tokens, heads) */
    uint32_t tokens, heads;
} seen;

static void see(void *user, const rt_tap_view *v) {
    seen *s = user;
    for (uint32_t t = 0; t < v->n; t++)
        memcpy(s->lse + ((size_t)v->layer * s->tokens + v->pos0 + t) * s->heads, v->lse + (size_t)t * v->n_head,
               v->n_head * sizeof(float));
}

/* Scores of what was kept are those of the model: positions, heads, scale and window belong together. */
static void scales_text_read_keeps_what_the_model_attends_to(void **state) {
    (void)state;
    const char *names[] = {"tiny/qwen2", "tiny/gemma3", "arch/deci", "arch/llama-shared-kv"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        rt_exec e;
        rt_model *m = NULL;
        rt_ctx *ctx = NULL;
        scales_text text;
        kv_err err = {0};
        int32_t ids[300];
        snprintf(path, sizeof path, "%s/%s.gguf", KV_TEST_DATA, names[i]);
        if (rt_exec_init(&e, NULL, 1, true, &err) || rt_model_load(path, &e, &m, &err))
            fail_msg("%s", err.msg);
        const rt_hparams *hp = rt_model_hparams(m);
        const uint32_t n = hp->n_ctx_train < 300 ? hp->n_ctx_train : 300;
        for (uint32_t t = 0; t < n; t++)
            ids[t] = (int32_t)(t * 7 % hp->n_vocab);
        if (scales_text_read(m, ids, n, &text, &err))
            fail_msg("%s", err.msg);
        seen s = {malloc((size_t)hp->n_layer * n * hp->n_head * sizeof(float)), n, hp->n_head};
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        cfg.n_ctx = n;
        cfg.ctk = cfg.ctv = KV_F32;
        assert_non_null(s.lse);
        if (rt_ctx_new(m, &cfg, &ctx, &err) || rt_ctx_set_tap(ctx, see, &s, &err) || rt_prefill(ctx, ids, n, NULL, &err))
            fail_msg("%s", err.msg);
        for (uint32_t l = 0; l < hp->n_layer; l++) {
            if (!rt_layer_stored(hp, l))
                continue;
            const uint32_t group = hp->heads[l] / hp->kv_heads[l];
            for (uint32_t j = 0; j < text.n_q * hp->heads[l]; j++) {
                const uint32_t head = j / text.n_q, kv = head / group, pos = text.at[j % text.n_q];
                const float *q = text.q + (((size_t)l * hp->n_head * text.n_q) +
                                           ((size_t)kv * text.n_q + j % text.n_q) * group + head % group) *
                                              hp->head_dim;
                double sum = 0;
                for (uint32_t t = rt_layer_swa(hp, l) && pos >= hp->swa ? pos + 1 - hp->swa : 0; t <= pos; t++) {
                    const float *k = text.k + (((size_t)l * hp->n_kv_head + kv) * n + t) * hp->head_dim;
                    double score = 0;
                    for (uint32_t d = 0; d < hp->head_dim; d++)
                        score += (double)q[d] * (double)k[d];
                    sum += exp(score);
                }
                assert_true(fabs(log(sum) - (double)s.lse[((size_t)l * n + pos) * hp->n_head + head]) < 1e-3);
            }
        }
        rt_ctx_free(ctx);
        free(s.lse);
        scales_text_free(&text);
        rt_model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_search_finds_less_error_than_the_closed_form),
        cmocka_unit_test(scales_search_weighs_caches_against_each_other),
        cmocka_unit_test(scales_search_gives_heads_that_share_a_norm_the_same),
        cmocka_unit_test(scales_text_read_keeps_what_the_model_attends_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
