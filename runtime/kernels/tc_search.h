/* The search of libfmt/trellis.h with vectors of tokens, one lane each: included by tc_avx2.c and tc_avx512.c, which define
 *
 *   LANES, vec (floats), ivec (as many 32-bit integers), vmask (what a comparison gives)
 *   v_load, v_set, v_add, v_sub, v_mul, v_abs, v_nearer, v_recip, v_less, v_pick (mask ? b : a)
 *   i_load, i_store, i_set, i_or, i_and, i_shift (right, per lane), i_eights, i_twice, i_half, i_mask (mask ? x : 0),
 *   i_pick (mask ? b : a), i_bytes (store lanes as bytes), look_up16 (table of 16 floats by the lanes' indices)
 *
 * Lanes do what trellis_search does, operation by operation, so the answers have the same bits.
 */

/* Levels as floats: the searching loops broadcast them. */
static void widen_levels(const trellis_book *b, float *level) {
    unsigned most = 0;
    for (size_t i = 0; i < b->n; i++)
        most = b->bits[i] > most ? b->bits[i] : most;
    for (size_t i = 0; i < trellis_table(most + 1); i++)
        level[i] = (float)b->levels[i];
}

/* One dimension: best paths into every state. Returns which of its two windows was the better way into state s as bit s. */
INLINE ivec step(const unsigned bits, const float *level, vec r, float weight, vec *cost) {
    vec next[TRELLIS_STATES], w = v_set(weight);
    ivec taken = i_set(0);
#pragma GCC unroll 8
    for (int s = 0; s < TRELLIS_STATES; s++) {
        vec way[2];
        for (int h = 0; h < 2; h++) {
            const float *l = level + s + h * TRELLIS_STATES;
            vec d = v_abs(v_sub(r, v_set(l[0])));
            for (int p = 1; p < 1 << (bits - 1); p++)
                d = v_nearer(v_sub(r, v_set(l[p * TRELLIS_WINDOWS])), d);
            way[h] = v_add(cost[(s + h * TRELLIS_STATES) / 2], v_mul(v_mul(d, d), w));
        }
        vmask high = v_less(way[1], way[0]);
        next[s] = v_pick(high, way[0], way[1]);
        taken = i_or(taken, i_mask(high, 1 << s));
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

/* LANES tokens: y (n, LANES) coefficients over scale; trial gains as (TRELLIS_TRIALS, LANES). */
static void search_lanes(const trellis_book *b, const float *level, const float *y, const float *gains, const uint8_t *trial,
                         uint8_t *gain, uint8_t *codes) {
    int32_t taken[2][TRELLIS_MAX_DIM * LANES];
    int32_t which[LANES];
    vec least = v_set(INFINITY), best_gain = v_load(gains);
    ivec state = i_set(0), best_trial = i_set(0);
    for (int t = 0; t < TRELLIS_TRIALS; t++) {
        vec cost[TRELLIS_STATES], g = v_load(gains + t * LANES), inv = v_recip(g);
        cost[0] = v_set(0);
        for (int s = 1; s < TRELLIS_STATES; s++)
            cost[s] = v_set(INFINITY);
        int32_t *way = taken[t > 0];
        for (size_t i = 0; i < b->n; i++) {
            const float *l = level + trellis_table(b->bits[i]);
            float weight = b->scale[i] * b->scale[i];
            vec r = v_mul(v_load(y + i * LANES), inv);
            ivec took;
#define STEP(n) took = step(n, l, r, weight, cost)
            BY_BITS(b->bits[i], STEP)
            i_store(way + i * LANES, took);
        }
        vec end = cost[0];
        ivec last = i_set(0);
        for (int s = 1; s < TRELLIS_STATES; s++) {
            vmask less = v_less(cost[s], end);
            end = v_pick(less, end, cost[s]);
            last = i_pick(less, last, i_set(s));
        }
        vec err = v_mul(end, v_mul(g, g));
        vmask better = v_less(err, least);
        if (t == 0) {
            least = err;
            state = last;
            continue;
        }
        least = v_pick(better, least, err);
        best_gain = v_pick(better, best_gain, g);
        best_trial = i_pick(better, best_trial, i_set(t));
        state = i_pick(better, state, last);
        for (size_t i = 0; i < b->n; i++)
            i_store(taken[0] + i * LANES, i_pick(better, i_load(taken[0] + i * LANES), i_load(way + i * LANES)));
    }
    vec inv = v_recip(best_gain);
    for (size_t i = b->n; i-- > 0;) {
        const float *l = level + trellis_table(b->bits[i]);
        vec r = v_mul(v_load(y + i * LANES), inv);
        ivec took = i_load(taken[0] + i * LANES), code;
#define RETRACE(n) code = retrace(n, l, r, took, &state)
        BY_BITS(b->bits[i], RETRACE)
        i_bytes(codes + i * TRELLIS_GROUP, code);
    }
    i_store(which, best_trial);
    for (int l = 0; l < LANES; l++)
        gain[l] = trial[l * TRELLIS_TRIALS + which[l]];
}

/* Tokens beyond the last repeat it; what comes out for them is thrown away. */
static void tc_search(const trellis_book *b, const float *z, size_t ldz, size_t n, const uint8_t *trial, uint8_t *gain,
                      uint8_t *codes) {
    float level[TRELLIS_LEVELS], y[TRELLIS_MAX_DIM * LANES], gains[TRELLIS_TRIALS * LANES], unit[256];
    uint8_t trials[LANES * TRELLIS_TRIALS], best[LANES], all[TRELLIS_MAX_DIM * TRELLIS_GROUP];
    widen_levels(b, level);
    for (int c = 0; c < 256; c++)
        unit[c] = trellis_gain((uint8_t)c);
    for (size_t at = 0; at < n; at += LANES) {
        size_t have = n - at < LANES ? n - at : LANES;
        for (size_t l = 0; l < LANES; l++) {
            size_t t = at + (l < have ? l : have - 1);
            for (size_t i = 0; i < b->n; i++)
                y[i * LANES + l] = z[t * ldz + i] / b->scale[i];
            for (size_t i = 0; i < TRELLIS_TRIALS; i++) {
                trials[l * TRELLIS_TRIALS + i] = trial[t * TRELLIS_TRIALS + i];
                gains[i * LANES + l] = unit[trial[t * TRELLIS_TRIALS + i]];
            }
        }
        search_lanes(b, level, y, gains, trials, best, all);
        memcpy(gain + at, best, have);
        for (size_t i = 0; i < b->n; i++)
            memcpy(codes + i * TRELLIS_GROUP + at, all + i * TRELLIS_GROUP, have);
    }
}
