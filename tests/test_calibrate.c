/* The whole of kvcalib but its command line, on SmolLM2 with little text: the same profile for any number of threads, what the
 * profile says of itself, how text is split, and what is refused. Skipped where the model is not there. */
#include "calibrate/calibrate.h"
#include "calibrate/calibrate_text.h"
#include "corpus.h"
#include "support.h"

#include "base/atomic_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static char path[4096];

static const double BITS = 3.9;
static const calibrate_cfg small = {.ctx = 128, .chunks = 2, .seed = 7, .window = 32, .sinks = 4, .frame = 64};

static rt_model *load(int n_threads, bool exact) {
    rt_exec e;
    rt_model *m = NULL;
    if (!find_model(SMOLLM2, path))
        skip();
    assert_int_equal(rt_exec_init(&e, NULL, n_threads, exact, NULL), KV_OK);
    assert_int_equal(rt_model_load(path, &e, &m, NULL), KV_OK);
    return m;
}

/* Fit with some number of threads; the profile as text. */
static char *fit(int n_threads, size_t *len) {
    rt_model *m = load(n_threads, false);
    calibrate_text t;
    calibration *c = NULL;
    prof *p = NULL;
    char *text = NULL;
    assert_int_equal(calibrate_text_load(rt_model_tok(m), &small, 1 << 20, &t, NULL), KV_OK);
    assert_int_equal(calibration_new(m, &small, &t, (calibrate_progress){0}, &c, NULL), KV_OK);
    assert_int_equal(calibration_solve(c, BITS, (calibrate_progress){0}, &p, NULL), KV_OK);
    assert_int_equal(prof_format(p, &text, len, NULL), KV_OK);
    prof_free(p);
    calibration_free(c);
    calibrate_text_free(&t);
    rt_model_free(m);
    return text;
}

static void calibrate_same_bytes_for_any_threads(void **state) {
    (void)state;
    size_t n1, n3;
    char *one = fit(1, &n1), *three = fit(3, &n3);
    assert_int_equal(n1, n3);
    assert_memory_equal(one, three, n1);
    free(one);
    free(three);
}

static bool count_calls(void *user, double done) {
    double *last = user;
    assert_true(done >= *last && done <= 1 + 1e-9);
    *last = done;
    return true;
}

static bool stop_at_once(void *user, double done) {
    (void)user;
    (void)done;
    return false;
}

static void calibrate_profile_says_what_was_measured(void **state) {
    (void)state;
    rt_model *m = load(2, true);
    calibrate_text t;
    calibration *c = NULL;
    prof *p = NULL;
    kv_err err;
    double last = 0;
    assert_int_equal(calibrate_text_load(rt_model_tok(m), &small, 1 << 20, &t, NULL), KV_OK);
    assert_int_equal(calibration_new(m, &small, &t, (calibrate_progress){stop_at_once, NULL}, &c, &err), KV_ECANCEL);
    assert_null(c);
    assert_int_equal(calibration_new(m, &small, &t, (calibrate_progress){count_calls, &last}, &c, NULL), KV_OK);
    assert_float_equal(last, 1, 1e-9);
    assert_int_equal(calibration_solve(c, BITS, (calibrate_progress){stop_at_once, NULL}, &p, &err), KV_ECANCEL);
    assert_null(p);
    last = 0;
    assert_int_equal(calibration_solve(c, BITS, (calibrate_progress){count_calls, &last}, &p, NULL), KV_OK);
    assert_string_equal(p->model_hash, rt_model_hash(m));
    assert_string_equal(p->text_hash, t.hash);
    assert_int_equal(p->calib_tokens, 256);
    assert_int_equal(p->window, 32);
    assert_int_equal(p->n_measured, 0);
    t.n_held = 2; /* enough for a test */
    double kld[2];
    for (int without = 0; without < 2; without++) {
        last = 0;
        p->window = without ? 0 : 32;
        assert_int_equal(calibration_measure(c, m, (calibrate_progress){count_calls, &last}, p, NULL), KV_OK);
        assert_int_equal(p->n_measured, 1);
        const prof_measured *got = &p->measured[0];
        assert_non_null(strstr(got->text, without ? "window 0, sinks 4" : "window 32, sinks 4"));
        assert_true((got->bits_k + got->bits_v) / 2 <= BITS + 1e-6 && (got->bits_k + got->bits_v) / 2 > BITS - 0.05);
        assert_float_equal(got->f16_bytes_per_token, 30 * 3 * 64 * 4, 0);
        assert_float_equal(got->bytes_per_token / got->f16_bytes_per_token, (got->bits_k + got->bits_v) / 32, 1e-4);
        kld[without] = got->kld;
    }
    assert_true(kld[0] > 0 && kld[0] < kld[1]);
    prof_round(p);
    assert_int_equal(prof_check(p, "test", &err), KV_OK);
    prof_free(p);
    calibration_free(c);
    calibrate_text_free(&t);
    rt_model_free(m);
}

