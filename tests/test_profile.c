/* Profiles: what is written is what is read, and whatever else is read is refused with the place named. */
#include "base/fp16.h"
#include "profile/blob.h"
#include "profile_check.h"
#include "profile_fixture.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROOT KV_TEST_DATA "/../../"

static prof *tiny(void) {
    prof *p = fixture_profile(3, 4, 2, 8);
    assert_non_null(p);
    return p;
}

/* Where the first `mark` in text ends. */
static size_t after(const char *text, const char *mark) {
    const char *found = strstr(text, mark);
    assert_non_null(found);
    return (size_t)(found - text) + strlen(mark);
}

static void assert_same_tc(const prof_tc *a, const prof_tc *b) {
    assert_int_equal(a->dim, b->dim);
    assert_memory_equal(a->bits, b->bits, a->dim);
    assert_memory_equal(a->mean, b->mean, a->dim * sizeof(float));
    assert_memory_equal(a->sigma, b->sigma, a->dim * sizeof(float));
    assert_memory_equal(a->basis, b->basis, a->dim * a->dim * sizeof(float));
    assert_memory_equal(a->step, b->step, (PROF_MAX_BITS + 1) * sizeof(float));
    assert_memory_equal(a->levels, b->levels, TRELLIS_LEVELS);
}

static void assert_same_kv(const prof *p, const prof_kv *a, const prof_kv *b) {
    assert_true(a->bits == b->bits);
    for (uint32_t h = 0; h < p->n_kv_head; h++) {
        prof_head x = prof_kv_head(a, h), y = prof_kv_head(b, h);
        assert_int_equal(x.codec, y.codec);
        assert_true(x.bits == y.bits);
        assert_int_equal(x.tc != NULL, y.tc != NULL);
        if (x.tc)
            assert_same_tc(x.tc, y.tc);
    }
}

/* All of it: reading gives back every number that was written. */
static void profile_reads_what_it_writes(void **state) {
    (void)state;
    prof *p = tiny();
    assert_true(fixture_mix(p));
    p->facts[0] = FIXTURE_FACTS;
    p->n_facts = 1;
    size_t len, len2;
    char *text = must_format(p, &len);
    prof *q = must_parse(text, len);
    char *text2 = must_format(q, &len2);
    assert_int_equal(len, len2);
    assert_memory_equal(text, text2, len);

    assert_string_equal(p->model_name, q->model_name);
    assert_string_equal(p->model_hash, q->model_hash);
    assert_string_equal(p->text_hash, q->text_hash);
    assert_true(p->seed == q->seed);
    assert_memory_equal(&p->measured[0].ctx, &q->measured[0].ctx, sizeof p->measured[0] - offsetof(prof_measured, ctx));
    assert_int_equal(q->n_measured, 1);
    assert_int_equal(q->n_facts, 1);
    assert_memory_equal(&p->facts[0], &q->facts[0], sizeof p->facts[0]);
    assert_int_equal(q->n_layer, 3);
    for (uint32_t l = 0; l < 3; l++) {
        assert_memory_equal(p->layers[l].entropy, q->layers[l].entropy, 4 * sizeof(float));
        assert_memory_equal(p->layers[l].importance, q->layers[l].importance, 2 * sizeof(float));
        assert_int_equal(p->layers[l].budget, q->layers[l].budget);
        assert_same_kv(p, &p->layers[l].k, &q->layers[l].k);
        assert_same_kv(p, &p->layers[l].v, &q->layers[l].v);
    }
    prof_free(p);
    prof_free(q);
    free(text);
    free(text2);
}

/* The file of an earlier build: reads, and is written again byte for byte but for the packing of the data. */
static void profile_reads_golden_file(void **state) {
    (void)state;
    prof *p, *q = tiny();
    kv_err err = {0};
    if (prof_load(KV_TEST_DATA "/profile/full.yaml", &p, &err) != KV_OK)
        fail_msg("%s", err.msg);
    for (uint32_t l = 0; l < 3; l++) {
        assert_same_kv(p, &p->layers[l].k, &q->layers[l].k);
        assert_same_kv(p, &p->layers[l].v, &q->layers[l].v);
    }
    char *a, *b;
    size_t na, nb;
    assert_int_equal(prof_format_parts(p, false, &a, &na, &err), KV_OK);
    assert_int_equal(prof_format_parts(q, false, &b, &nb, &err), KV_OK);
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    free(a);
    free(b);
    prof_free(p);
    prof_free(q);
}

/* Of version 1, when codebooks were scalar: there is no way to read those, so it says what to do. */
static void profile_of_older_codebooks_asks_for_calibration(void **state) {
    (void)state;
    prof *p = NULL;
    kv_err err = {0};
    assert_int_equal(prof_load(KV_TEST_DATA "/profile/full_v1.yaml", &p, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "full_v1.yaml: data: "));
    assert_non_null(strstr(err.msg, "another version of kvcalib? Calibrate again"));
    assert_null(p);
}

