/* Lloyd-Max codebooks (Lloyd 1982, Max 1960). docs/codec.md, section 4.
 *
 * Start from the optimal quantiser of the normal distribution. Then fit each coefficient alone to its samples, divided by the
 * token's gain (rms of z/sigma over the coded coefficients). Then fit all together in the loop of the encoder, which tries a
 * few gains for every token and keeps the best: choose gain and codes, move levels to the means of what they stand for, repeat.
 */
#include "calib_internal.h"
#include "fp16.h"
#include "lloyd_max.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_SAMPLES = 4, /* a level moves only with at least so many samples in its cell */
    ROUNDS_ALONE = 40,
    ROUNDS_JOINT = 3,
};

/* Gains tried, relative to the rms gain: those of the encoder (runtime/codec_tc.c), for which the levels are fitted. */
static const float GAINS[] = {1, 0.75f, 0.84f, 0.92f, 1.08f, 1.17f, 1.3f, 1.5f};

void cal_gauss_init(cal_gauss *g) {
    memset(g, 0, sizeof *g);
    g->distortion[0] = 1;
    for (uint32_t b = 1; b <= PROF_MAX_BITS; b++)
        g->distortion[b] = lloyd_max_normal(1u << b, g->levels[b]);
}

/* Sort by radix: floats as integers whose order is theirs, 11 bits a pass. key: n words of scratch. x is finite. */
static void sort_floats(float *x, uint32_t *key, uint32_t n) {
    for (int pass = 0; pass < 3; pass++) {
        uint32_t start[2049] = {0}, shift = 11 * (uint32_t)pass;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t u = fp32_bits(x[i]);
            key[i] = u ^ (u >> 31 ? 0xffffffffu : 0x80000000u);
            start[(key[i] >> shift & 2047) + 1]++;
        }
        for (int d = 0; d < 2048; d++)
            start[d + 1] += start[d];
        for (uint32_t i = 0; i < n; i++)
            x[start[key[i] >> shift & 2047]++] = fp32_from_bits(key[i] ^ (key[i] >> 31 ? 0x80000000u : 0xffffffffu));
    }
}

/* Index of the first of n sorted values that is above `limit`. */
static uint32_t first_above(const float *x, uint32_t n, float limit) {
    uint32_t lo = 0;
    while (n) {
        uint32_t half = n / 2;
        if (x[lo + half] <= limit)
            lo += half + 1, n -= half + 1;
        else
            n = half;
    }
    return lo;
}

/* Lloyd's iteration on n sorted samples whose running sums are given, sum[i] = x[0] + .. + x[i-1]. Levels stay ascending: each
 * stays inside its own cell. */
static void fit_alone(const float *x, const double *sum, uint32_t n, uint32_t n_levels, float *c) {
    for (int round = 0; round < ROUNDS_ALONE; round++) {
        float next[CAL_MAX_LEVELS];
        uint32_t from = 0;
        bool moved = false;
        for (uint32_t i = 0; i < n_levels; i++) {
            uint32_t to = i + 1 < n_levels ? from + first_above(x + from, n - from, (c[i] + c[i + 1]) / 2) : n;
            next[i] = to - from >= LEAST_SAMPLES ? (float)((sum[to] - sum[from]) / (to - from)) : c[i];
            moved |= next[i] != c[i];
            from = to;
        }
        if (!moved)
            break;
        memcpy(c, next, n_levels * sizeof *c);
    }
}

/* Code of x among 2^bits ascending levels with the given 2^bits - 1 borders. */
static inline uint32_t encode(const float *border, uint32_t bits, float x) {
    uint32_t code = 0;
    for (uint32_t step = 1u << bits >> 1; step; step >>= 1)
        code += x > border[code + step - 1] ? step : 0;
    return code;
}

/* Working memory of one fit. Levels and borders of coefficient i start at i * CAL_MAX_LEVELS. */
typedef struct fit {
    const prof_tc *t;
    uint32_t n, coded; /* samples; coefficients with bits */
    const float *z;
    float *gain;   /* (n) rms gain */
    float *column; /* (n) */
    uint32_t *key; /* (n) */
    double *sum;   /* (n + 1), and per level in the joint fit */
    float *levels, *border;
    double *level_sum;
    uint32_t *level_n;
} fit;

static void set_borders(fit *f) {
    for (uint32_t i = 0; i < f->coded; i++) {
        float *c = f->levels + i * CAL_MAX_LEVELS, *b = f->border + i * CAL_MAX_LEVELS;
        for (uint32_t j = 0; j + 1 < 1u << f->t->bits[i]; j++)
            b[j] = (c[j] + c[j + 1]) / 2;
    }
}

