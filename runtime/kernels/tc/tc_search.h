/* The search of libfmt/quant/trellis.h with one lane for every state of every trial: included by tc_avx2.c and tc_avx512.c,
 * which define
 *
 *   VECTORS, vec     how many vectors go side by side, and a register: eight lanes of 16 bits for every trial of each (a slot)
 *   path             a bit for every state of every slot: a byte per slot
 *   apart            a number of 16 bits for every slot
 *   v_row(p)         the same eight numbers for every slot;   v_wide(p)   the same sixteen for every two
 *   v_pair(p)        the same two numbers by turns in all lanes
 *   v_spread(p)      one number for every slot
 *   v_rows(row, at)  16 bytes for every slot, at[slot] bytes from row
 *   v_low, v_high (a, b)   the first and last eight of these bytes, each followed by a byte of b; v_none() = 0
 *   v_first, v_last  lanes 2s and 2s + 1 become state s, or state s + 4
 *   v_sub, v_abs, v_shift (right)   with sign;   v_min, v_mul, v_mulh (high half), v_add (stops at 65535)   without
 *   v_above(a, b), vmask, v_pick(m, a, b)   a > b with sign;   m ? b : a
 *   v_taken(low, x)  a path: where x is not low
 *   v_store
 *   quantise_slots(one, other, inv, r)   16 dimensions of the vectors, the slots of each side by side
 *   find_rows(r, reach, far, at)   16 dimensions: whether any |r| is beyond reach, and bytes from row 0 to row r
 *   find_some(bits, row, border, y, inv, window, code, level)   codes and levels of CODES_AT_ONCE dimensions; of rows of levels
 *                    and of the search tree of borders between them (tc_tables.h)
 *
 * Windows 0 to 7 lead to states 0 to 7 and so do windows 8 to 15, so a vector of costs needs one shuffle to meet either half of
 * the windows, and nothing ever crosses from one slot to another. It is all integers, so any order gives the same answer.
 */
enum { SLOTS = VECTORS * TRELLIS_TRIALS };

#include "kernels/by_bits.h"
#include "kernels/tc/tc_tables.h"

enum {
    GROUP = 16,              /* vectors whose paths are traced back together */
    PATHS = GROUP / VECTORS, /* what these take */
};

/* Distance of r to the nearest level of eight windows, or all sixteen (wide). Going down the tree halves the levels of every
 * lane until two are left: that is cheaper than to look at all. */
