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

enum { HEADS = 4, KV_HEADS = 2, DIM = 64, ROT = 48, TOK = 1000, FRAME = 64 };

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

enum { LEN = 500, FIRST = 128, MID = 600, SECOND = 256, END = 700 };

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

/* `more`: how much larger the error of answers may be than with codes of what was read anew; the error is that against f32. */
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
    if (getenv("SHOW"))
        printf("%-20s error %g usual %g ratio %g\n", what, error, usual, error / usual);
    if (!(error < more * usual + 2e-5))
        fail_msg("%s: an error of %g, and of %g when it is read anew", what, error, usual);
    rt_exec_stop(&e);
}

static void shift_of_every_codec_is_like_reading_anew(void **state) {
    (void)state;
    for (int id = 0; id < KV_CODEC_COUNT; id++)
        for (int setting = 0; setting < 5; setting++) {
            fixture f;
            char what[64];
            snprintf(what, sizeof what, "%s, setting %d", kv_codec_names[id].name, setting);
            make(&f, (kv_codec_id)id, setting == 2 ? KV_F16 : (kv_codec_id)id, setting ? setting == 3 ? 20 : 70 : 0,
                 setting ? 4 : 0, 620);
            f.cfg.n_batch = 100;
            f.cfg.frame = setting != 2 ? FRAME : 0;
            f.swa[1] = setting == 3 ? 100 : 0;
            f.cfg.kv_layer = setting == 4 ? (const uint16_t[]){0, 0} : NULL;
            /* Framed keys are not encoded again; of others a third of the error each time, and of sums of squares the root. */
            shift_is_like_reading_anew(&f, what, setting ? 37 : 0, id == KV_TC && f.cfg.frame ? 1.02 : 1.9);
            fix_drop(&f);
        }
}

int main(void) {
    set_frequencies();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shift_of_every_codec_is_like_reading_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
