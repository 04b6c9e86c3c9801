#include "trellis.h"

#include <math.h>
#include <string.h>

enum { STEPS = 8 /* an octave */ };

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
    return code ? ldexpf(trellis_steps[code % STEPS], code / STEPS - TRELLIS_UNIT / STEPS) : 0;
}

/* Nearest code on the logarithmic scale; 0 only for what is far below it. */
static int nearest_gain(double rms) {
    if (!(rms >= (double)trellis_gain(1)))
        return rms > (double)trellis_gain(1) / 2 ? 1 : 0;
    int e;
    double m = 2 * frexp(rms < 0x1p40 ? rms : 0x1p40, &e); /* rms = m 2^(e-1), 1 <= m < 2 */
    int step = 0;
    while (step < STEPS && m * m > (double)trellis_steps[step] * (double)trellis_steps[step] * (double)trellis_steps[1])
        step++; /* m > trellis_steps[step] 2^(1/16) */
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

/* Nearest of the levels of one window: how far, and which. */
static float nearest(const int8_t *table, unsigned bits, unsigned window, float r, unsigned *which) {
    float best = INFINITY;
    *which = 0;
    for (unsigned p = 0; p < 1u << (bits - 1); p++) {
        float d = fabsf(r - (float)table[p * TRELLIS_WINDOWS + window]);
        if (d < best) {
            best = d;
            *which = p;
        }
    }
    return best;
}

/* Viterbi over the dimensions of one vector with one gain. taken[i]: bit s says by which of its two windows state s was best
 * reached. Returns the squared error and the final state. */
static float walk(const trellis_book *b, const float *z, float gain, uint8_t *taken, unsigned *last) {
    float cost[TRELLIS_STATES], next[TRELLIS_STATES], branch[TRELLIS_WINDOWS], inv = gain > 0 ? 1 / gain : 0;
    for (unsigned s = 0; s < TRELLIS_STATES; s++)
        cost[s] = s ? INFINITY : 0;
    for (size_t i = 0; i < b->n; i++) {
        float r = z[i] * b->inverse[i] * inv, weight = b->scale[i] * b->scale[i];
        unsigned which;
        for (unsigned w = 0; w < TRELLIS_WINDOWS; w++) {
            float d = nearest(b->levels + trellis_table(b->bits[i]), b->bits[i], w, r, &which);
            branch[w] = d * d;
        }
        taken[i] = 0;
        for (unsigned s = 0; s < TRELLIS_STATES; s++) {
            float low = fmaf(branch[s], weight, cost[s / 2]),
                  high = fmaf(branch[s + TRELLIS_STATES], weight, cost[(s + TRELLIS_STATES) / 2]);
            next[s] = high < low ? high : low;
            taken[i] |= (uint8_t)((high < low) << s);
        }
        memcpy(cost, next, sizeof cost);
    }
    *last = 0;
    for (unsigned s = 1; s < TRELLIS_STATES; s++)
        *last = cost[s] < cost[*last] ? s : *last;
    return cost[*last] * (gain * gain);
}

/* Back along the best path. codes: one every TRELLIS_GROUP. */
static void trace(const trellis_book *b, const float *z, float gain, const uint8_t *taken, unsigned state, uint8_t *codes) {
    float inv = gain > 0 ? 1 / gain : 0;
    for (size_t i = b->n; i-- > 0;) {
        unsigned window = state | (taken[i] >> state & 1u) * TRELLIS_STATES, which;
        nearest(b->levels + trellis_table(b->bits[i]), b->bits[i], window, z[i] * b->inverse[i] * inv, &which);
        codes[i * TRELLIS_GROUP] = (uint8_t)(which << 1 | (window & 1));
        state = window / 2;
    }
}

void trellis_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const uint8_t *trial, uint8_t *gain,
                    uint8_t *codes) {
    uint8_t taken[2][TRELLIS_MAX_DIM];
    for (size_t t = 0; t < n; t++, z += ldz, trial += TRELLIS_TRIALS) {
        float least = INFINITY;
        unsigned at = 0, state = 0;
        gain[t] = trial[0];
        for (int i = 0; i < TRELLIS_TRIALS; i++) {
            unsigned last;
            float err = walk(b, z, trellis_gain(trial[i]), taken[!at], &last);
            if (i && !(err < least))
                continue;
            least = err;
            at = !at;
            state = last;
            gain[t] = trial[i];
        }
        trace(b, z, trellis_gain(gain[t]), taken[at], state, codes + t);
    }
}
