/* Tensor types of GGUF: one table of rows, indexed by the type number that the file holds.
 * Layouts are those of the GGUF ecosystem (public format); dequantisation equals the Python package `gguf` bit for bit.
 */
#ifndef KV_QTYPE_H
#define KV_QTYPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum qtype {
    QT_F32 = 0,
    QT_F16 = 1,
    QT_Q4_0 = 2,
    QT_Q4_1 = 3,
    QT_Q5_0 = 6,
    QT_Q5_1 = 7,
    QT_Q8_0 = 8,
    QT_Q2_K = 10,
    QT_Q3_K = 11,
    QT_Q4_K = 12,
    QT_Q5_K = 13,
    QT_Q6_K = 14,
    QT_IQ2_XXS = 16,
    QT_IQ2_XS = 17,
    QT_IQ3_XXS = 18,
    QT_IQ1_S = 19,
    QT_IQ4_NL = 20,
    QT_IQ3_S = 21,
    QT_IQ2_S = 22,
    QT_IQ4_XS = 23,
    QT_IQ1_M = 29,
    QT_BF16 = 30,
    QT_TQ1_0 = 34,
    QT_TQ2_0 = 35,
    QT_MXFP4 = 39,
    QT_NVFP4 = 40,
} qtype;

typedef struct qtype_info {
    qtype id;
    const char *name;     /* "Q4_K" */
    uint32_t block_elems; /* elements per block: 1, 32, 64 or 256 */
    uint32_t block_bytes;
    /* Expand n elements (a multiple of block_elems) from src to dst (n floats). src may be unaligned. */
    void (*dequant)(const void *src, float *dst, size_t n);
} qtype_info;

/* The row of a type number, or NULL where the type is not supported. */
const qtype_info *qtype_get(uint32_t id);
/* "F32, F16, Q4_0, ...": for messages. */
const char *qtype_list(void);

/* What 4-bit codes stand for: IQ4_NL and IQ4_XS; MXFP4 and NVFP4 (twice the value of a float of 4 bits). */
#define QT_IQ4NL_VALUES                                                                                                        \
    { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 }
extern const int8_t qt_iq4nl_values[16], qt_fp4_values[16];

/* A block of a type whose codes are looked up, taken apart: w[i] = d * unit * scale[i / 16] * values[code[i]], every product of
 * which is exact in f32. d: f16 bits. */
typedef struct qt_coded {
    uint16_t d;
    int8_t scale[16];
    uint8_t code[256];
} qt_coded;
typedef struct qt_codes {
    qtype type;
    float unit;
    void (*take)(const void *block, qt_coded *out); /* a block of 256 elements, which may be unaligned */
    int8_t values[16];
} qt_codes;
/* Of IQ1_S, IQ1_M, IQ2_*, IQ3_*, IQ4_XS, TQ1_0 and TQ2_0; else NULL. */
const qt_codes *qt_codes_of(qtype type);

/* Half the value of an 8-bit scale: of exponent bits alone (MXFP4), as bf16 bits; of 4 and 3 bits (NVFP4), as f16 bits. Exact.
 */
uint16_t qt_e8m0_bf16(uint8_t scale);
uint16_t qt_ue4m3_f16(uint8_t scale);

/* What a factor multiplies in a row of a type: its own numbers, or the scales (and minima) of its blocks, which all weights are
 * proportional to. They are f16, bf16 or f32 bits. */
/* How many there are in n elements (a multiple of block_elems); 0: of this type none, its scales are no such numbers. */
size_t qtype_n_scales(const qtype_info *t, size_t n);
/* Each of them times `by`, rounded to the nearest. data: may be unaligned. */
void qtype_multiply(const qtype_info *t, void *data, size_t n, double by);
/* Their bits, (qtype_n_scales), and back. */
void qtype_scales_get(const qtype_info *t, const void *data, size_t n, uint32_t *bits);
void qtype_scales_set(const qtype_info *t, void *data, size_t n, const uint32_t *bits);
/* By which powers of two all of them may be multiplied so that none overflows, and none that is a normal number loses digits;
 * but of types that store weights one by one, small ones may. least <= 0 <= most. */
void qtype_scale_room(const qtype_info *t, const void *data, size_t n, int *least, int *most);

