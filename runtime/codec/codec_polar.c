/* polar4: PolarQuant (Han, Kacham, Karbasi, Mirrokni, Zandieh 2025, arXiv 2502.02617).
 *
 * After a random rotation (codec_rotate.h, as preconditioning), each run of 16 coordinates is turned into polar coordinates
 * recursively: 8 pairs into radius and angle, the 8 radii into 4 radii and angles, and so on, until one radius is left. Stored
 * are that radius in f16 and the angles:
 *
 *     level   angles   range         bits   codebook
 *     1       8        [0, 2 pi)     4      uniform, as the angle is
 *     2       4        [0, pi/2]     2      Lloyd-Max of a density proportional to sin(2 a)
 *     3       2        [0, pi/2]     2      sin^3(2 a)
 *     4       1        [0, pi/2]     2      sin^7(2 a)
 *
 * 46 + 16 bits for 16 elements: 3.875 (section 4 of the paper). The codebooks are those of the distribution that the rotation
 * brings about (the paper's lemma 2), where the paper's "offline" ones are k-means centres of angles from sample text.
 * Radii are stored divided by 4 (the rms of the run).
 *
 * Block: per run 46 planes (codec_planes.h), angles of level 1 first; then (dim/16, 64) radii.
 * Angles are compared through sines and cosines of the borders, without any trigonometry per token.
 */
#include "base/fp16.h"
#include "codec/codec_planes.h"
#include "codec/codec_rotate.h"
#include "quant/lloyd_max.h"

#include <math.h>

enum {
    RUN = 16,
    LEVELS = 4,
    FIRST_BITS = 4, /* of an angle at level 1 */
    BITS = 2,       /* and above */
    FIRST = RUN / 2,
    ANGLES = RUN - 1,
    WORDS = FIRST * FIRST_BITS + (ANGLES - FIRST) * BITS,
};

typedef struct angle {
    float cos, sin;
} angle;

typedef struct polar_state {
    kv_rotation rotation;                                                  /* first */
    angle level[LEVELS][1 << FIRST_BITS], border[LEVELS][1 << FIRST_BITS]; /* border i is below level i; 0 is not used */
} polar_state;

static const double PI = 3.141592653589793;

static angle angle_at(double a) {
    return (angle){(float)cos(a), (float)sin(a)};
}

/* The density of an angle between radii of k = j + 1 pairs, sin^(2j+1)(2a) on [0, pi/2]. With u = 2a, P_j = the integral of
 * (1 - c^2)^j from 0 to c = cos u, and Q_j that of P_j(cos) from 0 to u, both by their recurrences: mass below = (P_j(1) - P_j)
 * / 2 P_j(1); first moment of u = (Q_j - u P_j) / 2 P_j(1). */
static void angle_below(const void *arg, double x, double *mass, double *moment) {
    double u = fmin(2 * x, PI), c = cos(u), s = sin(u), p = c, q = s, one = 1, power = s;
    for (int i = 1; i <= *(const int *)arg; i++) {
        p = (c * power * s + 2 * i * p) / (2 * i + 1);
        power *= s * s;
        q = (power / (2 * i + 1) + 2 * i * q) / (2 * i + 1);
        one *= 2 * i / (2 * i + 1.0);
    }
    *mass = (one - p) / (2 * one);
    *moment = (q - u * p) / (2 * one) / 2;
}

static void fill_tables(polar_state *s) {
    for (int i = 0; i < 1 << FIRST_BITS; i++) {
        double step = 2 * PI / (1 << FIRST_BITS);
        s->level[0][i] = angle_at((i + 0.5) * step);
        s->border[0][i] = angle_at(i * step);
    }
    for (int l = 1; l < LEVELS; l++) {
        double c[1 << BITS];
        int j = (1 << (l - 1)) - 1;
        for (int i = 0; i < 1 << BITS; i++)
            c[i] = (i + 0.5) * PI / 2 / (1 << BITS);
        lloyd_max(angle_below, &j, 1 << BITS, c);
        for (int i = 0; i < 1 << BITS; i++) {
            s->level[l][i] = angle_at(c[i]);
            s->border[l][i] = angle_at(i ? (c[i - 1] + c[i]) / 2 : 0);
        }
    }
}

static kv_status polar_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    kv_status st = kv_rotation_new(c, sizeof(polar_state), 0, KV_ROTATION_SEED, "polar4", err);
    if (st)
        return st;
    fill_tables(c->state);
    kv_coder_part(c, KV_PART_PLANES, (size_t)c->dim / RUN * WORDS, 8);
    kv_coder_part(c, KV_PART_COLS, c->dim / RUN, sizeof(uint16_t));
    c->bits = (WORDS + 16.0) / RUN;
    c->scratch = (size_t)c->dim * KV_BLOCK * (sizeof(float) + 1);
    return KV_OK;
}

