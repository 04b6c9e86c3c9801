/* The cache as a container: same tokens, same bytes; going back; limits; sizes. */
#include "cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static kv_cache *make(const fixture *f, const rt_exec *e) {
    kv_cache *c = NULL;
    assert_int_equal(kv_cache_new(&f->cfg, e, &c, NULL), KV_OK);
    return c;
}

/* Digest and last answers of a fresh cache that is fed `end` tokens. */
static uint64_t fresh(const fixture *f, const rt_exec *e, uint32_t end, uint32_t batch, float *out) {
    kv_cache *c = make(f, e);
    assert_int_equal(fix_feed(f, c, e, end, batch, out, NULL, NULL), KV_OK);
    uint64_t digest = kv_cache_digest(c);
    kv_cache_free(c);
    return digest;
}

static const kv_codec_id mixes[][2] = {
    {KV_F32, KV_F32},        {KV_F16, KV_TC},      {KV_Q8_0, KV_Q4_0}, {KV_TC, KV_TC}, {KV_Q4_0, KV_F16},
    {KV_TURBO3Q, KV_POLAR4}, {KV_KIVI2, KV_KIVI4}, {KV_KIVI4, KV_F16}}; /* keys of the last ones wait for groups of 32 */
enum { N_MIX = sizeof mixes / sizeof *mixes, N_UNGROUPED = N_MIX - 2 };

static void cache_bytes_depend_on_the_tokens_alone(void **state) {
    (void)state;
    static const uint32_t policy[][2] = {{0, 0}, {0, 4}, {70, 4}, {1, 70}, {64, 0}, {0, 33}}, batches[] = {1, 7, 64, 200};
    fixture f;
    fix_init(&f, 2, 2, 32, 330);
    f.cfg.n_batch = 200;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    for (size_t m = 0; m < N_MIX; m++)
        for (size_t p = 0; p < sizeof policy / sizeof *policy; p++) {
            fix_codecs(&f, mixes[m][0], mixes[m][1]);
            f.cfg.window = policy[p][0];
            f.cfg.sinks = policy[p][1];
            uint64_t want = fresh(&f, &e, 330, 200, NULL);
            for (size_t b = 0; b < 3; b++)
                assert_int_equal(fresh(&f, &e, 330, batches[b], NULL), want);
            f.key[1][329 * 64 + 40] += 4; /* the digest sees one changed key, in the window too */
            assert_int_not_equal(fresh(&f, &e, 330, 200, NULL), want);
            f.key[1][329 * 64 + 40] -= 4;
            float was = f.val[0][0];
            f.val[0][0] += 1; /* and a sink */
            assert_int_not_equal(fresh(&f, &e, 330, 200, NULL), want);
            f.val[0][0] = was;
        }
    fix_drop(&f);
}

static void cache_clear_leaves_no_trace(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 64, 300);
    f.cfg.swa = f.swa;
    f.swa[1] = 90;
    f.cfg.n_batch = 64;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    for (size_t m = 0; m < N_MIX; m++) {
        fix_codecs(&f, mixes[m][0], mixes[m][1]);
        f.cfg.window = 30;
        f.cfg.sinks = 4;
        kv_cache *c = make(&f, &e);
        assert_int_equal(fix_feed(&f, c, &e, 300, 64, NULL, NULL, NULL), KV_OK);
        kv_cache_clear(c);
        assert_int_equal(kv_cache_len(c), 0);
        assert_int_equal(fix_feed(&f, c, &e, 123, 10, NULL, NULL, NULL), KV_OK);
        assert_int_equal(kv_cache_digest(c), fresh(&f, &e, 123, 64, NULL));
        kv_cache_free(c);
    }
    fix_drop(&f);
}

