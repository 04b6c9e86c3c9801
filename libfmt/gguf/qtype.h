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
    QT_IQ4_NL = 20,
    QT_BF16 = 30,
} qtype;

typedef struct qtype_info {
    qtype id;
    const char *name;     /* "Q4_K" */
    uint32_t block_elems; /* elements per block: 1, 32 or 256 */
    uint32_t block_bytes;
    /* Expand n elements (a multiple of block_elems) from src to dst (n floats). src may be unaligned. */
    void (*dequant)(const void *src, float *dst, size_t n);
} qtype_info;

/* The row of a type number, or NULL where the type is not supported. */
const qtype_info *qtype_get(uint32_t id);
/* "F32, F16, Q4_0, ...": for messages. */
const char *qtype_list(void);

/* The 16 values of IQ4_NL codes, also used by the kernels. */
extern const int8_t qt_iq4nl_values[16];

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

_Static_assert(sizeof(qt_q4_0) == 18 && sizeof(qt_q4_1) == 20 && sizeof(qt_q5_0) == 22 && sizeof(qt_q5_1) == 24, "layout");
_Static_assert(sizeof(qt_q8_0) == 34 && sizeof(qt_iq4_nl) == 18 && sizeof(qt_q2_k) == 84 && sizeof(qt_q3_k) == 110, "layout");
_Static_assert(sizeof(qt_q4_k) == 144 && sizeof(qt_q5_k) == 176 && sizeof(qt_q6_k) == 210, "layout");

#endif