/* How many borders from `from` to `to` lie below the direction (x, y), within the right angle of the borders. */
static unsigned count_below(const angle *border, unsigned from, unsigned to, float x, float y) {
    unsigned n = 0;
    for (unsigned i = from; i <= to; i++)
        n += y * border[i].cos > x * border[i].sin;
    return n;
}

/* Code of the direction (x, y) on the full circle: the quadrant, rotated into the first, and the place in it. */
static unsigned circle_code(const angle *border, float x, float y) {
    unsigned quadrant = y < 0 ? (x < 0 ? 2 : 3) : x < 0 ? 1 : 0, quarter = (1 << FIRST_BITS) / 4;
    float ax = fabsf(x), ay = fabsf(y);
    bool odd = quadrant & 1;
    return quadrant * quarter + count_below(border, 1, quarter - 1, odd ? ay : ax, odd ? ax : ay);
}

/* Codes of a run, to codes[i * 64]; x is used up. Returns the radius. */
static float polar_run(const polar_state *s, float *x, uint8_t *codes) {
    for (int l = 0, n = FIRST; n; l++, n /= 2)
        for (int i = 0; i < n; i++, codes += KV_BLOCK) {
            float a = x[2 * i], b = x[2 * i + 1];
            *codes = (uint8_t)(l ? count_below(s->border[l], 1, (1 << BITS) - 1, a, b) : circle_code(s->border[0], a, b));
            x[i] = sqrtf(a * a + b * b);
        }
    return x[0];
}

static void polar_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                         void *scratch) {
    (void)k;
    const polar_state *s = c->state;
    uint32_t runs = c->dim / RUN;
    uint64_t *planes = (uint64_t *)block;
    uint16_t *radius = (uint16_t *)(planes + (size_t)runs * WORDS);
    float *y = scratch;
    uint8_t *codes = (uint8_t *)(y + (size_t)c->dim * KV_BLOCK); /* (runs, ANGLES, 64) */
    memset(codes, 0, (size_t)c->dim * KV_BLOCK);
    kv_rotate(&s->rotation, x, n, y);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t r = 0; r < runs; r++) {
            float rms = polar_run(s, y + (size_t)t * c->dim + r * RUN, codes + (size_t)r * ANGLES * KV_BLOCK + t) / 4;
            radius[r * KV_BLOCK + slot + t] = fp16_from_fp32(rms < 65504 ? rms : 65504.0f);
        }
    for (uint32_t i = 0; i < runs * ANGLES; i++) {
        unsigned bits = i % ANGLES < FIRST ? FIRST_BITS : BITS;
        kv_planes_put(planes, bits, slot, n, codes + (size_t)i * KV_BLOCK);
        planes += bits;
    }
}

/* A run of all slots: radii split into two again and again, in place from the back. x: (16, 64), row 0 holds the radius. */
static void unfold(const polar_state *s, const uint64_t *planes, float (*x)[KV_BLOCK]) {
    uint8_t codes[KV_BLOCK];
    for (int l = LEVELS - 1, n = 1; l >= 0; l--, n *= 2) {
        unsigned bits = l ? BITS : FIRST_BITS;
        const uint64_t *first = planes + (l ? FIRST * FIRST_BITS + (FIRST - 2 * n) * BITS : 0);
        for (int i = n - 1; i >= 0; i--) {
            kv_planes_get(first + (size_t)i * bits, bits, codes);
            for (uint32_t t = 0; t < KV_BLOCK; t++) {
                float r = x[i][t];
                x[2 * i][t] = r * s->level[l][codes[t]].cos;
                x[2 * i + 1][t] = r * s->level[l][codes[t]].sin;
            }
        }
    }
}

static const float *polar_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    const polar_state *s = c->state;
    uint32_t runs = c->dim / RUN;
    const uint64_t *planes = (const uint64_t *)block;
    const uint16_t *radius = (const uint16_t *)(planes + (size_t)runs * WORDS);
    float x[RUN][KV_BLOCK];
    for (uint32_t r = 0; r < runs; r++, planes += WORDS) {
        k->f16_load(radius + (size_t)r * KV_BLOCK, KV_BLOCK, x[0]);
        for (uint32_t t = 0; t < KV_BLOCK; t++)
            x[0][t] *= 4;
        unfold(s, planes, x);
        for (uint32_t i = 0; i < RUN; i++)
            kv_tile_put(c, tile, r * RUN + i, x[i], n);
    }
    return tile;
}

const kv_codec kv_codec_polar4 = {.init = polar_init,
                                  .free = kv_rotation_free,
                                  .encode = polar_encode,
                                  .decode = polar_decode,
                                  .query = kv_rotated_query,
                                  .output = kv_rotated_output};