/* Six-bit sub-scales of the K types, also used for packing: scale of group g < 16 of a Q3_K block (-32..31); scale and minimum
 * of group g < 8 of a Q4_K or Q5_K block (0..63). */
int qt_q3_k_scale(const uint8_t scales[12], int g);
void qt_k_scale_min(const uint8_t scales[12], int g, int *scale, int *min);

/* On-disk blocks, little endian, packed. d, dmin, m: f16 bits. */
typedef struct {
    uint16_t d;
    uint8_t qs[16];
} qt_q4_0; /* w = d (q - 8); byte i: elements i, i+16 */
typedef struct {
    uint16_t d, m;
    uint8_t qs[16];
} qt_q4_1; /* w = d q + m */
typedef struct {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} qt_q5_0; /* w = d (q - 16), 5th bits in qh */
typedef struct {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} qt_q5_1; /* w = d q + m */
typedef struct {
    uint16_t d;
    int8_t qs[32];
} qt_q8_0; /* w = d q */
typedef struct {
    uint16_t d;
    uint8_t qs[16];
} qt_iq4_nl; /* w = d values[q] */
typedef struct {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} qt_q2_k; /* 16 groups of 16 */
typedef struct {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} qt_q3_k;
typedef struct {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} qt_q4_k; /* 8 groups of 32 */
typedef struct {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} qt_q5_k;
typedef struct {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} qt_q6_k; /* 16 groups of 16 */

typedef struct {
    uint16_t d;
    struct {
        uint8_t index[4];
        uint32_t signs; /* four times seven bits, four bits of scale */
    } __attribute__((packed)) group[8];
} __attribute__((packed)) qt_iq2_xxs;
typedef struct {
    uint16_t d, qs[32];
    uint8_t scales[8];
} qt_iq2_xs;
typedef struct {
    uint16_t d;
    uint8_t qs[32], signs[32], qh[8], scales[8];
} qt_iq2_s;
typedef struct {
    uint16_t d;
    uint8_t qs[64];
    uint32_t signs[8]; /* as in IQ2_XXS */
} __attribute__((packed)) qt_iq3_xxs;
typedef struct {
    uint16_t d;
    uint8_t qs[64], qh[8], signs[32], scales[4];
} qt_iq3_s;
typedef struct {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
} qt_iq1_s;
typedef struct {
    uint8_t qs[32], qh[16];
    uint16_t scales[4]; /* four times three bits, four bits of d */
} qt_iq1_m;
typedef struct {
    uint16_t d, scales_h;
    uint8_t scales_l[4], qs[128];
} qt_iq4_xs; /* 8 groups of 32 */
typedef struct {
    uint8_t qs[48], qh[4];
    uint16_t d;
} qt_tq1_0; /* five weights to a byte of qs, four to one of qh */
typedef struct {
    uint8_t qs[64];
    uint16_t d;
} qt_tq2_0;
typedef struct {
    uint8_t e, qs[16];
} qt_mxfp4; /* w = 2^(e - 128) values[q] */
typedef struct {
    uint8_t d[4], qs[32];
} qt_nvfp4; /* 4 groups of 16 */

_Static_assert(sizeof(qt_q4_0) == 18 && sizeof(qt_q4_1) == 20 && sizeof(qt_q5_0) == 22 && sizeof(qt_q5_1) == 24, "layout");
_Static_assert(sizeof(qt_q8_0) == 34 && sizeof(qt_iq4_nl) == 18 && sizeof(qt_q2_k) == 84 && sizeof(qt_q3_k) == 110, "layout");
_Static_assert(sizeof(qt_q4_k) == 144 && sizeof(qt_q5_k) == 176 && sizeof(qt_q6_k) == 210, "layout");
_Static_assert(sizeof(qt_iq1_s) == 50 && sizeof(qt_iq1_m) == 56 && sizeof(qt_iq2_xxs) == 66 && sizeof(qt_iq2_xs) == 74,
               "layout");
_Static_assert(sizeof(qt_iq2_s) == 82 && sizeof(qt_iq3_xxs) == 98 && sizeof(qt_iq3_s) == 110 && sizeof(qt_iq4_xs) == 136,
               "layout");
_Static_assert(sizeof(qt_tq1_0) == 54 && sizeof(qt_tq2_0) == 66 && sizeof(qt_mxfp4) == 17 && sizeof(qt_nvfp4) == 36, "layout");

#endif
