/* The binary part of a profile: with intact checksums but wrong contents, and as text. */
#include "profile/blob.h"
#include "profile_check.h"
#include "profile_fixture.h"

#include <math.h>

static prof *tiny(void) {
    prof *p = fixture_profile(3, 4, 2, 8);
    assert_non_null(p);
    return p;
}

static kv_status read_frame(const uint8_t *raw, size_t n, size_t trailing, kv_err *err) {
    return read_with_data(tiny(), raw, n, trailing, err);
}

static uint8_t *unpacked(size_t *n) {
    prof *p = tiny();
    uint8_t *frame, *raw;
    size_t len;
    assert_int_equal(prof_blob_encode(p, &frame, &len, NULL), KV_OK);
    *n = (size_t)ZSTD_getFrameContentSize(frame, len);
    raw = calloc(1, *n + 64); /* what is behind it is read, too */
    assert_non_null(raw);
    assert_int_equal(ZSTD_decompress(raw, *n, frame, len), *n);
    free(frame);
    prof_free(p);
    return raw;
}

static void data_that_is_wrong_is_refused(void **state) {
    (void)state;
    enum { HEADS = 10, D = 8, MEAN = 16 + HEADS * D, EXP = MEAN + 4 * HEADS * D, BASIS = EXP + HEADS * D };
    enum { SIGMA = BASIS + 2 * HEADS * D * D, STEP = SIGMA + 2 * HEADS * D, N_STEP = HEADS * (PROF_MAX_BITS + 1) };
    static const struct {
        size_t at, count;
        uint8_t value;
        const char *message;
    } edits[] = {
        {0, 1, 'X', "data: is not calibrated data of version 2 or 3"},
        {4, 1, 1, "data: is not calibrated data of version 2 or 3"},
        {8, 1, 9, "data: is for 10 heads of width 9, but the profile has 10 of width 8"},
        {12, 1, 11, "data: is for 11 heads of width 8"},
        {16, 1, 7, "layers[0].k, head 0: coefficient 0: bits must be at most 6 and never rise"},
        {16 + 4, 1, 5, "layers[0].k, head 0: coefficient 4: bits must be at most 6 and never rise"},
        {MEAN + 3 * HEADS * D, 1, 0x7f, NULL}, /* large or NaN, judged by its other bytes */
        {MEAN, 4 * HEADS * D, 0xff, "layers[0].k, head 0: coefficient 0: mean is not finite"},
        {EXP, 1, 127, "row of the basis is zero, not finite or above 32736"},
        {BASIS, 2 * HEADS * D * D, 0, "row of the basis is zero"},
        {SIGMA, 2 * HEADS * D, 0, "coefficient 0: sigma must be above 0 and finite"},
        {SIGMA, 2 * HEADS * D, 0x7c, "coefficient 0: sigma must be above 0 and finite"},
        {STEP, 2 * N_STEP, 0, "coefficient 0: the step of its levels must be above 0 and finite"},
        {STEP, 2 * N_STEP, 0x7c, "coefficient 0: the step of its levels must be above 0 and finite"},
        {STEP + N_STEP + 5, 1, 0x80,
         "coefficient 0: the step of its levels must be above 0 and finite"}, /* of 5 bits: negative */
        {STEP + 2 * N_STEP, HEADS * TRELLIS_LEVELS, 0, NULL},                 /* none falls */
        {STEP + 2 * N_STEP + 9 * TRELLIS_LEVELS + 2 * 16, 16, 0x80,
         "layers[2].k, head 1: levels of 2 bits must not fall within a window"},
    };
    size_t n;
    uint8_t *raw = unpacked(&n), *edited = malloc(n + 64);
    assert_non_null(edited);
    kv_err err = {0};
    if (read_frame(raw, n, 0, &err) != KV_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        memcpy(edited, raw, n);
        memset(edited + edits[i].at, edits[i].value, edits[i].count);
        kv_status st = read_frame(edited, n, 0, &err);
        if (edits[i].message && (st == KV_OK || !strstr(err.msg, edits[i].message)))
            fail_msg("edit %zu: wanted: %s\ngot %d: %s", i, edits[i].message, st, err.msg);
    }
    assert_int_equal(n, STEP + 2 * N_STEP + HEADS * TRELLIS_LEVELS);
    memcpy(edited, raw, n);
    uint8_t bits[2] = {edited[16 + 1], edited[16 + 2]}; /* same sum, but rising */
    edited[16 + 1] = bits[1];
    edited[16 + 2] = bits[0];
    assert_int_equal(read_frame(edited, n, 0, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "never rise"));
    assert_int_equal(read_frame(raw, n, 1, &err), KV_EFORMAT); /* a byte after the frame */
    assert_int_equal(read_frame(raw, n, 8, &err), KV_EFORMAT); /* a second frame */
    assert_int_equal(read_frame(raw, n - 1, 0, &err), KV_EFORMAT);
    assert_int_equal(read_frame(raw, n + 2, 0, &err), KV_EFORMAT);
    assert_int_equal(read_frame(raw, 16, 0, &err), KV_EFORMAT);
    free(raw);
    free(edited);
}

