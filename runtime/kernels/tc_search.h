/* The search of libfmt/trellis.h with one lane for every state of every trial: included by tc_avx2.c and tc_avx512.c, which
 * define
 *
 *   TRIALS, vec      how many trials go side by side, and their vector: eight lanes of 16 bits for every trial
 *   v_row(p)         the same eight numbers for every trial
 *   v_pair(p)        the same two numbers by turns in all lanes
 *   v_spread(p)      one number for every trial
 *   v_rows(row, at)  16 bytes for every trial, at[trial] bytes from row
 *   v_low, v_high (a, b)   the first and last eight of these bytes, each followed by a byte of b; v_none() = 0
 *   v_first, v_last  lanes 2s and 2s + 1 become state s, or state s + 4
 *   v_sub, v_abs, v_shift (right)   with sign;   v_min, v_mul, v_mulh (high half), v_add (stops at 65535)   without
 *   v_above(a, b), vmask, v_pick(m, a, b)   a > b with sign;   m ? b : a
 *   v_taken(low, x)  a bit for every state where x is not low: byte j * 4 / TRIALS is trial j
 *   v_store
 *   quantise16(y, inv)   16 dimensions under one gain;   quantise_trials(y, inv, r)   the trials of each side by side
 *   find_rows(r, reach, far, at)   16 dimensions: whether any |r| is beyond reach, and bytes from row 0 to row r
 *   i_look_up(row, idx)   entries idx of a row of 16 numbers of 16 bits
 *
 * Windows 0 to 7 lead to states 0 to 7 and so do windows 8 to 15, so a vector of costs needs one shuffle to meet either half of
 * the windows, and nothing ever crosses from one trial to another. It is all integers, so any order gives the same answer. A
 * vector on its own is thus as fast as among others, but for the tables that several can share (tc_tables.h).
 */
#include "tc_tables.h"

enum {
    GROUP = 16, /* vectors whose paths are traced back together */
    VECS = TRELLIS_TRIALS / TRIALS,
};

/* Distance of r to the nearest level of eight windows. Going down the tree halves the levels of every lane until two are left:
 * that is cheaper than to look at all. */
INLINE vec nearest(const unsigned bits, const int16_t *level, const int16_t *border, vec r) {
    enum { MOST = 1 << (TRELLIS_MAX_BITS - 1) };
    const unsigned width = 1u << (bits - 1);
    vec l[MOST], node[MOST], d;
#pragma GCC unroll 32
    for (unsigned p = 0; p < width; p++)
        l[p] = v_row(level + p * TRELLIS_WINDOWS);
#pragma GCC unroll 32
    for (unsigned p = 1; p < width / 2; p++)
        node[p] = v_row(border + p * TRELLIS_WINDOWS);
    unsigned left = width;
#pragma GCC unroll 5
    for (; left > 2; left /= 2) {
        vmask upper = v_above(r, node[1]);
#pragma GCC unroll 16
        for (unsigned p = 0; p < left / 2; p++)
            l[p] = v_pick(upper, l[p], l[p + left / 2]);
#pragma GCC unroll 4
        for (unsigned first = 1; first < left / 4; first *= 2) /* each row of the tree */
#pragma GCC unroll 8
            for (unsigned p = first; p < 2 * first; p++)
                node[p] = v_pick(upper, node[p + first], node[p + 2 * first]);
    }
    d = v_abs(v_sub(r, l[0]));
    return left > 1 ? v_min(d, v_abs(v_sub(r, l[1]))) : d;
}

/* What a distance costs. */
INLINE vec error(vec d, const trellis_weight *w) {
    d = v_mul(v_min(d, v_pair(w->limit)), v_pair(w->factor));
    return v_mulh(d, d);
}

/* One dimension, what windows 0 to 7 and what 8 to 15 cost being known: best paths into every state. Returns which of the two
 * was the better way there. */