/* Cut a cache of `from` tokens to `to`: it must equal a fresh one, and go on like one. */
static void check_cut(const fixture *f, const rt_exec *e, uint32_t from, uint32_t to, uint32_t batch, kv_status want) {
    size_t rows = (size_t)FIX_LAYERS * f->n_tok * f->cfg.n_head * f->cfg.head_dim;
    kv_cache *c = make(f, e);
    kv_err err = {0};
    assert_int_equal(fix_feed(f, c, e, from, batch, NULL, NULL, NULL), KV_OK);
    uint64_t before = kv_cache_digest(c);
    kv_status st = kv_cache_truncate(c, to, &err);
    if (st != want)
        fail_msg("cutting %u to %u gives %d, not %d: %s", from, to, st, want, err.msg);
    if (st) {
        assert_non_null(strstr(err.msg, "feed them again"));
        assert_int_equal(kv_cache_digest(c), before);
        assert_int_equal(kv_cache_len(c), from);
        kv_cache_free(c);
        return;
    }
    assert_int_equal(kv_cache_len(c), to);
    assert_int_equal(kv_cache_digest(c), fresh(f, e, to, 40, NULL));
    float *a = calloc(rows, sizeof *a), *b = calloc(rows, sizeof *b);
    assert_int_equal(fix_feed(f, c, e, f->n_tok, 33, a, NULL, NULL), KV_OK);
    assert_int_equal(kv_cache_digest(c), fresh(f, e, f->n_tok, 40, b));
    size_t row = (size_t)f->cfg.n_head * f->cfg.head_dim;
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        assert_memory_equal(a + (l * f->n_tok + to) * row, b + (l * f->n_tok + to) * row, (f->n_tok - to) * row * sizeof *a);
    free(a);
    free(b);
    kv_cache_free(c);
}

static void cache_truncates(void **state) {
    (void)state;
    static const uint32_t cuts[] = {0, 1, 63, 64, 65, 100, 199, 200};
    fixture f;
    fix_init(&f, 2, 1, 32, 220);
    f.cfg.n_batch = 40;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    for (size_t m = 0; m < N_UNGROUPED; m++) {
        fix_codecs(&f, mixes[m][0], mixes[m][1]);
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
            for (uint32_t sinks = 0; sinks <= 70; sinks += 35) {
                f.cfg.sinks = sinks;
                check_cut(&f, &e, 200, cuts[i], 40, KV_OK);
            }
    }
    fix_drop(&f);
}

static void cache_truncates_while_f16_copies_last(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 32, 420);
    f.cfg.n_batch = 40;
    f.cfg.window = 100; /* the ring has room for 16 more: at 400 tokens those of positions 284 .. 399 are there */
    f.cfg.sinks = 4;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    fix_codecs(&f, KV_TC, KV_Q4_0);
    check_cut(&f, &e, 400, 399, 40, KV_OK);
    check_cut(&f, &e, 400, 373, 40, KV_OK); /* 85 tokens are in the window, and up to 15 more */
    check_cut(&f, &e, 400, 372, 40, KV_EINVAL);
    check_cut(&f, &e, 400, 200, 40, KV_EINVAL);
    check_cut(&f, &e, 400, 5, 40, KV_EINVAL);
    check_cut(&f, &e, 400, 4, 40, KV_OK); /* sinks alone */
    check_cut(&f, &e, 400, 0, 40, KV_OK);
    check_cut(&f, &e, 120, 60, 40, KV_OK);
    f.cfg.n_batch = 200; /* too many for the ring: the last ones are moved there */
    check_cut(&f, &e, 400, 373, 200, KV_OK);
    check_cut(&f, &e, 400, 372, 200, KV_EINVAL);
    f.cfg.n_batch = 40;
    fix_codecs(&f, KV_F16, KV_F32); /* all exact: the window means nothing */
    check_cut(&f, &e, 400, 5, 40, KV_OK);
    fix_drop(&f);
}

/* Groups of 32 keys: an incomplete one lives in the ring (47 tokens: at 200, those from 153 on). */
static void cache_truncates_groups(void **state) {
    (void)state;
    static const struct {
        uint32_t to, sinks;
        kv_status want;
    } cuts[] = {{199, 0, KV_OK}, {193, 4, KV_OK}, {192, 0, KV_OK},     {170, 4, KV_OK},    {128, 0, KV_OK},
                {96, 4, KV_OK},  {32, 33, KV_OK}, {150, 4, KV_EINVAL}, {65, 0, KV_EINVAL}, {10, 4, KV_EINVAL},
                {4, 4, KV_OK},   {70, 70, KV_OK}, {71, 70, KV_EINVAL}};
    fixture f;
    fix_init(&f, 2, 1, 32, 220);
    f.cfg.n_batch = 40;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    for (size_t m = N_UNGROUPED; m < N_MIX; m++) {
        fix_codecs(&f, mixes[m][0], mixes[m][1]);
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
            f.cfg.sinks = cuts[i].sinks;
            check_cut(&f, &e, 200, cuts[i].to, 40, cuts[i].want);
        }
        f.cfg.sinks = 4;
        f.cfg.window = 50;
        check_cut(&f, &e, 200, 190, 40, KV_OK);
        check_cut(&f, &e, 200, 30, 40, KV_EINVAL);
        f.cfg.window = 0;
    }
    fix_drop(&f);
}

