/* Superblock types whose codes are looked up: IQ1 to IQ4_XS, and the ternary TQ types.
 *
 * Each is taken apart to the same form (qt_coded): a code for each weight, a small integer scale for each 16 of them, and one
 * d. What the code stands for is in the type's table of values. From this form weights are expanded here, and packed for
 * kernels (mat/mat_pack.c). d has 11 significant bits, a scale 6 and a value 7 at most, all of which a float holds: the order
 * of operations does not matter, and results equal those of the Python package `gguf` bit for bit.
 *
 * IQ1 to IQ3 choose points from a grid (qtype_grid.c), whose digits become the low bits of the codes; the bit above is the
 * sign, or for IQ1 the direction in which all values of a group are shifted. Every index has just the bits that the grid has
 * points for, so any bytes are safe.
 */
#include "base/fp16.h"
#include "gguf/qtype_internal.h"

enum { QK = 256 };

/* Codes of the eight weights of a point, or of two points with four digits each: digits, and one bit of `high` each above them.
 */
static void put_point(uint64_t digits, unsigned high, int bit, uint8_t *code) {
    for (int i = 0; i < 8; i++)
        code[i] = (uint8_t)((digits >> 8 * i & 7) | (high >> i & 1) << bit);
}

/* Seven signs; the eighth makes their number even. */
static unsigned even_signs(unsigned seven) {
    return seven | (unsigned)__builtin_parity(seven) << 7;
}

static int nibble(const uint8_t *p, int i) {
    return p[i / 2] >> i % 2 * 4 & 15;
}

/* Groups of 32: four indices of eight bits, four times seven signs and a scale of four bits. */
static void take_iq2_xxs(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ2_XXS);
    QT_LOAD(qt_iq2_xxs, b, src, 0);
    out->d = b.d;
    for (int g = 0; g < 8; g++) {
        const uint32_t signs = b.group[g].signs;
        for (int i = 0; i < 4; i++)
            put_point(grid[b.group[g].index[i]], even_signs(signs >> 7 * i & 127), 2, out->code + 32 * g + 8 * i);
        out->scale[2 * g] = out->scale[2 * g + 1] = (int8_t)(2 * (signs >> 28) + 1);
    }
}

/* Indices of nine bits with seven signs above. */
static void take_iq2_xs(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ2_XS);
    QT_LOAD(qt_iq2_xs, b, src, 0);
    out->d = b.d;
    for (int i = 0; i < 32; i++)
        put_point(grid[b.qs[i] & 511], even_signs(b.qs[i] >> 9), 2, out->code + 8 * i);
    for (int g = 0; g < 16; g++)
        out->scale[g] = (int8_t)(2 * nibble(b.scales, g) + 1);
}

/* Indices of ten bits, eight signs. */
static void take_iq2_s(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ2_S);
    QT_LOAD(qt_iq2_s, b, src, 0);
    out->d = b.d;
    for (int i = 0; i < 32; i++) {
        const unsigned high = b.qh[i / 4] >> i % 4 * 2 & 3;
        put_point(grid[b.qs[i] | high << 8], b.signs[i], 2, out->code + 8 * i);
    }
    for (int g = 0; g < 16; g++)
        out->scale[g] = (int8_t)(2 * nibble(b.scales, g) + 1);
}

/* Two points of four digits to eight signs; groups of 32 with four times seven signs and a scale of four bits. */
static void take_iq3_xxs(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ3_XXS);
    QT_LOAD(qt_iq3_xxs, b, src, 0);
    out->d = b.d;
    for (int i = 0; i < 32; i++) {
        const uint32_t signs = b.signs[i / 4];
        put_point(grid[b.qs[2 * i]] | grid[b.qs[2 * i + 1]] << 32, even_signs(signs >> i % 4 * 7 & 127), 3, out->code + 8 * i);
    }
    for (int g = 0; g < 16; g++)
        out->scale[g] = (int8_t)(2 * (b.signs[g / 2] >> 28) + 1);
}

/* Indices of nine bits. */
static void take_iq3_s(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ3_S);
    QT_LOAD(qt_iq3_s, b, src, 0);
    out->d = b.d;
    for (int i = 0; i < 32; i++) {
        const unsigned high = b.qh[i / 4] >> i % 4 * 2;
        put_point(grid[b.qs[2 * i] | (high & 1) << 8] | grid[b.qs[2 * i + 1] | (high & 2) << 7] << 32, b.signs[i], 3,
                  out->code + 8 * i);
    }
    for (int g = 0; g < 16; g++)
        out->scale[g] = (int8_t)(2 * nibble(b.scales, g / 2) + 1);
}

/* Groups of 32: the ninth to eleventh bits of four indices, a scale of three bits, and the direction of the shift. */
static void take_iq1_s(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ1);
    QT_LOAD(qt_iq1_s, b, src, 0);
    out->d = b.d;
    for (int g = 0; g < 8; g++) {
        const unsigned qh = b.qh[g], down = qh >> 15 ? 255 : 0;
        for (int i = 0; i < 4; i++)
            put_point(grid[b.qs[4 * g + i] | (qh >> 3 * i & 7) << 8], down, 2, out->code + 32 * g + 8 * i);
        out->scale[2 * g] = out->scale[2 * g + 1] = (int8_t)(2 * (qh >> 12 & 7) + 1);
    }
}