INLINE uint32_t step(const int v, vec low, vec high, vec cost[VECS]) {
    low = v_add(v_first(cost[v]), low);
    high = v_add(v_last(cost[v]), high);
    cost[v] = v_min(low, high);
    return v_taken(low, cost[v]) << 8 * v;
}

/* Distances out of near: below 256 and within the limit. */
INLINE uint32_t step_near(const uint8_t *row, const int16_t *at, const trellis_weight *weight, vec cost[VECS]) {
    uint32_t took = 0;
    for (int v = 0; v < VECS; v++) {
        vec d = v_rows(row, at + v * TRIALS), f = v_pair(weight->factor);
        vec low = v_mul(v_low(d, v_none()), f), high = v_mul(v_high(d, v_none()), f);
        took |= step(v, v_mulh(low, low), v_mulh(high, high), cost);
    }
    return took;
}

/* Distance of r to the nearer of two levels, given as bytes. */
INLINE vec nearer(const int shift, vec r, vec below, vec above) {
    vec d = v_abs(v_sub(r, v_shift(below, 8 - shift)));
    return v_min(d, v_abs(v_sub(r, v_shift(above, 8 - shift))));
}

/* Distances by the levels on either side. */
INLINE uint32_t step_between(const unsigned bits, const tables *t, const int16_t *r, const trellis_weight *weight,
                             vec cost[VECS]) {
    const int shift = (int)trellis_shift(bits);
    const int8_t *zero_below = t->below[bits - MOST_NEAR_BITS - 1][128], *zero_above = t->above[bits - MOST_NEAR_BITS - 1][128];
    int16_t at[8];
    uint32_t took = 0;
    __m128i whole = _mm_srai_epi16(_mm_loadl_epi64((const __m128i *)r), shift);
    whole = _mm_cvtepi8_epi16(_mm_packs_epi16(whole, whole)); /* cut at -128 and 127 */
    _mm_storeu_si128((__m128i *)at, _mm_slli_epi16(whole, 4));
    for (int v = 0; v < VECS; v++) {
        vec x = v_spread(r + v * TRIALS), none = v_none();
        vec below = v_rows((const uint8_t *)zero_below, at + v * TRIALS);
        vec above = v_rows((const uint8_t *)zero_above, at + v * TRIALS);
        vec low = nearer(shift, x, v_low(none, below), v_low(none, above));
        vec high = nearer(shift, x, v_high(none, below), v_high(none, above));
        took |= step(v, error(low, weight), error(high, weight), cost);
    }
    return took;
}

/* Distances by going through all levels. */
INLINE uint32_t step_any(const unsigned bits, const tables *t, const int16_t *r, const trellis_weight *weight, vec cost[VECS]) {
    const int16_t *level = t->level + trellis_table(bits), *border = t->border + trellis_table(bits);
    uint32_t took = 0;
    for (int v = 0; v < VECS; v++) {
        vec x = v_spread(r + v * TRIALS);
        took |= step(v, error(nearest(bits, level, border, x), weight), error(nearest(bits, level + 8, border + 8, x), weight),
                     cost);
    }
    return took;
}

/* Of every dimension: 0 where near serves all trials, and where its rows are. */
typedef struct look_ups {
    uint64_t far[TRELLIS_MAX_DIM + PAD];
    int16_t at[(TRELLIS_MAX_DIM + PAD) * TRELLIS_TRIALS]; /* bytes from row 0 */
} look_ups;

/* The last one out of line: inlined into a loop that hardly ever gets there, everything that it loads would be loaded ahead of
 * the loop. */
#define STEP_FAR(n)                                                                                                            \
    static __attribute__((noinline))                                                                                           \
    uint32_t step_far_##n(const tables *t, const int16_t *r, const trellis_weight *weight, vec cost[VECS]) {                   \
        return step_any(n, t, r, weight, cost);                                                                                \
    }
STEP_FAR(2)
STEP_FAR(3)
STEP_FAR(4)

