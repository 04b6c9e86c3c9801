/* The search of libfmt/trellis.h with one lane for every token and trial: included by tc_avx2.c and tc_avx512.c, which define
 *
 *   LANES, vec (floats), ivec (as many 32-bit integers), vmask (what a comparison gives)
 *   v_load, v_store, v_set, v_sub, v_mul, v_fma, v_abs, v_nearer, v_recip, v_less, v_pick (mask ? b : a)
 *   i_load, i_store, i_set, i_or, i_and, i_shift (right, per lane), i_eights, i_twice, i_half, i_flag (mask ? a | x : a),
 *   i_pick (mask ? b : a), i_sub, i_child (2 a + mask), i_bytes (store lanes as bytes),
 *   look_up16 (table of 16 floats by the low four bits of the lanes' indices), look_up (of 8, 16 or 32 floats likewise)
 *
 * Lanes do what trellis_search does, operation by operation, so the answers have the same bits.
 */

/* From this many bits on, a window has so many levels that halving their range beats trying all. */
enum { TREE_BITS = 4 };

/* Levels as floats: in the order of trellis.h, and for rates with a tree by window, with the points halfway between them as a
 * search tree, root at 1. A table of window w starts at trellis_table(b) + w * levels per window. */
typedef struct tables {
    float level[TRELLIS_LEVELS], by_window[TRELLIS_LEVELS], tree[TRELLIS_LEVELS];
} tables;

static void plant(const float *level, float *tree, unsigned node, unsigned from, unsigned width) {
    if (width < 2)
        return;
    unsigned half = width / 2;
    tree[node] = 0.5f * (level[from + half - 1] + level[from + half]);
    plant(level, tree, 2 * node, from, half);
    plant(level, tree, 2 * node + 1, from + half, half);
}

static void fill_tables(const trellis_book *b, tables *t) {
    unsigned used = 0;
    for (size_t i = 0; i < b->n; i++)
        used |= 1u << b->bits[i];
    for (unsigned bits = 1; bits <= TRELLIS_MAX_BITS; bits++) {
        const unsigned width = 1u << (bits - 1);
        const size_t from = trellis_table(bits);
        if (!(used >> bits & 1))
            continue;
        for (size_t i = from; i < trellis_table(bits + 1); i++)
            t->level[i] = (float)b->levels[i];
        for (unsigned w = 0; bits >= TREE_BITS && w < TRELLIS_WINDOWS; w++) {
            float *level = t->by_window + from + w * width;
            for (unsigned p = 0; p < width; p++)
                level[p] = t->level[from + p * TRELLIS_WINDOWS + w];
            plant(level, t->tree + from + w * width, 1, 0, width);
        }
    }
}

/* Distance of r to the nearest level of a window. Levels rise, so the borders between their cells are halfway, and the distance
 * comes out the same either way. */
INLINE vec nearest(const unsigned bits, const tables *t, int window, vec r) {
    const size_t from = trellis_table(bits);
    const unsigned width = 1u << (bits - 1);
    if (bits < TREE_BITS) {
        const float *l = t->level + from + window;
        vec d = v_abs(v_sub(r, v_set(l[0])));
        for (unsigned p = 1; p < width; p++)
            d = v_nearer(v_sub(r, v_set(l[p * TRELLIS_WINDOWS])), d);
        return d;
    }
    const size_t at = from + (size_t)window * width;
    ivec node = i_set(1);
    for (unsigned step = 1; step < bits; step++)
        node = i_child(node, v_less(look_up(width, t->tree + at, node), r));
    return v_abs(v_sub(r, look_up(width, t->by_window + at, i_sub(node, i_set((int)width)))));
}

/* One dimension: best paths into every state. Returns which of its two windows was the better way into state s as bit s. */
INLINE ivec step(const unsigned bits, const tables *t, vec r, float weight, vec *cost) {
    vec next[TRELLIS_STATES], w = v_set(weight);
    ivec taken = i_set(0);
#pragma GCC unroll 8
    for (int s = 0; s < TRELLIS_STATES; s++) {
        vec way[2];
        for (int h = 0; h < 2; h++) {
            vec d = nearest(bits, t, s + h * TRELLIS_STATES, r);
            way[h] = v_fma(v_mul(d, d), w, cost[(s + h * TRELLIS_STATES) / 2]);
        }
        vmask high = v_less(way[1], way[0]);
        next[s] = v_pick(high, way[0], way[1]);
        taken = i_flag(taken, high, 1 << s);
    }
#pragma GCC unroll 8
    for (int s = 0; s < TRELLIS_STATES; s++)
        cost[s] = next[s];
    return taken;
}