static void profile_rounds_once(void **state) {
    (void)state;
    prof *p = tiny();
    prof_tc *t = &p->layers[0].k.heads[0];
    for (uint32_t i = 0; i < 8; i++) {
        assert_true(t->sigma[i] == fp16_to_fp32(fp16_from_fp32(t->sigma[i])));
        for (uint32_t j = 0; j < 8; j++)
            assert_true(t->basis[8 * i + j] == fp16_to_fp32(fp16_from_fp32(t->basis[8 * i + j])));
    }
    /* A row whose largest number rounds up to a power of two, rows of very different size, steps between halves. */
    const float row[8] = {0.9999999f, 0.3333333f, -0.0123f, 1e-9f, -0.5003f, 0, 0.7777f, -0.99999f};
    memcpy(t->basis, row, sizeof row);
    for (int i = 0; i < 8; i++) {
        t->basis[8 + i] = row[i] * 1e-6f;
        t->basis[16 + i] = row[i] * 30000;
    }
    for (int b = 0; b <= PROF_MAX_BITS; b++)
        t->step[b] = 1 + 1e-4f * (float)b;
    prof_round(p);
    kv_err err = {0};
    if (prof_check(p, "t", &err) != KV_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < 8; i++)
        assert_true(fabsf(t->basis[i] - row[i]) <= 0x1p-10f);
    for (int b = 0; b <= PROF_MAX_BITS; b++)
        assert_true(t->step[b] == fp16_to_fp32(fp16_from_fp32(t->step[b])) && fabsf(t->step[b] - 1) < 1e-3f);
    float basis[64], step[PROF_MAX_BITS + 1];
    memcpy(basis, t->basis, sizeof basis);
    memcpy(step, t->step, sizeof step);
    prof_round(p);
    assert_memory_equal(basis, t->basis, sizeof basis);
    assert_memory_equal(step, t->step, sizeof step);
    prof_free(p);
}

static void profile_refuses_to_write_unrounded(void **state) {
    (void)state;
    prof *p = tiny();
    char *text;
    size_t len;
    kv_err err;
    p->layers[1].k.heads[1].sigma[3] = 1.0001f;
    assert_int_equal(prof_format(p, &text, &len, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "prof_round"));
    prof_round(p);
    p->layers[1].k.heads[1].step[3] = 0.10001f;
    assert_int_equal(prof_format(p, &text, &len, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "prof_round"));
    prof_round(p);
    p->layers[1].k.heads[1].basis[3] = p->layers[1].k.heads[1].basis[0] * 0.0001f;
    assert_int_equal(prof_format(p, &text, &len, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "prof_round"));
    prof_free(p);
}

/* A name taken from a model file, cut in the middle of a character. */
static void profile_rounds_names_to_text(void **state) {
    (void)state;
    prof *p = tiny();
    strcpy(p->model_name, "caf\xc3\xa9 \xf0\x9f\x98\x80 \x01 \xe2\x82");
    prof_round(p);
    assert_string_equal(p->model_name, "caf\xc3\xa9 \xf0\x9f\x98\x80 ? ??");
    size_t len;
    char *text = must_format(p, &len);
    prof *q = must_parse(text, len);
    assert_string_equal(q->model_name, p->model_name);
    free(text);
    prof_free(p);
    prof_free(q);
}

static void profile_reads_policy_alone(void **state) {
    (void)state;
    const char text[] = "# by hand\nversion: 1\npolicy: {sinks: 4, window: 128, k: q8_0, v: \"q4_0\"}\n";
    prof *p = must_parse(text, strlen(text));
    assert_int_equal(p->sinks, 4);
    assert_int_equal(p->window, 128);
    assert_int_equal(p->default_k, KV_Q8_0);
    assert_int_equal(p->default_v, KV_Q4_0);
    assert_null(p->layers);
    assert_int_equal(prof_matches(p, "00112233445566778899aabbccddeeff", &(prof_shape){30, 3, 64, NULL}, "t.yaml", NULL),
                     KV_OK);
    prof_free(p);
}

static void profile_reads_codecs_per_layer(void **state) {
    (void)state;
    const char text[] =
        "layers:\n- {layer: 0, k: {codec: q8_0}, v: {codec: f16}}\n- {layer: 1, k: {codec: q4_0, bits: 4.5}, v: "
        "{codec: f32}}\npolicy: {sinks: 0, window: 0}\nversion: 1\n";
    prof *p = must_parse(text, strlen(text));
    assert_int_equal(p->n_layer, 2);
    assert_int_equal(p->layers[1].v.codec, KV_F32);
    assert_true(p->layers[0].k.bits == 8.5f && p->layers[0].v.bits == 16 && p->layers[1].k.bits == 4.5f);
    assert_int_equal(prof_matches(p, "00112233445566778899aabbccddeeff", &(prof_shape){30, 3, 64, NULL}, "t.yaml", NULL),
                     KV_EMISMATCH);
    prof_free(p);
}