INLINE uint32_t step_far(const unsigned bits, const tables *t, const int16_t *r, const trellis_weight *weight, vec cost[VECS]) {
    return bits == 2   ? step_far_2(t, r, weight, cost)
           : bits == 3 ? step_far_3(t, r, weight, cost)
                       : step_far_4(t, r, weight, cost);
}

/* Dimensions i to end - 1. in: NULL where there are no tables for look-ups. */
INLINE void walk(const unsigned bits, const trellis_weight *weight, const tables *t, const int16_t *r, const look_ups *in,
                 size_t i, size_t end, vec cost[VECS], uint32_t *taken) {
    if (bits > MOST_NEAR_BITS && in) {
        for (; i < end; i++)
            taken[i * GROUP] = step_between(bits, t, r + i * TRELLIS_TRIALS, weight + i, cost);
        return;
    }
    if (bits < LEAST_NEAR_BITS || !in) {
        for (; i < end; i++)
            taken[i * GROUP] = step_any(bits, t, r + i * TRELLIS_TRIALS, weight + i, cost);
        return;
    }
    const uint8_t *row = t->zero[bits];
    for (; i < end; i++) {
        if (!in->far[i]) {
            taken[i * GROUP] = step_near(row, in->at + i * TRELLIS_TRIALS, weight + i, cost);
            continue;
        }
        vec c[VECS]; /* so that cost may stay in registers */
        memcpy(c, cost, sizeof c);
        taken[i * GROUP] = step_far(bits, t, r + i * TRELLIS_TRIALS, weight + i, c);
        memcpy(cost, c, sizeof c);
    }
}

#define BY_BITS(b, call)                                                                                                       \
    switch (b) {                                                                                                               \
    case 1:                                                                                                                    \
        call(1);                                                                                                               \
        break;                                                                                                                 \
    case 2:                                                                                                                    \
        call(2);                                                                                                               \
        break;                                                                                                                 \
    case 3:                                                                                                                    \
        call(3);                                                                                                               \
        break;                                                                                                                 \
    case 4:                                                                                                                    \
        call(4);                                                                                                               \
        break;                                                                                                                 \
    case 5:                                                                                                                    \
        call(5);                                                                                                               \
        break;                                                                                                                 \
    default:                                                                                                                   \
        call(6);                                                                                                               \
    }

/* A group of vectors on the way; vector j has its numbers in slot(j). */
typedef struct group {
    uint32_t taken[TRELLIS_MAX_DIM * GROUP], shift[GROUP],
        state[GROUP];                           /* of the best trial: its byte, and where its path ends */
    uint8_t code[GROUP][TRELLIS_MAX_DIM + PAD]; /* windows, then codes */
    uint8_t window[(TRELLIS_MAX_DIM + PAD) * GROUP];
    float y[GROUP][TRELLIS_MAX_DIM + PAD], inv[GROUP];
} group;

/* What packing to bytes makes of the order of lanes, the other way round: bits 2 and 3 change places. */
static size_t slot(size_t j) {
    return (j & 3) | (j & 4) << 1 | (j & 8) >> 1;
}

/* Costs of the best paths of one vector under its trials, and where they end. */
static void find_paths(const trellis_book *b, const trellis_weight *weight, const tables *t, const int16_t *r,
                       const look_ups *in, uint32_t *taken, uint16_t *cost, uint16_t *state) {
    static const uint16_t origin[TRELLIS_STATES] = {0, 65535, 65535, 65535, 65535, 65535, 65535, 65535};
    uint16_t all[TRELLIS_TRIALS * TRELLIS_STATES];
    vec c[VECS];
    for (int v = 0; v < VECS; v++)
        c[v] = v_row(origin);
    for (size_t run = 0, i = 0; run < t->runs; i = t->end[run++]) {
#define WALK(n) walk(n, weight, t, r, in, i, t->end[run], c, taken)
        BY_BITS(b->bits[i], WALK)
    }
    for (int v = 0; v < VECS; v++)
        v_store(all + v * TRIALS * TRELLIS_STATES, c[v]);
    for (size_t j = 0; j < TRELLIS_TRIALS; j++) {
        __m128i least = _mm_minpos_epu16(_mm_loadu_si128((const __m128i *)(all + j * TRELLIS_STATES)));
        cost[j] = (uint16_t)_mm_extract_epi16(least, 0);
        state[j] = (uint16_t)_mm_extract_epi16(least, 1);
    }
}

