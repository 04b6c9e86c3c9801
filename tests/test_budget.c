/* Tokens per layer and head: losses are summed as they should be, shares of a total are the best there are (against trying
 * all), and what a profile says of them. */
#include "calib_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 3, HEADS = 4, KV = 2, GROUP = HEADS / KV, CTX = 4096 };

static const bool windowed[LAYERS] = {false, true, false};
static const cal_shape shape = {.n_layer = LAYERS, .n_head = HEADS, .n_kv_head = KV, .windowed = windowed};

static cal_losses *new_losses(void) {
    cal_losses *s = NULL;
    assert_int_equal(cal_losses_new(&shape, &s, NULL), KV_OK);
    return s;
}

static double uniform(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return (*x + 0.5) / 4294967296.0;
}

/* ---- losses ---- */

static void losses_are_of_groups_and_bounded(void **state) {
    (void)state;
    enum { N = 3 };
    cal_losses *s = new_losses();
    float cut[N * HEADS * KV_CUTS] = {0};
#define AT(t, h, c) cut[((t)*HEADS + (h)) * KV_CUTS + (c)]
    AT(0, 0, 0) = 50;                      /* before `from`: does not count */
    AT(1, 0, 0) = 0.5f;                    /* both heads of group 0 lose together: (0.5 + 0.25)^2 / 2 */
    AT(1, 1, 0) = 0.25f;                   /* */
    AT(1, 2, 0) = 3, AT(1, 3, 0) = -3;     /* of group 1: they make up for each other */
    AT(2, 0, 2) = -4;                      /* far beyond second order: |x| - 1/2 */
    AT(2, 3, 5) = 1, AT(1, 3, 5) = -0.125; /* two queries: their mean */
    cal_losses_add(s, 2, N, 1, cut);
    assert_float_equal(cal_loss(s, 2, 0, 0), 0.75 * 0.75 / 2 / 2, 1e-12);
    assert_float_equal(cal_loss(s, 2, 1, 0), 0, 1e-12);
    assert_float_equal(cal_loss(s, 2, 0, 2), 3.5 / 2, 1e-12);
    assert_float_equal(cal_loss(s, 2, 1, 5), (0.5 + 0.125 * 0.125 / 2) / 2, 1e-12);
    assert_float_equal(cal_loss(s, 2, 1, 1), 0, 0);
    assert_float_equal(cal_loss(s, 0, 0, 0), 0, 0); /* a layer that nothing is known of */
    memset(cut, 0, sizeof cut);
    cal_losses_add(s, 2, N, 1, cut); /* another text without any loss: half of it */
    assert_float_equal(cal_loss(s, 2, 0, 2), 3.5 / 4, 1e-12);
    cal_losses_free(s);
}

/* ---- sharing out ---- */

enum { N_HEADS = 3, SMALL = 32, POINTS = KV_CUTS + 1 };
static const double at[POINTS] = {1, 2, 4, 8, 16, 24, 32}; /* kv_cuts of 32 tokens, and all */

static double point(const float *loss, size_t i) {
    return i < KV_CUTS ? (double)loss[i] : 0;
}

static double loss_at(const float *loss, double tokens) {
    size_t i = 1;
    while (i + 1 < POINTS && at[i] < tokens)
        i++;
    const double w = (tokens - at[i - 1]) / (at[i] - at[i - 1]);
    return point(loss, i - 1) + w * (point(loss, i) - point(loss, i - 1));
}

static double sum_at(const float *loss, const double *tokens) {
    double sum = 0;
    for (size_t h = 0; h < N_HEADS; h++)
        sum += loss_at(loss + h * KV_CUTS, tokens[h]);
    return sum;
}

/* The least sum of losses for whole numbers of tokens, by trying all. */
static double try_all(const float *loss, double least, double total) {
    double best = INFINITY, t[N_HEADS];
    for (t[0] = least; t[0] <= SMALL; t[0]++)
        for (t[1] = least; t[1] <= SMALL; t[1]++) {
            t[2] = total - t[0] - t[1];
            if (t[2] >= least && t[2] <= SMALL)
                best = fmin(best, sum_at(loss, t));
        }
    return best;
}

