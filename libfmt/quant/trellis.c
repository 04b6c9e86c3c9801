#include "quant/trellis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    USUAL_ROOT = 4,     /* root of what a dimension usually costs */
    MOST_FACTOR = 4095, /* of a distance */
    LANES = 16,         /* partial sums */
};

unsigned trellis_falling(const int8_t *levels) {
    for (unsigned b = 2; b <= TRELLIS_MAX_BITS; b++)
        for (size_t i = trellis_table(b) + TRELLIS_WINDOWS; i < trellis_table(b + 1); i++)
            if (levels[i] < levels[i - TRELLIS_WINDOWS])
                return b;
    return 0;
}

uint8_t trellis_gain_code(float gain) {
    const float least = trellis_gain(1), most = trellis_gain(255);
    uint32_t bits;
    if (!(gain >= least))
        return 2 * gain >= least;
    if (gain >= most)
        return 255;
    memcpy(&bits, &gain, sizeof bits);
    return (uint8_t)(((bits + (1u << 17)) >> 18) - (127u << 5) + TRELLIS_UNIT);
}

static float fold(float sum[LANES]) {
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

static float within(float gain) {
    const float least = trellis_gain(1), most = trellis_gain(255);
    return gain > least ? gain < most ? gain : most : least;
}

void trellis_trials_of(float mean, float most, float trial[TRELLIS_TRIALS]) {
    float gain = mean;
    if (mean > 0x1p-40f && mean < 0x1p40f) { /* so that no quotient overflows; beyond, gains end anyway */
        const float rms = sqrtf(mean), root = sqrtf(sqrtf(most / rms));
        gain = rms * (root * sqrtf(root));
    }
    trial[0] = within(0.61f * gain);
    trial[1] = within(0.725f * gain);
}

void trellis_trials(size_t n, const float *z, const float *inv_sigma, float trial[TRELLIS_TRIALS]) {
    float sum[LANES] = {0}, most = 0;
    for (size_t i = 0; i < n; i++) {
        const float r = fabsf(z[i] * inv_sigma[i]);
        sum[i % LANES] += r * r;
        most = r > most ? r : most;
    }
    trellis_trials_of(fold(sum) / (float)(n ? n : 1), most, trial);
}

/* Steps of the levels, which reach to 127, that the nearest one is usually away. */
static double usual(unsigned bits) {
    return 64.0 / (1u << bits);
}

static trellis_weight weigh(unsigned factor) {
    uint16_t f = (uint16_t)factor, limit = (uint16_t)(65535 / factor);
    return (trellis_weight){{f, f}, {limit, limit}};
}

void trellis_weigh(size_t n, const uint8_t *bits, const float *scale, float *inverse, float *square, trellis_weight *weight) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)scale[i] * usual(bits[i]);
        sum += e * e;
    }
    const double unit = sqrt(sum / (double)(n ? n : 1));
    for (size_t i = 0; i < n; i++) {
        const float fine = (float)(1 << trellis_shift(bits[i]));
        const double length = (double)scale[i] / (unit * (double)fine), f = rint(256 * USUAL_ROOT * length);
        inverse[i] = fine / scale[i];
        square[i] = (float)(length * length);
        weight[i] = weigh(f > 1 ? f < MOST_FACTOR ? (unsigned)f : MOST_FACTOR : 1);
    }
}

void trellis_coarsen(size_t n, const trellis_weight *from, trellis_weight *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = weigh(from[i].factor[0] > 4 ? from[i].factor[0] / 4 : 1);
}

static float cut(float x, float most) {
    x = x < most ? x : most;
    return x > -most ? x : -most;
}

/* A coefficient in units of its levels. */
static int quantise(float y, float inv) {
    return (int)rintf(cut(y * inv, TRELLIS_REACH));
}

/* Which of the levels of a window is nearest: as many as there are borders, halfway between two levels, below r. */
static unsigned nearest(const int8_t *table, unsigned bits, unsigned window, int r) {
    unsigned which = 0;
    for (unsigned p = 1; p < 1u << (bits - 1); p++) {
        const int8_t *l = table + p * TRELLIS_WINDOWS + window;
        which += r > (l[0] + l[-TRELLIS_WINDOWS]) * (1 << trellis_shift(bits)) >> 1;
    }
    return which;
}

static unsigned add(unsigned a, unsigned b) {
    return a + b < 65535 ? a + b : 65535;
}

/* Viterbi over the dimensions of one vector with one gain. y: coefficients times inverse. taken[i]: bit s says by which of its
 * two windows state s was best reached. Returns the squared error and the final state. */
