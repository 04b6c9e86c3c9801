/* Attention against a plain model in double: every token is held twice, as its codec stores it and in f16, and each query picks
 * by the rule of cache.h. Then: bits that must not depend on batch, threads or instruction set. */
#include "held_fixture.h"

/* One query; returns the entropy. */
static double plain_query(const fixture *f, uint32_t layer, const float *q, uint32_t i, held k, held v, double *out,
                          double *lse) {
    uint32_t dim = f->cfg.head_dim, swa = f->swa[layer];
    double *s = malloc((i + 1) * sizeof *s), top = -INFINITY, sum = 0, mean = 0;
    for (uint32_t j = 0; j <= i; j++) {
        const double *key = (reads_full(f, layer, i, j) ? k.full : k.coded) + (size_t)j * dim;
        s[j] = 0;
        for (uint32_t d = 0; d < dim; d++)
            s[j] += key[d] * q[d] * f->scale;
        if (swa && i - j >= swa)
            s[j] = -INFINITY;
        top = fmax(top, s[j]);
    }
    memset(out, 0, dim * sizeof *out);
    for (uint32_t j = 0; j <= i; j++)
        sum += exp(s[j] - top);
    for (uint32_t j = 0; j <= i; j++) {
        const double *val = (reads_full(f, layer, i, j) ? v.full : v.coded) + (size_t)j * dim;
        double p = exp(s[j] - top) / sum;
        for (uint32_t d = 0; d < dim; d++)
            out[d] += p * val[d];
        mean += p > 0 ? p * s[j] : 0;
    }
    free(s);
    *lse = top + log(sum);
    return *lse - mean;
}

static double worst(double a, double got, double want) {
    double e = fabs(got - want);
    return e > a || isnan(e) ? e : a;
}

/* Largest difference between the cache's answers and the plain model's. */
static double compare(const fixture *f, rt_cpu isa, uint32_t batch) {
    uint32_t dim = f->cfg.head_dim, group = f->cfg.n_head / f->cfg.n_kv_head;
    size_t rows = (size_t)FIX_LAYERS * f->n_tok * f->cfg.n_head;
    float *out = malloc(rows * dim * sizeof *out), *lse = malloc(rows * sizeof *lse), *ent = malloc(rows * sizeof *ent);
    rt_exec e = fix_exec(isa, 1);
    kv_cache *c = NULL;
    assert_int_equal(kv_cache_new(&f->cfg, &e, &c, NULL), KV_OK);
    assert_int_equal(fix_feed(f, c, &e, f->n_tok, batch, out, lse, ent), KV_OK);
    double err = 0, want[PROF_MAX_DIM], want_lse;
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        for (uint32_t h = 0; h < f->cfg.n_kv_head; h++) {
            held k = hold(f, l, h, KV_SIDE_K), v = hold(f, l, h, KV_SIDE_V);
            for (uint32_t i = 0; i < f->n_tok; i++)
                for (uint32_t g = h * group; g < (h + 1) * group; g++) {
                    double want_ent =
                        plain_query(f, l, f->q[l] + ((size_t)i * f->cfg.n_head + g) * dim, i, k, v, want, &want_lse);
                    size_t row = ((size_t)l * f->n_tok + i) * f->cfg.n_head + g;
                    for (uint32_t d = 0; d < dim; d++)
                        err = worst(err, out[row * dim + d], want[d]);
                    err = worst(err, lse[row], want_lse);
                    err = worst(err, ent[row], want_ent);
                }
            release(k);
            release(v);
        }
    free(out);
    free(lse);
    free(ent);
    kv_cache_free(c);
    return err;
}

static void check(const fixture *f) {
    double err = compare(f, rt_cpu_detect(), 37);
    if (!(err < tolerance(f)))
        fail_msg("differs by %g (codecs %d %d, window %u, sinks %u, swa %u)", err, f->k[0].id, f->v[0].id, f->cfg.window,
                 f->cfg.sinks, f->swa[0]);
}

static void check_policies(fixture *f, kv_codec_id k, kv_codec_id v) {
    fix_codecs(f, k, v);
    f->cfg.window = f->cfg.sinks = 0;
    check(f);
    f->cfg.window = 20;
    f->cfg.sinks = 3;
    check(f);
}

static void attention_equals_plain_for_every_codec_mix(void **state) {
    (void)state;
    static const kv_codec_id plain[] = {KV_F32, KV_F16, KV_Q8_0, KV_Q4_0, KV_Q4_1, KV_Q5_0, KV_Q5_1, KV_IQ4_NL, KV_TC};
    enum { N = sizeof plain / sizeof *plain };
    fixture f;
    fix_init(&f, 4, 2, 32, 150);
    for (size_t i = 0; i < N * N; i++)
        check_policies(&f, plain[i / N], plain[i % N]);
    fix_drop(&f);
    fix_init(&f, 2, 1, 64, 150);
    for (kv_codec_id id = KV_Q8_0H; id < KV_TC; id++) {
        check_policies(&f, id, id);
        check_policies(&f, id, KV_F32);
        check_policies(&f, KV_TC, id);
    }
    fix_drop(&f);
}

