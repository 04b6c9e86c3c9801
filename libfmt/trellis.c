#include "trellis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS = 8,          /* an octave */
    USUAL_ROOT = 4,     /* root of what a dimension usually costs */
    MOST_FACTOR = 4095, /* of a distance */
};

/* 2^(i/8) as the nearest float: powers are not rounded alike on every machine. */
const float trellis_steps[STEPS] = {0x1p0f,        0x1.172b84p0f, 0x1.306fep0f,  0x1.4bfdaep0f,
                                    0x1.6a09e6p0f, 0x1.8ace54p0f, 0x1.ae89fap0f, 0x1.d5818ep0f};

unsigned trellis_falling(const int8_t *levels) {
    for (unsigned b = 2; b <= TRELLIS_MAX_BITS; b++)
        for (size_t i = trellis_table(b) + TRELLIS_WINDOWS; i < trellis_table(b + 1); i++)
            if (levels[i] < levels[i - TRELLIS_WINDOWS])
                return b;
    return 0;
}

float trellis_gain(uint8_t code) {
    static const float octave[256 / STEPS] = {0x1p-16f, 0x1p-15f, 0x1p-14f, 0x1p-13f, 0x1p-12f, 0x1p-11f, 0x1p-10f, 0x1p-9f,
                                              0x1p-8f,  0x1p-7f,  0x1p-6f,  0x1p-5f,  0x1p-4f,  0x1p-3f,  0x1p-2f,  0x1p-1f,
                                              0x1p0f,   0x1p1f,   0x1p2f,   0x1p3f,   0x1p4f,   0x1p5f,   0x1p6f,   0x1p7f,
                                              0x1p8f,   0x1p9f,   0x1p10f,  0x1p11f,  0x1p12f,  0x1p13f,  0x1p14f,  0x1p15f};
    return code ? trellis_steps[code % STEPS] * octave[code / STEPS] : 0;
}

/* Nearest code on the logarithmic scale; 0 only for what is far below it. */
static int nearest_gain(double rms) {
    if (!(rms >= (double)trellis_gain(1)))
        return rms > (double)trellis_gain(1) / 2 ? 1 : 0;
    int e;
    double m = 2 * frexp(rms < 0x1p40 ? rms : 0x1p40, &e); /* rms = m 2^(e-1), 1 <= m < 2 */
    int step = 0;
    for (int i = 0; i < STEPS; i++)
        step += m * m > (double)trellis_steps[i] * (double)trellis_steps[i] *
                            (double)trellis_steps[1]; /* m > trellis_steps[i] 2^(1/16) */
    int code = TRELLIS_UNIT + STEPS * (e - 1) + step;
    return code > 255 ? 255 : code;
}

void trellis_trials(double rms, uint8_t trial[TRELLIS_TRIALS]) {
    static const int offset[TRELLIS_TRIALS] = {-1, 1, -3, 3};
    int base = nearest_gain(rms);
    for (int i = 0; i < TRELLIS_TRIALS; i++) {
        int code = base + offset[i];
        trial[i] = (uint8_t)(!base ? 0 : code < 1 ? 1 : code > 255 ? 255 : code);
    }
}

/* Steps of the levels, which reach to 127, that the nearest one is usually away. */
static double usual(unsigned bits) {
    return 64.0 / (1u << bits);
}

static trellis_weight weigh(unsigned factor) {
    uint16_t f = (uint16_t)factor, limit = (uint16_t)(65535 / factor);
    return (trellis_weight){{f, f}, {limit, limit}};
}

void trellis_weigh(size_t n, const uint8_t *bits, const float *scale, float *inverse, trellis_weight *weight) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)scale[i] * usual(bits[i]);
        sum += e * e;
    }
    const double unit = sqrt(sum / (double)(n ? n : 1));
    for (size_t i = 0; i < n; i++) {
        const float fine = (float)(1 << trellis_shift(bits[i]));
        double f = rint(256 * USUAL_ROOT * ((double)scale[i] / (unit * (double)fine)));
        inverse[i] = fine / scale[i];
        weight[i] = weigh(f > 1 ? f < MOST_FACTOR ? (unsigned)f : MOST_FACTOR : 1);
    }
}

void trellis_coarsen(size_t n, const trellis_weight *from, trellis_weight *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = weigh(from[i].factor[0] > 4 ? from[i].factor[0] / 4 : 1);
}

static float reciprocal(uint8_t gain) {
    return gain ? 1 / trellis_gain(gain) : 0;
}

/* A coefficient in units of its levels. */
static int quantise(float y, float inv) {
    float r = y * inv;
    r = r < TRELLIS_REACH ? r : TRELLIS_REACH;
    r = r > -TRELLIS_REACH ? r : -TRELLIS_REACH;
    return (int)rintf(r);
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

/* Back along the best path. codes: one every TRELLIS_GROUP. */
static void trace(const trellis_book *b, const float *y, float inv, const uint8_t *taken, unsigned state, uint8_t *codes) {
    for (size_t i = b->n; i-- > 0;) {
        unsigned window = state | (taken[i] >> state & 1u) * TRELLIS_STATES;
        unsigned which = nearest(b->levels + trellis_table(b->bits[i]), b->bits[i], window, quantise(y[i], inv));
        codes[i * TRELLIS_GROUP] = (uint8_t)(which << 1 | (window & 1));
        state = window / 2;
    }
}

/* The best of the trials of one vector; taken and *state as walk leaves them. *cost: what it cost. */
static int try_gains(const trellis_book *b, const trellis_weight *weight, const float *y, const uint8_t *trial, uint8_t *taken,
                     unsigned *state, unsigned *cost) {
    uint8_t took[TRELLIS_MAX_DIM];
    float least = INFINITY;
    int best = 0;
    for (int i = 0; i < TRELLIS_TRIALS; i++) {
        unsigned last, c = walk(b, weight, y, reciprocal(trial[i]), took, &last);
        float g = trellis_gain(trial[i]), err = (float)c * (g * g);
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

void trellis_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const uint8_t *trial, uint8_t *gain,
                    uint8_t *codes) {
    uint8_t taken[TRELLIS_MAX_DIM];
    float y[TRELLIS_MAX_DIM];
    trellis_weight coarse[TRELLIS_MAX_DIM];
    memset(codes, 0, b->n * TRELLIS_GROUP);
    for (size_t t = 0; t < n; t++, z += ldz, trial += TRELLIS_TRIALS) {
        const trellis_weight *weight = b->weight;
        unsigned state = 0, cost = 0;
        for (size_t i = 0; i < b->n; i++)
            y[i] = z[i] * b->inverse[i];
        for (int coarser = 0; coarser <= TRELLIS_COARSEST; coarser++) {
            gain[t] = trial[try_gains(b, weight, y, trial, taken, &state, &cost)];
            if (cost < TRELLIS_DEAR || !gain[t])
                break;
            trellis_coarsen(b->n, weight, coarse);
            weight = coarse;
        }
        trace(b, y, reciprocal(gain[t]), taken, state, codes + t);
    }
}
