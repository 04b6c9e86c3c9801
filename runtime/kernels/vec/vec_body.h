/* Vector kernels, written once over a type of 16 floats and included by one file per instruction set, which defines before:
 *   v16                          16 floats, passed by value
 *   v_set(f)                     all lanes f
 *   v_load(p, n), v_store(p, a, n)   the first n <= 16 floats; lanes from n on load as 0 and are not stored
 *   v_load_f16(p), v_load_bf16(p)    16 of them
 *   v_add v_sub v_mul v_div v_fma(a, b, c) = a*b+c
 *   v_max(a, b) = a > b ? a : b, v_min(a, b) = a < b ? a : b   (so b where either is NaN)
 *   v_first(a, b, n)             lanes below n from a, the others from b
 *   v_down(a, h), h = 8, 4, 2, 1   lane i < h from lane i + h; the others hold anything
 *   v_lane0(a)                   lane 0
 *   v_scale(a, t)                a * 2^n, n = t - 1.5 * 2^23 an integer of -126 to 127
 *   v_clear_below(a, x, f)       a, but 0 in lanes where x < f
 *   VEC_FILL                     the name of the function that fills the table
 * Every instruction set computes the same formulas in the same order, tails included, so answers agree bit for bit.
 */
#include "kernels/kernels.h"

/* Lanes 8+8, 4+4, 2+2, 1+1. */
static inline float v_sum(v16 a) {
    a = v_add(a, v_down(a, 8));
    a = v_add(a, v_down(a, 4));
    a = v_add(a, v_down(a, 2));
    return v_lane0(v_add(a, v_down(a, 1)));
}

static inline float v_top(v16 a) {
    a = v_max(a, v_down(a, 8));
    a = v_max(a, v_down(a, 4));
    a = v_max(a, v_down(a, 2));
    return v_lane0(v_max(a, v_down(a, 1)));
}

/* exp in f32: x = n ln 2 + r with |r| <= ln(2)/2, ln 2 in two parts so that r is exact enough (Cody, Waite); the polynomial for
 * (exp(r) - 1 - r) / r^2 has the coefficients of Cephes' expf (S. Moshier). 0 below -87, exp(88) above 88: a subnormal result
 * would cost some processors as much as 50 others, and masked scores would all be such. NaN stays NaN. */
static inline v16 v_exp(v16 x) {
    const v16 magic = v_set(0x1.8p23f), any = x;
    x = v_min(v_set(88.0f), v_max(v_set(-87.0f), x));
    v16 t = v_fma(x, v_set(0x1.715476p0f), magic);
    v16 n = v_sub(t, magic);
    v16 r = v_fma(n, v_set(-0x1.63p-1f), x);
    r = v_fma(n, v_set(0x1.bd0106p-13f), r);
    v16 p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(v_mul(r, r), p, r);
    p = v_add(p, v_set(1.0f));
    return v_clear_below(v_scale(p, t), any, -87.0f);
}

static inline size_t lanes(size_t i, size_t n) {
    return n - i < 16 ? n - i : 16;
}

/* Tokens side by side: as many as have room for their sums in registers, which are 4 of AVX2 or 8 of NEON for each. */
enum { PANEL_TOKS = 3 };

#define PANEL(name, type, load)                                                                                                \
    static inline __attribute__((always_inline)) void name##_toks(const type *w, size_t cols, const float *x, size_t ldx,      \
                                                                  int toks, float *y, size_t ldy, size_t n_rows, bool first) { \
        const size_t n_low = lanes(0, n_rows), n_high = n_rows - n_low;                                                        \
        v16 low[PANEL_TOKS], high[PANEL_TOKS];                                                                                 \
        for (int t = 0; t < toks; t++) {                                                                                       \
            low[t] = first ? v_set(0.0f) : v_load(y + (size_t)t * ldy, n_low);                                                 \
            high[t] = first || n_high == 0 ? v_set(0.0f) : v_load(y + (size_t)t * ldy + 16, n_high);                           \
        }                                                                                                                      \
        for (size_t c = 0; c < cols; c++, w += RT_PANEL_ROWS) {                                                                \
            const v16 w0 = load(w);                                                                                            \
            for (int t = 0; t < toks; t++)                                                                                     \
                low[t] = v_fma(w0, v_set(x[(size_t)t * ldx + c]), low[t]);                                                     \
            __asm__("" ::: "memory"); /* load x again: there is no register left to keep it in */                              \
            const v16 w1 = load(w + 16);                                                                                       \
            for (int t = 0; t < toks; t++)                                                                                     \
                high[t] = v_fma(w1, v_set(x[(size_t)t * ldx + c]), high[t]);                                                   \
        }                                                                                                                      \
        for (int t = 0; t < toks; t++) {                                                                                       \
            v_store(y + (size_t)t * ldy, low[t], n_low);                                                                       \
            if (n_high > 0)                                                                                                    \
                v_store(y + (size_t)t * ldy + 16, high[t], n_high);                                                            \
        }                                                                                                                      \
    }                                                                                                                          \
    static void name(const void *panel, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,           \
                     size_t n_rows, bool first) {                                                                              \
        for (; n_tok == 3 || n_tok > 4; n_tok -= 3, x += 3 * ldx, y += 3 * ldy)                                                \
            name##_toks(panel, cols, x, ldx, 3, y, ldy, n_rows, first);                                                        \
        for (; n_tok >= 2; n_tok -= 2, x += 2 * ldx, y += 2 * ldy)                                                             \
            name##_toks(panel, cols, x, ldx, 2, y, ldy, n_rows, first);                                                        \
        if (n_tok == 1)                                                                                                        \
            name##_toks(panel, cols, x, ldx, 1, y, ldy, n_rows, first);                                                        \
    }