INLINE vec nearest(const bool wide, const unsigned bits, const int16_t *level, const int16_t *border, vec r) {
    enum { MOST = 1 << (TRELLIS_MAX_BITS - 1) };
    const unsigned width = 1u << (bits - 1);
    vec l[MOST], node[MOST], d;
#pragma GCC unroll 32
    for (unsigned p = 0; p < width; p++)
        l[p] = wide ? v_wide(level + p * TRELLIS_WINDOWS) : v_row(level + p * TRELLIS_WINDOWS);
#pragma GCC unroll 32
    for (unsigned p = 1; p < width / 2; p++)
        node[p] = wide ? v_wide(border + p * TRELLIS_WINDOWS) : v_row(border + p * TRELLIS_WINDOWS);
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
INLINE path step(vec low, vec high, vec *cost) {
    low = v_add(v_first(*cost), low);
    high = v_add(v_last(*cost), high);
    *cost = v_min(low, high);
    return v_taken(low, *cost);
}

/* Distances out of near: below 256 and within the limit. */
INLINE path step_near(const uint8_t *row, const int16_t *at, const trellis_weight *weight, vec *cost) {
    vec d = v_rows(row, at), f = v_pair(weight->factor);
    vec low = v_mul(v_low(d, v_none()), f), high = v_mul(v_high(d, v_none()), f);
    return step(v_mulh(low, low), v_mulh(high, high), cost);
}

/* Distance of r to the nearer of two levels, given as bytes. */
INLINE vec nearer(const int shift, vec r, vec below, vec above) {
    vec d = v_abs(v_sub(r, v_shift(below, 8 - shift)));
    return v_min(d, v_abs(v_sub(r, v_shift(above, 8 - shift))));
}

/* Distances by the levels on either side. */
INLINE path step_between(const unsigned bits, const tables *t, const int16_t *r, const trellis_weight *weight, vec *cost) {
    const int shift = (int)trellis_shift(bits);
    const int8_t *zero_below = t->below[bits - MOST_NEAR_BITS - 1][128], *zero_above = t->above[bits - MOST_NEAR_BITS - 1][128];
    int16_t at[8];
    __m128i whole = _mm_srai_epi16(_mm_loadl_epi64((const __m128i *)r), shift);
    whole = _mm_cvtepi8_epi16(_mm_packs_epi16(whole, whole)); /* cut at -128 and 127 */
    _mm_storeu_si128((__m128i *)at, _mm_slli_epi16(whole, 4));
    vec x = v_spread(r), none = v_none();
    vec below = v_rows((const uint8_t *)zero_below, at), above = v_rows((const uint8_t *)zero_above, at);
    vec low = nearer(shift, x, v_low(none, below), v_low(none, above));
    vec high = nearer(shift, x, v_high(none, below), v_high(none, above));
    return step(error(low, weight), error(high, weight), cost);
}

/* Distances by going through all levels. */
INLINE path step_any(const unsigned bits, const tables *t, const int16_t *r, const trellis_weight *weight, vec *cost) {
    const int16_t *level = t->level + trellis_table(bits), *border = t->border + trellis_table(bits);
    vec x = v_spread(r), low = nearest(false, bits, level, border, x), high = nearest(false, bits, level + 8, border + 8, x);
    return step(error(low, weight), error(high, weight), cost);
}

/* Of every dimension: 0 where near serves all slots, and where its rows are. */
typedef struct look_ups {
    apart far[TRELLIS_MAX_DIM + PAD];
    int16_t at[(TRELLIS_MAX_DIM + PAD) * SLOTS]; /* bytes from row 0 */
} look_ups;

/* The last one out of line: inlined into a loop that hardly ever gets there, everything that it loads would be loaded ahead of
 * the loop. */
#define STEP_FAR(n)                                                                                                            \
    static __attribute__((noinline))                                                                                           \
    path step_far_##n(const tables *t, const int16_t *r, const trellis_weight *weight, vec *cost) {                            \
        return step_any(n, t, r, weight, cost);                                                                                \
    }
STEP_FAR(2)
STEP_FAR(3)
STEP_FAR(4)

INLINE path step_far(const unsigned bits, const tables *t, const int16_t *r, const trellis_weight *weight, vec *cost) {
    return bits == 2   ? step_far_2(t, r, weight, cost)
           : bits == 3 ? step_far_3(t, r, weight, cost)
                       : step_far_4(t, r, weight, cost);
}

/* Dimensions i to end - 1. in: NULL where there are no tables for look-ups. */
INLINE void walk(const unsigned bits, const trellis_weight *weight, const tables *t, const int16_t *r, const look_ups *in,
                 size_t i, size_t end, vec *cost, path *taken) {
    if (bits > MOST_NEAR_BITS && in) {
        for (; i < end; i++)
            taken[i * PATHS] = step_between(bits, t, r + i * SLOTS, weight + i, cost);
        return;
    }
    if (bits < LEAST_NEAR_BITS || !in) {
        for (; i < end; i++)
            taken[i * PATHS] = step_any(bits, t, r + i * SLOTS, weight + i, cost);
        return;
    }
    const uint8_t *row = t->zero[bits];
    for (; i < end; i++) {
        if (!in->far[i]) {
            taken[i * PATHS] = step_near(row, in->at + i * SLOTS, weight + i, cost);
            continue;
        }
        vec c = *cost; /* so that cost may stay in registers */
        taken[i * PATHS] = step_far(bits, t, r + i * SLOTS, weight + i, &c);
        *cost = c;
    }
}

/* A group of vectors on the way. Vector j has its shift and state in place(j). */
typedef struct group {
    path taken[TRELLIS_MAX_DIM * PATHS];
    uint32_t shift[GROUP], state[GROUP]; /* of the best trial: its byte among those of two vectors, and where its path ends */
    uint8_t window[(TRELLIS_MAX_DIM + PAD) * GROUP];                               /* by dimension */
    uint8_t own[GROUP][TRELLIS_MAX_DIM + PAD], code[GROUP][TRELLIS_MAX_DIM + PAD]; /* windows and codes by vector */
    float y[GROUP][TRELLIS_MAX_DIM + PAD], trial[GROUP];
} group;