/* As much memory as asked for is used, but for little, and never more. */
static void calibrate_fills_the_memory_it_may_use(void **state) {
    (void)state;
    rt_model *m = load(2, false);
    calibrate_text t;
    calibration *c = NULL;
    prof *p = NULL;
    kv_err err;
    const size_t room = 24 << 20;
    size_t got;
    assert_int_equal(calibrate_text_load(rt_model_tok(m), &small, 1 << 20, &t, NULL), KV_OK);
    assert_int_equal(calibration_new(m, &small, &t, (calibrate_progress){0}, &c, NULL), KV_OK);
    assert_int_equal(calibrate_for_memory(c, 4096, room, (calibrate_progress){0}, &p, NULL), KV_OK);
    assert_int_equal(calibration_cache_bytes(c, p, 4096, &got, NULL), KV_OK);
    assert_in_range(got, room - room / 100, room);
    prof_free(p);
    p = NULL;
    assert_int_equal(calibrate_for_memory(c, 4096, 1 << 20, (calibrate_progress){0}, &p, &err), KV_ERANGE);
    assert_null(p);
    assert_non_null(strstr(err.msg, "4096 tokens do not fit into 1.0 MiB"));
    calibration_free(c);
    calibrate_text_free(&t);
    rt_model_free(m);
}

/* The smallest that stays within the loss asked for: what is found does, and half a bit less does not. */
static void calibrate_finds_the_least_bits_for_a_loss(void **state) {
    (void)state;
    const double most = 0.05;
    rt_model *m = load(2, false);
    calibrate_text t;
    calibration *c = NULL;
    prof *p = NULL, *less = NULL;
    kv_err err;
    assert_int_equal(calibrate_text_load(rt_model_tok(m), &small, 1 << 20, &t, NULL), KV_OK);
    t.n_held = 4;
    assert_int_equal(calibration_new(m, &small, &t, (calibrate_progress){0}, &c, NULL), KV_OK);
    assert_int_equal(calibrate_for_kld(c, m, most, (calibrate_progress){0}, &p, NULL), KV_OK);
    assert_true(p->n_measured == 1 && p->measured[0].kld <= most);
    assert_true(p->aim_kld == most);
    const double bits = (p->measured[0].bits_k + p->measured[0].bits_v) / 2;
    assert_int_equal(calibration_solve(c, bits - 0.5, (calibrate_progress){0}, &less, NULL), KV_OK);
    assert_int_equal(calibration_measure(c, m, (calibrate_progress){0}, less, NULL), KV_OK);
    assert_true(less->measured[0].kld > most);
    prof_free(less);
    prof_free(p);
    p = NULL;
    assert_int_equal(calibrate_for_kld(c, m, 1e-6, (calibrate_progress){0}, &p, &err), KV_ERANGE);
    assert_null(p);
    assert_non_null(strstr(err.msg, "a KL divergence of 1e-06 cannot be reached"));
    calibration_free(c);
    calibrate_text_free(&t);
    rt_model_free(m);
}

