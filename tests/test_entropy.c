/* The arithmetic coder: what goes in comes out, in about as many bytes as its chances say, and nothing else is taken for it. */
#include "context/entropy.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

enum { N = 40000, CONTEXTS = 5, GOLDEN_BYTES = 1292 };
#define GOLDEN_SUM 0x298d868f7ad29865u

static uint32_t next(uint32_t *state) {
    return *state = *state * 1664525u + 1013904223u;
}

/* Ones in 0, 1, 500, 950 and 1000 of a thousand. */
static void make_bits(bool bits[N], uint32_t seed) {
    static const unsigned ones[CONTEXTS] = {0, 1, 500, 950, 1000};
    for (size_t i = 0; i < N; i++)
        bits[i] = (next(&seed) >> 8) % 1000 < ones[i % CONTEXTS];
}

static void new_contexts(ctx_bit contexts[CONTEXTS]) {
    for (int i = 0; i < CONTEXTS; i++)
        contexts[i] = CTX_BIT_NEW;
}

static size_t code(const bool bits[N], uint8_t *out, size_t room) {
    ctx_coder e;
    ctx_bit contexts[CONTEXTS];
    new_contexts(contexts);
    ctx_coder_start(&e, out, room);
    for (size_t i = 0; i < N; i++)
        ctx_code(&e, &contexts[i % CONTEXTS], bits[i], false);
    return ctx_coder_end(&e, false) ? e.at : 0;
}

/* What comes out, and whether it is said to be whole. */
static bool decode(const uint8_t *in, size_t bytes, bool out[N]) {
    ctx_coder e;
    ctx_bit contexts[CONTEXTS];
    new_contexts(contexts);
    ctx_coder_read(&e, in, bytes);
    for (size_t i = 0; i < N; i++)
        out[i] = ctx_code(&e, &contexts[i % CONTEXTS], false, true);
    return ctx_coder_end(&e, true);
}

static void entropy_gives_back_what_was_coded(void **state) {
    (void)state;
    static bool bits[N], back[N];
    static uint8_t out[N], exact[N];
    for (uint32_t seed = 0; seed < 20; seed++) {
        make_bits(bits, seed);
        const size_t bytes = code(bits, out, sizeof out);
        /* entropies of 0, 0.0114, 1, 0.286 and 0 bits; learning them takes something */
        const double ideal = N / CONTEXTS * (0.0114 + 1 + 0.2864) / 8;
        assert_true((double)bytes > 0.97 * ideal && (double)bytes < 1.03 * ideal);
        assert_true(decode(out, bytes, back));
        assert_memory_equal(bits, back, sizeof bits);
        assert_int_equal(code(bits, exact, bytes), bytes); /* just that much room, and no less */
        assert_memory_equal(exact, out, bytes);
        assert_int_equal(code(bits, exact, bytes - 1), 0);
    }
}

/* The same bytes on every machine. */
static void entropy_is_the_same_everywhere(void **state) {
    (void)state;
    static bool bits[N];
    static uint8_t out[N];
    make_bits(bits, 7);
    const size_t bytes = code(bits, out, sizeof out);
    const uint64_t sum = XXH3_64bits(out, bytes);
    if (bytes != GOLDEN_BYTES || sum != GOLDEN_SUM)
        fail_msg("%zu bytes, sum %llx", bytes, (unsigned long long)sum);
}

/* A beginning of the interval that carries through words of ones: a context that is sure of ones and is told otherwise. */
static void entropy_carries(void **state) {
    (void)state;
    uint8_t out[64] = {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    ctx_coder e;
    ctx_coder_start(&e, out, sizeof out);
    e.at = 8;
    ctx_coder_carry(&e);
    assert_int_equal(out[0], 0x13);
    for (int i = 1; i < 8; i++)
        assert_int_equal(out[i], 0);
}

static void entropy_knows_what_is_not_whole(void **state) {
    (void)state;
    static bool bits[N], back[N];
    static uint8_t out[N];
    make_bits(bits, 3);
    const size_t bytes = code(bits, out, sizeof out);
    for (size_t cut = 0; cut < bytes; cut += 1 + bytes / 50)
        assert_false(decode(out, cut, back));
    memset(out + bytes, 0x5a, 64);
    assert_false(decode(out, bytes + 4, back));
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(next(&noise) >> 24);
    decode(out, sizeof out, back); /* whatever it yields */
    memset(out, 0xff, sizeof out);
    decode(out, sizeof out, back);
}

static void entropy_codes_numbers(void **state) {
    (void)state;
    uint8_t out[4096];
    ctx_coder e;
    ctx_bit tree[256];
    for (int way = 0; way < 2; way++) {
        uint32_t seed = 5;
        for (int i = 0; i < 256; i++)
            tree[i] = CTX_BIT_NEW;
        if (way)
            ctx_coder_read(&e, out, e.at);
        else
            ctx_coder_start(&e, out, sizeof out);
        for (int i = 0; i < 1000; i++) {
            const unsigned number = next(&seed) >> 24;
            assert_int_equal(ctx_code_bits(&e, tree, 8, way ? 0 : number, way), number);
        }
        assert_true(ctx_coder_end(&e, way));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entropy_gives_back_what_was_coded),
        cmocka_unit_test(entropy_is_the_same_everywhere),
        cmocka_unit_test(entropy_carries),
        cmocka_unit_test(entropy_knows_what_is_not_whole),
        cmocka_unit_test(entropy_codes_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
