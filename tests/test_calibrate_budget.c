/* Long texts for budgets of heads: passages in their order, then the same in another one. And the pass over them, on a tiny
 * model: the same budgets for any number of threads. */
#include "calibrate/calibrate_budget.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { CHUNK = 128, CHUNKS = 16, PART = 16, ENOUGH = 4 /* chunks for a calibration */ };

static rt_model *load(int n_threads) {
    char path[4096];
    rt_exec e;
    rt_model *m = NULL;
    kv_err err = {0};
    snprintf(path, sizeof path, "%s/tiny/gemma3.gguf", KV_TEST_DATA);
    if (rt_exec_init(&e, NULL, n_threads, true, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

/* No token twice, where the vocabulary allows that: what recurs in a text can be told from what does not. */
static calibrate_text make_text(const rt_model *m) {
    calibrate_text t = {.ctx = CHUNK, .n_fit = CHUNKS, .fit = malloc(CHUNK * CHUNKS * sizeof(int32_t))};
    const int32_t n_vocab = (int32_t)rt_model_hparams(m)->n_vocab;
    assert_non_null(t.fit);
    for (int32_t i = 0; i < CHUNK * CHUNKS; i++)
        t.fit[i] = (i * 7 + i / 50) % n_vocab;
    for (int32_t i = 0; tok_add_bos(rt_model_tok(m)) && i < CHUNKS; i++)
        t.fit[i * CHUNK] = tok_bos(rt_model_tok(m));
    return t;
}

/* How many tokens from a on are found from b on. */
static size_t run_of(const int32_t *a, size_t n, const int32_t *b, size_t n_b) {
    size_t len = 0;
    while (len < n && len < n_b && a[len] == b[len])
        len++;
    return len;
}

static void long_texts_recur_in_another_order(void **state) {
    (void)state;
    rt_model *m = load(1);
    calibrate_text t = make_text(m);
    calibrate_long l, again, other;
    assert_int_equal(calibrate_long_texts(m, &t, 5, &l, NULL), KV_OK);
    assert_int_equal(calibrate_long_texts(m, &t, 5, &again, NULL), KV_OK);
    assert_int_equal(calibrate_long_texts(m, &t, 6, &other, NULL), KV_OK);
    const bool bos = tok_add_bos(rt_model_tok(m));
    const size_t useful = CHUNKS * (CHUNK - bos), most = useful * 3 / 2, trained = rt_model_hparams(m)->n_ctx_train;
    int32_t stream[CHUNKS * CHUNK];
    for (size_t i = 0; i < useful; i++)
        stream[i] = t.fit[i / (CHUNK - bos) * CHUNK + bos + i % (CHUNK - bos)];
    assert_true(l.n >= 2);
    assert_int_equal(l.ctx, most < trained ? most : trained);
    assert_memory_equal(l.ids, again.ids, (size_t)l.n * l.ctx * sizeof *l.ids);
    assert_memory_not_equal(l.ids, other.ids, (size_t)l.n * l.ctx * sizeof *l.ids);
    assert_memory_not_equal(l.ids, l.ids + l.ctx, l.ctx * sizeof *l.ids);
    for (uint32_t i = 0; i < l.n; i++) {
        const int32_t *x = l.ids + (size_t)i * l.ctx;
        size_t begin = bos, pieces = 0, jumps = 0;
        while (begin < l.ctx && x[begin] == stream[(i * useful / l.n + begin - bos) % useful])
            begin++; /* where the text stops to go on as it did */
        assert_true(begin >= l.ctx * 2 / 3 && begin + 40 < l.ctx);
        if (bos)
            assert_int_equal(x[0], tok_bos(rt_model_tok(m)));
        /* Pieces cannot be told apart at their ends, but each is in the first part, and no shorter than the least. */
        for (size_t at = begin; at < l.ctx;) {
            size_t best = 0;
            for (size_t b = bos; b < begin; b++) {
                const size_t n = run_of(x + at, l.ctx - at, x + b, at - b);
                best = n > best ? n : best;
            }
            assert_true(best >= 1);
            pieces++;
            jumps += best < l.ctx - at;
            at += best;
        }
        assert_true(pieces <= (l.ctx - begin) / PART + 2);
        assert_true(jumps > 0);
    }
    calibrate_long_free(&l);
    calibrate_long_free(&again);
    calibrate_long_free(&other);
    free(t.fit);
    rt_model_free(m);
}

static void budgets_are_shares_of_a_text(void **state) {
    (void)state;
    assert_float_equal(calibrate_share((kv_budget){.share = 0.25f}, 4096), 0.25, 0);
    assert_float_equal(calibrate_share((kv_budget){.tokens = 1024}, 4096), 0.25, 0);
    assert_float_equal(calibrate_share((kv_budget){.tokens = 8192}, 4096), 0.5, 0); /* says nothing of so short a text */
}

static prof *fit(int n_threads, kv_budget budget, prof_budget_by by) {
    rt_model *m = load(n_threads);
    calibrate_text t = make_text(m);
    calibrate_cfg cfg = {.ctx = CHUNK, .seed = 3, .window = 32, .sinks = 4, .frame = 64, .budget_by = by};
    calibration *c = NULL;
    prof *p = NULL;
    kv_err err = {0};
    t.n_fit = ENOUGH;
    cfg.evict = PROF_EVICT_DEFAULT;
    cfg.evict.policy = budget.share > 0 ? KV_EVICT_EXPECTED : KV_EVICT_NONE;
    cfg.evict.budget = budget;
    if (calibration_new(m, &cfg, &t, (calibrate_progress){0}, &c, &err) ||
        calibration_solve(c, 4, (calibrate_progress){0}, &p, &err) || prof_check(p, "test", &err))
        fail_msg("%s", err.msg);
    calibration_free(c);
    free(t.fit);
    rt_model_free(m);
    return p;
}

static void calibrate_writes_budgets_by_loss(void **state) {
    (void)state;
    prof *p = fit(1, (kv_budget){.share = 0.4f}, PROF_BY_LOSS), *same = fit(3, (kv_budget){.share = 0.4f}, PROF_BY_LOSS);
    rt_model *m = load(1);
    double sum = 0, heads = 0;
    uint32_t least = UINT32_MAX, most = 0;
    assert_int_equal(p->budget_by, PROF_BY_LOSS);
    assert_int_equal(p->evict.policy, KV_EVICT_EXPECTED);
    assert_true(p->evict.budget.share == 0.4f);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        const bool slides = rt_layer_swa(rt_model_hparams(m), l);
        assert_int_equal(p->layers[l].budgets == NULL, slides);
        assert_int_equal(p->layers[l].queries == NULL, slides);
        for (uint32_t h = 0; h < p->n_kv_head; h++) {
            const uint32_t b = prof_head_budget(p, l, h);
            assert_int_equal(b, prof_head_budget(same, l, h));
            if (slides)
                continue;
            sum += b, heads++;
            least = b < least ? b : least;
            most = b > most ? b : most;
        }
    }
    assert_true(heads > 0 && fabs(sum / heads - (double)p->budget_rule.mean) < 2);
    assert_true(least >= 64 && most <= p->budget_rule.ctx);
    rt_model_free(m);
    prof_free(p);
    prof_free(same);
}

static void calibrate_writes_budgets_by_entropy(void **state) {
    (void)state;
    prof *half = fit(2, (kv_budget){0}, PROF_BY_LOSS), *asked = fit(2, (kv_budget){.share = 0.75f}, PROF_BY_ENTROPY);
    assert_int_equal(half->budget_by, PROF_BY_ENTROPY); /* advice: nothing was asked */
    assert_int_equal(half->budget_rule.mean, CHUNK / 2);
    assert_int_equal(half->evict.policy, KV_EVICT_NONE);
    assert_int_equal(asked->budget_by, PROF_BY_ENTROPY);
    assert_int_equal(asked->budget_rule.mean, CHUNK * 3 / 4);
    for (uint32_t l = 0; l < half->n_layer; l++)
        assert_true(!half->layers[l].budgets && !asked->layers[l].budgets);
    prof_free(half);
    prof_free(asked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_texts_recur_in_another_order),
        cmocka_unit_test(budgets_are_shares_of_a_text),
        cmocka_unit_test(calibrate_writes_budgets_by_loss),
        cmocka_unit_test(calibrate_writes_budgets_by_entropy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