static void profile_heads_differ(void **state) {
    (void)state;
    const char text[] = "version: 2\npolicy: {sinks: 0, window: 0}\nmodel: {layers: 1, heads: 3, kv_heads: 3, head_dim: 8}\n"
                        "layers:\n- layer: 0\n  k: {codec: [q8_0, f16, q4_0]}\n"
                        "  v: {codec: q4_0, bits: 4.5, heads: [{codec: q4_0}, {codec: q4_0, bits: 4.5}, {codec: q4_0}]}\n";
    prof *p = must_parse(text, strlen(text));
    static const kv_codec_id k[] = {KV_Q8_0, KV_F16, KV_Q4_0};
    static const float bits[] = {8.5f, 16, 4.5f};
    for (uint32_t h = 0; h < 3; h++) {
        prof_head is = prof_head_k(p, 0, h);
        assert_true(is.codec == k[h] && is.bits == bits[h] && !is.tc);
        is = prof_head_v(p, 0, h);
        assert_true(is.codec == KV_Q4_0 && is.bits == 4.5f);
    }
    assert_true(fabsf(p->layers[0].k.bits - 29.0f / 3) < 1e-4f);
    size_t len;
    char *again = must_format(p, &len);
    assert_non_null(strstr(again, "codec: [q8_0, f16, q4_0]\n"));
    prof_free(p);
    free(again);
}

/* What is said of a calibrated head in words follows from its numbers. */
static void profile_tells_of_dimensions(void **state) {
    (void)state;
    prof *p = tiny();
    char dims[PROF_DIMS_TEXT];
    float spectrum[PROF_SPECTRUM];
    prof_tc *t = &p->layers[0].k.heads[0];
    prof_tc_dims(t, dims);
    assert_string_equal(dims, "5*2 3*2 1*3 0*1");
    uint8_t bits[8];
    assert_true(prof_dims_parse(dims, 8, bits));
    assert_memory_equal(bits, t->bits, 8);
    static const char *const not_dims[] = {"",     "5*2", "5*2 3*2 1*3 0*2", "7*8",  "5*8 ",
                                           " 5*8", "5*9", "5*0 5*8",         "5 *8", "5*8 0*0"};
    for (size_t i = 0; i < sizeof not_dims / sizeof *not_dims; i++)
        if (prof_dims_parse(not_dims[i], 8, bits))
            fail_msg("'%s' was taken", not_dims[i]);
    for (int i = 0; i < 8; i++)
        t->sigma[i] = ldexpf(1, -i);
    assert_int_equal(prof_tc_spectrum(t, spectrum), 8);
    for (int i = 0; i < 8; i++)
        assert_true(fabs((double)spectrum[i] + 20 * log10(2) * i) < 1e-4);
    size_t len;
    char *text = must_format(p, &len);
    assert_non_null(strstr(text, "- {codec: tc, bits: 4.0625, dims: \"5*2 3*2 1*3 0*1\", spectrum: [0, -6.02, -12, -18.1, "));
    char *at = strstr(text, "5*2 3*2"); /* a claim that the data does not bear out */
    at[2] = '1';
    at[6] = '3';
    prof *q;
    kv_err err;
    assert_int_equal(prof_parse(text, len, "t.yaml", &q, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, ": layers[0].k.heads[0].dims: is '5*1 3*3 1*3 0*1', but the data says '5*2 3*2 1*3 0*1'"));
    free(text);
    prof_free(p);
}

static void profile_overrides_layers_and_heads(void **state) {
    (void)state;
    const char text[] =
        "version: 2\npolicy:\n  sinks: 4\n  window: 128\n  k: q4_0\n  v: q4_0\n  overrides:\n"
        "  - {layers: 0-2, k: q8_0, v: q8_0}\n  - {layers: \"2,4-\", heads: \"0,2-3\", v: f16}\n  - {k: f32, heads: 1}\n";
    prof *p = must_parse(text, strlen(text));
    for (uint32_t l = 0; l < 40; l++)
        for (uint32_t h = 0; h < 5; h++) {
            bool second = (l == 2 || l >= 4) && (h == 0 || h == 2 || h == 3);
            assert_int_equal(prof_head_k(p, l, h).codec, h == 1 ? KV_F32 : l <= 2 ? KV_Q8_0 : KV_Q4_0);
            assert_int_equal(prof_head_v(p, l, h).codec, second ? KV_F16 : l <= 2 ? KV_Q8_0 : KV_Q4_0);
        }
    size_t len, len2;
    char *once = must_format(p, &len);
    assert_non_null(strstr(once, "- {layers: \"2,4-\", heads: \"0,2-3\", v: f16}\n"));
    prof *q = must_parse(once, len);
    char *twice = must_format(q, &len2);
    assert_string_equal(once, twice);
    kv_err err;
    const char hash[] = "00112233445566778899aabbccddeeff";
    assert_int_equal(prof_matches(p, hash, &(prof_shape){5, 4, 64, NULL}, "t.yaml", &err), KV_OK);
    assert_int_equal(prof_matches(p, hash, &(prof_shape){4, 4, 64, NULL}, "t.yaml", &err), KV_EMISMATCH);
    assert_string_equal(err.msg, "t.yaml: policy.overrides[1].layers: names layer 4, but the model has 4 (0-3)");
    assert_int_equal(prof_matches(p, hash, &(prof_shape){5, 3, 64, NULL}, "t.yaml", &err), KV_EMISMATCH);
    assert_string_equal(err.msg, "t.yaml: policy.overrides[1].heads: names KV head 3, but the model has 3 (0-2)");
    free(once);
    free(twice);
    prof_free(p);
    prof_free(q);
    const char shaped[] = "version: 2\nmodel: {layers: 3, kv_heads: 1}\npolicy: {sinks: 0, window: 0, k: f16, v: f16, "
                          "overrides: [{layers: 3-, k: q8_0}]}\n";
    assert_int_equal(prof_parse(shaped, strlen(shaped), "t.yaml", &q, &err), KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "names layer 3, but the model has 3"));
}