static void cache_truncates_sliding_layers_as_far_as_they_reach(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 32, 620);
    f.cfg.n_batch = 40;
    f.cfg.swa = f.swa;
    f.swa[0] = 100; /* 4 blocks of the body */
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    fix_codecs(&f, KV_TC, KV_Q4_0);
    check_cut(&f, &e, 600, 590, 40, KV_OK);
    check_cut(&f, &e, 600, 483, 40, KV_OK);
    check_cut(&f, &e, 600, 482, 40, KV_EINVAL);
    check_cut(&f, &e, 600, 30, 40, KV_EINVAL);
    fix_drop(&f);
}

static void cache_refuses_to_overflow(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 32, 50);
    fix_codecs(&f, KV_Q8_0, KV_Q8_0);
    f.cfg.n_ctx = 40;
    f.cfg.n_batch = 30;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    kv_cache *c = make(&f, &e);
    kv_err err;
    float out[30 * 64];
    assert_int_equal(fix_attend(c, &e, 0, f.q[0], f.key[0], f.val[0], 31, 1, out, &err), KV_EINVAL);
    assert_int_equal(fix_attend(c, &e, 0, f.q[0], f.key[0], f.val[0], 0, 1, out, &err), KV_EINVAL);
    assert_int_equal(fix_attend(c, &e, 2, f.q[0], f.key[0], f.val[0], 1, 1, out, &err), KV_EINVAL);
    assert_int_equal(fix_feed(&f, c, &e, 35, 30, NULL, NULL, NULL), KV_OK);
    uint64_t digest = kv_cache_digest(c);
    assert_int_equal(fix_attend(c, &e, 0, f.q[0], f.key[0], f.val[0], 6, 1, out, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "40 tokens is full"));
    assert_int_equal(kv_cache_digest(c), digest);
    assert_int_equal(fix_feed(&f, c, &e, 40, 5, NULL, NULL, NULL), KV_OK);
    assert_int_equal(kv_cache_truncate(c, 41, &err), KV_EINVAL);
    kv_cache_free(c);
    fix_drop(&f);
}

static void cache_refuses_nan_and_recovers(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e5f};
    fixture f;
    fix_init(&f, 2, 1, 32, 300);
    f.cfg.n_batch = 100;
    f.cfg.sinks = 3;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    for (size_t m = 0; m < N_MIX; m++)
        for (uint32_t window = 0; window <= 50; window += 50) {
            fix_codecs(&f, mixes[m][0], mixes[m][1]);
            f.cfg.window = window;
            kv_cache *c = make(&f, &e);
            assert_int_equal(fix_feed(&f, c, &e, 30, 100, NULL, NULL, NULL), KV_OK);
            for (size_t i = 0; i < sizeof bad / sizeof *bad - (m == 0); i++) { /* f32 can hold 1e5 */
                float *spot = (i % 2 ? f.key : f.val)[1] + 33 * 32 + 7, was = *spot;
                *spot = bad[i]; /* layer 0 takes the batch, layer 1 refuses it */
                assert_int_equal(fix_feed(&f, c, &e, 40 + (uint32_t)i, 20, NULL, NULL, NULL), KV_ERANGE);
                *spot = was;
                assert_int_equal(kv_cache_len(c), 30);
            }
            assert_int_equal(fix_feed(&f, c, &e, 35, 5, NULL, NULL, NULL), KV_OK); /* fewer than were refused */
            assert_int_equal(kv_cache_digest(c), fresh(&f, &e, 35, 100, NULL));
            kv_cache_free(c);
        }
    fix_drop(&f);
}

