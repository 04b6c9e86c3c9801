/* What a calibration finds out before it runs any text. */
#include "calibrate/calibrate.h"
#include "calibrate/calibrate_saved.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const calibrate_cfg good = {
    .ctx = 128, .chunks = 1, .window = 16, .sinks = 4, .frame = 256, .evict = PROF_EVICT_DEFAULT};
static const calibrate_aim bits = {.bits = 3, .measure = true};

static rt_model *load(void) {
    rt_exec e;
    rt_model *m = NULL;
    kv_err err = {0};
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(KV_TEST_DATA "/tiny/llama.gguf", &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static bool count(void *calls, double done) {
    (void)done;
    ++*(int *)calls;
    return true;
}

static bool rising(void *last, double done) {
    assert_true(done >= *(double *)last && done <= 1 + 1e-9);
    *(double *)last = done;
    return true;
}

/* calibrate_run fails so, and has not begun to read. */
static void refused(const rt_model *m, const calibrate_cfg *cfg, const calibrate_aim *aim, kv_status want, const char *said) {
    kv_err err = {0};
    prof *p = NULL;
    int calls = 0;
    assert_int_equal(calibrate_run(m, cfg, aim, (calibrate_progress){count, &calls}, &p, NULL, &err), want);
    if (!strstr(err.msg, said))
        fail_msg("'%s' is not in '%s'", said, err.msg);
    assert_int_equal(calls, 0);
    assert_null(p);
}

static void calibrate_refuses_before_reading(void **state) {
    (void)state;
    rt_model *m = load();
    calibrate_cfg cfg = good;
    cfg.frame = 100;
    refused(m, &cfg, &bits, KV_EINVAL, "frames of 100 positions are not a multiple of 64");
    cfg = good;
    cfg.evict.policy = KV_EVICT_H2O;
    refused(m, &cfg, &bits, KV_EINVAL, "'h2o' needs a budget");
    cfg.evict.budget.share = 0.03f;
    refused(m, &cfg, &bits, KV_EINVAL, "a budget of 4 tokens is too small");
    refused(m, &cfg, &bits, KV_EINVAL, "context of one, 128 tokens");
    refused(m, &cfg, &(calibrate_aim){.kld = 0.01, .measure = true}, KV_EINVAL, "a budget of 4 tokens is too small");
    cfg = good;
    cfg.window = 100;
    refused(m, &cfg, &bits, KV_EINVAL, "a window of 100");
    refused(m, &good, &(calibrate_aim){.fit_ctx = 4096, .fit_bytes = 100 << 10}, KV_ERANGE,
            "4096 tokens do not fit into 100 KiB: with 1 bit per number they take 176 KiB");
    rt_model_free(m);
}

/* Text that says one thing over and over teaches nothing. */
static void calibrate_refuses_text_that_repeats_itself(void **state) {
    (void)state;
    static char text[16000];
    rt_model *m = load();
    calibrate_cfg cfg = good;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "the "[i % 4];
    cfg.text = text;
    cfg.text_len = sizeof text;
    refused(m, &cfg, &bits, KV_ERANGE, "text given cannot be calibrated on: it repeats itself");
    rt_model_free(m);
}

/* The verdict tells a text that has little from one that has enough; both are measured on the built-in text as well. */
static void calibrate_judges_a_text(void **state) {
    (void)state;
    static char text[16000];
    rt_model *m = load();
    calibrate_cfg cfg = good;
    uint32_t seed = 1;
    for (int varied = 0; varied < 2; varied++) {
        calibrate_verdict verdict = {0};
        prof *p = NULL;
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = "etaoin sh"[varied ? (seed = seed * 1664525 + 1013904223) >> 16 & 7 : i * i % 251 % 8];
        cfg.chunks = varied ? 8 : 1;
        cfg.text = text;
        cfg.text_len = sizeof text;
        assert_int_equal(calibrate_run(m, &cfg, &bits, (calibrate_progress){0}, &p, &verdict, NULL), KV_OK);
        assert_int_equal(verdict.runs >= verdict.enough, varied);
        assert_int_equal(p->n_measured, 2);
        assert_non_null(strstr(p->measured[0].text, "text given, held-out part"));
        assert_non_null(strstr(p->measured[1].text, "built-in text, held-out part"));
        prof_free(p);
    }
    rt_model_free(m);
}

/* What is possible is not refused: the least memory that is promised is enough. */
static void calibrate_lets_through_what_ends_well(void **state) {
    (void)state;
    rt_model *m = load();
    const rt_hparams *hp = rt_model_hparams(m);
    calibrate_cfg cfg = good;
    kv_err err = {0};
    prof *p = NULL;
    int calls = 0;
    assert_int_equal(calibrate_run(m, &cfg, &(calibrate_aim){.fit_ctx = 4096, .fit_bytes = 177 << 10},
                                   (calibrate_progress){count, &calls}, &p, NULL, &err),
                     KV_OK);
    assert_true(calls > 0);
    prof_free(p);
    assert_int_equal(calibrate_check(hp, &cfg, &bits, &err), KV_OK);
    cfg.evict.budget.share = 0.9f;
    for (int e = KV_EVICT_NONE; e < KV_EVICT_COUNT; e++) {
        cfg.evict.policy = (kv_evict_id)e;
        assert_int_equal(calibrate_check(hp, &cfg, &bits, &err), KV_OK);
    }
    cfg.evict.budget.share = 0.03f; /* of a long context it is enough, and nothing is measured here */
    assert_int_equal(calibrate_check(hp, &cfg, &(calibrate_aim){.bits = 3}, &err), KV_OK);
    rt_model_free(m);
}

static char *format(const prof *p, size_t *len) {
    char *text = NULL;
    assert_int_equal(prof_format(p, &text, len, NULL), KV_OK);
    return text;
}

/* Of a cache with this window. */
static uint32_t frame_of(const rt_model *m, const prof *p, int window) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    kv_cache_cfg cache;
    cfg.profile = p;
    cfg.window = window;
    assert_int_equal(rt_cache_cfg_new(rt_model_hparams(m), &cfg, &cache, NULL), KV_OK);
    const uint32_t frame = cache.frame;
    rt_cache_cfg_free(&cache);
    return frame;
}

/* What is made for several windows is, window by window, what is made for each alone. */
static void calibrate_for_several_windows(void **state) {
    (void)state;
    static const calibrate_window all[] = {{16, 256}, {8, 64}, {0, 128}};
    rt_model *m = load();
    calibrate_cfg cfg = good;
    prof *both = NULL;
    cfg.narrower = all + 1;
    cfg.n_narrower = 2;
    double last = 0;
    assert_int_equal(calibrate_run(m, &cfg, &bits, (calibrate_progress){rising, &last}, &both, NULL, NULL), KV_OK);
    assert_float_equal(last, 1, 1e-9);
    assert_int_equal(frame_of(m, both, -1), 256);
    assert_int_equal(frame_of(m, both, 15), 64);
    assert_int_equal(frame_of(m, both, 0), 128);
    cfg.n_narrower = 0;
    prof *p = both, *next;
    for (size_t i = 0; i < 3; i++, p = next) {
        prof *alone = NULL;
        size_t a, b;
        assert_non_null(p);
        next = p->narrower;
        p->narrower = NULL;
        cfg.window = all[i].window;
        cfg.frame = all[i].frame;
        assert_int_equal(calibrate_run(m, &cfg, &bits, (calibrate_progress){0}, &alone, NULL, NULL), KV_OK);
        char *x = format(p, &a), *y = format(alone, &b);
        assert_int_equal(a, b);
        assert_memory_equal(x, y, a);
        free(x);
        free(y);
        prof_free(alone);
        prof_free(p);
    }
    assert_null(p);
    rt_model_free(m);
}

static void calibrate_refuses_windows_that_do_not_fall(void **state) {
    (void)state;
    static const calibrate_window same[] = {{16, 64}}, wider[] = {{8, 64}, {9, 64}};
    rt_model *m = load();
    calibrate_cfg cfg = good;
    cfg.narrower = same;
    cfg.n_narrower = 1;
    refused(m, &cfg, &bits, KV_EINVAL, "a window of 16 is not narrower than one of 16");
    cfg.narrower = wider;
    cfg.n_narrower = 2;
    refused(m, &cfg, &bits, KV_EINVAL, "a window of 9 is not narrower than one of 8");
    cfg.n_narrower = 4;
    refused(m, &cfg, &bits, KV_EINVAL, "for 4 windows at most, not for 5");
    rt_model_free(m);
}

/* Often enough that a calibration of a minute has something to go on from, and not for more than a twentieth of the time. */
static void calibrate_keeps_what_it_has_in_time(void **state) {
    (void)state;
    static const struct {
        double passed, cost;
        bool due;
    } cases[] = {{15, 0.5, true},  {15, 0.7, true},   {14, 0.7, false}, {15, 0.8, false},
                 {100, 4.9, true}, {100, 5.1, false}, {6, 0.1, true},   {5.9, 0.1, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(calibrate_save_due(cases[i].passed, cases[i].cost), cases[i].due);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calibrate_refuses_before_reading),
        cmocka_unit_test(calibrate_refuses_text_that_repeats_itself),
        cmocka_unit_test(calibrate_judges_a_text),
        cmocka_unit_test(calibrate_lets_through_what_ends_well),
        cmocka_unit_test(calibrate_for_several_windows),
        cmocka_unit_test(calibrate_refuses_windows_that_do_not_fall),
        cmocka_unit_test(calibrate_keeps_what_it_has_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