static void profile_aims_at_one_thing(void **state) {
    (void)state;
    const char policy[] = "policy: {sinks: 4, window: 128, k: q8_0, v: q8_0}\nversion: 2\n";
    char text[256];
    for (int kld = 0; kld < 2; kld++) {
        snprintf(text, sizeof text, "%saim: {%s}\n", policy, kld ? "kld: 0.001" : "bits: 3.25");
        prof *p = must_parse(text, strlen(text));
        assert_true(p->aim_bits == (kld ? 0 : 3.25) && p->aim_kld == (kld ? 0.001 : 0));
        size_t len;
        char *again = must_format(p, &len);
        assert_non_null(strstr(again, kld ? "\naim: {kld: 0.001}\n" : "\naim: {bits: 3.25}\n"));
        p->aim_bits = p->aim_kld = 1;
        assert_int_equal(prof_check(p, "t", NULL), KV_ERANGE);
        free(again);
        prof_free(p);
    }
}

/* Every file that is shipped. */
static void profile_presets_are_valid(void **state) {
    (void)state;
    glob_t files;
    assert_int_equal(glob(ROOT "profiles/*.yaml", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 4);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        prof *p;
        kv_err err = {0};
        if (prof_load(files.gl_pathv[i], &p, &err) != KV_OK)
            fail_msg("%s", err.msg);
        prof_free(p);
    }
    globfree(&files);
}