static void cache_notices_a_layer_left_out(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 32, 50);
    fix_codecs(&f, KV_F16, KV_F16);
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    kv_cache *c = make(&f, &e);
    float out[10 * 64];
    assert_int_equal(fix_attend(c, &e, 0, f.q[0], f.key[0], f.val[0], 10, 1, out, NULL), KV_OK);
    kv_cache_commit(c, 10);
    assert_int_equal(fix_attend(c, &e, 1, f.q[0], f.key[0], f.val[0], 10, 1, out, NULL), KV_EINVAL);
    kv_cache_free(c);
    fix_drop(&f);
}

static void cache_reports_what_it_costs(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 6, 3, 64, 10);
    f.cfg.n_ctx = 1000; /* 16 blocks */
    f.cfg.n_batch = 100;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    fix_codecs(&f, KV_F16, KV_F16);
    kv_cache *c = make(&f, &e);
    kv_cache_info i = kv_cache_get_info(c);
    assert_int_equal(i.bytes_f16, 2ul * 3 * 2 * 1024 * 64 * 2);
    assert_int_equal(i.bytes, i.bytes_f16);
    assert_int_equal(i.fp_bytes, 0);
    kv_cache_free(c);
    fix_codecs(&f, KV_Q8_0, KV_Q4_0);
    f.cfg.window = 128;
    f.cfg.sinks = 4;
    c = make(&f, &e);
    i = kv_cache_get_info(c);
    assert_int_equal(i.bytes_f16, 2ul * 3 * 2 * 1024 * 64 * 2);
    assert_int_equal(i.body_bytes, 2 * 3 * 14 * 64 * (34 * 2 + 18 * 2)); /* 872 tokens, for 128 are in the window */
    /* per layer: sinks and a ring of 144; once: a batch of 100, or 116 */
    assert_int_equal(i.fp_bytes, 2 * 6 * (4 + 144) * 64 * 2 + 6 * 116 * 64 * 2);
    assert_int_equal(i.bytes, i.body_bytes + i.fp_bytes);
    assert_float_equal(i.bits_k, 8.5, 0);
    assert_float_equal(i.bits_v, 4.5, 0);
    kv_cache_free(c);
    f.cfg.window = 1000; /* all that can be read is in the window: nothing to gain */
    c = make(&f, &e);
    i = kv_cache_get_info(c);
    assert_int_equal(i.bytes, i.bytes_f16);
    assert_float_equal(i.bits_k, 16, 0);
    kv_cache_free(c);
    fix_drop(&f);
}

static void cache_sliding_layers_hold_no_more_than_they_read(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 2, 1, 64, 10);
    fix_codecs(&f, KV_Q4_0, KV_Q4_0);
    f.cfg.n_ctx = 100000;
    f.cfg.n_batch = 64;
    f.cfg.swa = f.swa;
    f.swa[0] = f.swa[1] = 512;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    kv_cache *c = make(&f, &e);
    assert_int_equal(kv_cache_get_info(c).bytes, 2 * 2 * 10 * 64 * 36);
    kv_cache_free(c);
    fix_drop(&f);
}

/* Sizes told beforehand are those of the cache that is then made: short contexts that the window covers, sliding layers, every
 * mix of codecs, heads that differ. */
