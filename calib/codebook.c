/* Levels of the trellis quantiser (libfmt/quant/trellis.h). docs/codec.md, section 4.
 *
 * Fitting is Lloyd's iteration in the loop of the encoder: search gains and codes of all samples, move every level to the mean
 * of what it stands for, repeat. Gains are those that the encoder tries, not those that it refits: else levels and gains, of
 * which only the products count, would drift apart from what its trials expect. It starts from levels fitted in the same way to
 * normally distributed numbers, and those start from the labels of a convolutional code, which keep the levels that a state
 * leaves open far apart (Ungerboeck 1982).
 */
#include "base/fp16.h"
#include "base/splitmix64.h"
#include "calib_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_SAMPLES = 4, /* a level moves only with at least so many samples in its cell */
    ROUNDS = 4,
    NORMAL_ROUNDS = 16,
    NORMAL_VECTORS = 1024, /* of NORMAL_DIM numbers */
    NORMAL_DIM = 64,
};

/* ---- what a fit works on ---- */

typedef struct fit {
    trellis_search_fn *search;
    uint32_t n, dim, coded; /* samples; their stride; coefficients with bits */
    const float *z;
    const uint8_t *bits;
    const float *sigma;          /* (coded) */
    float level[TRELLIS_LEVELS]; /* in units of sigma */
    float step[PROF_MAX_BITS + 1];
    int8_t stored[TRELLIS_LEVELS]; /* level / step */
    float inv_sigma[PROF_MAX_DIM], scale[PROF_MAX_DIM], inverse[PROF_MAX_DIM], square[PROF_MAX_DIM];
    trellis_weight weight_of[PROF_MAX_DIM];
    double sum[TRELLIS_LEVELS], weight[TRELLIS_LEVELS];
    uint32_t count[TRELLIS_LEVELS];
    double error;                                                                      /* squared, of the last round */
    float trial[TRELLIS_GROUP * TRELLIS_TRIALS], same[TRELLIS_GROUP * TRELLIS_TRIALS]; /* (group, trials) */
    uint8_t refit[TRELLIS_GROUP], codes[TRELLIS_TRIALS][PROF_MAX_DIM * TRELLIS_GROUP];
} fit;

/* Levels as they will be stored: eight bits, so that the outermost is 127 steps away. */
static void store(fit *f) {
    for (unsigned b = 1; b <= PROF_MAX_BITS; b++) {
        const size_t from = trellis_table(b), to = trellis_table(b + 1);
        float most = 0;
        for (size_t i = from; i < to; i++)
            most = fmaxf(most, fabsf(f->level[i]));
        f->step[b] = fp16_to_fp32(fp16_from_fp32(most / 127));
        for (size_t i = from; i < to; i++)
            f->stored[i] = (int8_t)fmaxf(-127, fminf(127, rintf(f->level[i] / f->step[b])));
    }
    for (uint32_t i = 0; i < f->coded; i++) {
        f->inv_sigma[i] = 1 / f->sigma[i];
        f->scale[i] = f->sigma[i] * f->step[f->bits[i]];
    }
    trellis_weigh(f->coded, f->bits, f->scale, f->inverse, f->square, f->weight_of);
}

/* Where the level of a code is in the table; window moves on. */
static size_t level_at(const fit *f, uint32_t i, unsigned code, unsigned *window) {
    *window = (*window * 2 + (code & 1)) % TRELLIS_WINDOWS;
    return trellis_table(f->bits[i]) + (code >> 1) * TRELLIS_WINDOWS + *window;
}

static double error_of(const fit *f, const float *z, float gain, const uint8_t *codes) {
    unsigned window = 0;
    double sum = 0;
    for (uint32_t i = 0; i < f->coded; i++) {
        const float level = f->stored[level_at(f, i, codes[(size_t)i * TRELLIS_GROUP], &window)];
        double e = z[i] - (double)gain * f->scale[i] * level;
        sum += e * e;
    }
    return sum;
}

/* Note what the codes of one sample stand for. */
static void take(fit *f, const float *z, float gain, const uint8_t *codes) {
    unsigned window = 0;
    for (uint32_t i = 0; i < f->coded; i++) {
        const size_t at = level_at(f, i, codes[(size_t)i * TRELLIS_GROUP], &window);
        const double w = (double)f->sigma[i] * f->sigma[i];
        f->sum[at] += w * (z[i] / ((double)gain * f->sigma[i]));
        f->weight[at] += w;
        f->count[at]++;
    }
}

/* The levels of every window in rising order, as searches expect them: one that has too few samples to move may be overtaken.
 */
static void sort_levels(float *level) {
    for (unsigned b = 2; b <= PROF_MAX_BITS; b++)
        for (size_t i = trellis_table(b) + TRELLIS_WINDOWS; i < trellis_table(b + 1); i++)
            for (size_t j = i; j >= trellis_table(b) + TRELLIS_WINDOWS && level[j] < level[j - TRELLIS_WINDOWS];
                 j -= TRELLIS_WINDOWS) {
                float x = level[j];
                level[j] = level[j - TRELLIS_WINDOWS];
                level[j - TRELLIS_WINDOWS] = x;
            }
}