#define P    "version: 1\npolicy: {sinks: 4, window: 128, k: f16, v: f16}\n"
#define L    "version: 1\npolicy: {sinks: 4, window: 128}\n"
#define MADE "made: {tokens: 1, ctx: 1, entropy_sinks: 0, seed: 1, "
#define M    "model: {layers: 1, heads: 2, kv_heads: 1, head_dim: 64}\n"
static const struct {
    const char *text, *message;
} wrong[] = {
    {"", "t.yaml: is empty"},
    {"# only a comment\n", "t.yaml: is empty"},
    {"hello", "t.yaml:1: expected a mapping of keys to values"},
    {"version: 7\nfuture: x\n", "t.yaml:1: version: 7 is outside 1..6"},
    {"policy: {sinks: 4, window: 1, k: f16, v: f16}\n", "t.yaml:1: version: missing"},
    {"version: 1\n", "t.yaml:1: policy: missing"},
    {P "polices: 1\n", "t.yaml:3: unknown key 'polices'; known here: version, model, made, policy, aim, measured, facts, "
                       "fold_for, folding, layers, data"},
    {P "version: 1\n", "t.yaml:3: key 'version' is given twice"},
    {"version: 1\npolicy:\n  sinks: 4\n  windw: 3\n",
     "t.yaml:4: policy: unknown key 'windw'; known here: sinks, window, frame, k, v, overrides, evict, budget_by, budget_rule"},
    {"version: 1\npolicy: {sinks: 4, k: f16, v: f16}", "t.yaml:2: policy.window: missing"},
    {"version: 1\npolicy: {sinks: 4, window: 0, k: f16}", "t.yaml:2: policy.v: missing"},
    {"version: 1\npolicy: {sinks: -4, window: 0}", "t.yaml:2: policy.sinks: -4 is outside 0..65536"},
    {"version: 1\npolicy: {sinks: 65537, window: 0}", "t.yaml:2: policy.sinks: 65537 is outside 0..65536"},
    {"version: 1\npolicy: {sinks: 99999999999999999999999, window: 0}",
     "policy.sinks: 99999999999999999999999 is outside 0..65536"},
    {"version: 1\npolicy: {sinks: 4.0, window: 0}", "policy.sinks: expected integer, not '4.0'"},
    {"version: 1\npolicy: {sinks: \"4\", window: 0}", "policy.sinks: expected integer, not quoted text '4'"},
    {"version: 1\npolicy: {sinks: [4], window: 0}", "policy.sinks: expected integer, not a list"},
    {"version: 1\npolicy: {sinks: , window: 0}", "policy.sinks: expected integer, not ''"},
    {"version: 1\npolicy: {sinks: 0x4, window: 0}", "policy.sinks: expected integer, not '0x4'"},
    {"version: 1\npolicy: [1]", "t.yaml:2: policy: expected a mapping of keys to values"},
    {"version: 1\npolicy: {sinks: 0, window: 0, k: q7_0, v: f16}",
     "policy.k: 'q7_0' is not a codec that may stand here: f32, f16, q8_0, q4_0, q4_1, q5_0"},
    {"version: 1\npolicy: {sinks: 0, window: 0, k: tc, v: f16}", "policy.k: 'tc' is not a codec that may stand here"},
    {P MADE "target_bits: .nan}", "made.target_bits: expected number, not '.nan'"},
    {P MADE "target_bits: .inf}", "made.target_bits: expected number, not '.inf'"},
    {P MADE "target_bits: 1e999}", "made.target_bits: 1e999 is outside 0..32"},
    {P MADE "target_bits: 1e}", "made.target_bits: expected number, not '1e'"},
    {P "made: {tokens: 1, ctx: 1, entropy_sinks: 0, target_bits: 4, seed: 18446744073709551616}",
     "made.seed: 18446744073709551616 is outside"},
    {P "made: {text: \"xyz\"}", "made.text: expected a hash of 32 hex digits (0-9a-f), not 'xyz'"},
    {P "made: {tool: ~}", "t.yaml:3: made.tool: has no value"},
    {P "made: {tool: \"a\\nb\"}", "made.tool: expected printable text"},
    {P "made: {tool: \"0123456789012345678901234567890123456789\"}", "made.tool: longer than 31 bytes"},
    {P "layers: [{layer: 0, k: {codec: f16}, v: {codec: f16}}]", "policy.k: not together with 'layers'"},
    {L "layers: []", "t.yaml:3: layers: 0 entries are outside 1..512"},
    {L "layers:\n- {layer: 0, k: {codec: f16}, v: {codec: f16}}\n- layer: 1\n  k: {codec: q8_0,\n    bits: 40.5}\n",
     "t.yaml:7: layers[1].k.bits: 40.5 is outside 0..32"},
    {L "layers: [{layer: 1, k: {codec: f16}, v: {codec: f16}}]", "layers[0].layer: is 1, but this is entry 0 of the list"},
    {L "layers: [{layer: 0, k: {codec: f16}}]", "layers[0].v: missing"},
    {L "layers: [{layer: 0, k: {codec: f16}, v: {codec: tc, bits: 4}}]", "data: missing; codec tc needs"},
    {L "layers: [{layer: 0, k: {codec: f16}, v: {codec: f16}, entropy: [1]}]",
     "layers[0].entropy: has 1 values, but the model has 0"},
    {L M "layers:\n- layer: 0\n  entropy: [1, two]\n  k: {codec: f16}\n  v: {codec: f16}\n",
     "t.yaml:6: layers[0].entropy[1]: expected number, not 'two'"},
    {L M "layers: [{layer: 0, k: {codec: f16}, v: {codec: f16}, importance: [1.5]}]",
     "layers[0].importance[0]: 1.5 is outside 0..1"},
    {L M "layers: [{layer: 0, k: {codec: f16}, v: {codec: f16}}, {layer: 1, k: {codec: f16}, v: {codec: f16}}]",
     "layers: has 2 entries, but model.layers is 1"},
    {P "model: {layers: 1, heads: 2, kv_heads: 1, head_dim: 513}\n", "model.head_dim: 513 is outside 1..512"},
    {P "measured: [{}, {}, {}, {}, {}]", "measured: 5 entries are outside 0..4"},
    {P "measured: [{text: \"a\", ctx: 1, tokens: 1}]", "measured[0].kld: missing"},
    {P "data: 123\n", "t.yaml:3: data: expected !!binary, not '123'"},
    {P "data: !!binary |\n  AAAA\n", "t.yaml: data: there is calibrated data, but no layer uses codec tc"},
    {L M "layers: [{layer: 0, k: {codec: tc, bits: 4}, v: {codec: f16}}]\ndata: !!binary |\n  AA*A\n", "data: is not base64"},
    {L M "layers: [{layer: 0, k: {codec: tc, bits: 4}, v: {codec: f16}}]\ndata: !!binary |\n  AAAA\n",
     "t.yaml: data: is not one whole zstd frame"},
    {L "layers: [{layer: 0, k: {codec: tc, bits: 4}, v: {codec: f16}}]\ndata: !!binary |\n  AAAA\n",
     "t.yaml: data: needs the model's shape"},
#define O(text) "version: 2\npolicy: {sinks: 0, window: 0, k: f16, v: f16, overrides: [" text "]}\n"
    {O(""), "policy.overrides: 0 entries are outside 1..64"},
    {O("{layers: 1}"), "t.yaml:2: policy.overrides[0]: names no codec, neither k nor v"},
    {O("{layers: 1, k: tc}"), "policy.overrides[0].k: 'tc' is not a codec that may stand here"},
    {O("{layer: 1, k: f16}"), "policy.overrides[0]: unknown key 'layer'; known here: layers, heads, k, v"},
    {O("{layers: 2-1, k: f16}"), "policy.overrides[0].layers: '2-1' is not up to 8 rising numbers and ranges within 0..511"},
    {O("{layers: \"1,1\", k: f16}"), "overrides[0].layers: '1,1' is not"},
    {O("{layers: \"1-,2\", k: f16}"), "overrides[0].layers: '1-,2' is not"},
    {O("{layers: \"1,\", k: f16}"), "overrides[0].layers: '1,' is not"},
    {O("{layers: \"\", k: f16}"), "overrides[0].layers: '' is not"},
    {O("{layers: 512, k: f16}"), "overrides[0].layers: '512' is not"},
    {O("{layers: -1, k: f16}"), "overrides[0].layers: '-1' is not"},
    {O("{heads: 99999999999999999999, k: f16}"), "overrides[0].heads: '99999999999999999999' is not"},
    {O("{layers: [1], k: f16}"), "overrides[0].layers: expected ranges, not a list"},
    {O("{heads: \"0,2,4,6,8,10,12,14,16\", k: f16}"), "is not up to 8 rising"},
    {"version: 2\npolicy: {sinks: 0, window: 0, overrides: [{k: f16}]}\nlayers: [{layer: 0, k: {codec: f16}, v: {codec: f16}}]",
     "t.yaml:2: policy.overrides: not together with 'layers'"},
    {P "aim: {}\n", "t.yaml:3: aim: expected one of bits and kld"},
    {P "aim: {bits: 3, kld: 0.1}\n", "t.yaml:3: aim: expected one of bits and kld"},
    {P "aim: {bits: 0}\n", "t.yaml:3: aim.bits: 0 is outside 0.5..16"},
    {P "aim: {kld: -1}\n", "t.yaml:3: aim.kld: -1 is outside 1e-06..10"},
#define K(kv) L "model: {layers: 1, heads: 2, kv_heads: 2, head_dim: 8}\nlayers: [{layer: 0, v: {codec: f16}, k: {" kv "}}]\n"
    {L "layers: [{layer: 0, k: {codec: [f16, f16]}, v: {codec: f16}}]",
     "layers[0].k.codec: a list needs to know how many KV heads"},
    {L "layers: [{layer: 0, k: {codec: f16, heads: []}, v: {codec: f16}}]", "layers[0].k.heads: a list needs to know"},
    {K("codec: [f16]"), "t.yaml:4: layers[0].k.codec: has 1 entries, but model.kv_heads is 2"},
    {K("codec: [f16, q5]"), "layers[0].k.codec[1]: 'q5' is not a codec"},
    {K("codec: [f16, [f16]]"), "layers[0].k.codec[1]: expected"},
    {K("codec: {a: f16}"), "layers[0].k.codec: expected codec or list of codecs, not a mapping"},
    {K("codec: f16, heads: [{codec: f16}]"), "layers[0].k.heads: has 1 entries, but model.kv_heads is 2"},
    {K("codec: f16, heads: [{codec: f16}, {codec: f32}]"),
     "layers[0].k.heads[1]: codec is f32, but the codec given above is f16"},
    {K("codec: f16, heads: [{codec: f16}, f16]"), "layers[0].k.heads[1]: expected a mapping"},
    {K("codec: f16, heads: [{codec: f16}, {bits: 3}]"), "layers[0].k.heads[1].codec: missing"},
    {K("codec: f16, heads: [{codec: f16}, {codec: f16, bits: 33}]"), "layers[0].k.heads[1].bits: 33 is outside 0..32"},
    {K("codec: f16, heads: [{codec: f16}, {codec: f16, dims: \"1*9\"}]"), "heads[1].dims: '1*9' is not bits*count of all 8"},
    {K("codec: f16, heads: [{codec: f16}, {codec: f16, dims: \"1*8\"}]"), "heads[1].dims: codec f16 has no calibrated dim"},
    {K("codec: f16, heads: [{codec: f16}, {codec: f16, spectrum: [a]}]"), "heads[1].spectrum[0]: expected number, not 'a'"},
    {K("codec: f16, heads: [{codec: f16}, {codec: f16, spectrum: 1}]"), "heads[1].spectrum: expected list of numbers, not '1'"},
    {"a: &x 1\nb: *x\n", "t.yaml:1: anchors and aliases are not allowed"},
    {"version: *x\n", "t.yaml:1: anchors and aliases are not allowed"},
    {"version: !!int 1\n", "t.yaml:1: tag tag:yaml.org,2002:int is not allowed here"},
    {"version: !evil 1\n", "tag !evil is not allowed here"},
    {"--- !!map\nversion: 1\n", "tag tag:yaml.org,2002:map is not allowed here"},
    {P "---\nversion: 1\n", "t.yaml:3: a second document starts here"},
    {"<<: {a: 1}\n", "unknown key '<<'"},
    {"[a]: 1\n", "t.yaml:1: a key must be text"},
    {"version: [[[[[[[[[[[[1]]]]]]]]]]]]\n", "t.yaml:1: nested too deeply"},
    {"version: \"a\\0b\"\n", "t.yaml:1: text with a NUL byte"},
    {"version: 1\n\tpolicy: 1\n", "t.yaml:2: "},
    {"version: \xff\n", "t.yaml: byte 9: invalid leading UTF-8 octet"},
    {"version: {a: 1\n", "t.yaml:2: "},
};