static void cache_size_is_that_of_a_real_cache(void **state) {
    (void)state;
    static const uint32_t n_ctx[] = {4000, 1, 63, 64, 129, 1000}, policy[][2] = {{0, 0}, {0, 4}, {128, 4}, {33, 70}, {5000, 0}},
                          swa[][FIX_LAYERS] = {{0, 0}, {100, 0}, {512, 90}};
    enum { N_CTX = sizeof n_ctx / sizeof *n_ctx };
    fixture f;
    fix_init(&f, 4, 2, 64, 10);
    f.cfg.swa = f.swa;
    f.cfg.n_batch = 200;
    rt_exec e = fix_exec(rt_cpu_detect(), 1);
    for (size_t m = 0; m < N_MIX; m++)
        for (size_t p = 0; p < sizeof policy / sizeof *policy; p++)
            for (size_t s = 0; s < sizeof swa / sizeof *swa; s++) {
                kv_cache_info told[N_CTX] = {{0}};
                fix_codecs(&f, mixes[m][0], mixes[m][1]);
                fix_stream(&f, 1, 1, KV_SIDE_K, KV_Q4_0, 0);
                f.cfg.window = policy[p][0];
                f.cfg.sinks = policy[p][1];
                memcpy(f.swa, swa[s], sizeof f.swa);
                f.cfg.n_ctx = 7; /* not read */
                assert_int_equal(kv_cache_size(&f.cfg, n_ctx, N_CTX, told, NULL), KV_OK);
                for (size_t i = 0; i < N_CTX; i++) {
                    f.cfg.n_ctx = n_ctx[i];
                    kv_cache *c = make(&f, &e);
                    kv_cache_info real = kv_cache_get_info(c);
                    if (memcmp(&told[i], &real, sizeof real))
                        fail_msg("mix %zu, policy %zu, swa %zu, %u tokens: %zu bytes told, %zu real", m, p, s, n_ctx[i],
                                 told[i].bytes, real.bytes);
                    kv_cache_free(c);
                }
            }
    const uint32_t none = 0;
    kv_cache_info info;
    assert_int_equal(kv_cache_size(&f.cfg, &none, 1, &info, NULL), KV_EINVAL);
    fix_drop(&f);
}

static void refuses(fixture *f, kv_status want, const char *words) {
    rt_exec e = fix_exec(rt_cpu_detect(), 2);
    kv_cache *c = NULL;
    kv_err err = {0};
    assert_int_equal(kv_cache_new(&f->cfg, &e, &c, &err), want);
    rt_exec_stop(&e);
    if (!strstr(err.msg, words))
        fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void cache_refuses_shapes_that_do_not_fit(void **state) {
    (void)state;
    fixture f;
    fix_init(&f, 4, 2, 64, 100);
    fix_codecs(&f, KV_TC, KV_TC);
    kv_cache_cfg good = f.cfg;
    f.cfg.n_head = 5;
    refuses(&f, KV_EINVAL, "5 heads");
    f.cfg = good;
    f.cfg.head_dim = 1024;
    refuses(&f, KV_EINVAL, "head_dim 1024");
    f.cfg = good;
    f.cfg.n_ctx = 0;
    refuses(&f, KV_EINVAL, "0 tokens");
    f.cfg = good;
    f.cfg.n_ctx = 2000000000; /* an exabyte or so with f32: no allocation, no crash */
    f.cfg.head_dim = 512;
    kv_codec_sel wide[4] = {{KV_F32, NULL}, {KV_F32, NULL}, {KV_F32, NULL}, {KV_F32, NULL}};
    f.cfg.k = f.cfg.v = wide;
    refuses(&f, KV_ENOMEM, "smaller context");
    f.cfg = good;
    f.cfg.frame = 100;
    refuses(&f, KV_EINVAL, "frames of 100 positions");
    f.cfg.frame = 128;
    refuses(&f, KV_EINVAL, "rotations of the model");
    f.cfg = good;
    f.v[3].tc = NULL;
    refuses(&f, KV_EINVAL, "layer 1, KV head 1, V");
    f.v[3].tc = f.tc[7];
    memset(f.tc[2]->basis, 0, 64 * sizeof(float));
    refuses(&f, KV_ERANGE, "layer 0, KV head 1, K: the basis is singular");
    kv_cache_free(NULL);
    fix_drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_bytes_depend_on_the_tokens_alone),
        cmocka_unit_test(cache_clear_leaves_no_trace),
        cmocka_unit_test(cache_truncates),
        cmocka_unit_test(cache_truncates_while_f16_copies_last),
        cmocka_unit_test(cache_truncates_groups),
        cmocka_unit_test(cache_truncates_sliding_layers_as_far_as_they_reach),
        cmocka_unit_test(cache_refuses_to_overflow),
        cmocka_unit_test(cache_refuses_nan_and_recovers),
        cmocka_unit_test(cache_notices_a_layer_left_out),
        cmocka_unit_test(cache_reports_what_it_costs),
        cmocka_unit_test(cache_size_is_that_of_a_real_cache),
        cmocka_unit_test(cache_sliding_layers_hold_no_more_than_they_read),
        cmocka_unit_test(cache_refuses_shapes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
