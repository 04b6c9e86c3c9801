/* Copies of a cache go on exactly as the original does. */
#include "cache_fixture.h"
#include "kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N = 700, AT = 333, BATCH = 100 };

static kv_cache *make(const fixture *f, const rt_exec *e) {
    kv_cache *c = NULL;
    assert_int_equal(kv_cache_new(&f->cfg, e, &c, NULL), KV_OK);
    return c;
}

/* Copy at AT tokens over a cache that holds others, then feed both to the end. */
static void check(fixture *f) {
    const rt_exec e = fix_exec(rt_cpu_detect(), 1);
    const size_t bytes = (size_t)FIX_LAYERS * f->n_tok * f->cfg.n_head * f->cfg.head_dim * sizeof(float);
    kv_cache *a = make(f, &e), *b = make(f, &e);
    float *out_a = calloc(1, bytes), *out_b = calloc(1, bytes);
    assert_int_equal(fix_feed(f, a, &e, AT, BATCH, NULL, NULL, NULL), KV_OK);
    assert_int_equal(fix_feed(f, b, &e, N, BATCH, NULL, NULL, NULL), KV_OK);
    assert_int_equal(kv_cache_copy(b, a, NULL), KV_OK);
    assert_int_equal(kv_cache_len(b), AT);
    assert_true(kv_cache_digest(a) == kv_cache_digest(b));
    fix_feed(f, a, &e, N, 7, out_a, NULL, NULL);
    fix_feed(f, b, &e, N, 7, out_b, NULL, NULL);
    assert_memory_equal(out_a, out_b, bytes);
    assert_true(kv_cache_digest(a) == kv_cache_digest(b));
    kv_cache_free(a);
    kv_cache_free(b);
    free(out_a);
    free(out_b);
}

static void cache_copy_goes_on_like_the_original(void **state) {
    (void)state;
    static const kv_codec_id codecs[][2] = {{KV_F16, KV_F16}, {KV_Q8_0, KV_F32}, {KV_TC, KV_TC}, {KV_KIVI4, KV_KIVI4}};
    static const uint32_t windows[] = {0, 100};
    fixture f;
    fix_init(&f, 2, 1, 64, N);
    f.cfg.n_batch = BATCH;
    f.cfg.sinks = 4;
    f.cfg.swa = f.swa;
    f.swa[1] = 200;
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        for (size_t w = 0; w < 2; w++) {
            fix_codecs(&f, codecs[i][0], codecs[i][1]);
            f.cfg.window = windows[w];
            check(&f);
        }
    fix_drop(&f);
}

static void cache_copy_refuses_other_configurations(void **state) {
    (void)state;
    const rt_exec e = fix_exec(rt_cpu_detect(), 1);
    fixture f;
    fix_init(&f, 2, 1, 64, N);
    fix_codecs(&f, KV_Q8_0, KV_Q8_0);
    f.cfg.window = 32;
    kv_cache *a = make(&f, &e);
    const kv_cache_cfg good = f.cfg;
    for (int i = 0; i < 3; i++) {
        f.cfg = good;
        if (i == 0)
            f.cfg.window = 33;
        else if (i == 1)
            f.cfg.n_ctx = N / 2;
        else
            fix_codecs(&f, KV_Q8_0, KV_F16);
        kv_cache *b = make(&f, &e);
        assert_int_equal(kv_cache_copy(b, a, NULL), KV_EINVAL);
        kv_cache_free(b);
    }
    kv_cache_free(a);
    fix_drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_copy_goes_on_like_the_original),
        cmocka_unit_test(cache_copy_refuses_other_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