/* Whatever bytes the data holds, reading them ends well. */
static void data_may_hold_anything(void **state) {
    (void)state;
    size_t n;
    uint8_t *raw = unpacked(&n), *edited = malloc(n);
    assert_non_null(edited);
    fixture_rng r = {7};
    for (int i = 0; i < 300; i++) {
        memcpy(edited, raw, n);
        for (int j = 0; j <= i % 5; j++) {
            fixture_float(&r);
            size_t at = 16 + (r.state >> 8) % (n - 16);
            fixture_float(&r);
            edited[at] = (uint8_t)(r.state >> 16);
        }
        kv_err err;
        read_frame(edited, n, 0, &err);
    }
    free(raw);
    free(edited);
}

/* A frame that would unpack to more than the shape needs is refused from its header alone. */
static void data_that_unpacks_to_too_much_is_refused(void **state) {
    (void)state;
    enum { N = 64 << 20 };
    uint8_t *raw = calloc(1, N);
    assert_non_null(raw);
    kv_err err = {0};
    assert_int_equal(read_frame(raw, N, 0, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "data: holds 67108864 bytes, but 10 calibrated heads of width 8 take"));
    free(raw);
    const char huge[] = "version: 1\npolicy: {sinks: 4, window: 128}\n"
                        "model: {layers: 1, heads: 256, kv_heads: 256, head_dim: 512}\n"
                        "layers: [{layer: 0, k: {codec: tc, bits: 4}, v: {codec: f16}}]\n"
                        "data: !!binary |\n  AAAA\n";
    prof *p;
    assert_int_equal(prof_parse(huge, strlen(huge), "t.yaml", &p, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "more calibrated data than the limit"));
}

static void base64_is_exact(void **state) {
    (void)state;
    uint8_t bytes[200], back[203];
    for (size_t n = 0; n <= 200; n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * 37 + n);
        size_t len, got;
        char *text = prof_base64_encode(bytes, n, &len);
        assert_non_null(text);
        assert_int_equal(strlen(text), len);
        assert_true(prof_base64_decode(text, len, back, &got));
        assert_int_equal(got, n);
        assert_memory_equal(bytes, back, n);
        free(text);
    }
    size_t len;
    char *text = prof_base64_encode((const uint8_t *)"Many hands", 10, &len);
    assert_string_equal(text, "TWFueSBoYW5kcw==\n");
    free(text);
    static const char *const bad[] = {"A",     "AA",   "AAA",  "A===",     "====", "AA=A",
                                      "AAAA=", "AB==", "AAB=", "AA==AAAA", "A-AA", "AA==="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(prof_base64_decode(bad[i], strlen(bad[i]), back, &len));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_that_is_wrong_is_refused),
        cmocka_unit_test(data_may_hold_anything),
        cmocka_unit_test(data_that_unpacks_to_too_much_is_refused),
        cmocka_unit_test(base64_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