_Static_assert(TRELLIS_TRIALS == 4, "trials fill a vector of four floats");

/* The trial with the least cost * gain^2. */
INLINE size_t first_least(const uint16_t *cost, __m128 gain) {
    __m128 c = _mm_cvtepi32_ps(_mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)cost)));
    __m128 err = _mm_mul_ps(c, _mm_mul_ps(gain, gain)), least = _mm_min_ps(err, _mm_movehl_ps(err, err));
    least = _mm_min_ss(least, _mm_shuffle_ps(least, least, 1));
    int same = _mm_movemask_ps(_mm_cmpeq_ps(err, _mm_shuffle_ps(least, least, 0)));
    return (size_t)__builtin_ctz((unsigned)same);
}

/* Everything about vector j of a group that looks forward. Returns its gain. */
static uint8_t search_one(const trellis_book *b, const tables *t, bool look_up, const float *z, const uint8_t *trial, group *p,
                          size_t j) {
    int16_t r[(TRELLIS_MAX_DIM + PAD) * TRELLIS_TRIALS];
    look_ups in;
    trellis_weight coarse[TRELLIS_MAX_DIM];
    const trellis_weight *weight = b->weight;
    float inv[TRELLIS_TRIALS], *y = p->y[j];
    uint16_t cost[TRELLIS_TRIALS], state[TRELLIS_TRIALS];
    size_t best = 0;
    const __m128 g =
        _mm_setr_ps(trellis_gain(trial[0]), trellis_gain(trial[1]), trellis_gain(trial[2]), trellis_gain(trial[3]));
    _mm_storeu_ps(inv, _mm_and_ps(_mm_cmpgt_ps(g, _mm_setzero_ps()), _mm_div_ps(_mm_set1_ps(1), g)));
    for (size_t i = 0; i < b->n; i++)
        y[i] = z[i] * b->inverse[i];
    memset(y + b->n, 0, PAD * sizeof *y);
    for (size_t i = 0; i < b->n; i += 16)
        quantise_trials(y + i, inv, r + i * TRELLIS_TRIALS);
    for (size_t i = 0; i < b->n && look_up; i += 16)
        find_rows(r + i * TRELLIS_TRIALS, t->reach + i * TRELLIS_TRIALS, in.far + i, in.at + i * TRELLIS_TRIALS);
    for (int coarser = 0;; coarser++) {
        find_paths(b, weight, t, r, look_up && !coarser ? &in : NULL, p->taken + slot(j), cost, state);
        best = first_least(cost, g);
        if (cost[best] < TRELLIS_DEAR || !trial[best] || coarser == TRELLIS_COARSEST)
            break;
        trellis_coarsen(b->n, weight, coarse);
        weight = coarse;
    }
    p->state[slot(j)] = state[best];
    p->shift[slot(j)] = (uint32_t)(best % TRIALS * VECS + best / TRIALS) * 8;
    p->inv[j] = inv[best];
    return trial[best];
}