/* Even ones before odd ones. */
static size_t place(size_t j) {
    return j / 2 + j % 2 * (GROUP / 2);
}

static const uint16_t origin[TRELLIS_STATES] = {0, 65535, 65535, 65535, 65535, 65535, 65535, 65535};

/* The least cost, and its state. */
INLINE void find_least(const uint16_t *costs, uint16_t *cost, uint16_t *state) {
    const __m128i least = _mm_minpos_epu16(_mm_loadu_si128((const __m128i *)costs));
    *cost = (uint16_t)_mm_extract_epi16(least, 0);
    *state = (uint16_t)_mm_extract_epi16(least, 1);
}

/* Costs of the best paths in all slots, and where they end. */
static void find_paths(const trellis_book *b, const trellis_weight *weight, const tables *t, const int16_t *r,
                       const look_ups *in, path *taken, uint16_t *cost, uint16_t *state) {
    uint16_t all[SLOTS * TRELLIS_STATES];
    vec c = v_row(origin);
    for (size_t run = 0, i = 0; run < t->runs; i = t->end[run++]) {
#define WALK(n) walk(n, weight, t, r, in, i, t->end[run], &c, taken)
        BY_BITS(b->bits[i], WALK)
    }
    v_store(all, c);
    for (size_t j = 0; j < SLOTS; j++)
        find_least(all + j * TRELLIS_STATES, cost + j, state + j);
}

_Static_assert(TRELLIS_TRIALS == 2, "the better of two");

static size_t better(const uint16_t *cost, const float *trial) {
    return (float)cost[1] * (trial[1] * trial[1]) < (float)cost[0] * (trial[0] * trial[0]);
}

/* The paths of vector v of those side by side, searched again and again with coarser weights until its cost is below what stops
 * sums. Rare. */
static __attribute__((noinline)) void search_coarser(const trellis_book *b, const tables *t, const int16_t *r, size_t v,
                                                     const float *trial, path *taken, uint16_t *cost, uint16_t *state) {
    path again[TRELLIS_MAX_DIM * PATHS];
    trellis_weight weight[TRELLIS_MAX_DIM];
    uint16_t costs[SLOTS], states[SLOTS];
    const path own = (path)(65535u << 16 * v);
    memcpy(weight, b->weight, b->n * sizeof *weight);
    for (int i = 0; i < TRELLIS_COARSEST && cost[better(cost, trial)] >= TRELLIS_DEAR; i++) {
        trellis_coarsen(b->n, weight, weight);
        find_paths(b, weight, t, r, NULL, again, costs, states);
        memcpy(cost, costs + v * TRELLIS_TRIALS, TRELLIS_TRIALS * sizeof *cost);
        memcpy(state, states + v * TRELLIS_TRIALS, TRELLIS_TRIALS * sizeof *state);
    }
    for (size_t i = 0; i < b->n; i++)
        taken[i * PATHS] = (path)((taken[i * PATHS] & ~own) | (again[i * PATHS] & own));
}

/* Coefficients in units of their levels under a gain of 1, and zeros behind. */
static void scale(size_t n, const float *z, const float *inverse, float *y) {
    const __m256 most = _mm256_set1_ps(0x1p100f), least = _mm256_set1_ps(-0x1p100f);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_mul_ps(_mm256_loadu_ps(z + i), _mm256_loadu_ps(inverse + i));
        _mm256_storeu_ps(y + i, _mm256_max_ps(_mm256_min_ps(x, most), least));
    }
    for (; i < n; i++) {
        float x = z[i] * inverse[i];
        x = x < 0x1p100f ? x : 0x1p100f;
        y[i] = x > -0x1p100f ? x : -0x1p100f;
    }
    memset(y + n, 0, PAD * sizeof *y);
}

/* Everything about vectors j .. j + VECTORS - 1 of a group that looks forward; of these `some` are there, and others are copies
 * of the first. */
