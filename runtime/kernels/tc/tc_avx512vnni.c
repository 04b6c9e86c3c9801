/* Codec tc for AVX-512 with VNNI, which the transform is multiplied with, and, where there are VBMI and GFNI, decoding. A plane
 * is 64 bits, one per token. One byte permutation brings the bytes of a dimension's planes that belong to 8 tokens together; by
 * a product of bit matrices these 8x8 bits are transposed: a byte per token, with the path bit at bit 0 and planes 1 to 4 from
 * bit 4 on, which is where the index into the table of levels has them.
 */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#include "kernels/tc/tc_project_avx512.h"
#define p_add(sum, a, b) _mm512_dpwssd_epi32(sum, a, b)
#include "kernels/tc/tc_project.h"

/* Bits of the codes of 64 tokens. Byte 7 - i of a matrix becomes bit i. Where there are fewer planes, bits of other things come
 * in their place, which no look-up heeds. */
INLINE __m512i gather_bits(const uint64_t *planes) {
    const __m512i group = _mm512_mullo_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(0x0101010101010101));
    const __m512i index = _mm512_or_si512(group, _mm512_set1_epi64(0x0000000008101820));
    __m512i bytes = _mm512_permutexvar_epi8(index, _mm512_loadu_si512(planes));
    return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64((long long)0x8040201008040201), bytes, 0);
}

/* The levels of one width, by window and planes: as many registers as that takes. */
typedef struct table {
    __m512i v[8];
} table;

INLINE table load_table(const unsigned bits, const int8_t *levels) {
    table t;
    if (bits == 1)
        t.v[0] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)levels));
    else if (bits == 2)
        t.v[0] = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)levels));
    else
        for (int i = 0; i < 1 << (bits - 3); i++)
            t.v[i] = _mm512_loadu_si512(levels + 64 * i);
    return t;
}

INLINE __m512i look_up256(const __m512i *v, __m512i at) {
    __m512i low = _mm512_permutex2var_epi8(v[0], at, v[1]), high = _mm512_permutex2var_epi8(v[2], at, v[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(at), high);
}

/* at: window | planes 1 to 4 from bit 4 on. */
INLINE __m512i look_up(const unsigned bits, const table *t, const uint64_t *planes, __m512i at) {
    if (bits <= 3)
        return _mm512_permutexvar_epi8(at, t->v[0]);
    if (bits == 4)
        return _mm512_permutex2var_epi8(t->v[0], at, t->v[1]);
    if (bits == 5)
        return look_up256(t->v, at);
    return _mm512_mask_mov_epi8(look_up256(t->v, at), planes[5], look_up256(t->v + 4, at));
}

enum { PAIR = 2 /* blocks decoded side by side: a jump that is not foreseen costs as much as three rows */ };

/* Where decoding has come to. */
typedef struct cursor {
    size_t i, word;       /* dimension; where its planes begin */
    __m512i window[PAIR]; /* of every token, and older path bits above it */
} cursor;

/* The dimensions that follow with as many bits, of n blocks: no jumps among them. */
INLINE void decode_run(const unsigned bits, const size_t n, const trellis_book *b, const uint64_t *const *planes, int8_t *out,
                       size_t ld, cursor *c) {
    const __m512i one = _mm512_set1_epi8(1), low = _mm512_set1_epi8(TRELLIS_WINDOWS - 1);
    const table t = load_table(bits, b->levels + trellis_table(bits));
    const ptrdiff_t next = n > 1 ? (ptrdiff_t)n * (planes[1] - planes[0]) : 0; /* likely what is decoded after these */
    cursor at = *c;
    for (; at.i < b->n && b->bits[at.i] == bits; at.i++, at.word += bits)
        for (size_t j = 0; j < n; j++) {
            const uint64_t *p = planes[j] + at.word;
            _mm_prefetch((const char *)(p + next), _MM_HINT_T0);
            __m512i code = gather_bits(p), twice = _mm512_add_epi8(at.window[j], at.window[j]);
            at.window[j] = _mm512_ternarylogic_epi32(twice, code, one, 0xd8);         /* one ? code : twice */
            __m512i index = _mm512_ternarylogic_epi32(at.window[j], code, low, 0xe4); /* low ? window : code */
            _mm512_storeu_si512(out + j * ld + at.i * RT_ATTN_TILE, look_up(bits, &t, p, index));
        }
    *c = at;
}

INLINE void decode(const size_t n, const trellis_book *b, const uint64_t *const *planes, int8_t *out, size_t ld) {
    cursor c = {0};
    for (size_t j = 0; j < n; j++)
        c.window[j] = _mm512_setzero_si512();
#define RUN(bits)                                                                                                              \
    case bits:                                                                                                                 \
        decode_run(bits, n, b, planes, out, ld, &c);                                                                           \
        break
    while (c.i < b->n)
        switch (b->bits[c.i]) {
            RUN(1);
            RUN(2);
            RUN(3);
            RUN(4);
            RUN(5);
            RUN(6);
        }
}

static void levels(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *out, size_t ld) {
    for (; n >= PAIR; n -= PAIR, planes += PAIR, out += PAIR * ld)
        decode(PAIR, b, planes, out, ld);
    for (; n; n--, planes++, out += ld)
        decode(1, b, planes, out, ld);
}

void rt_tc_avx512vnni(rt_kernels *k) {
    k->tc_project = project;
    if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni"))
        k->tc_levels = levels;
}