/* Back along the best paths of a group: their windows. */
static void retrace(size_t n, group *p) {
    const __m256i one = _mm256_set1_epi32(1);
    __m256i s[2], shift[2], w[2];
    for (int h = 0; h < 2; h++) {
        s[h] = _mm256_loadu_si256((const __m256i *)(p->state + 8 * h));
        shift[h] = _mm256_loadu_si256((const __m256i *)(p->shift + 8 * h));
    }
    for (size_t i = n; i-- > 0;) {
        for (int h = 0; h < 2; h++) {
            __m256i x = _mm256_loadu_si256((const __m256i *)(p->taken + i * GROUP + 8 * (size_t)h));
            x = _mm256_srlv_epi32(_mm256_srlv_epi32(x, shift[h]), s[h]);
            w[h] = _mm256_or_si256(s[h], _mm256_slli_epi32(_mm256_and_si256(x, one), 3));
            s[h] = _mm256_srli_epi32(w[h], 1);
        }
        __m256i x = _mm256_packus_epi32(w[0], w[1]);
        _mm_storeu_si128((__m128i *)(p->window + i * GROUP),
                         _mm_packus_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
    }
}

/* Codes of 16 dimensions of equal bits. */
INLINE __m128i codes16(const unsigned bits, const tables *t, const uint8_t *window, __m256i r) {
    const __m256i w = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)window));
    const int16_t *border = t->border + trellis_table(bits);
    __m256i which = _mm256_setzero_si256();
    for (unsigned p = 1; p < 1u << (bits - 1); p++)
        which = _mm256_sub_epi16(which, _mm256_cmpgt_epi16(r, i_look_up(border + p * TRELLIS_WINDOWS, w)));
    which = _mm256_or_si256(_mm256_add_epi16(which, which), _mm256_and_si256(w, _mm256_set1_epi16(1)));
    return _mm_packus_epi16(_mm256_castsi256_si128(which), _mm256_extracti128_si256(which, 1));
}

/* Windows become codes. A run may write beyond its end: those that follow put that right. */
static void find_codes(const trellis_book *b, const tables *t, const float *y, float inv, const uint8_t *window,
                       uint8_t *code) {
    for (size_t run = 0, i = 0; run < t->runs; i = t->end[run++])
        for (size_t j = i; j < t->end[run]; j += 16) {
            __m256i r = quantise16(y + j, inv);
            __m128i c;
#define CODES(n) c = codes16(n, t, window + j, r)
            BY_BITS(b->bits[i], CODES)
            _mm_storeu_si128((__m128i *)(code + j), c);
        }
}

/* 16 rows of 16 bytes become columns; `rows` of them are written. */
static void transpose_bytes(const uint8_t *in, size_t ldi, uint8_t *out, size_t ldo, size_t rows) {
    __m128i a[16], b[16];
    for (size_t i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(in + i * ldi));
    for (int step = 0; step < 4; step++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (size_t i = 0; i < 16; i++)
        if (i < rows)
            _mm_storeu_si128((__m128i *)(out + i * ldo), a[i]);
}

static void tc_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const uint8_t *trial, uint8_t *gain,
                      uint8_t *codes) {
    enum { WIDE = TRELLIS_MAX_DIM + PAD };
    tables t;
    group p;
    uint8_t own[GROUP][WIDE];
    const bool look_up = n >= GROUP;
    fill_tables(b, &t);
    if (look_up)
        fill_look_ups(b, &t);
    if (n < TRELLIS_GROUP)
        memset(codes, 0, b->n * TRELLIS_GROUP);
    for (size_t at = 0; at < n; at += GROUP) {
        const size_t some = n - at < GROUP ? n - at : GROUP;
        if (some < GROUP) {
            memset(p.state, 0, sizeof p.state);
            memset(p.shift, 0, sizeof p.shift);
        }
        for (size_t j = 0; j < some; j++)
            gain[at + j] = search_one(b, &t, look_up, z + (at + j) * ldz, trial + (at + j) * TRELLIS_TRIALS, &p, j);
        retrace(b->n, &p);
        for (size_t i = 0; i < b->n; i += 16)
            transpose_bytes(p.window + i * GROUP, GROUP, own[0] + i, WIDE, GROUP);
        for (size_t j = 0; j < some; j++)
            find_codes(b, &t, p.y[j], p.inv[j], own[j], p.code[j]);
        for (size_t j = some; j < GROUP; j++)
            memset(p.code[j], 0, b->n);
        for (size_t i = 0; i < b->n; i += 16)
            transpose_bytes(p.code[0] + i, WIDE, codes + i * TRELLIS_GROUP + at, TRELLIS_GROUP, b->n - i);
    }
}