static void attention_keeps_window_and_sinks_in_f16(void **state) {
    (void)state;
    static const uint32_t policy[][2] = {{0, 4}, {1, 0}, {63, 0}, {64, 64}, {65, 1}, {128, 70}, {200, 0}, {300, 4}, {5, 300}};
    fixture f;
    fix_init(&f, 3, 1, 64, 260);
    fix_codecs(&f, KV_TC, KV_Q4_0);
    for (size_t i = 0; i < sizeof policy / sizeof *policy; i++) {
        f.cfg.window = policy[i][0];
        f.cfg.sinks = policy[i][1];
        check(&f);
    }
    fix_drop(&f);
}

static void attention_mixes_codecs_over_layers_and_heads(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 6, 3, 64, 140);
    fix_codecs(&f, KV_TC, KV_TC);
    fix_stream(&f, 0, 1, KV_SIDE_K, KV_F32, 0);
    fix_stream(&f, 0, 1, KV_SIDE_V, KV_F16, 0);
    fix_stream(&f, 0, 2, KV_SIDE_V, KV_Q8_0, 0);
    fix_stream(&f, 1, 0, KV_SIDE_K, KV_TC, 5.5);
    fix_stream(&f, 1, 1, KV_SIDE_K, KV_TC, 0.2);
    fix_stream(&f, 1, 2, KV_SIDE_V, KV_TC, -9); /* no coded dimension at all: every V is the mean */
    f.cfg.window = 33;
    f.cfg.sinks = 4;
    check(&f);
    for (uint32_t window = 0; window <= 33; window += 33) { /* heads that wait for groups beside heads that do not */
        f.cfg.window = window;
        fix_stream(&f, 0, 0, KV_SIDE_K, KV_TC, 3);
        fix_stream(&f, 0, 1, KV_SIDE_K, KV_KIVI2, 0);
        fix_stream(&f, 0, 2, KV_SIDE_K, KV_F16, 0);
        fix_stream(&f, 0, 0, KV_SIDE_V, KV_Q4_0H, 0);
        fix_stream(&f, 0, 1, KV_SIDE_V, KV_TURBO2, 0);
        fix_stream(&f, 0, 2, KV_SIDE_V, KV_F32, 0);
        fix_stream(&f, 1, 0, KV_SIDE_K, KV_TURBO3Q, 0);
        fix_stream(&f, 1, 1, KV_SIDE_K, KV_POLAR4, 0);
        fix_stream(&f, 1, 2, KV_SIDE_K, KV_TURBO4, 0);
        fix_stream(&f, 1, 1, KV_SIDE_V, KV_KIVI4, 0); /* values are not grouped */
        check(&f);
    }
    fix_drop(&f);
}

/* Keys of codec tc are stored as their frame's first position would have them; what is attended to is the same. */
static void attention_turns_frames_back(void **state) {
    (void)state;
    float inv_freq[2 * 16];
    for (int i = 0; i < 2 * 16; i++)
        inv_freq[i] = (float)pow(i < 16 ? 0.7 : 0.4, i % 16);
    fixture f;
    fix_init(&f, 4, 2, 32, 300);
    fix_codecs(&f, KV_TC, KV_TC);
    fix_stream(&f, 1, 1, KV_SIDE_K, KV_Q8_0, 0); /* comes as it is */
    f.cfg.swa = f.swa;
    f.swa[1] = 90;
    for (uint32_t i = 0; i < 8; i++) {
        f.cfg.frame = i & 1 ? 64 : 128;
        f.cfg.window = i & 2 ? 20 : 0;
        f.cfg.sinks = i & 2 ? 3 : 0;
        f.cfg.rope = (kv_rope){inv_freq, i & 4 ? 32 : 16, i % 3 == 0, NULL};
        check(&f);
    }
    fix_drop(&f);
}

static void attention_slides(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 32, 600);
    f.cfg.swa = f.swa;
    f.cfg.n_batch = 50;
    f.swa[0] = 100;
    static const uint32_t windows[] = {0, 40, 100, 150};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        f.cfg.window = windows[i];
        f.cfg.sinks = 2;
        fix_codecs(&f, KV_TC, KV_Q8_0);
        check(&f);
    }
    fix_codecs(&f, KV_F32, KV_F16);
    check(&f);
    f.swa[1] = 1; /* each token sees itself alone */
    check(&f);
    fix_drop(&f);
}

static void attention_takes_odd_shapes(void **state) {
    (void)state;
    static const uint32_t dims[] = {1, 7, 16, 80, 256, 512};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        fixture f;
        fix_init(&f, 5, 1, dims[i], 70);
        fix_codecs(&f, KV_F32, KV_F16);
        check(&f);
        f.cfg.window = 9;
        fix_codecs(&f, KV_TC, KV_TC);
        check(&f);
        fix_drop(&f);
    }
}

