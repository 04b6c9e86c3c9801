/* Packed blocks of codec tc: the same blocks again, whatever they hold, in fewer bytes where something can be guessed. */
#include "cache_fixture.h"
#include "codec/codec_tc_pack.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <xxhash.h>

#include <cmocka.h>

enum { BLOCKS = 12, SLOTS = BLOCKS * KV_BLOCK, KINDS = 40, GOLDEN_BYTES = 20072 };
#define GOLDEN_SUM 0xbddd229f2a15a01au

typedef struct stream {
    tc_layout layout;
    uint8_t bits[TRELLIS_MAX_DIM];
    int8_t levels[TRELLIS_LEVELS];
    size_t block_bytes;
    uint32_t of[SLOTS];
    kv_kinds kinds;
    uint8_t *mem; /* (BLOCKS, block_bytes) */
    const uint8_t *blocks[BLOCKS];
} stream;

static void make_stream(stream *s, size_t dim, unsigned most, uint64_t seed) {
    float step[PROF_MAX_BITS + 1];
    memset(s, 0, sizeof *s);
    s->layout = (tc_layout){dim, s->bits, s->levels, 0};
    for (size_t i = 0; i < dim; i++)
        s->layout.words += s->bits[i] = (uint8_t)(most - i * most / dim);
    tc_levels(step, s->levels);
    s->block_bytes = s->layout.words * 8 + KV_BLOCK;
    s->mem = calloc(BLOCKS, s->block_bytes);
    for (uint32_t t = 0; t < SLOTS; t++)
        s->of[t] = (uint32_t)(rnd(&seed) * KINDS);
    s->kinds = (kv_kinds){s->of, SLOTS, KINDS};
    for (size_t b = 0; b < BLOCKS; b++)
        s->blocks[b] = s->mem + b * s->block_bytes;
}

/* The code of a dimension, and the gain behind the last. */
static void set_code(stream *s, uint32_t t, size_t dim, unsigned code) {
    uint8_t *at = s->mem + t / KV_BLOCK * s->block_bytes;
    for (size_t i = 0; i < dim && i < s->layout.n; i++)
        at += 8 * s->bits[i];
    if (dim == s->layout.n)
        at[t % KV_BLOCK] = (uint8_t)code;
    for (unsigned p = 0; dim < s->layout.n && p < s->bits[dim]; p++)
        at[8 * p + t % KV_BLOCK / 8] |= (uint8_t)((code >> p & 1) << t % 8);
}

/* Tokens whose codes are drawn anew, or are those of their kind, but for one in eight. */
static void fill(stream *s, bool alike, uint64_t seed) {
    static unsigned own[KINDS][TRELLIS_MAX_DIM + 1];
    for (uint32_t k = 0; k < KINDS; k++)
        for (size_t i = 0; i <= s->layout.n; i++)
            own[k][i] = i < s->layout.n ? (unsigned)(rnd(&seed) * (1u << s->bits[i])) : 80 + (unsigned)(rnd(&seed) * 32);
    for (uint32_t t = 3; t < SLOTS - 20; t++) { /* sinks before them, nothing yet behind them */
        const bool odd = !alike || rnd(&seed) < 0.125;
        for (size_t i = 0; i <= s->layout.n; i++) {
            const unsigned n = i < s->layout.n ? 1u << s->bits[i] : 256;
            set_code(s, t, i, odd ? (unsigned)(rnd(&seed) * n) : own[s->of[t]][i]);
        }
    }
}

