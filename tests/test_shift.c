/* kv_cache_shift: what is left is what a cache would hold that never read what was forgotten. Held against reading it anew at
 * the lower positions, and, where codes cannot be the same, against attention in double over what was read. */
#include "cache/cache_file.h"
#include "cache_fixture.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { HEADS = 4, KV_HEADS = 2, DIM = 64, ROT = 48, TOK = 512, FRAME = 64 };

static float inv_freq[2][ROT / 2]; /* of full and of sliding layers */

static double turns[2][TOK][ROT / 2][2]; /* cosine and sine at each position */

static void set_frequencies(void) {
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < ROT / 2; i++) {
            inv_freq[kind][i] = (float)pow(kind ? 500 : 10000, -2.0 * i / ROT);
            for (int pos = 0; pos < TOK; pos++) {
                turns[kind][pos][i][0] = cos(pos * (double)inv_freq[kind][i]);
                turns[kind][pos][i][1] = sin(pos * (double)inv_freq[kind][i]);
            }
        }
}

/* x (dim) as it stands at position pos. */
static void rotate(const float *x, int kind, uint32_t pos, float *to) {
    memcpy(to, x, DIM * sizeof *to);
    for (int i = 0; i < ROT / 2; i++) {
        const double *a = turns[kind][pos][i], u = x[i], v = x[i + ROT / 2];
        to[i] = (float)(u * a[0] - v * a[1]);
        to[i + ROT / 2] = (float)(u * a[1] + v * a[0]);
    }
}

/* A fixture whose keys and queries are not rotated yet. */
static void make(fixture *f, kv_codec_id k, kv_codec_id v, uint32_t window, uint32_t sinks, uint32_t n_ctx) {
    fix_init(f, HEADS, KV_HEADS, DIM, TOK);
    fix_codecs(f, k, v);
    f->cfg.n_ctx = n_ctx;
    f->cfg.window = window;
    f->cfg.sinks = sinks;
    f->cfg.rope = (kv_rope){inv_freq[0], ROT, true, NULL};
    f->cfg.swa = f->swa;
}

static kv_cache *open_cache(const fixture *f, const rt_exec *e) {
    kv_cache *c;
    kv_err err = {0};
    if (kv_cache_new(&f->cfg, e, &c, &err))
        fail_msg("%s", err.msg);
    return c;
}

/* Tokens from .. end-1 of the fixture go in at the next positions, `batch` at a time; out (FIX_LAYERS, TOK, HEADS, DIM): what
 * they got. */
static void feed(const fixture *f, kv_cache *c, const rt_exec *e, uint32_t from, uint32_t end, uint32_t batch, float *out) {
    static float q[TOK * HEADS * DIM], k[TOK * KV_HEADS * DIM], spare[TOK * HEADS * DIM];
    kv_work *w;
    kv_err err = {0};
    assert_int_equal(kv_work_new(e, batch, &w, &err), KV_OK);
    assert_int_equal(kv_work_fit(w, c, &err), KV_OK);
    for (uint32_t n; from < end; from += n) {
        n = end - from < batch ? end - from : batch;
        const uint32_t pos = kv_cache_len(c);
        for (uint32_t l = 0; l < FIX_LAYERS; l++) {
            const size_t row = from;
            for (uint32_t t = 0; t < n; t++) {
                for (uint32_t h = 0; h < HEADS; h++)
                    rotate(f->q[l] + ((row + t) * HEADS + h) * DIM, f->swa[l] > 0, pos + t, q + (t * HEADS + h) * DIM);
                for (uint32_t h = 0; h < KV_HEADS; h++)
                    rotate(f->key[l] + ((row + t) * KV_HEADS + h) * DIM, f->swa[l] > 0, pos + t, k + (t * KV_HEADS + h) * DIM);
            }
            if (kv_attend(w, &(kv_rows){c, 0, n}, 1, l, q, k, f->val[l] + row * KV_HEADS * DIM, f->scale,
                          out ? out + ((size_t)l * TOK + row) * HEADS * DIM : spare, NULL, NULL, &err))
                fail_msg("%s", err.msg);
        }
        kv_cache_commit(c, n);
    }
    kv_work_free(w);
}