static void profile_names_what_is_wrong(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        prof *p;
        kv_err err = {0};
        kv_status st = prof_parse(wrong[i].text, strlen(wrong[i].text), "t.yaml", &p, &err);
        if (st != KV_EFORMAT || p || !strstr(err.msg, wrong[i].message))
            fail_msg("%s\nwanted: %s\ngot %d: %s", wrong[i].text, wrong[i].message, st, err.msg);
    }
}

static void profile_bounds_what_it_reads(void **state) {
    (void)state;
    prof *p;
    kv_err err;
    enum { N = 1 << 20 };
    char *text = malloc(N);
    assert_non_null(text);
    memset(text, '[', N); /* brackets that never close */
    assert_int_equal(prof_parse(text, N, "t.yaml", &p, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "nested too deeply"));
    memset(text, 'a', N);
    memcpy(text, "x: ", 3);
    assert_int_equal(prof_parse(text, N, "t.yaml", &p, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "longer than 4096 bytes"));
    size_t n = 0;
    for (int i = 0; i < 65; i++)
        n += (size_t)sprintf(text + n, "key%d: 1\n", i);
    assert_int_equal(prof_parse(text, n, "t.yaml", &p, &err), KV_EFORMAT);
    assert_string_equal(err.msg, "t.yaml:65: more than 64 keys in one mapping");
    free(text);
}