/* Bytes that it took; 0: more than there are. */
static size_t there_and_back(const stream *s, const kv_kinds *kinds) {
    const size_t all = BLOCKS * s->block_bytes;
    kv_err err = {0};
    uint8_t *packed = malloc(2 * all + 64), *back = malloc(all);
    const size_t bytes = tc_pack(&s->layout, kinds, s->blocks, BLOCKS, packed, 2 * all + 64);
    assert_true(bytes > 0);
    packed = realloc(packed, bytes); /* so that sanitizers see what reads behind it */
    memset(back, 0x5a, all);
    assert_int_equal(tc_unpack(&s->layout, kinds, packed, bytes, back, BLOCKS, &err), KV_OK);
    assert_memory_equal(back, s->mem, all);
    assert_int_equal(tc_unpack(&s->layout, kinds, packed, bytes - 1, back, BLOCKS, &err), KV_EFORMAT);
    if (bytes > 1000)
        assert_int_equal(tc_unpack(&s->layout, kinds, packed, bytes, back, BLOCKS - 1, &err), KV_EFORMAT);
    assert_int_equal(tc_pack(&s->layout, kinds, s->blocks, BLOCKS, packed, bytes - 1), 0);
    free(packed);
    free(back);
    return bytes;
}

static void pack_gives_back_any_blocks(void **state) {
    (void)state;
    static const size_t dims[] = {0, 1, 7, 64, 96, 256, TRELLIS_MAX_DIM};
    static stream s;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (unsigned most = 1; most <= TRELLIS_MAX_BITS; most += dims[i] > 96 ? 5 : 1) {
            if (dims[i] && dims[i] < most)
                continue;
            make_stream(&s, dims[i], most, i + 1);
            const size_t all = BLOCKS * s.block_bytes;
            const size_t empty = there_and_back(&s, &s.kinds);
            fill(&s, true, most);
            const size_t alike = there_and_back(&s, &s.kinds);
            const size_t blind = there_and_back(&s, &(kv_kinds){NULL, 0, 1});
            memset(s.mem, 0, all);
            fill(&s, false, most);
            const size_t noise = there_and_back(&s, &s.kinds);
            assert_true(empty < 64 + all / 200);
            assert_true(noise < all + all / 8 + 64);
            if (dims[i] >= 64) {
                assert_true(alike < all * 9 / 10);
                assert_true(alike < blind * 95 / 100);
            }
            free(s.mem);
        }
}

/* Codes under a gain of zero, and gains at both ends. */
static void pack_gives_back_odd_tokens(void **state) {
    (void)state;
    static stream s;
    make_stream(&s, 64, 4, 1);
    fill(&s, false, 9);
    for (uint32_t t = 0; t < SLOTS; t++)
        set_code(&s, t, s.layout.n, t % 3 ? t % 2 * 255 : t % 4 / 3);
    there_and_back(&s, &s.kinds);
    free(s.mem);
}

/* The same bytes on every machine. */
static void pack_is_the_same_everywhere(void **state) {
    (void)state;
    static stream s;
    make_stream(&s, 64, 6, 5);
    fill(&s, true, 3);
    uint8_t *out = malloc(BLOCKS * s.block_bytes);
    const size_t bytes = tc_pack(&s.layout, &s.kinds, s.blocks, BLOCKS, out, BLOCKS * s.block_bytes);
    const uint64_t sum = XXH3_64bits(out, bytes);
    if (bytes != GOLDEN_BYTES || sum != GOLDEN_SUM)
        fail_msg("%zu bytes, sum %llx", bytes, (unsigned long long)sum);
    free(out);
    free(s.mem);
}

static void pack_takes_any_bytes(void **state) {
    (void)state;
    static stream s;
    uint8_t noise[4096];
    uint64_t seed = 4;
    kv_err err;
    make_stream(&s, 64, 6, 2);
    for (int i = 0; i < 200; i++) {
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (uint8_t)(rnd(&seed) * 256);
        if (i == 0)
            memset(noise, 0xff, sizeof noise);
        const kv_status st = tc_unpack(&s.layout, &s.kinds, noise, (size_t)(rnd(&seed) * sizeof noise), s.mem, BLOCKS, &err);
        assert_true(st == KV_OK || st == KV_EFORMAT);
    }
    free(s.mem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_gives_back_any_blocks),
        cmocka_unit_test(pack_gives_back_odd_tokens),
        cmocka_unit_test(pack_is_the_same_everywhere),
        cmocka_unit_test(pack_takes_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