/* As IQ1_S, but the direction is that of eight weights, the scale that of 16; the bits of d are above these, four each. */
static void take_iq1_m(const void *src, qt_coded *out) {
    const uint64_t *grid = qt_grid_points(QT_GRID_IQ1);
    QT_LOAD(qt_iq1_m, b, src, 0);
    out->d = 0;
    for (int i = 0; i < 4; i++)
        out->d |= (uint16_t)(b.scales[i] >> 12 << 4 * i);
    for (int i = 0; i < 32; i++) {
        const unsigned qh = (unsigned)nibble(b.qh, i);
        put_point(grid[b.qs[i] | (qh & 7) << 8], qh >> 3 ? 255 : 0, 2, out->code + 8 * i);
    }
    for (int g = 0; g < 16; g++)
        out->scale[g] = (int8_t)(2 * (b.scales[g / 4] >> g % 4 * 3 & 7) + 1);
}

/* Groups of 32 as in IQ4_NL, each with a scale of six bits, less 32: low nibbles, and pairs of high bits. */
static void take_iq4_xs(const void *src, qt_coded *out) {
    QT_LOAD(qt_iq4_xs, b, src, 0);
    out->d = b.d;
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < 16; i++) {
            out->code[32 * g + i] = b.qs[16 * g + i] & 15;
            out->code[32 * g + i + 16] = b.qs[16 * g + i] >> 4;
        }
        out->scale[2 * g] = out->scale[2 * g + 1] = (int8_t)((nibble(b.scales_l, g) | (b.scales_h >> 2 * g & 3) << 4) - 32);
    }
}

/* n bytes, each of which holds `many` weights: digits to base 3 of a fraction of 256, the first one first. */
static uint8_t *put_trits(const uint8_t *qs, int n, int many, uint8_t *code) {
    for (int p = 0, power = 1; p < many; p++, power *= 3)
        for (int i = 0; i < n; i++)
            *code++ = (uint8_t)((qs[i] * power & 255) * 3 >> 8);
    return code;
}

static void take_tq1_0(const void *src, qt_coded *out) {
    QT_LOAD(qt_tq1_0, b, src, 0);
    out->d = b.d;
    memset(out->scale, 1, sizeof out->scale);
    put_trits(b.qh, 4, 4, put_trits(b.qs + 32, 16, 5, put_trits(b.qs, 32, 5, out->code)));
}

static void take_tq2_0(const void *src, qt_coded *out) {
    QT_LOAD(qt_tq2_0, b, src, 0);
    out->d = b.d;
    memset(out->scale, 1, sizeof out->scale);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            out->code[32 * g + i] = b.qs[g / 4 * 32 + i] >> g % 4 * 2 & 3;
}

#define IQ1_VALUES                                                                                                             \
    { -7, 1, 9, 0, -9, -1, 7 } /* eight times -1, 0, 1 and a shift of 1/8 up or down */
#define IQ2_VALUES                                                                                                             \
    { 8, 25, 43, 0, -8, -25, -43 }
#define IQ3_XXS_VALUES                                                                                                         \
    { 4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62 }
#define IQ3_S_VALUES                                                                                                           \
    { 1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15 }
#define TQ_VALUES                                                                                                              \
    { -1, 0, 1, 2 } /* the last in TQ2_0 only, where no quantiser writes it */

/* Type, unit, values. */
static const qt_codes codes[] = {
    {QT_IQ1_S, 0.125f, take_iq1_s, IQ1_VALUES},     {QT_IQ1_M, 0.125f, take_iq1_m, IQ1_VALUES},
    {QT_IQ2_XXS, 0.125f, take_iq2_xxs, IQ2_VALUES}, {QT_IQ2_XS, 0.125f, take_iq2_xs, IQ2_VALUES},
    {QT_IQ2_S, 0.125f, take_iq2_s, IQ2_VALUES},     {QT_IQ3_XXS, 0.25f, take_iq3_xxs, IQ3_XXS_VALUES},
    {QT_IQ3_S, 1, take_iq3_s, IQ3_S_VALUES},        {QT_IQ4_XS, 1, take_iq4_xs, QT_IQ4NL_VALUES},
    {QT_TQ1_0, 1, take_tq1_0, TQ_VALUES},           {QT_TQ2_0, 1, take_tq2_0, TQ_VALUES},
};

const qt_codes *qt_codes_of(qtype type) {
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].type == type)
            return &codes[i];
    return NULL;
}

static void dequant(qtype type, const void *src, float *dst, size_t n) {
    const qt_codes *c = qt_codes_of(type);
    const size_t block_bytes = qtype_get(type)->block_bytes;
    const uint8_t *block = src;
    for (size_t i = 0; i < n / QK; i++, block += block_bytes, dst += QK) {
        qt_coded b;
        c->take(block, &b);
        const float d = fp16_to_fp32(b.d) * c->unit;
        for (int j = 0; j < QK; j++)
            dst[j] = d * (float)b.scale[j / 16] * (float)c->values[b.code[j]];
    }
}

#define DEQUANT(name, type)                                                                                                    \
    void qt_dequant_##name(const void *src, float *dst, size_t n) {                                                            \
        dequant(type, src, dst, n);                                                                                            \
    }
DEQUANT(iq1_s, QT_IQ1_S)
DEQUANT(iq1_m, QT_IQ1_M)
DEQUANT(iq2_xxs, QT_IQ2_XXS)
DEQUANT(iq2_xs, QT_IQ2_XS)
DEQUANT(iq2_s, QT_IQ2_S)
DEQUANT(iq3_xxs, QT_IQ3_XXS)
DEQUANT(iq3_s, QT_IQ3_S)
DEQUANT(iq4_xs, QT_IQ4_XS)
DEQUANT(tq1_0, QT_TQ1_0)
DEQUANT(tq2_0, QT_TQ2_0)
