/* Half precision and bfloat16 against their definition, worked out in double: over all halves and around every rounding
 * border. */
#include "base/fp16.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int is_nan16(uint16_t h) {
    return (h & 0x7fff) > 0x7c00;
}

/* The value of a half that is no NaN. Inf counts as the next power of two: that is where rounding to it starts from. */
static double value16(uint16_t h) {
    int exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

/* The half nearest to a float that is no NaN; of two equally near ones the even one. By bisection over the positive halves. */
static uint16_t nearest16(float f) {
    uint16_t low = 0, high = 0x7c00, sign = signbit(f) ? 0x8000 : 0;
    double x = fabs((double)f);
    if (x >= value16(high))
        return sign | high;
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (value16(middle) <= x)
            low = middle;
        else
            high = middle;
    }
    double below = x - value16(low), above = value16(high) - x;
    return sign | (below < above || (below == above && !(low & 1)) ? low : high);
}

static void fp16_every_half_widens_exactly(void **state) {
    (void)state;
    for (uint32_t h = 0; h <= 0xffff; h++) {
        float f = fp16_to_fp32((uint16_t)h);
        if (is_nan16((uint16_t)h))
            assert_true(f != f);
        else if (fp32_bits(f) !=
                 fp32_bits((h & 0x7fff) == 0x7c00 ? (h & 0x8000 ? -INFINITY : INFINITY) : (float)value16((uint16_t)h)))
            fail_msg("half %04x widens to %08x", h, fp32_bits(f));
    }
}

static void fp16_every_half_survives_the_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h <= 0xffff; h++) {
        uint16_t back = fp16_from_fp32(fp16_to_fp32((uint16_t)h));
        if (is_nan16((uint16_t)h) ? !is_nan16(back) : back != h)
            fail_msg("half %04x comes back as %04x", h, back);
    }
}

/* Floats that share their upper 16 bits round alike but for the lower 16: try those at the borders of each. With the
 * upper half running over everything, each exponent and each rounding case is met, ties to either side included. */
static void fp16_narrowing_rounds_to_nearest_even(void **state) {
    (void)state;
    static const uint16_t low[] = {0,      1,      2,      0x0fff, 0x1000, 0x1001, 0x1fff, 0x2000,
                                   0x2fff, 0x3000, 0x3001, 0x4000, 0x5000, 0x6fff, 0x7000, 0x7001,
                                   0x8000, 0x9000, 0xafff, 0xb001, 0xd000, 0xefff, 0xf000, 0xffff};
    for (uint32_t high = 0; high <= 0xffff; high++)
        for (size_t i = 0; i < sizeof low / sizeof *low; i++) {
            float f = fp32_from_bits(high << 16 | low[i]);
            uint16_t got = fp16_from_fp32(f);
            if (f != f ? !is_nan16(got) : got != nearest16(f))
                fail_msg("float %08x narrows to %04x", fp32_bits(f), got);
        }
}

/* Independent of the compiler: a few values by hand. */
static void fp16_known_values(void **state) {
    (void)state;
    static const struct {
        float f;
        uint16_t h;
    } known[] = {
        {0.0f, 0x0000},         {-0.0f, 0x8000},      {1.0f, 0x3c00},       {-2.0f, 0xc000},           {65504.0f, 0x7bff},
        {65519.99f, 0x7bff},    {65520.0f, 0x7c00},   {1e30f, 0x7c00},      {-1e30f, 0xfc00},          {0x1p-14f, 0x0400},
        {0x1p-24f, 0x0001},     {0x1p-25f, 0x0000},   {0x1.8p-24f, 0x0002}, {0x1.000002p-25f, 0x0001}, {0x1.ff8p-15f, 0x03ff},
        {0x1.ffcp-15f, 0x0400}, {0x1.002p0f, 0x3c00}, {0x1.006p0f, 0x3c02},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(fp16_from_fp32(known[i].f), known[i].h);
}

static void bf16_widens_and_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t b = 0; b <= 0xffff; b++) {
        float f = bf16_to_fp32((uint16_t)b);
        assert_true(fp32_bits(f) == b << 16);
        uint16_t back = bf16_from_fp32(f);
        if (f != f) {
            assert_true((back & 0x7fff) > 0x7f80);
            continue;
        }
        assert_int_equal(back, b);
        if ((b & 0x7fff) == 0x7f80)
            continue; /* beyond Inf lie only NaNs */
        assert_int_equal(bf16_from_fp32(fp32_from_bits(b << 16 | 0x7fff)), b);
        assert_int_equal(bf16_from_fp32(fp32_from_bits(b << 16 | 0x8000)), b + (b & 1)); /* a tie: to even */
        assert_int_equal(bf16_from_fp32(fp32_from_bits(b << 16 | 0x8001)), b + 1);
    }
    assert_true((bf16_from_fp32(fp32_from_bits(0x7f800001)) & 0x7fff) > 0x7f80); /* a NaN in the low bits stays one */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fp16_every_half_widens_exactly),         cmocka_unit_test(fp16_every_half_survives_the_round_trip),
        cmocka_unit_test(fp16_narrowing_rounds_to_nearest_even),  cmocka_unit_test(fp16_known_values),
        cmocka_unit_test(bf16_widens_and_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