static void random_losses(bool convex, uint32_t *seed, float *loss) {
    for (size_t h = 0; h < N_HEADS; h++) {
        double slope = 0, l = 0;
        for (size_t i = KV_CUTS; i-- > 0;) {
            slope = convex ? slope + uniform(seed) : uniform(seed) * 2;
            loss[h * KV_CUTS + i] = (float)(l += slope * (at[i + 1] - at[i]));
        }
    }
}

/* Whether a head that keeps so many tokens, `least` or more, is at a point that no two others make needless. */
static bool is_corner(const float *loss, double least, double tokens) {
    bool corner = tokens == least;
    for (size_t k = 0; k < POINTS; k++)
        corner |= at[k] == tokens;
    for (double i = least; i < tokens; i++)
        for (double j = tokens + 1; j <= SMALL; j++)
            corner &= loss_at(loss, tokens) <=
                      1e-9 + loss_at(loss, i) + (loss_at(loss, j) - loss_at(loss, i)) * (tokens - i) / (j - i);
    return corner;
}

/* With convex curves, for every total; with any, where every head ends at a corner. */
static void shares_are_the_best_there_are(void **state) {
    (void)state;
    uint32_t seed = 1, at_points = 0, uneven = 0;
    for (int round = 0; round < 60; round++) {
        const uint32_t least = round % 3 ? 1 : 3; /* one of the points, or between two */
        float loss[N_HEADS * KV_CUTS];
        double tokens[N_HEADS];
        const bool convex = round % 2;
        random_losses(convex, &seed, loss);
        for (uint32_t total = N_HEADS * least; total <= SMALL * N_HEADS; total++) {
            assert_int_equal(kv_share_out(loss, N_HEADS, SMALL, least, total, tokens, NULL), KV_OK);
            double sum = 0;
            bool points = true;
            for (size_t h = 0; h < N_HEADS; h++) {
                assert_true(tokens[h] >= least && tokens[h] <= SMALL);
                sum += tokens[h];
                points &= is_corner(loss + h * KV_CUTS, least, tokens[h]);
            }
            assert_float_equal(sum, total, 1e-9);
            if (convex || points)
                assert_true(sum_at(loss, tokens) <= try_all(loss, least, total) + 1e-6);
            at_points += !convex && points;
            uneven += tokens[0] != tokens[1];
        }
    }
    assert_true(at_points > 100 && uneven > 2000); /* the comparison did take place */
}

static void shares_at_the_ends(void **state) {
    (void)state;
    double tokens[N_HEADS];
    const float zero[N_HEADS * KV_CUTS] = {0};
    assert_int_equal(kv_share_out(zero, N_HEADS, SMALL, 0, 1.5, tokens, NULL), KV_OK); /* too little for the least */
    for (int h = 0; h < N_HEADS; h++)
        assert_float_equal(tokens[h], 0.5, 0);
    assert_int_equal(kv_share_out(zero, N_HEADS, SMALL, 1, 3 * SMALL, tokens, NULL), KV_OK);
    for (int h = 0; h < N_HEADS; h++)
        assert_float_equal(tokens[h], SMALL, 0);
    assert_int_equal(kv_share_out(zero, N_HEADS, SMALL, 100, 3 * SMALL, tokens, NULL), KV_OK); /* more than there is */
    assert_float_equal(tokens[2], SMALL, 0);
}

/* ---- in a profile ---- */

/* Head 1 of layer 2 fetches what is far; the others lose little, and all of it at once. */
static cal_losses *one_that_fetches(void) {
    enum { N = 8 };
    cal_losses *s = new_losses();
    float cut[N * HEADS * KV_CUTS];
    for (uint32_t l = 0; l < LAYERS; l += 2) {
        for (size_t t = 0; t < N; t++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t c = 0; c < KV_CUTS; c++)
                    AT(t, h, c) = l == 2 && h / GROUP == 1 ? 0.5f * (1 - kv_cuts[c]) : c == 0 ? 0.01f : 0;
        cal_losses_add(s, l, N, 0, cut);
    }
    return s;
}

static prof *new_profile(void) {
    prof *p = NULL;
    assert_int_equal(prof_new(LAYERS, HEADS, KV, 8, &p, NULL), KV_OK);
    return p;
}