static void search_few(const trellis_book *b, const tables *t, bool look_up, const float *z, size_t ldz, size_t some,
                       const float *trial, group *p, size_t j) {
    int16_t r[(TRELLIS_MAX_DIM + PAD) * SLOTS];
    look_ups in;
    float inv[SLOTS];
    uint16_t cost[SLOTS], state[SLOTS];
    path *taken = p->taken + j / VECTORS;
    for (size_t v = 0; v < VECTORS; v++) {
        const size_t from = v < some ? v : 0;
        scale(b->n, z + from * ldz, b->inverse, p->y[j + v]);
        for (size_t i = 0; i < TRELLIS_TRIALS; i++)
            inv[v * TRELLIS_TRIALS + i] = 1 / trial[from * TRELLIS_TRIALS + i];
    }
    for (size_t i = 0; i < b->n; i += 16)
        quantise_slots(p->y[j] + i, p->y[j + VECTORS - 1] + i, inv, r + i * SLOTS);
    for (size_t i = 0; i < b->n && look_up; i += 16)
        find_rows(r + i * SLOTS, t->reach + i * SLOTS, in.far + i, in.at + i * SLOTS);
    find_paths(b, b->weight, t, r, look_up ? &in : NULL, taken, cost, state);
    for (size_t v = 0; v < some; v++, trial += TRELLIS_TRIALS) {
        uint16_t *c = cost + v * TRELLIS_TRIALS, *s = state + v * TRELLIS_TRIALS;
        if (c[better(c, trial)] >= TRELLIS_DEAR)
            search_coarser(b, t, r, v, trial, taken, c, s);
        const size_t best = better(c, trial);
        p->state[place(j + v)] = s[best];
        p->shift[place(j + v)] = (uint32_t)((j + v) % 2 * 16 + best * 8);
        p->trial[j + v] = trial[best];
    }
}

/* Back along the best paths of a group: their windows. With the bit that was taken at bit 2 the next state is three operations
 * away. */
INLINE void retrace(size_t n, group *p) {
    const __m256i four = _mm256_set1_epi32(4);
    __m256i s[2], shift[2], w[2];
    for (int h = 0; h < 2; h++) {
        s[h] = _mm256_loadu_si256((const __m256i *)(p->state + 8 * h));
        shift[h] = _mm256_loadu_si256((const __m256i *)(p->shift + 8 * h));
    }
    for (size_t i = n; i-- > 0;) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(p->taken + i * PATHS)); /* a word for every two vectors */
        for (int h = 0; h < 2; h++) {
            __m256i took = _mm256_slli_epi32(_mm256_srlv_epi32(x, shift[h]), 2);
            took = _mm256_and_si256(_mm256_srlv_epi32(took, s[h]), four);
            w[h] = _mm256_or_si256(s[h], _mm256_add_epi32(took, took));
            s[h] = _mm256_or_si256(_mm256_srli_epi32(s[h], 1), took);
        }
        const __m256i both = _mm256_or_si256(w[0], _mm256_slli_epi32(w[1], 16));
        _mm_storeu_si128((__m128i *)(p->window + i * GROUP),
                         _mm_packus_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
    }
}

/* The same for a group of one. */
static void retrace_one(size_t n, group *p) {
    uint32_t s = p->state[0];
    for (size_t i = n; i-- > 0;) {
        const uint32_t took = ((uint32_t)p->taken[i * PATHS] >> p->shift[0] << 2) >> s & 4;
        p->own[0][i] = (uint8_t)(s | took << 1);
        s = s >> 1 | took;
    }
}

/* Windows become codes and levels. A run may write beyond its end: those that follow put that right. */
static void find_codes(const trellis_book *b, const tables *t, const float *y, float inv, const uint8_t *window, uint8_t *code,
                       int16_t *level) {
    for (size_t run = 0, i = 0; run < t->runs; i = t->end[run++])
        for (size_t j = i; j < t->end[run]; j += CODES_AT_ONCE) {
            const size_t at = trellis_table(b->bits[i]);
#define CODES(n) find_some(n, t->level + at, t->border + at, y + j, inv, window + j, code + j, level + j)
            BY_BITS(b->bits[i], CODES)
        }
}