static void shift(kv_cache *c, const rt_exec *e, uint32_t keep, uint32_t n) {
    kv_err err = {0};
    if (kv_cache_shift(c, e, keep, n, &err))
        fail_msg("%s", err.msg);
}

/* Root mean square of a - b over that of b, tokens from .. end-1. */
static double distance(const float *a, const float *b, uint32_t from, uint32_t end) {
    double d = 0, n = 0;
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        for (size_t i = ((size_t)l * TOK + from) * HEADS * DIM; i < ((size_t)l * TOK + end) * HEADS * DIM; i++) {
            d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
            n += (double)b[i] * b[i];
        }
    return sqrt(d / n);
}

enum { LEN = 290, FIRST = 64, MID = 340, SECOND = 128, END = 380 };

/* Two shifts, after which tokens up to END are read; *len: tokens that are held then. */
static uint64_t go_on(const fixture *f, const rt_exec *e, uint32_t keep, uint32_t batch, float *out, uint32_t *len) {
    kv_cache *c = open_cache(f, e);
    feed(f, c, e, 0, LEN, batch, NULL);
    shift(c, e, keep, FIRST);
    assert_int_equal(kv_cache_len(c), LEN - FIRST);
    feed(f, c, e, LEN, MID, batch, out);
    shift(c, e, keep, SECOND);
    feed(f, c, e, MID, END, batch, out);
    const uint64_t digest = kv_cache_digest(c);
    *len = kv_cache_len(c);
    kv_cache_free(c);
    return digest;
}

/* The same tokens get answers from caches that never read what is forgotten by then. */
static void read_anew(const fixture *f, const rt_exec *e, uint32_t keep, float *out) {
    kv_cache *c = open_cache(f, e);
    feed(f, c, e, 0, keep, 100, NULL);
    feed(f, c, e, keep + FIRST, MID, 100, out);
    kv_cache_clear(c);
    feed(f, c, e, 0, keep, 100, NULL);
    feed(f, c, e, keep + FIRST + SECOND, MID, 100, NULL);
    feed(f, c, e, MID, END, 100, out);
    kv_cache_free(c);
}

/* `more`: how much larger the error of answers, that against f32, may be than with codes of what was read anew; 0: these are
 * the same codes, nearly. */
static void shift_is_like_reading_anew(fixture *f, const char *what, uint32_t keep, double more) {
    static float got[FIX_LAYERS * TOK * HEADS * DIM], anew[FIX_LAYERS * TOK * HEADS * DIM],
        exact[FIX_LAYERS * TOK * HEADS * DIM];
    rt_exec e = fix_exec(rt_cpu_detect(), 2);
    uint32_t len, other;
    kv_cache *c = open_cache(f, &e);
    keep = kv_shift_keep(c, keep);
    kv_cache_free(c);
    const uint64_t digest = go_on(f, &e, keep, 100, got, &len);
    assert_int_equal(len, END - FIRST - SECOND);
    if (digest != go_on(f, &e, keep, 7, NULL, &other))
        fail_msg("%s: other bytes in other batches", what);
    read_anew(f, &e, keep, anew);
    fixture plain = *f;
    kv_codec_sel f32[FIX_LAYERS * FIX_HEADS_MAX] = {{KV_F32, NULL}};
    plain.cfg.k = plain.cfg.v = f32;
    read_anew(&plain, &e, keep, exact);
    const double error = distance(got, exact, LEN, END), usual = distance(anew, exact, LEN, END);
    if (more >= 1 && !(error < more * usual + 2e-5))
        fail_msg("%s: an error of %g, and of %g when it is read anew", what, error, usual);
    if (more < 1 && !(distance(got, anew, LEN, END) < 0.1))
        fail_msg("%s: %g away from what is read anew", what, distance(got, anew, LEN, END));
    rt_exec_stop(&e);
}

