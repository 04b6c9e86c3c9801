/* The trellis quantiser of codec tc: what its codes and gains mean, and the search for the best ones.
 *
 * A vector of coefficients is coded dimension by dimension. Of the b bits of a dimension's code the lowest is the *path bit*;
 * the others choose among the levels that the path leaves open. A shift register holds the last four path bits, the newest
 * lowest (the *window*, zero at the start of a vector), and
 *
 *     z[i] = gain * scale[i] * level_b[(code >> 1) * 16 + window]          b = bits[i], level_b a table of 8 * 2^b levels
 *
 * So a decoder needs one shift and one look-up, the same for every token, while the encoder chooses among all paths at once
 * (Viterbi, 8 states). This is trellis-coded quantisation (Marcellin & Fischer 1990) with a free level for every window and
 * code instead of a common alphabet: on normal data it gains 0.7, 1.4, 1.9 and 2.1 dB on the best scalar quantiser at 1 to 4
 * bits, of 1.6, 2.7, 3.5 and 3.9 dB that any quantiser could gain. docs/codec.md.
 */
#ifndef KV_TRELLIS_H
#define KV_TRELLIS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    TRELLIS_STATES = 8,
    TRELLIS_WINDOWS = 2 * TRELLIS_STATES,
    TRELLIS_MAX_BITS = 6,
    TRELLIS_LEVELS = (TRELLIS_STATES << (TRELLIS_MAX_BITS + 1)) - 2 * TRELLIS_STATES, /* of all tables together */
    TRELLIS_TRIALS = 2,                                                               /* gains tried for every vector */
    TRELLIS_GAIN_BITS = 8,                                                            /* a gain is stored in */
    TRELLIS_UNIT = 96,                                                                /* code of gain 1 */
    TRELLIS_GROUP = 64,                                                               /* most vectors in one search */
    TRELLIS_MAX_DIM = 512,
};

/* Where the table for codes of b bits starts; it has TRELLIS_STATES << b entries. */
static inline size_t trellis_table(unsigned b) {
    return ((size_t)TRELLIS_STATES << b) - 2 * TRELLIS_STATES;
}

/* What distances in one dimension cost in the search; each number twice, as vector units load pairs fastest. */
typedef struct trellis_weight {
    uint16_t factor[2], limit[2]; /* limit = 65535 / factor */
} trellis_weight;

/* One head's codebooks. All borrowed. */
typedef struct trellis_book {
    size_t n;                     /* coded dimensions */
    const uint8_t *bits;          /* (n) 1..TRELLIS_MAX_BITS */
    const float *scale;           /* (n) of a level, > 0 */
    const int8_t *levels;         /* (TRELLIS_LEVELS), those of a window never falling with the code */
    const float *inverse;         /* (n), */
    const float *square;          /* (n) and */
    const trellis_weight *weight; /* (n): trellis_weigh; decoders do without */
} trellis_book;

/* Bits of the first table whose levels fall within a window, 0: none. levels (TRELLIS_LEVELS). */
unsigned trellis_falling(const int8_t *levels);

/* Gains are stored as small floats, three bits of exponent and five of mantissa: code 0 is no gain (all coefficients 0),
 * TRELLIS_UNIT is 1, the least and the greatest gain are near 1/8 and 32. */
static inline float trellis_gain(uint8_t code) {
    const uint32_t bits = code ? ((127u << 5) - TRELLIS_UNIT + code) << 18 : 0;
    float gain;
    memcpy(&gain, &bits, sizeof gain);
    return gain;
}
/* The code of the nearest gain; 0 for what is not positive. */
uint8_t trellis_gain_code(float gain);

/* Two gains to try for a vector z (n), inv_sigma (n) the inverse of its coefficients' deviations. The best gain falls with the
 * vector's size and rises with its largest coefficient, which levels must reach: with rms and most of |z| in units of sigma it
 * is 2/3 (most / rms)^(3/8) rms, found on keys and values of three models to be right to an eighth of an octave (0.75 dB).
 * Tried is that much less and that much more. */
void trellis_trials(size_t n, const float *z, const float *inv_sigma, float trial[TRELLIS_TRIALS]);
/* The same of the mean square of |z| in units of sigma, summed in 16 partial sums (products rounded), and its most. */
void trellis_trials_of(float mean, float most, float trial[TRELLIS_TRIALS]);

/* The search counts in integers of 16 bits: fast, and the same on every machine. A coefficient r and the levels l are in units
 * of a step of the levels / 2^shift, finer where there are more levels. A distance costs
 *
 *     (min(|r - l|, limit) * factor)^2 / 65536   rounded down,   factor proportional to a unit's length
 *
 * such that what fitted levels usually miss by, 64 / 2^b steps, costs 16 in the mean over the dimensions. Sums stop at 65535.
 * Nearest of the levels of a window is the one that has as many levels below it as there are borders below r; a border lies
 * halfway between two levels, rounded down. A vector that costs TRELLIS_DEAR or more under its best trial (distances may have
 * been cut at limits) is searched again with factors a quarter as large, TRELLIS_COARSEST times at most. */
enum {
    TRELLIS_REACH = 30000, /* r is cut at, and y (below) at 2^100 */
    TRELLIS_DEAR = 57600,
    TRELLIS_COARSEST = 6,
};
static inline unsigned trellis_shift(unsigned b) {
    return b > 3 ? b - 3 : 0;
}
/* Fill from the rest of a book: inverse (n), units in a coefficient of 1; weight (n); and square (n), the square of a unit
 * against that of others. */
void trellis_weigh(size_t n, const uint8_t *bits, const float *scale, float *inverse, float *square, trellis_weight *weight);
/* A quarter of all factors. out may be `from`. */
void trellis_coarsen(size_t n, const trellis_weight *from, trellis_weight *out);

/* Codes and gains of n <= TRELLIS_GROUP vectors by squared error: z (n, ldz), finite; trial (n, TRELLIS_TRIALS) gains to try,
 * positive and finite. Codes are those under the better of the trials (the first of equals). The gain that is stored is the one
 * that suits these codes best: with y = z * inverse and l the levels in units,
 *
 *     gain = sum of square * l * y / sum of square * l * l      its nearest code; where the sum below is 0 that of the trial
 *
 * both sums in 16 partial fma chains (lane = i mod 16), folded 8+8, 4+4, 2+2, 1+1.
 * gain (n); codes[i * ldc + t] for vector t and dimension i, 0 for n <= t < TRELLIS_GROUP; or ldc = 1, only for n = 1, and
 * nothing else is written. This one defines the answer; rt_kernels has faster ones with the same bits. */
typedef void trellis_search_fn(const trellis_book *b, const float *z, size_t ldz, size_t n, const float *trial, uint8_t *gain,
                               uint8_t *codes, size_t ldc);
trellis_search_fn trellis_search;

#endif