/* Search up to a group of samples under each of their trials by itself, and take the better. */
static void take_group(fit *f, const trellis_book *book, const float *z, uint32_t n) {
    for (size_t j = 0; j < TRELLIS_TRIALS; j++) {
        for (size_t i = 0; i < n * TRELLIS_TRIALS; i++)
            f->same[i] = f->trial[i / TRELLIS_TRIALS * TRELLIS_TRIALS + j];
        f->search(book, z, f->dim, n, f->same, f->refit, f->codes[j], TRELLIS_GROUP);
    }
    for (uint32_t t = 0; t < n; t++, z += f->dim) {
        const float *trial = f->trial + t * TRELLIS_TRIALS;
        const double first = error_of(f, z, trial[0], f->codes[0] + t), second = error_of(f, z, trial[1], f->codes[1] + t);
        const size_t best = second < first;
        f->error += best ? second : first;
        take(f, z, trial[best], f->codes[best] + t);
    }
}

_Static_assert(TRELLIS_TRIALS == 2, "the better of two");

/* gains: try some; else all are 1. */
static void one_round(fit *f, bool gains) {
    const trellis_book book = {f->coded, f->bits, f->scale, f->stored, f->inverse, f->square, f->weight_of};
    store(f);
    memset(f->sum, 0, sizeof f->sum);
    memset(f->weight, 0, sizeof f->weight);
    memset(f->count, 0, sizeof f->count);
    f->error = 0;
    for (uint32_t s = 0; s < f->n; s += TRELLIS_GROUP) {
        const uint32_t n = f->n - s < TRELLIS_GROUP ? f->n - s : TRELLIS_GROUP;
        const float *z = f->z + (size_t)s * f->dim;
        for (uint32_t t = 0; t < n; t++) {
            float *trial = f->trial + t * TRELLIS_TRIALS;
            trellis_trials(f->coded, z + (size_t)t * f->dim, f->inv_sigma, trial);
            for (int i = 0; i < TRELLIS_TRIALS && !gains; i++)
                trial[i] = 1;
        }
        take_group(f, &book, z, n);
    }
    for (size_t i = 0; i < TRELLIS_LEVELS; i++)
        if (f->count[i] >= LEAST_SAMPLES && f->weight[i] > 0)
            f->level[i] = (float)(f->sum[i] / f->weight[i]);
    sort_levels(f->level);
}

kv_status cal_fit_levels(const cal_gauss *g, trellis_search_fn *search, const float *z, uint32_t n, prof_tc *t, kv_err *err) {
    fit *f = calloc(1, sizeof *f);
    if (!f)
        return kv_fail(err, KV_ENOMEM, "calibration: no memory for codebooks");
    f->search = search, f->n = n, f->dim = t->dim, f->z = z, f->bits = t->bits, f->sigma = t->sigma;
    while (f->coded < t->dim && t->bits[f->coded])
        f->coded++;
    memcpy(f->level, g->levels, sizeof f->level);
    for (int round = 0; round < ROUNDS && f->coded; round++)
        one_round(f, true);
    store(f);
    memcpy(t->levels, f->stored, sizeof f->stored);
    memcpy(t->step, f->step, sizeof f->step);
    free(f);
    return KV_OK;
}

/* ---- normal distribution ---- */

/* x with P(X < x) = p, 0 < p < 1. */
static double quantile(double p) {
    double low = -10, high = 10;
    for (int i = 0; i < 60; i++) {
        double mid = (low + high) / 2;
        *(erfc(-mid * 0.7071067811865476) / 2 < p ? &low : &high) = mid;
    }
    return high;
}

static unsigned parity(unsigned x) {
    return (x ^ x >> 1 ^ x >> 2 ^ x >> 3) & 1;
}

/* Four interleaved sets of levels; a window's set is the output of the convolutional code with generators 13 and 17 (octal), as
 * a Gray code, so that the two windows that leave a state, and the two that enter one, have sets that are two apart. */
static void start(float *level) {
    for (unsigned b = 1; b <= PROF_MAX_BITS; b++)
        for (unsigned w = 0; w < TRELLIS_WINDOWS; w++)
            for (unsigned p = 0, n = 1u << (b - 1); p < n; p++) {
                unsigned label = parity(w & 013) * 2 + parity(w & 017), set = label ^ label >> 1;
                level[trellis_table(b) + p * TRELLIS_WINDOWS + w] = (float)(1.25 * quantile((4 * p + set + 0.5) / (4 * n)));
            }
}

static double uniform(uint64_t *state) {
    return ((double)(splitmix64(state) >> 11) + 0.5) * 0x1p-53;
}

kv_status cal_gauss_init(cal_gauss *g, trellis_search_fn *search, kv_err *err) {
    enum { N = NORMAL_VECTORS * NORMAL_DIM };
    kv_status st = KV_OK;
    uint8_t bits[NORMAL_DIM];
    float sigma[NORMAL_DIM], *z = malloc(N * sizeof *z);
    fit *f = calloc(1, sizeof *f);
    if (!z || !f) {
        st = kv_fail(err, KV_ENOMEM, "calibration: no memory for codebooks");
        goto done;
    }
    uint64_t seed = 1;
    for (size_t i = 0; i < N; i++)
        z[i] = (float)(sqrt(-2 * log(uniform(&seed))) * cos(6.283185307179586 * uniform(&seed)));
    for (int i = 0; i < NORMAL_DIM; i++)
        sigma[i] = 1;
    f->search = search, f->n = NORMAL_VECTORS, f->dim = f->coded = NORMAL_DIM, f->z = z, f->bits = bits, f->sigma = sigma;
    start(f->level);
    g->distortion[0] = 1;
    for (int b = 1; b <= PROF_MAX_BITS; b++) {
        memset(bits, b, sizeof bits);
        for (int round = 0; round < NORMAL_ROUNDS; round++)
            one_round(f, false);
        g->distortion[b] = f->error / N;
    }
    memcpy(g->levels, f->level, sizeof f->level);
done:
    free(f);
    free(z);
    return st;
}