static void shift_of_every_codec_is_like_reading_anew(void **state) {
    (void)state;
    static const uint16_t shared[FIX_LAYERS] = {0, 0};
    for (int id = 0; id < KV_CODEC_COUNT; id++)
        for (int setting = 0; setting < 5; setting++) {
            const bool framed = id == KV_TC && setting != 2, one_of_many = id > KV_Q8_0 && id != KV_KIVI2 && id != KV_TC;
            if (one_of_many && setting != 1 && setting != 3)
                continue;
            fixture f;
            char what[64];
            snprintf(what, sizeof what, "%s, setting %d", kv_codec_names[id].name, setting);
            make(&f, (kv_codec_id)id, setting == 2 ? KV_F16 : (kv_codec_id)id,
                 setting ? setting == 3 || id == KV_KIVI2 || id == KV_KIVI4 ? 20 : 70 : 0, setting ? 4 : 0, 320);
            f.cfg.n_batch = 100;
            f.cfg.frame = setting != 2 ? FRAME : 0;
            f.swa[1] = setting == 3 ? 70 : 0;
            if (setting == 4) { /* the second layer reads what the first one stores */
                f.cfg.kv_layer = shared;
                memcpy(f.key[1], f.key[0], (size_t)TOK * KV_HEADS * DIM * sizeof(float));
                memcpy(f.val[1], f.val[0], (size_t)TOK * KV_HEADS * DIM * sizeof(float));
            }
            /* What was encoded a second and a third time has the error of these times, too. */
            shift_is_like_reading_anew(&f, what, setting ? 37 : 0, framed ? 0 : id == KV_TURBO3Q ? 2.2 : 1.9);
            fix_drop(&f);
        }
}

/* ---- with a budget ---- */

/* Values tell of what stays at the beginning in their second half, of what is new in their first, and of nothing that goes. The
 * first number of a half is 1, so that divided by it an answer is a mean over these tokens alone. */
enum { BUDGET_LEN = 400, KEEP = 10, GONE = 128, HALF = DIM / 2 };

static void make_values(fixture *f) {
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        for (uint32_t t = 0; t < TOK; t++)
            for (uint32_t h = 0; h < KV_HEADS; h++) {
                float *v = f->val[l] + ((size_t)t * KV_HEADS + h) * DIM;
                memset(v + (t < FRAME ? 0 : HALF), 0, HALF * sizeof *v);
                v[t < FRAME ? HALF : 0] = 1;
                if (t >= FRAME && t < FRAME + GONE)
                    memset(v, 0, DIM * sizeof *v);
            }
}

/* Half of the answers to one query at the next position of a copy of c, rotated as if it stood at `at`. (FIX_LAYERS, HEADS,
 * HALF) */
static void ask(const fixture *f, const kv_cache *c, const rt_exec *e, bool second, uint32_t at, float *out) {
    static const float none[KV_HEADS * DIM];
    static float q[HEADS * DIM], all[HEADS * DIM];
    kv_cache *copy = open_cache(f, e);
    kv_err err = {0};
    assert_int_equal(kv_cache_copy(copy, c, &err), KV_OK);
    for (uint32_t l = 0; l < FIX_LAYERS; l++) {
        for (uint32_t h = 0; h < HEADS; h++)
            rotate(f->q[l] + (BUDGET_LEN * HEADS + h) * DIM, 0, at, q + h * DIM);
        assert_int_equal(fix_attend(copy, e, l, q, none, none, 1, f->scale, all, &err), KV_OK);
        for (uint32_t h = 0; h < HEADS; h++)
            for (uint32_t i = 0; i < HALF; i++)
                *out++ = all[h * DIM + second * HALF + i] / all[h * DIM + second * HALF];
    }
    kv_cache_free(copy);
}

static void assert_near(const float *a, const float *b, double most, const char *what) {
    double d = 0, n = 0;
    for (size_t i = 0; i < FIX_LAYERS * HEADS * HALF; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        n += (double)b[i] * b[i];
    }
    if (!(sqrt(d / n) < most))
        fail_msg("%s: %g away", what, sqrt(d / n));
}

/* What is left of a head answers as it did before: what stays at the beginning, to a query that has come closer to it, and what
 * is new. */