/* The code of one dimension, given the state that it led to; *state becomes the one before. */
INLINE ivec retrace(const unsigned bits, const float *level, vec r, ivec taken, ivec *state) {
    ivec bit = i_and(*state, i_set(1)), window = i_or(*state, i_and(i_shift(i_eights(taken), *state), i_set(TRELLIS_STATES))),
         which = i_set(0);
    vec best = v_abs(v_sub(r, look_up16(level, window)));
    for (int p = 1; p < 1 << (bits - 1); p++) {
        vec d = v_abs(v_sub(r, look_up16(level + p * TRELLIS_WINDOWS, window)));
        vmask nearer = v_less(d, best);
        best = v_pick(nearer, best, d);
        which = i_pick(nearer, which, i_set(p));
    }
    *state = i_half(window);
    return i_or(i_twice(which), bit);
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

enum { TOKENS = LANES / TRELLIS_TRIALS }; /* in a vector; the trials of a token lie side by side */

/* y (n, LANES) coefficients times 1 / scale, gains (LANES); err (LANES), codes (n, LANES) out. */
static void search_lanes(const trellis_book *b, const tables *t, const float *y, const float *gains, float *err,
                         uint8_t *codes) {
    int32_t taken[TRELLIS_MAX_DIM * LANES];
    vec cost[TRELLIS_STATES], g = v_load(gains), inv = v_recip(g);
    cost[0] = v_set(0);
    for (int s = 1; s < TRELLIS_STATES; s++)
        cost[s] = v_set(INFINITY);
    for (size_t i = 0; i < b->n; i++) {
        const float weight = b->scale[i] * b->scale[i];
        vec r = v_mul(v_load(y + i * LANES), inv);
        ivec took;
#define STEP(n) took = step(n, t, r, weight, cost)
        BY_BITS(b->bits[i], STEP)
        i_store(taken + i * LANES, took);
    }
    ivec state = i_set(0);
    for (int s = 1; s < TRELLIS_STATES; s++) {
        vmask less = v_less(cost[s], cost[0]);
        cost[0] = v_pick(less, cost[0], cost[s]);
        state = i_pick(less, state, i_set(s));
    }
    v_store(err, v_mul(cost[0], v_mul(g, g)));
    for (size_t i = b->n; i-- > 0;) {
        const float *l = t->level + trellis_table(b->bits[i]);
        vec r = v_mul(v_load(y + i * LANES), inv);
        ivec took = i_load(taken + i * LANES), code;
#define RETRACE(n) code = retrace(n, l, r, took, &state)
        BY_BITS(b->bits[i], RETRACE)
        i_bytes(codes + i * LANES, code);
    }
}

/* The lane of the best of a token's trials. */
static size_t best_lane(const float *err, size_t token) {
    size_t best = token * TRELLIS_TRIALS;
    for (size_t l = best + 1; l < (token + 1) * TRELLIS_TRIALS; l++)
        best = err[l] < err[best] ? l : best;
    return best;
}

/* Lanes beyond the last token repeat it; nobody looks at what comes out there. */
static void tc_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const uint8_t *trial, uint8_t *gain,
                      uint8_t *codes) {
    tables tab;
    float y[TRELLIS_MAX_DIM * LANES], gains[LANES], err[LANES];
    uint8_t all[TRELLIS_MAX_DIM * LANES + 16];
    fill_tables(b, &tab);
    for (size_t at = 0; at < n; at += TOKENS) {
        for (size_t j = 0; j < TOKENS; j++) {
            size_t t = at + j < n ? at + j : n - 1, l = j * TRELLIS_TRIALS;
            for (size_t i = 0; i < TRELLIS_TRIALS; i++)
                gains[l + i] = trellis_gain(trial[t * TRELLIS_TRIALS + i]);
            for (size_t d = 0; d < b->n; d++) {
                float r = z[t * ldz + d] * b->inverse[d];
                for (size_t i = 0; i < TRELLIS_TRIALS; i++)
                    y[d * LANES + l + i] = r;
            }
        }
        search_lanes(b, &tab, y, gains, err, all);
        for (size_t t = at; t < n && t < at + TOKENS; t++) {
            size_t l = best_lane(err, t - at);
            gain[t] = trial[t * TRELLIS_TRIALS + l % TRELLIS_TRIALS];
            for (size_t i = 0; i < b->n; i++)
                codes[i * TRELLIS_GROUP + t] = all[i * LANES + l];
        }
    }
}
