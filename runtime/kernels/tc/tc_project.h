/* The transform of codec tc in integers (kernels.h, tc_project): included by the files of the instruction sets above scalar,
 * which define
 *
 *   p_vec, P_LANES         a register of 32-bit sums, and how many
 *   p_zero()
 *   p_load(p)              pairs of 16 bits, of P_LANES coordinates
 *   p_pair(p)              the pair at p in all lanes
 *   p_add(sum, a, b)       sum + a.low * b.low + a.high * b.high
 *   p_finish(sum, scale, step, z)   z = (float)sum * (scale * step)
 *   q_input(x, mean, even, n, w)    w = (x - mean) * even of n numbers, and zeros up to a multiple of 16; the greatest |w|
 *   q_round(w, n, inv, q)           w * inv to the nearest integers of 16 bits, and zeros, likewise
 *
 * and INLINE. Sums are exact, so tokens and coordinates may be taken in any order: several tokens side by side, so that what is
 * loaded of the transform serves all of them, and a token by itself meets four tiles of 16 coordinates at once, which hides the
 * latency of sums.
 */

enum { P_REGS = RT_TC_TILE / P_LANES, P_TILES = 4, P_TOKENS = 8 / P_REGS };

/* What `tokens` tokens make of `tiles` tiles. q: codes, ldq apart. */
INLINE void project_tiles(const int tokens, const int tiles, const rt_tc_matrix *m, size_t tile, const int16_t *q, size_t ldq,
                          const float *step, float *z) {
    const size_t pairs = rt_tc_pairs(m->dim), ld = pairs * 2 * RT_TC_TILE;
    const int16_t *a = m->a + tile * ld;
    p_vec sum[P_TOKENS][P_TILES * P_REGS];
    for (int t = 0; t < tokens; t++)
        for (int r = 0; r < tiles * P_REGS; r++)
            sum[t][r] = p_zero();
    for (size_t j = 0; j < pairs; j++, a += 2 * RT_TC_TILE)
        for (int r = 0; r < tiles * P_REGS; r++) {
            const p_vec x = p_load(a + (size_t)(r / P_REGS) * ld + (size_t)(r % P_REGS) * 2 * P_LANES);
            for (int t = 0; t < tokens; t++)
                sum[t][r] = p_add(sum[t][r], x, p_pair(q + (size_t)t * ldq + 2 * j));
        }
    for (int t = 0; t < tokens; t++)
        for (int r = 0; r < tiles * P_REGS; r++) {
            const size_t i = tile * RT_TC_TILE + (size_t)r * P_LANES;
            p_finish(sum[t][r], m->scale + i, step[t], z + (size_t)t * m->cdim + i);
        }
}

enum { P_WIDE = TRELLIS_MAX_DIM + 16 };

/* Codes of `tokens` tokens and steps of them. */
INLINE void round_tokens(const int tokens, const rt_tc_matrix *m, const float *x, int16_t (*q)[P_WIDE], float *step) {
    float w[P_TOKENS][P_WIDE], most[P_TOKENS];
    for (int t = 0; t < tokens; t++)
        most[t] = q_input(x + (size_t)t * m->dim, m->mean, m->even, m->dim, w[t]);
    for (int t = 0; t < tokens; t++) {
        const bool none = most[t] < 0x1p-100f;
        q_round(w[t], m->dim, none ? 0 : RT_TC_INPUT / most[t], q[t]);
        step[t] = none ? 0 : most[t] / RT_TC_INPUT;
    }
}

static void project(const rt_tc_matrix *m, const float *x, size_t n, float *z) {
    int16_t q[P_TOKENS][P_WIDE];
    float step[P_TOKENS];
    const size_t tiles = m->cdim / RT_TC_TILE;
    for (; n >= P_TOKENS; n -= P_TOKENS, x += P_TOKENS * m->dim, z += P_TOKENS * m->cdim) {
        round_tokens(P_TOKENS, m, x, q, step);
        for (size_t tile = 0; tile < tiles; tile++)
            project_tiles(P_TOKENS, 1, m, tile, q[0], P_WIDE, step, z);
    }
    for (; n; n--, x += m->dim, z += m->cdim) {
        size_t tile = 0;
        round_tokens(1, m, x, q, step);
        for (; tile + P_TILES <= tiles; tile += P_TILES)
            project_tiles(1, P_TILES, m, tile, q[0], P_WIDE, step, z);
        for (; tile < tiles; tile++)
            project_tiles(1, 1, m, tile, q[0], P_WIDE, step, z);
    }
}