/* Eight floats of 16 lanes that were folded once. */
INLINE float fold(__m256 a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

static void trials(const float *z, size_t ldz, size_t n, const float *inv_sigma, size_t coded, float *trial) {
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    for (size_t t = 0; t < n; t++, z += ldz, trial += TRELLIS_TRIALS) {
        __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, most = sum[0];
        for (size_t i = 0; i < coded; i += 16)
            for (size_t h = 0; h < 2; h++) {
                __m256 r = _mm256_mul_ps(_mm256_loadu_ps(z + i + 8 * h), _mm256_loadu_ps(inv_sigma + i + 8 * h));
                sum[h] = _mm256_add_ps(sum[h], _mm256_mul_ps(r, r));
                most = _mm256_max_ps(most, _mm256_and_ps(r, no_sign));
            }
        __m128 top = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
        top = _mm_max_ps(top, _mm_movehl_ps(top, top));
        top = _mm_max_ss(top, _mm_shuffle_ps(top, top, 1));
        trellis_trials_of(fold(_mm256_add_ps(sum[0], sum[1])) / (float)(coded ? coded : 1), _mm_cvtss_f32(top), trial);
    }
}

/* The gain that suits levels best. */
static uint8_t refit(size_t n, const tables *t, const float *y, const int16_t *level, float trial) {
    __m256 above[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, below[2] = {above[0], above[0]};
    for (size_t i = 0; i < n; i += 16)
        for (size_t h = 0; h < 2; h++) {
            const __m128i x = _mm_loadu_si128((const __m128i *)(level + i + 8 * h));
            const __m256 l = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(x));
            const __m256 s = _mm256_mul_ps(_mm256_loadu_ps(t->square + i + 8 * h), l);
            above[h] = _mm256_fmadd_ps(s, _mm256_loadu_ps(y + i + 8 * h), above[h]);
            below[h] = _mm256_fmadd_ps(s, l, below[h]);
        }
    const float a = fold(_mm256_add_ps(above[0], above[1])), d = fold(_mm256_add_ps(below[0], below[1]));
    return trellis_gain_code(d > 0 ? a / d : trial);
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

/* One by itself, as answers bring them, whose path is found. */
static void finish_one(const trellis_book *b, const tables *t, group *p, uint8_t *gain, uint8_t *codes) {
    int16_t level[TRELLIS_MAX_DIM + PAD];
    retrace_one(b->n, p);
    find_codes(b, t, p->y[0], 1 / p->trial[0], p->own[0], p->code[0], level);
    *gain = refit(b->n, t, p->y[0], level, p->trial[0]);
    memcpy(codes, p->code[0], b->n);
}

/* Up to 16, one below the other. */
static void search_group(const trellis_book *b, const tables *t, bool look_up, const float *z, size_t ldz, size_t n,
                         const float *trial, uint8_t *gain, uint8_t *codes) {
    enum { WIDE = TRELLIS_MAX_DIM + PAD };
    group p;
    int16_t level[WIDE];
    if (n < GROUP) {
        memset(p.state, 0, sizeof p.state);
        memset(p.shift, 0, sizeof p.shift);
    }
    for (size_t j = 0; j < n; j += VECTORS)
        search_few(b, t, look_up, z + j * ldz, ldz, n - j < VECTORS ? n - j : VECTORS, trial + j * TRELLIS_TRIALS, &p, j);
    retrace(b->n, &p);
    for (size_t i = 0; i < b->n; i += 16)
        transpose_bytes(p.window + i * GROUP, GROUP, p.own[0] + i, WIDE, GROUP);
    for (size_t j = 0; j < n; j++) {
        find_codes(b, t, p.y[j], 1 / p.trial[j], p.own[j], p.code[j], level);
        gain[j] = refit(b->n, t, p.y[j], level, p.trial[j]);
    }
    for (size_t j = n; j < GROUP; j++)
        memset(p.code[j], 0, b->n);
    for (size_t i = 0; i < b->n; i += 16)
        transpose_bytes(p.code[0] + i, WIDE, codes + i * TRELLIS_GROUP, TRELLIS_GROUP, b->n - i);
}

static void tc_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const float *trial, uint8_t *gain,
                      uint8_t *codes, size_t ldc) {
    tables t;
    const bool look_up = n >= GROUP;
    fill_tables(b, &t);
    if (ldc == 1) {
        group p;
        search_few(b, &t, false, z, ldz, 1, trial, &p, 0);
        finish_one(b, &t, &p, gain, codes);
        return;
    }
    if (look_up)
        fill_look_ups(b, &t);
    if (n < TRELLIS_GROUP)
        memset(codes, 0, b->n * TRELLIS_GROUP);
    for (size_t at = 0; at < n; at += GROUP)
        search_group(b, &t, look_up, z + at * ldz, ldz, n - at < GROUP ? n - at : GROUP, trial + at * TRELLIS_TRIALS, gain + at,
                     codes + at);
}