/* Encode one sample with a gain; returns the squared error, or something >= limit as soon as it is clear that it is. */
static float encode_sample(const fit *f, const float *z, float gain, float limit, uint8_t *codes) {
    float err = 0, inv = 1 / gain;
    for (uint32_t i = 0; i < f->coded && err < limit; i++) {
        uint32_t code = encode(f->border + i * CAL_MAX_LEVELS, f->t->bits[i], z[i] * inv);
        float e = z[i] - gain * f->levels[i * CAL_MAX_LEVELS + code];
        codes[i] = (uint8_t)code;
        err += e * e;
    }
    return err;
}

static void fit_joint(fit *f) {
    size_t all = (size_t)f->coded * CAL_MAX_LEVELS;
    uint8_t codes[2][PROF_MAX_DIM];
    set_borders(f);
    memset(f->level_sum, 0, all * sizeof *f->level_sum);
    memset(f->level_n, 0, all * sizeof *f->level_n);
    for (uint32_t s = 0; s < f->n; s++) {
        const float *z = f->z + (size_t)s * f->t->dim;
        float best = INFINITY, gain = 0;
        uint32_t at = 0;
        for (size_t k = 0; f->gain[s] > 0 && k < sizeof GAINS / sizeof *GAINS; k++) {
            float e = encode_sample(f, z, f->gain[s] * GAINS[k], best, codes[!at]);
            if (e < best)
                best = e, gain = f->gain[s] * GAINS[k], at = !at;
        }
        for (uint32_t i = 0; gain > 0 && i < f->coded; i++) {
            size_t cell = (size_t)i * CAL_MAX_LEVELS + codes[at][i];
            f->level_sum[cell] += (double)(z[i] / gain);
            f->level_n[cell]++;
        }
    }
    for (size_t i = 0; i < all; i++)
        if (f->level_n[i] >= LEAST_SAMPLES)
            f->levels[i] = (float)(f->level_sum[i] / f->level_n[i]);
}

static float rms_gain(const prof_tc *t, uint32_t coded, const float *z) {
    double sum = 0;
    for (uint32_t i = 0; i < coded; i++)
        sum += (double)(z[i] / t->sigma[i]) * (double)(z[i] / t->sigma[i]);
    return (float)sqrt(sum / coded);
}

/* Every coefficient by itself, at the rms gain. */
static void fit_columns(fit *f) {
    for (uint32_t i = 0; i < f->coded; i++) {
        uint32_t n = 0;
        for (uint32_t s = 0; s < f->n; s++)
            if (f->gain[s] > 0)
                f->column[n++] = f->z[(size_t)s * f->t->dim + i] / f->gain[s];
        sort_floats(f->column, f->key, n);
        f->sum[0] = 0;
        for (uint32_t s = 0; s < n; s++)
            f->sum[s + 1] = f->sum[s] + (double)f->column[s];
        fit_alone(f->column, f->sum, n, 1u << f->t->bits[i], f->levels + i * CAL_MAX_LEVELS);
    }
}

kv_status cal_fit_levels(const cal_gauss *g, const float *z, uint32_t n, prof_tc *t, kv_err *err) {
    fit f = {.t = t, .n = n, .z = z};
    while (f.coded < t->dim && t->bits[f.coded])
        f.coded++;
    size_t all = (size_t)f.coded * CAL_MAX_LEVELS;
    kv_status st = KV_OK;
    f.gain = malloc((2 * (size_t)n + 2 * all + 1) * sizeof *f.gain);
    f.sum = malloc(((size_t)n + 1 + all) * sizeof *f.sum);
    f.level_n = malloc((all + n + 1) * sizeof *f.level_n);
    if (!f.gain || !f.sum || !f.level_n) {
        st = kv_fail(err, KV_ENOMEM, "calibration: no memory for codebooks of %u samples", n);
        goto done;
    }
    f.column = f.gain + n, f.levels = f.column + n, f.border = f.levels + all, f.level_sum = f.sum + n + 1;
    f.key = f.level_n + all;
    for (uint32_t s = 0; s < n && f.coded; s++)
        f.gain[s] = rms_gain(t, f.coded, z + (size_t)s * t->dim);
    for (uint32_t i = 0; i < f.coded; i++)
        for (uint32_t j = 0; j < 1u << t->bits[i]; j++)
            f.levels[i * CAL_MAX_LEVELS + j] = (float)g->levels[t->bits[i]][j] * t->sigma[i];
    fit_columns(&f);
    for (int round = 0; round < ROUNDS_JOINT; round++)
        fit_joint(&f);
    float *out = t->levels;
    for (uint32_t i = 0; i < f.coded; out += 1u << t->bits[i++])
        memcpy(out, f.levels + i * CAL_MAX_LEVELS, sizeof(float) << t->bits[i]);
done:
    free(f.level_n);
    free(f.sum);
    free(f.gain);
    return st;
}
