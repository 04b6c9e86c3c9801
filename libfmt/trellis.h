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

enum {
    TRELLIS_STATES = 8,
    TRELLIS_WINDOWS = 2 * TRELLIS_STATES,
    TRELLIS_MAX_BITS = 6,
    TRELLIS_LEVELS = (TRELLIS_STATES << (TRELLIS_MAX_BITS + 1)) - 2 * TRELLIS_STATES, /* of all tables together */
    TRELLIS_TRIALS = 4,                                                               /* gains tried for every vector */
    TRELLIS_GAIN_BITS = 8,                                                            /* a gain is stored in */
    TRELLIS_UNIT = 128,                                                               /* code of gain 1 */
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
    const float *inverse;         /* (n) and */
    const trellis_weight *weight; /* (n): trellis_weigh; decoders do without */
} trellis_book;

/* Bits of the first table whose levels fall within a window, 0: none. levels (TRELLIS_LEVELS). */
unsigned trellis_falling(const int8_t *levels);

/* Gains are stored on a logarithmic scale of eight steps an octave: code 0 is no gain (all coefficients 0), TRELLIS_UNIT is 1.
 */
float trellis_gain(uint8_t code);
extern const float trellis_steps[8]; /* of an octave: trellis_gain(TRELLIS_UNIT + i), i = 0 .. 7 */
/* The gains to try for a vector whose coefficients have this root mean square in units of their sigmas: one and three steps
 * (0.75 and 2.3 dB) below and above the nearest on the scale. All 0 where it is far below the scale. */
void trellis_trials(double rms, uint8_t trial[TRELLIS_TRIALS]);

/* The search counts in integers of 16 bits: fast, and the same on every machine. A coefficient r and the levels l are in units
 * of a step of the levels / 2^shift, finer where there are more levels. A distance costs
 *
 *     (min(|r - l|, limit) * factor)^2 / 65536   rounded down,   factor proportional to a unit's length
 *
 * such that what fitted levels usually miss by, 64 / 2^b steps, costs 16 in the mean over the dimensions. Sums stop at 65535.
 * Nearest of the levels of a window is the one that has as many levels below it as there are borders below r; a border lies
 * halfway between two levels, rounded down. A vector that costs TRELLIS_DEAR or more under its best gain (distances may have
 * been cut at limits) is searched again with factors a quarter as large, TRELLIS_COARSEST times at most. */
enum {
    TRELLIS_REACH = 30000, /* r is cut at */
    TRELLIS_DEAR = 57600,
    TRELLIS_COARSEST = 6,
};
static inline unsigned trellis_shift(unsigned b) {
    return b > 3 ? b - 3 : 0;
}
/* Fill inverse (n), units in a coefficient of 1, and weight (n) of a book from the rest of it. */
void trellis_weigh(size_t n, const uint8_t *bits, const float *scale, float *inverse, trellis_weight *weight);
/* A quarter of all factors. out may be `from`. */
void trellis_coarsen(size_t n, const trellis_weight *from, trellis_weight *out);

/* Best gains and codes of n <= TRELLIS_GROUP vectors by squared error: z (n, ldz), trial (n, TRELLIS_TRIALS) gains to try;
 * gain (n) the best of them (the first of equals), codes[i * TRELLIS_GROUP + t] for vector t and dimension i, 0 for t >= n. z
 * is finite. This one defines the answer; rt_kernels has faster ones with the same bits. */
typedef void trellis_search_fn(const trellis_book *b, const float *z, size_t ldz, size_t n, const uint8_t *trial, uint8_t *gain,
                               uint8_t *codes);
trellis_search_fn trellis_search;

#endif