static void attention_survives_large_scores(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 32, 200);
    fix_codecs(&f, KV_F32, KV_F32);
    for (size_t i = 0; i < 200 * 32; i++)
        f.key[0][i] *= 20; /* scores up to hundreds: nearly all weight on one token */
    double err = compare(&f, rt_cpu_detect(), 200);
    assert_true(err < 1e-3);
    fix_drop(&f);
}

/* One run; out and lse as fix_feed gives them. */
static float *answers(const fixture *f, rt_cpu isa, int n_threads, uint32_t batch, uint64_t *digest) {
    size_t n = (size_t)FIX_LAYERS * f->n_tok * f->cfg.n_head, dim = f->cfg.head_dim;
    float *mem = malloc(n * (dim + 2) * sizeof *mem);
    rt_exec e = fix_exec(isa, n_threads);
    kv_cache *c = NULL;
    assert_int_equal(kv_cache_new(&f->cfg, &e, &c, NULL), KV_OK);
    assert_int_equal(fix_feed(f, c, &e, f->n_tok, batch, mem, mem + n * dim, mem + n * (dim + 1)), KV_OK);
    *digest = kv_cache_digest(c);
    kv_cache_free(c);
    rt_exec_stop(&e);
    return mem;
}

static void check_bits(const fixture *f, const float *want, uint64_t want_digest, rt_cpu isa, int n_threads, uint32_t batch) {
    uint64_t digest;
    float *got = answers(f, isa, n_threads, batch, &digest);
    size_t bytes = (size_t)FIX_LAYERS * f->n_tok * f->cfg.n_head * (f->cfg.head_dim + 2) * sizeof *got;
    if (memcmp(got, want, bytes) || digest != want_digest)
        fail_msg("bits differ at %s, %d threads, batches of %u%s", rt_cpu_name(isa), n_threads, batch,
                 digest != want_digest ? " (stored bytes, too)" : "");
    free(got);
}

static const kv_codec_id mixes[][2] = {
    {KV_KIVI2, KV_KIVI2}, {KV_TURBO3Q, KV_POLAR4}, {KV_Q4_0H, KV_TURBO2}, /* the first ROTATED want 64 or 128 dimensions */
    {KV_F32, KV_F32},     {KV_F16, KV_F16},        {KV_Q8_0, KV_Q4_0},    {KV_TC, KV_TC}, {KV_F32, KV_TC}};
enum { N_MIX = sizeof mixes / sizeof *mixes, ROTATED = 3 };

static void attention_is_the_same_in_any_batch_and_thread(void **state) {
    (void)state;
    static const uint32_t batches[] = {1, 7, 64, 200};
    fixture f;
    fix_init(&f, 6, 2, 64, 600); /* more than one range */
    f.cfg.n_batch = 200;
    f.cfg.swa = f.swa;
    f.swa[1] = 130;
    for (size_t m = 0; m < 2 * N_MIX; m++) {
        fix_codecs(&f, mixes[m / 2][0], mixes[m / 2][1]);
        f.cfg.window = m % 2 ? 100 : 0;
        f.cfg.sinks = m % 2 ? 5 : 0;
        uint64_t digest;
        float *want = answers(&f, rt_cpu_detect(), 1, 200, &digest);
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
            check_bits(&f, want, digest, rt_cpu_detect(), 1, batches[b]);
        for (int threads = 2; threads <= 3; threads++)
            check_bits(&f, want, digest, rt_cpu_detect(), threads, 200);
        if (m == 2 * N_MIX - 1) /* waking threads for every token takes long on a busy machine: once is enough */
            check_bits(&f, want, digest, rt_cpu_detect(), 2, 1);
        free(want);
    }
    fix_drop(&f);
}

static void attention_is_the_same_for_every_instruction_set(void **state) {
    (void)state;
    for (size_t m = 0; m < N_MIX; m++) {
        fixture f;
        fix_init(&f, 3, 1, m < ROTATED ? 128 : 96, 170);
        f.cfg.swa = f.swa;
        f.swa[1] = 90;
        f.cfg.window = 30;
        f.cfg.sinks = 3;
        fix_codecs(&f, mixes[m][0], mixes[m][1]);
        uint64_t digest;
        float *want = answers(&f, RT_CPU_SCALAR, 1, 100, &digest);
        for (rt_cpu isa = RT_CPU_AVX2; isa < RT_CPU_COUNT; isa++)
            if (rt_cpu_runs(isa))
                check_bits(&f, want, digest, isa, 1, 41);
        free(want);
        fix_drop(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_equals_plain_for_every_codec_mix),
        cmocka_unit_test(attention_keeps_window_and_sinks_in_f16),
        cmocka_unit_test(attention_mixes_codecs_over_layers_and_heads),
        cmocka_unit_test(attention_turns_frames_back),
        cmocka_unit_test(attention_slides),
        cmocka_unit_test(attention_takes_odd_shapes),
        cmocka_unit_test(attention_survives_large_scores),
        cmocka_unit_test(attention_is_the_same_in_any_batch_and_thread),
        cmocka_unit_test(attention_is_the_same_for_every_instruction_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
