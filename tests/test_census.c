/* What layers hold and cost, against what the cache as a whole says and what was asked for. */
#include "cache/cache.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { READ = 200, CTX = 256 };

static rt_ctx *read_some(const rt_model *m, const rt_ctx_cfg *cfg) {
    rt_ctx *c = NULL;
    int32_t ids[READ];
    kv_err err = {0};
    draw_ids(m, 7, ids, READ);
    if (rt_ctx_new(m, cfg, &c, &err) || rt_prefill(c, ids, READ, NULL, &err))
        fail_msg("%s", err.msg);
    return c;
}

/* Every token is in one state, and layers cost no more than all. */
static void check_sums(const rt_model *m, rt_ctx *c) {
    const kv_cache_info info = kv_cache_get_info(rt_ctx_cache(c));
    size_t bytes = 0, f16 = 0;
    for (uint32_t i = 0; i < rt_model_hparams(m)->n_layer; i++) {
        const kv_layer_info l = kv_cache_get_layer(rt_ctx_cache(c), i);
        bytes += l.bytes;
        f16 += l.bytes_f16;
        if (l.stores)
            assert_true(l.sinks + l.window + l.body + l.past + l.evicted == READ);
        assert_true(l.body >= 0 && l.past >= 0 && l.evicted >= 0);
    }
    assert_int_equal(f16, info.bytes_f16);
    assert_true(bytes <= info.bytes && bytes >= info.body_bytes);
}

static void layers_say_what_was_asked_for(void **state) {
    rt_model *m = load_test_model("tiny/qwen2", NULL, 1);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    (void)state;
    cfg.n_ctx = CTX;
    cfg.ctk = cfg.ctv = KV_Q8_0;
    cfg.sinks = 3;
    cfg.window = 40;
    rt_ctx *c = read_some(m, &cfg);
    check_sums(m, c);
    kv_layer_info l = kv_cache_get_layer(rt_ctx_cache(c), 0);
    assert_true(l.sinks == 3 && l.window >= 40 && l.window < 40 + 16 && l.evicted == 0 && !l.exact);
    rt_ctx_free(c);

    cfg.ctk = cfg.ctv = KV_F16;
    c = read_some(m, &cfg);
    check_sums(m, c);
    l = kv_cache_get_layer(rt_ctx_cache(c), 0);
    assert_true(l.exact && l.body == READ && l.window == 0);
    assert_int_equal(l.bytes, l.bytes_f16);
    rt_ctx_free(c);

    cfg.ctk = cfg.ctv = KV_Q8_0;
    cfg.budget.tokens = 128;
    cfg.evict = KV_EVICT_SNAPKV;
    c = read_some(m, &cfg);
    check_sums(m, c);
    l = kv_cache_get_layer(rt_ctx_cache(c), 0);
    assert_true(l.evicted >= READ - 128);
    assert_true(READ - l.evicted == kv_cache_get_info(rt_ctx_cache(c)).held);
    rt_ctx_free(c);
    rt_model_free(m);
}

static void layers_that_slide_are_told_apart(void **state) {
    rt_model *m = load_test_model("tiny/gemma3", NULL, 1);
    const rt_hparams *hp = rt_model_hparams(m);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    uint32_t sliding = 0;
    (void)state;
    cfg.n_ctx = CTX;
    cfg.ctk = cfg.ctv = KV_Q8_0;
    cfg.sinks = 2;
    cfg.window = 8;
    rt_ctx *c = read_some(m, &cfg);
    check_sums(m, c);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const kv_layer_info l = kv_cache_get_layer(rt_ctx_cache(c), i);
        sliding += l.slides;
        assert_true(l.slides || l.past == 0);
    }
    assert_true(sliding > 0 && sliding < hp->n_layer);
    rt_ctx_free(c);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_say_what_was_asked_for),
        cmocka_unit_test(layers_that_slide_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