static void profile_refuses_every_truncation(void **state) {
    (void)state;
    prof *p = tiny(), *q;
    size_t len;
    char *text = must_format(p, &len);
    kv_err err;
    for (size_t n = 0; n + 2 < len; n++) { /* without the last newline it is still whole */
        char *copy = malloc(n ? n : 1);    /* on its own, so that reading past the end is seen */
        assert_non_null(copy);
        memcpy(copy, text, n);
        if (prof_parse(copy, n, "t.yaml", &q, &err) == KV_OK)
            fail_msg("%zu of %zu bytes were accepted", n, len);
        free(copy);
    }
    free(text);
    prof_free(p);
}

/* A flipped bit is refused, or it hits a number or a name and what is read is still a valid profile. A flip in the data
 * that is accepted (a space, a bit that zstd does not use) changes nothing. */
static void profile_survives_every_flip(void **state) {
    (void)state;
    prof *p = tiny(), *q;
    size_t len, accepted = 0;
    char *text = must_format(p, &len);
    size_t data_at = after(text, "!!binary |");
    for (size_t i = 0; i < 2 * len; i++) {
        kv_err err;
        size_t at = i / 2;
        char good = text[at];
        text[at] = (char)(good ^ (i % 2 ? 1 << at % 8 : 0xff));
        if (prof_parse(text, len, "t.yaml", &q, &err) == KV_OK) {
            assert_int_equal(prof_check(q, "t", &err), KV_OK);
            if (at > data_at)
                for (uint32_t l = 0; l < 3; l++) {
                    assert_same_kv(p, &p->layers[l].k, &q->layers[l].k);
                    assert_same_kv(p, &p->layers[l].v, &q->layers[l].v);
                }
            prof_free(q);
            accepted++;
        }
        text[at] = good;
    }
    assert_true(accepted < len / 2);
    free(text);
    prof_free(p);
}