static void shift_with_budget(kv_evict_id policy, kv_codec_id codec, bool ada, uint32_t window) {
    float before[FIX_LAYERS * HEADS * HALF], after[FIX_LAYERS * HEADS * HALF];
    char what[64];
    fixture f;
    kv_err err = {0};
    rt_exec e = fix_exec(rt_cpu_detect(), 2);
    snprintf(what, sizeof what, "%s, %s, ada %d, window %u", kv_evict_names[policy].name, kv_codec_names[codec].name, ada,
             window);
    make(&f, codec, codec == KV_F32 ? KV_Q8_0 : KV_F16, window, 4, 420);
    f.cfg.n_batch = 100;
    f.cfg.frame = FRAME;
    f.cfg.evict =
        (kv_evict_cfg){.policy = policy, .budget = {.tokens = 200}, .ada = ada, .recent = 16, .observe = 16, .pool = 3};
    make_values(&f);
    kv_cache *c = open_cache(&f, &e), *batches = open_cache(&f, &e);
    feed(&f, c, &e, 0, BUDGET_LEN, 100, NULL);
    feed(&f, batches, &e, 0, BUDGET_LEN, 13, NULL);
    const double held = kv_cache_get_info(c).held;
    for (int second = 0; second < 2 && !kv_evict_names[policy].folds; second++) { /* folded tokens are of several kinds */
        ask(&f, c, &e, second, second ? BUDGET_LEN - GONE : BUDGET_LEN, before);
        kv_cache *moved = open_cache(&f, &e);
        assert_int_equal(kv_cache_copy(moved, c, &err), KV_OK);
        shift(moved, &e, KEEP, GONE);
        ask(&f, moved, &e, second, BUDGET_LEN - GONE, after);
        assert_near(after, before, codec == KV_Q8_0 ? 2e-2 : 2e-3, what);
        kv_cache_free(moved);
    }
    shift(c, &e, KEEP, GONE);
    shift(batches, &e, KEEP, GONE);
    assert_true(kv_cache_get_info(c).held < held + 1);
    /* and on, past more evictions and another shift */
    for (int again = 0; again < 2; again++) {
        feed(&f, c, &e, BUDGET_LEN, BUDGET_LEN + 100, 100, NULL);
        feed(&f, batches, &e, BUDGET_LEN, BUDGET_LEN + 100, 7, NULL);
        assert_true(kv_cache_get_info(c).held <= 200.5 + 64 * ada);
        if (again == 0) {
            shift(c, &e, KEEP, FRAME);
            shift(batches, &e, KEEP, FRAME);
        }
    }
    if (kv_cache_digest(c) != kv_cache_digest(batches))
        fail_msg("%s: other bytes in other batches", what);
    kv_cache_free(c);
    kv_cache_free(batches);
    fix_drop(&f);
    rt_exec_stop(&e);
}

static void shift_with_every_policy(void **state) {
    (void)state;
    for (int policy = KV_EVICT_NONE + 1; policy < KV_EVICT_COUNT; policy++)
        for (int ada = 0; ada < 2 && !kv_evict_names[policy].calibrated; ada++) {
            shift_with_budget((kv_evict_id)policy, KV_Q8_0, ada, 0);
            shift_with_budget((kv_evict_id)policy, KV_F32, ada, 40);
        }
    shift_with_budget(KV_EVICT_H2O, KV_TC, false, 40);
    shift_with_budget(KV_EVICT_STREAMING, KV_TC, false, 70);
}

/* ---- what is refused, and ways back ---- */

static void assert_refused(kv_cache *c, const rt_exec *e, uint32_t keep, uint32_t n, kv_status st, const char *says) {
    kv_err err = {0};
    const uint64_t digest = kv_cache_digest(c);
    const uint32_t len = kv_cache_len(c);
    assert_int_equal(kv_cache_shift(c, e, keep, n, &err), st);
    if (!strstr(err.msg, says))
        fail_msg("'%s' does not say '%s'", err.msg, says);
    assert_int_equal(kv_cache_len(c), len);
    assert_true(kv_cache_digest(c) == digest);
}