static tok *open_tok(void) {
    gguf *g = NULL;
    tok *t = NULL;
    if (!find_model(SMOLLM2, path))
        skip();
    assert_int_equal(gguf_open(path, &g, NULL), KV_OK);
    assert_int_equal(tok_new(g, &t, NULL), KV_OK);
    gguf_close(g);
    return t;
}

/* One token per word: " a a a a", n of them. */
static void write_words(const char *file, const char *word, size_t n) {
    char *text = malloc(n * strlen(word) + 1);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * strlen(word), word, strlen(word));
    assert_int_equal(file_write(file, text, n * strlen(word), NULL), KV_OK);
    free(text);
}

static void calibrate_files_are_joined_and_the_end_held_out(void **state) {
    (void)state;
    tok *t = open_tok();
    char a[] = "calib-a-XXXXXX", b[] = "calib-b-XXXXXX";
    close(mkstemp(a));
    close(mkstemp(b));
    write_words(a, " a", 1700);
    write_words(b, " b", 300);
    const char *files[] = {a, b};
    calibrate_cfg cfg = {.texts = files, .n_texts = 2, .ctx = 100};
    calibrate_text x;
    assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &x, NULL), KV_OK);
    assert_int_equal(x.n_fit, 17);
    assert_int_equal(x.n_held, 3);     /* 15 % of 20 */
    for (uint32_t i = 1; i < 300; i++) /* [0] may be BOS */
        assert_int_equal(x.held[i % 100 ? i : 1], x.held[1]);
    assert_int_not_equal(x.fit[1], x.held[1]);
    calibrate_text_free(&x);

    cfg.chunks = 18;
    kv_err err;
    assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &x, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "17 chunks"));
    calibrate_text_free(&x);

    cfg.chunks = 0;
    cfg.ctx = 1001;
    assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &x, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "2000 tokens; 2002 are needed"));
    calibrate_text_free(&x);
    unlink(a);
    unlink(b);
    tok_free(t);
}

/* Without a length: 2,048 tokens, fewer where the model or a text of one's own is short. */
static void calibrate_chooses_the_length_of_chunks(void **state) {
    (void)state;
    tok *t = open_tok();
    char a[] = "calib-a-XXXXXX";
    close(mkstemp(a));
    write_words(a, " a", 3000);
    const char *files[] = {a};
    const struct {
        calibrate_cfg cfg;
        uint32_t most, want;
    } rows[] = {
        {{.ctx = 0}, 1 << 20, 2048},
        {{.ctx = 0}, 2000, 1024},
        {{.ctx = 300}, 200, 300}, /* what is asked for is not changed */
        {{.texts = files, .n_texts = 1}, 1 << 20, 256},
        {{.texts = files, .n_texts = 1}, 100, 64},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        calibrate_text x;
        assert_int_equal(calibrate_text_load(t, &rows[i].cfg, rows[i].most, &x, NULL), KV_OK);
        assert_int_equal(x.ctx, rows[i].want);
        calibrate_text_free(&x);
    }
    unlink(a);
    tok_free(t);
}

/* Long chunks of the built-in text begin with a passage and end with the questions about it, another one each; shorter ones
 * have none. */
