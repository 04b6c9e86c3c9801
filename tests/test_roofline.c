/* Work counted for rooflines against counts by hand, and the probe of the machine. */
#include "kernels/kernels.h"
#include "measure/probe.h"
#include "measure/roofline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct loaded {
    rt_model *m;
    const rt_hparams *hp;
    kv_cache_cfg cache;
} loaded;

static loaded load(const char *path, int ct, int window, int sinks) {
    loaded l;
    rt_exec e;
    kv_err err = {0};
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(path, &e, &l.m, &err))
        fail_msg("%s", err.msg);
    l.hp = rt_model_hparams(l.m);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = 400;
    cfg.ctk = cfg.ctv = ct;
    cfg.window = window;
    cfg.sinks = sinks;
    if (rt_cache_cfg_new(l.hp, &cfg, &l.cache, &err))
        fail_msg("%s", err.msg);
    return l;
}

static void drop(loaded *l) {
    rt_cache_cfg_free(&l->cache);
    rt_model_free(l->m);
}

static double layer_numbers(const rt_hparams *hp) {
    const double q = (double)hp->n_head * hp->head_dim, kv = (double)hp->n_kv_head * hp->head_dim;
    return hp->n_layer * hp->n_embd * (2 * q + 2 * kv + 3.0 * hp->n_ff);
}

static void roofline_counts_matrices_and_attention(void **state) {
    (void)state;
    loaded l = load(KV_TEST_DATA "/tiny/llama.gguf", KV_F16, 0, 0);
    const rt_hparams *hp = l.hp;
    const double output = (double)hp->n_embd * hp->n_vocab, pairs = 2.0 * hp->n_layer * hp->n_head * hp->head_dim;
    roof_work w;
    assert_int_equal(roof_count(l.m, &l.cache, 0, 3, false, &w, NULL), KV_OK);
    assert_true(w.i8 > 0);
    assert_true(w.i8 + w.f32 == 3 * layer_numbers(hp) + output + pairs * (1 + 2 + 3));
    assert_true(w.weights == 0 && w.cache == 0);
    assert_int_equal(roof_count(l.m, &l.cache, 100, 2, true, &w, NULL), KV_OK);
    assert_true(w.i8 + w.f32 == 2 * (layer_numbers(hp) + output) + pairs * (101 + 102));
    assert_true(w.weights > 2 * layer_numbers(hp) / 8 && w.weights <= 8 * (layer_numbers(hp) + output));
    assert_true(w.cache == 4.0 * hp->n_layer * hp->n_kv_head * hp->head_dim * (101 + 102)); /* K and V of two bytes */
    drop(&l);
}

static void roofline_counts_what_is_encoded_as_it_is(void **state) {
    (void)state;
    loaded l = load(KV_TEST_DATA "/tiny/llama.gguf", KV_Q8_0, 10, 4);
    const double numbers = 2.0 * l.hp->n_layer * l.hp->n_kv_head * l.hp->head_dim;
    roof_work w;
    assert_int_equal(roof_count(l.m, &l.cache, 99, 1, true, &w, NULL), KV_OK);
    assert_true(w.cache == numbers * (14 * 2 + 86 * 8.5 / 8));
    assert_int_equal(roof_count(l.m, &l.cache, 11, 1, true, &w, NULL), KV_OK);
    assert_true(w.cache == numbers * 12 * 2); /* nothing has left the window */
    drop(&l);
}

static void roofline_sees_no_further_than_a_sliding_window(void **state) {
    (void)state;
    loaded l = load(KV_TEST_DATA "/tiny/gemma3.gguf", KV_Q8_0, 2, 3);
    const rt_hparams *hp = l.hp;
    assert_true(hp->swa > 5 && hp->swa < 300);
    const double n_swa = hp->n_layer - hp->n_layer / hp->swa_every, n_full = hp->n_layer - n_swa;
    const double numbers = 2.0 * hp->n_kv_head * hp->head_dim;
    roof_work w;
    assert_int_equal(roof_count(l.m, &l.cache, 300, 1, true, &w, NULL), KV_OK);
    /* a full layer meets the sinks, a sliding one has left them behind */
    assert_true(w.cache == numbers * (n_full * (5 * 2 + 296 * 8.5 / 8) + n_swa * (2 * 2 + (hp->swa - 2) * 8.5 / 8)));
    drop(&l);
}

static void probe_finds_limits_on_every_isa(void **state) {
    (void)state;
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++) {
        const rt_exec e = {.k = rt_kernels_for(isa), .n_threads = 2};
        probe p;
        if (!e.k)
            continue;
        assert_int_equal(probe_run(&e, &p, NULL), KV_OK);
        /* No machine is slower than this, even among sanitizers, and none a thousand times faster. */
        assert_true(p.read > 1e7 && p.read < 1e14);
        assert_true(p.i8 > 1e6 && p.i8 < 1e16);
        assert_true(p.f32 > 1e5 && p.f32 < 1e15);
        assert_true(isa == RT_CPU_AMX ? p.tiles > p.i8 : p.tiles == 0);
        probe best = probe_best(p, (probe){2 * p.read, p.i8 / 2, p.f32, 0});
        assert_true(best.read == 2 * p.read && best.i8 == p.i8 && best.f32 == p.f32 && best.tiles == p.tiles);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roofline_counts_matrices_and_attention),
        cmocka_unit_test(roofline_counts_what_is_encoded_as_it_is),
        cmocka_unit_test(roofline_sees_no_further_than_a_sliding_window),
        cmocka_unit_test(probe_finds_limits_on_every_isa),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