static void shift_refuses_what_cannot_go(void **state) {
    (void)state;
    fixture f;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    make(&f, KV_KIVI2, KV_Q8_0, 40, 4, 320);
    kv_cache *c = open_cache(&f, &e);
    assert_int_equal(kv_shift_step(c), KV_BLOCK);
    assert_int_equal(kv_shift_keep(c, 5), KV_BLOCK); /* groups stay whole */
    feed(&f, c, &e, 0, 200, 100, NULL);
    assert_refused(c, &e, 64, 0, KV_EINVAL, "multiples of 64");
    assert_refused(c, &e, 64, 32, KV_EINVAL, "multiples of 64");
    assert_refused(c, &e, 5, 64, KV_EINVAL, "from 64 on");
    assert_refused(c, &e, 64, 192, KV_EINVAL, "multiples of 64");
    assert_refused(c, &e, 64, 128, KV_EINVAL, "a context of"); /* the window would go */
    kv_cache_free(c);
    fix_drop(&f);
    make(&f, KV_Q8_0, KV_Q8_0, 0, 4, 320);
    f.swa[1] = 100;
    f.cfg.n_batch = 50;
    c = open_cache(&f, &e);
    assert_int_equal(kv_shift_keep(c, 0), 4);
    feed(&f, c, &e, 0, 160, 50, NULL);
    assert_refused(c, &e, 4, 64, KV_EINVAL, "a context of"); /* a sliding layer would look at what stays */
    feed(&f, c, &e, 160, 170, 50, NULL);
    shift(c, &e, 4, 64);
    kv_cache_free(c);
    fix_drop(&f);
    make(&f, KV_Q8_0, KV_Q8_0, 0, 4, 320);
    f.cfg.evict = (kv_evict_cfg){.policy = KV_EVICT_KNORM, .budget = {.tokens = 100}, .recent = 16};
    c = open_cache(&f, &e);
    feed(&f, c, &e, 0, 200, 100, NULL);
    assert_refused(c, &e, 4, 64, KV_EUNSUPP, "RoPE frames");
    kv_cache_free(c);
    fix_drop(&f);
    rt_exec_stop(&e);
}

static void shift_leaves_no_way_back_but_new_ones(void **state) {
    (void)state;
    fixture f;
    kv_err err = {0};
    kv_checkpoint *before, *after;
    rt_exec e = fix_exec(rt_cpu_detect(), 2);
    make(&f, KV_Q4_0, KV_TC, 40, 4, 320);
    kv_cache *c = open_cache(&f, &e);
    feed(&f, c, &e, 0, 150, 100, NULL);
    assert_int_equal(kv_checkpoint_new(c, &before, &err), KV_OK);
    feed(&f, c, &e, 150, 300, 100, NULL);
    shift(c, &e, 20, 64);
    assert_false(kv_checkpoint_reached(before, c));
    assert_int_equal(kv_cache_go_back(c, before, &err), KV_EINVAL);
    assert_int_equal(kv_checkpoint_new(c, &after, &err), KV_OK);
    const uint64_t digest = kv_cache_digest(c);
    feed(&f, c, &e, 300, 360, 100, NULL);
    assert_int_equal(kv_cache_go_back(c, after, &err), KV_OK);
    assert_true(kv_cache_digest(c) == digest);
    feed(&f, c, &e, 300, 305, 100, NULL); /* and a way back in place, as the window is still there */
    assert_int_equal(kv_cache_truncate(c, 300 - 64, &err), KV_OK);
    assert_true(kv_cache_digest(c) == digest);
    kv_checkpoint_free(before);
    kv_checkpoint_free(after);
    kv_cache_free(c);
    fix_drop(&f);
    rt_exec_stop(&e);
}

int main(void) {
    set_frequencies();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shift_of_every_codec_is_like_reading_anew),
        cmocka_unit_test(shift_with_every_policy),
        cmocka_unit_test(shift_refuses_what_cannot_go),
        cmocka_unit_test(shift_leaves_no_way_back_but_new_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