static void calibrate_asks_for_what_was_far_before(void **state) {
    (void)state;
    tok *t = open_tok();
    for (uint32_t ctx = 1024; ctx <= 2048; ctx += 1024) {
        const calibrate_cfg cfg = {.ctx = ctx, .chunks = 3};
        calibrate_text x;
        assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &x, NULL), KV_OK);
        for (uint32_t i = 0; i < 3; i++) {
            const char *text = cal_corpus_recall(i), *asks = strstr(text, CAL_CORPUS_ASKS) + strlen(CAL_CORPUS_ASKS);
            const size_t from = tok_add_bos(t) && tok_bos(t) >= 0;
            int32_t *ids[2];
            size_t n[2];
            assert_int_equal(tok_encode(t, text, 200, 0, &ids[0], &n[0], NULL), KV_OK);
            assert_int_equal(tok_encode(t, asks, strlen(asks), 0, &ids[1], &n[1], NULL), KV_OK);
            const int32_t *chunk = x.fit + (size_t)i * ctx;
            const bool begins = !memcmp(chunk + from, ids[0], (n[0] - 8) * sizeof *chunk);
            const bool ends = n[1] < ctx && !memcmp(chunk + ctx - n[1], ids[1], n[1] * sizeof *chunk);
            assert_true(begins == ends && begins == (ctx == 2048));
            free(ids[0]);
            free(ids[1]);
        }
        calibrate_text_free(&x);
    }
    tok_free(t);
}

static void calibrate_seed_chooses_chunks_all_over_the_text(void **state) {
    (void)state;
    tok *t = open_tok();
    calibrate_cfg cfg = {.ctx = 256, .chunks = 8, .seed = 1};
    calibrate_text a, b, c;
    assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &a, NULL), KV_OK);
    assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &b, NULL), KV_OK);
    cfg.seed = 2;
    assert_int_equal(calibrate_text_load(t, &cfg, 1 << 20, &c, NULL), KV_OK);
    assert_memory_equal(a.fit, b.fit, 8 * 256 * sizeof *a.fit);
    assert_memory_not_equal(a.fit, c.fit, 8 * 256 * sizeof *a.fit);
    assert_memory_equal(a.held, c.held, (size_t)a.n_held * 256 * sizeof *a.held);
    assert_string_equal(a.hash, c.hash);
    calibrate_text_free(&a);
    calibrate_text_free(&b);
    calibrate_text_free(&c);
    tok_free(t);
}

static void calibrate_refuses_what_cannot_work(void **state) {
    (void)state;
    rt_model *m = load(1, false);
    calibrate_text t = {0};
    calibrate_cfg cfg = small;
    calibration *c = NULL;
    kv_err err;
    cfg.ctx = 1 << 20;
    assert_int_equal(calibration_new(m, &cfg, &t, (calibrate_progress){0}, &c, &err), KV_EINVAL);
    assert_int_equal(calibrate_text_load(rt_model_tok(m), &cfg, 1 << 20, &t, &err), KV_ERANGE);
    calibrate_text_free(&t);
    cfg = small;
    cfg.sinks = 64;
    assert_int_equal(calibration_new(m, &cfg, &t, (calibrate_progress){0}, &c, &err), KV_EINVAL);
    cfg = small;
    cfg.window = 65;
    assert_int_equal(calibration_new(m, &cfg, &t, (calibrate_progress){0}, &c, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "a window of 65 leaves too little"));
    assert_null(c);
    const char *missing[] = {"no/such/file"};
    cfg.texts = missing;
    cfg.n_texts = 1;
    assert_int_equal(calibrate_text_load(rt_model_tok(m), &cfg, 1 << 20, &t, &err), KV_EIO);
    calibrate_text_free(&t);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calibrate_same_bytes_for_any_threads),
        cmocka_unit_test(calibrate_profile_says_what_was_measured),
        cmocka_unit_test(calibrate_fills_the_memory_it_may_use),
        cmocka_unit_test(calibrate_finds_the_least_bits_for_a_loss),
        cmocka_unit_test(calibrate_files_are_joined_and_the_end_held_out),
        cmocka_unit_test(calibrate_chooses_the_length_of_chunks),
        cmocka_unit_test(calibrate_asks_for_what_was_far_before),
        cmocka_unit_test(calibrate_seed_chooses_chunks_all_over_the_text),
        cmocka_unit_test(calibrate_refuses_what_cannot_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
