/* Scales to fold in profiles, and profiles that follow them. */
#include "profile/profile_internal.h"
#include "profile_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LAYERS = 2, HEADS = 4, KV = 2, DIM = 8 };

static prof *with_fold(void) {
    prof *p = fixture_profile(LAYERS, HEADS, KV, DIM);
    for (uint32_t l = 0; l < LAYERS; l++) {
        assert_int_equal(prof_fold_alloc(p, &p->layers[l], NULL), KV_OK);
        for (int i = 0; i < KV * DIM; i++)
            p->layers[l].fold[i] = (float)(i - 20);
    }
    snprintf(p->fold_for, sizeof p->fold_for, "q4_0, q4_0h");
    p->folding[p->n_folding++] = (prof_folding){KV_Q4_0, 2048, 1024, 0.6, 0.02, 0.1, 0.01};
    prof_round(p);
    return p;
}

static void fold_is_read_as_it_was_written(void **state) {
    (void)state;
    char *text, *again;
    size_t len = 0, len2 = 0;
    kv_err err = {0};
    prof *p = with_fold(), *q = NULL;
    if (prof_format(p, &text, &len, &err) || prof_parse(text, len, "t.yaml", &q, &err) || prof_format(q, &again, &len2, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(len, len2);
    assert_memory_equal(text, again, len);
    assert_non_null(strstr(text, "version: 6"));
    assert_true(prof_has_fold(q));
    for (uint32_t l = 0; l < LAYERS; l++)
        assert_memory_equal(p->layers[l].fold, q->layers[l].fold, KV * DIM * sizeof(float));
    assert_string_equal(q->fold_for, p->fold_for);
    assert_true(q->n_folding == 1 && q->folding[0].cache == KV_Q4_0 && q->folding[0].after == 0.1);
    free(text);
    free(again);
    prof_free(p);
    prof_free(q);
}

static void fold_must_be_whole_and_of_the_right_number(void **state) {
    (void)state;
    char *text;
    size_t len = 0;
    kv_err err = {0};
    prof *p = with_fold(), *q = NULL;
    p->layers[1].fold[3] = 1.5f;
    assert_int_equal(prof_check(p, "t.yaml", &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "layers[1].fold[3]"));
    p->layers[1].fold[3] = 1;
    assert_int_equal(prof_format(p, &text, &len, &err), KV_OK);
    char *at = strstr(text, "fold: [-20, -19,");
    assert_non_null(at);
    memcpy(at, "fold: [-20      ", strlen("fold: [-20, -19,"));
    at[strlen("fold: [-20")] = ',';
    assert_int_equal(prof_parse(text, len, "t.yaml", &q, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "model.head_dim"));
    free(text);
    prof_free(p);
}

/* x = mean + sum of z[i] * basis[i] for both: that of the folded model is s times as large in every dimension. */
static void follow_fold_scales_what_is_decoded(void **state) {
    (void)state;
    int8_t e[LAYERS * KV * DIM];
    int calibrated = 0;
    prof *p = with_fold(), *q = with_fold();
    for (int i = 0; i < LAYERS * KV * DIM; i++)
        e[i] = (int8_t)(i % 7 - 2); /* powers of two: nothing is rounded */
    assert_int_equal(prof_queries_alloc(p, &p->layers[1], NULL), KV_OK);
    p->layers[1].queries[DIM + 3] = 2;
    prof_follow_fold(p, e, "0123456789abcdef0123456789abcdef");
    prof_round(p);
    assert_string_equal(p->model_hash, "0123456789abcdef0123456789abcdef");
    assert_false(prof_has_fold(p));
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t h = 0; h < KV; h++) {
            const prof_tc *a = prof_head_k(q, l, h).tc, *b = prof_head_k(p, l, h).tc;
            const prof_tc *v = prof_head_v(q, l, h).tc, *w = prof_head_v(p, l, h).tc;
            if (v)
                assert_memory_equal(v->basis, w->basis, DIM * DIM * sizeof *v->basis);
            if (!a)
                continue;
            calibrated++;
            for (uint32_t i = 0; i < DIM; i++) {
                const double s = exp2(e[(l * KV + h) * DIM + i]);
                assert_true(fabs((double)b->mean[i] - s * (double)a->mean[i]) <= 1e-6 * fabs(s * (double)a->mean[i]));
                for (uint32_t r = 0; r < DIM; r++) {
                    double row = 0; /* the largest of a basis vector sets how finely the others are stored */
                    for (uint32_t j = 0; j < DIM; j++)
                        row = fmax(row, fabs((double)b->basis[r * DIM + j]));
                    assert_true(fabs((double)b->basis[r * DIM + i] - s * (double)a->basis[r * DIM + i]) <= row / 512);
                }
            }
        }
    assert_true(calibrated > 1);
    const double s = exp2(e[KV * DIM + 3]);
    assert_true(fabs((double)p->layers[1].queries[DIM + 3] - 2 / s) < 0.02 / s);
    prof_free(p);
    prof_free(q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fold_is_read_as_it_was_written),
        cmocka_unit_test(fold_must_be_whole_and_of_the_right_number),
        cmocka_unit_test(follow_fold_scales_what_is_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