static unsigned walk(const trellis_book *b, const trellis_weight *weight, const float *y, float inv, uint8_t *taken,
                     unsigned *last) {
    unsigned cost[TRELLIS_STATES], next[TRELLIS_STATES], branch[TRELLIS_WINDOWS];
    for (unsigned s = 0; s < TRELLIS_STATES; s++)
        cost[s] = s ? 65535 : 0;
    for (size_t i = 0; i < b->n; i++) {
        const int8_t *table = b->levels + trellis_table(b->bits[i]);
        const int r = quantise(y[i], inv);
        for (unsigned w = 0; w < TRELLIS_WINDOWS; w++) {
            int level = table[nearest(table, b->bits[i], w, r) * TRELLIS_WINDOWS + w];
            unsigned d = (unsigned)abs(r - level * (1 << trellis_shift(b->bits[i]))), limit = weight[i].limit[0];
            d = (d < limit ? d : limit) * weight[i].factor[0];
            branch[w] = d * d >> 16;
        }
        taken[i] = 0;
        for (unsigned s = 0; s < TRELLIS_STATES; s++) {
            unsigned low = add(branch[s], cost[s / 2]);
            unsigned high = add(branch[s + TRELLIS_STATES], cost[(s + TRELLIS_STATES) / 2]);
            next[s] = high < low ? high : low;
            taken[i] |= (uint8_t)((high < low) << s);
        }
        memcpy(cost, next, sizeof cost);
    }
    *last = 0;
    for (unsigned s = 1; s < TRELLIS_STATES; s++)
        *last = cost[s] < cost[*last] ? s : *last;
    return cost[*last];
}

/* Back along the best path: codes, one every ldc, and their levels in units. */
static void trace(const trellis_book *b, const float *y, float inv, const uint8_t *taken, unsigned state, uint8_t *codes,
                  size_t ldc, int16_t *level) {
    for (size_t i = b->n; i-- > 0;) {
        const int8_t *table = b->levels + trellis_table(b->bits[i]);
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): walk has been over all of them */
        unsigned window = state | (taken[i] >> state & 1u) * TRELLIS_STATES;
        unsigned which = nearest(table, b->bits[i], window, quantise(y[i], inv));
        codes[i * ldc] = (uint8_t)(which << 1 | (window & 1));
        level[i] = (int16_t)(table[which * TRELLIS_WINDOWS + window] * (1 << trellis_shift(b->bits[i])));
        state = window / 2;
    }
}

/* The gain that suits levels best. */
static float refit(const trellis_book *b, const float *y, const int16_t *level, float trial) {
    float above[LANES] = {0}, below[LANES] = {0};
    for (size_t i = 0; i < b->n; i++) {
        const float l = level[i], t = b->square[i] * l;
        above[i % LANES] = fmaf(t, y[i], above[i % LANES]);
        below[i % LANES] = fmaf(t, l, below[i % LANES]);
    }
    const float a = fold(above), d = fold(below);
    return d > 0 ? a / d : trial;
}

/* The best of the trials of one vector; taken and *state as walk leaves them. *cost: what it cost. */
static int try_gains(const trellis_book *b, const trellis_weight *weight, const float *y, const float *trial, uint8_t *taken,
                     unsigned *state, unsigned *cost) {
    uint8_t took[TRELLIS_MAX_DIM];
    float least = INFINITY;
    int best = 0;
    for (int i = 0; i < TRELLIS_TRIALS; i++) {
        unsigned last, c = walk(b, weight, y, 1 / trial[i], took, &last);
        float err = (float)c * (trial[i] * trial[i]);
        if (!(err < least))
            continue;
        memcpy(taken, took, b->n);
        least = err;
        best = i;
        *state = last;
        *cost = c;
    }
    return best;
}

void trellis_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const float *trial, uint8_t *gain,
                    uint8_t *codes, size_t ldc) {
    uint8_t taken[TRELLIS_MAX_DIM];
    float y[TRELLIS_MAX_DIM];
    int16_t level[TRELLIS_MAX_DIM];
    trellis_weight coarse[TRELLIS_MAX_DIM];
    if (ldc > 1)
        memset(codes, 0, b->n * ldc);
    for (size_t t = 0; t < n; t++, z += ldz, trial += TRELLIS_TRIALS) {
        const trellis_weight *weight = b->weight;
        unsigned state = 0, cost = 0;
        int best = 0;
        for (size_t i = 0; i < b->n; i++)
            y[i] = cut(z[i] * b->inverse[i], 0x1p100f);
        for (int coarser = 0; coarser <= TRELLIS_COARSEST; coarser++) {
            best = try_gains(b, weight, y, trial, taken, &state, &cost);
            if (cost < TRELLIS_DEAR)
                break;
            trellis_coarsen(b->n, weight, coarse);
            weight = coarse;
        }
        trace(b, y, 1 / trial[best], taken, state, codes + t, ldc, level);
        gain[t] = trellis_gain_code(refit(b, y, level, trial[best]));
    }
}