#define LOAD16(p) v_load(p, 16)
PANEL(panel_f32, float, LOAD16)
PANEL(panel_f16, uint16_t, v_load_f16)
PANEL(panel_bf16, uint16_t, v_load_bf16)
#undef LOAD16
#undef PANEL

static void rms_norm(const float *x, const float *w, size_t n, float eps, float *out) {
    v16 acc = v_set(0.0f);
    for (size_t i = 0; i < n; i += 16) {
        v16 v = v_load(x + i, lanes(i, n));
        acc = v_fma(v, v, acc);
    }
    v16 scale = v_set(1.0f / sqrtf(v_sum(acc) / (float)n + eps));
    for (size_t i = 0; i < n; i += 16) {
        size_t l = lanes(i, n);
        v_store(out + i, v_mul(v_mul(v_load(x + i, l), scale), v_load(w + i, l)), l);
    }
}

static void add(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        size_t l = lanes(i, n);
        v_store(x + i, v_add(v_load(x + i, l), v_load(y + i, l)), l);
    }
}

static void blend(float *x, float fx, const float *y, float fy, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        size_t l = lanes(i, n);
        v_store(x + i, v_fma(v_load(y + i, l), v_set(fy), v_mul(v_load(x + i, l), v_set(fx))), l);
    }
}

/* g / (1 + exp(a)) * up: both activations are this with their own a. */
static inline v16 gate(v16 g, v16 a, v16 up) {
    return v_mul(v_div(g, v_add(v_set(1.0f), v_exp(a))), up);
}

static void silu_mul(float *g, const float *up, size_t n) {
    for (size_t i = 0; i < n; i += 16) {
        size_t l = lanes(i, n);
        v16 v = v_load(g + i, l);
        v_store(g + i, gate(v, v_mul(v, v_set(-1.0f)), v_load(up + i, l)), l);
    }
}

/* x/2 (1 + tanh z) = x / (1 + exp(-2z)), z = sqrt(2/pi) (x + 0.044715 x^3). */
static void gelu_mul(float *g, const float *up, size_t n) {
    const float two_c = -1.5957691216f; /* -2 sqrt(2/pi) */
    for (size_t i = 0; i < n; i += 16) {
        size_t l = lanes(i, n);
        v16 v = v_load(g + i, l);
        v16 poly = v_fma(v_mul(v, v), v_set(two_c * 0.044715f), v_set(two_c));
        v_store(g + i, gate(v, v_mul(v, poly), v_load(up + i, l)), l);
    }
}

static inline void rotate(float *a, float *b, float c, float s) {
    float x = *a, y = *b;
    *a = fmaf(-y, s, x * c);
    *b = fmaf(y, c, x * s);
}

static void rope(float *x, size_t n_head, size_t head_dim, size_t n_rot, const float *cos, const float *sin, bool neox) {
    for (size_t h = 0; h < n_head; h++, x += head_dim) {
        if (neox)
            for (size_t i = 0; i < n_rot / 2; i++)
                rotate(&x[i], &x[i + n_rot / 2], cos[i], sin[i]);
        else
            for (size_t i = 0; i < n_rot / 2; i++)
                rotate(&x[2 * i], &x[2 * i + 1], cos[i], sin[i]);
    }
}

/* x = exp(x - m) of l floats, which it returns; lanes from l on hold anything. */
static inline v16 exp_lanes(float *x, size_t l, v16 m) {
    v16 v = v_exp(v_sub(v_load(x, l), m));
    v_store(x, v, l);
    return v;
}

static float exp_sum(float *x, size_t n, float max) {
    v16 acc = v_set(0.0f), m = v_set(max);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        acc = v_add(acc, exp_lanes(x + i, 16, m));
    if (i < n)
        acc = v_add(acc, v_first(exp_lanes(x + i, n - i, m), v_set(0.0f), n - i));
    return v_sum(acc);
}

static float max(const float *x, size_t n) {
    v16 m = v_set(-INFINITY);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        m = v_max(v_load(x + i, 16), m);
    if (i < n)
        m = v_first(v_max(v_load(x + i, n - i), m), m, n - i);
    return v_top(m);
}

static float dot(const float *x, const float *y, size_t n) {
    v16 acc = v_set(0.0f);
    for (size_t i = 0; i < n; i += 16)
        acc = v_fma(v_load(x + i, lanes(i, n)), v_load(y + i, lanes(i, n)), acc);
    return v_sum(acc);
}

void VEC_FILL(rt_kernels *k) {
    k->panel_f32 = panel_f32;
    k->panel_f16 = panel_f16;
    k->panel_bf16 = panel_bf16;
    k->rms_norm = rms_norm;
    k->add = add;
    k->blend = blend;
    k->silu_mul = silu_mul;
    k->gelu_mul = gelu_mul;
    k->rope = rope;
    k->exp_sum = exp_sum;
    k->max = max;
    k->dot = dot;
}
