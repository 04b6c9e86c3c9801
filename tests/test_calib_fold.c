/* Scales to fold, from statistics of keys whose best scales are known. */
#include "calib.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 2, HEADS = 4, KV = 2, DIM = 64, TOKENS = 512, LOUD = 5, ASKED = 9 };

/* Uniform in -1..1. */
static float draw(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(int32_t)*seed * 0x1p-31f;
}

/* Keys of which pair LOUD is 16 times as large as the others; queries of which pair ASKED is 4 times as large. */
static cal_stats *gather(void) {
    const cal_shape shape = {
        .n_layer = LAYERS, .n_head = HEADS, .n_kv_head = KV, .head_dim = DIM, .n_samples = TOKENS, .n_tokens = TOKENS};
    static float k[TOKENS][KV][DIM], v[TOKENS][KV][DIM], d[TOKENS][KV][DIM], q[TOKENS][HEADS][DIM], entropy[TOKENS][HEADS];
    cal_stats *s = NULL;
    uint32_t seed = 1;
    assert_int_equal(cal_stats_new(&shape, &s, NULL), KV_OK);
    for (uint32_t l = 0; l < LAYERS; l++) {
        for (uint32_t t = 0; t < TOKENS; t++)
            for (uint32_t i = 0; i < DIM; i++) {
                for (uint32_t h = 0; h < KV; h++) {
                    k[t][h][i] = draw(&seed) * (i % (DIM / 2) == LOUD ? 16 : 1);
                    v[t][h][i] = d[t][h][i] = draw(&seed);
                }
                for (uint32_t h = 0; h < HEADS; h++)
                    q[t][h][i] = draw(&seed) * (i % (DIM / 2) == ASKED ? 4 : 1);
            }
        cal_stats_add(
            s, &(cal_batch){.layer = l, .n = TOKENS, .k = **k, .v = **v, .q = **q, .dk = **d, .dv = **d, .entropy = *entropy},
            (cal_team){0});
    }
    return s;
}

static void fold(const cal_stats *s, cal_fold_way way, bool shared, int8_t e[LAYERS][KV][DIM]) {
    static uint16_t unit[DIM];
    const bool all[LAYERS] = {shared, shared};
    kv_err err;
    for (uint16_t i = 0; i < DIM; i++)
        unit[i] = i % (DIM / 2);
    const cal_fold_cfg cfg = {unit, DIM / 2, all, {0}};
    static double u[CAL_FOLD_WAYS][LAYERS * KV * DIM];
    if (cal_fold(s, &cfg, *u, &err))
        fail_msg("%s", err.msg);
    cal_fold_round(u[way], LAYERS * KV * DIM, 0, **e);
}

/* (rms q / rms k)^1/2: a pair 16 times as large gets a quarter, one that is asked for 4 times as much twice. */
static void cal_fold_closed_form_is_as_computed_by_hand(void **state) {
    (void)state;
    int8_t e[LAYERS][KV][DIM];
    cal_stats *s = gather();
    fold(s, CAL_FOLD_CLOSED, false, e);
    for (int l = 0; l < LAYERS; l++)
        for (int h = 0; h < KV; h++) {
            const int other = e[l][h][20];
            assert_true(abs(e[l][h][LOUD] - other + 2) <= 1);
            assert_true(abs(e[l][h][ASKED] - other - 1) <= 1);
            for (int i = 0; i < DIM / 2; i++)
                assert_int_equal(e[l][h][i], e[l][h][i + DIM / 2]);
        }
    cal_stats_free(s);
}

/* Expected error of scores, as the definition has it. */
static double error(const int8_t *e, bool rotate) {
    double sum = 0, ask[2] = {0}, s[DIM], all = 0;
    uint32_t seed = 99;
    for (int i = 0; i < DIM; i++) {
        s[i] = exp2(e[i]);
        const double w = (i % (DIM / 2) == ASKED ? 16 : 1) / (s[i] * s[i]);
        ask[i / 32] += w;
        all += w;
    }
    for (int t = 0; t < 2000; t++) {
        double x[DIM], y[DIM], top[2] = {0};
        for (int i = 0; i < DIM; i++)
            x[i] = y[i] = (double)draw(&seed) * (i % (DIM / 2) == LOUD ? 16 : 1) * s[i];
        for (int j = 0; rotate && j < DIM; j++) {
            y[j] = 0;
            for (int i = 0; i < DIM; i++)
                y[j] += x[i] * (__builtin_popcount((unsigned)(i & j)) % 2 ? -1 : 1);
        }
        for (int i = 0; i < DIM; i++)
            top[i / 32] = fmax(top[i / 32], y[i] * y[i]);
        sum += rotate ? (top[0] + top[1]) * all / 2 : top[0] * ask[0] + top[1] * ask[1];
    }
    return sum;
}

/* On other keys of the same kind, each way is better at what it is for than no scales and than the other way. */
static void cal_fold_lowers_the_error_that_it_is_for(void **state) {
    (void)state;
    int8_t none[DIM] = {0}, closed[LAYERS][KV][DIM], blocks[LAYERS][KV][DIM], rotated[LAYERS][KV][DIM];
    cal_stats *s = gather();
    fold(s, CAL_FOLD_CLOSED, false, closed);
    fold(s, CAL_FOLD_BLOCKS, false, blocks);
    fold(s, CAL_FOLD_ROTATED, false, rotated);
    assert_true(error(blocks[0][0], false) < 0.25 * error(none, false));
    assert_true(error(blocks[0][0], false) < 1.01 * error(closed[0][0], false));
    assert_true(error(rotated[0][0], true) < 0.5 * error(none, true));
    assert_true(error(rotated[0][0], true) < 1.1 * error(closed[0][0], true));
    assert_true(error(blocks[0][0], false) < error(rotated[0][0], false));
    cal_stats_free(s);
}

static void cal_fold_gives_heads_that_share_a_norm_the_same(void **state) {
    (void)state;
    int8_t e[LAYERS][KV][DIM];
    cal_stats *s = gather();
    fold(s, CAL_FOLD_BETWEEN, true, e);
    for (int l = 0; l < LAYERS; l++)
        assert_memory_equal(e[l][0], e[l][1], DIM);
    assert_true(e[0][0][LOUD] < e[0][0][20]);
    cal_stats_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cal_fold_closed_form_is_as_computed_by_hand),
        cmocka_unit_test(cal_fold_lowers_the_error_that_it_is_for),
        cmocka_unit_test(cal_fold_gives_heads_that_share_a_norm_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