static void budget_by_loss_goes_where_it_counts(void **state) {
    (void)state;
    cal_losses *s = one_that_fetches();
    prof *p = new_profile();
    p->layers[1].budget = 77; /* of an earlier rule */
    assert_int_equal(cal_budget_by_loss(s, 0.29, CTX, p, NULL), KV_OK);
    double sum = 0;
    for (uint32_t l = 0; l < LAYERS; l += 2)
        for (uint32_t h = 0; h < KV; h++) {
            const uint32_t tokens = prof_head_budget(p, l, h);
            sum += tokens;
            if (l == 2 && h == 1)
                assert_int_equal(tokens, CTX);
            else
                assert_true(tokens >= CTX / 32 && tokens <= CTX / 16);
        }
    assert_true(fabs(sum / 4 - 0.29 * CTX) < 2);
    assert_null(p->layers[1].budgets); /* its window slides */
    assert_int_equal(p->layers[1].budget, 0);
    assert_int_equal(p->budget_by, PROF_BY_LOSS);
    assert_int_equal(p->budget_rule.least, CTX / 32);
    assert_int_equal(p->budget_rule.most, CTX);
    assert_int_equal(p->budget_rule.mean, (uint32_t)rint(0.29 * CTX));
    assert_int_equal(p->budget_rule.tokens, 8);
    assert_int_equal(p->layers[2].budget, (uint32_t)rint((p->layers[2].budgets[0] + p->layers[2].budgets[1]) / 2.0));
    assert_null(p->layers[1].losses); /* the curves are there, too */
    assert_float_equal(p->layers[2].losses[KV_CUTS + 4], 0.5 * 0.5 / 2, 1e-4);
    assert_float_equal(p->layers[0].losses[0], 2e-4, 1e-7);
    prof_free(p);
    cal_losses_free(s);
}

/* Of a short text, a 32nd would be too little: no head gets less than 64 tokens. */
static void budget_by_loss_leaves_enough(void **state) {
    (void)state;
    static const struct {
        uint32_t ctx, least;
    } cases[] = {{4096, 128}, {2048, 64}, {1024, 64}, {384, 64}, {200, 60}, {64, 19}};
    cal_losses *s = one_that_fetches();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t least = UINT32_MAX;
        prof *p = new_profile();
        assert_int_equal(cal_budget_by_loss(s, 0.3, cases[i].ctx, p, NULL), KV_OK);
        for (uint32_t h = 0; h < 2 * KV; h++) {
            const uint32_t tokens = prof_head_budget(p, h / KV * 2, h % KV);
            least = tokens < least ? tokens : least;
        }
        assert_true(least >= cases[i].least);
        assert_int_equal(p->budget_rule.least, cases[i].least); /* or the mean, where that is less */
        prof_free(p);
    }
    cal_losses_free(s);
}

static void budget_by_entropy_leaves_windows_out(void **state) {
    (void)state;
    prof *p = new_profile();
    p->calib_ctx = 1000;
    p->calib_tokens = 3000;
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t h = 0; h < HEADS; h++)
            p->layers[l].entropy[h] = l == 2 ? 6 : 5;
    for (int quarter = 1; quarter < 4; quarter++) {
        const double mean = 250.0 * quarter, rest = 2 * (mean - 32);
        cal_budget_by_entropy(windowed, quarter / 4.0, p);
        assert_int_equal(p->layers[0].budget, (uint32_t)(32 + rest / 3));
        assert_int_equal(p->layers[1].budget, 0);
        assert_int_equal(p->layers[2].budget, (uint32_t)(32 + rest * 2 / 3));
        assert_int_equal(p->budget_rule.mean, 250 * quarter);
    }
    assert_int_equal(p->budget_by, PROF_BY_ENTROPY);
    assert_int_equal(p->budget_rule.least, 32);
    assert_int_equal(p->budget_rule.ctx, 1000);
    assert_int_equal(p->budget_rule.tokens, 3000);
    prof_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_of_groups_and_bounded),
        cmocka_unit_test(shares_are_the_best_there_are),
        cmocka_unit_test(shares_at_the_ends),
        cmocka_unit_test(budget_by_loss_goes_where_it_counts),
        cmocka_unit_test(budget_by_loss_leaves_enough),
        cmocka_unit_test(budget_by_entropy_leaves_windows_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