static void profile_checks_ranges(void **state) {
    (void)state;
    prof *p = tiny();
    kv_err err;
    p->measured[0].kld = NAN;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: measured[0].kld: nan is outside -0.001..1000000");
    p->measured[0].kld = 0;
    p->layers[2].entropy[1] = INFINITY;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: layers[2].entropy[1]: inf is outside 0..32");
    p->layers[2].entropy[1] = 0;
    p->n_measured = 5;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    p->n_measured = 0;
    p->model_hash[0] = 'A';
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    p->model_hash[0] = 'a';
    p->frame = 100;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: policy.frame: 100 is not a multiple of 64");
    p->frame = 128;
    p->layers[0].k.bits = 0;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: layers[0].k.bits: missing; codec tc must say its true bits");
    p->layers[0].k.bits = 4;
    assert_int_equal(prof_check(p, "t", &err), KV_OK);
    assert_true(fixture_mix(p));
    assert_int_equal(prof_check(p, "t", &err), KV_OK);
    p->layers[1].k.bits = 5;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: layers[1].k.bits: is 5, but the mean of its heads is 6");
    p->layers[1].k.head_bits[0] = 0;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: layers[1].k.heads[0].bits: missing; codec tc must say its true bits");
    prof_free(p);
    prof *none = (prof *)&err;
    assert_int_equal(prof_new(0, 1, 1, 1, &none, &err), KV_ERANGE);
    assert_null(none);
    assert_int_equal(prof_new(1, 1, 1, PROF_MAX_DIM + 1, &none, &err), KV_ERANGE);
}

static void profile_knows_its_model(void **state) {
    (void)state;
    prof *p = tiny();
    kv_err err;
    assert_int_equal(prof_matches(p, "00112233445566778899aabbccddeeff", &(prof_shape){3, 2, 8, NULL}, "t.yaml", &err), KV_OK);
    assert_int_equal(prof_matches(p, "10112233445566778899aabbccddeeff", &(prof_shape){3, 2, 8, NULL}, "t.yaml", &err),
                     KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "hash 00112233445566778899aabbccddeeff"));
    assert_non_null(strstr(err.msg, "hash 10112233445566778899aabbccddeeff"));
    assert_int_equal(prof_matches(p, "00112233445566778899aabbccddeeff", &(prof_shape){4, 2, 8, NULL}, "t.yaml", &err),
                     KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "3 layers"));
    assert_int_equal(prof_matches(p, "00112233445566778899aabbccddeeff", &(prof_shape){3, 3, 8, NULL}, "t.yaml", &err),
                     KV_EMISMATCH);
    assert_int_equal(prof_matches(p, "00112233445566778899aabbccddeeff", &(prof_shape){3, 2, 9, NULL}, "t.yaml", &err),
                     KV_EMISMATCH);
    prof_free(p);
}

/* docs/profile.md has a row for every key, with its type and range. */
static void check_docs(const char *docs, const prof_field *fields, const char *path) {
    for (const prof_field *f = fields; f->key; f++) {
        char key[PROF_PATH], sub[PROF_PATH], row[256];
        prof_path_join(key, path, f->key);
        bool numeric = f->kind == PK_U32 || f->kind == PK_F32 || f->kind == PK_F64 || f->kind == PK_F32S ||
                       f->kind == PK_INDEX || f->kind == PK_BUDGETS;
        if (numeric)
            snprintf(row, sizeof row, "\n| `%s` | %s | %.10g..%.10g", key, prof_kind_names[f->kind], f->min, f->max);
        else
            snprintf(row, sizeof row, "\n| `%s` | %s |", key, prof_kind_names[f->kind]);
        if (!strstr(docs, row))
            fail_msg("docs/profile.md has no row%s", row);
        const bool list = f->kind == PK_LIST || f->kind == PK_HEADS;
        prof_path_join(sub, key, list ? "[]" : "");
        if (f->sub)
            check_docs(docs, f->sub, list ? sub : key);
    }
}

static void profile_docs_name_every_key(void **state) {
    (void)state;
    FILE *f = fopen(ROOT "docs/profile.md", "rb");
    assert_non_null(f);
    char docs[1 << 16];
    size_t n = fread(docs, 1, sizeof docs - 1, f);
    fclose(f);
    docs[n] = '\0';
    check_docs(docs, prof_schema, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_reads_what_it_writes),
        cmocka_unit_test(profile_reads_golden_file),
        cmocka_unit_test(profile_of_older_codebooks_asks_for_calibration),
        cmocka_unit_test(profile_rounds_once),
        cmocka_unit_test(profile_refuses_to_write_unrounded),
        cmocka_unit_test(profile_rounds_names_to_text),
        cmocka_unit_test(profile_reads_policy_alone),
        cmocka_unit_test(profile_reads_codecs_per_layer),
        cmocka_unit_test(profile_heads_differ),
        cmocka_unit_test(profile_tells_of_dimensions),
        cmocka_unit_test(profile_overrides_layers_and_heads),
        cmocka_unit_test(profile_aims_at_one_thing),
        cmocka_unit_test(profile_presets_are_valid),
        cmocka_unit_test(profile_names_what_is_wrong),
        cmocka_unit_test(profile_bounds_what_it_reads),
        cmocka_unit_test(profile_refuses_every_truncation),
        cmocka_unit_test(profile_survives_every_flip),
        cmocka_unit_test(profile_checks_ranges),
        cmocka_unit_test(profile_knows_its_model),
        cmocka_unit_test(profile_docs_name_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
