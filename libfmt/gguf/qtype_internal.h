/* What qtype.c, qtype_k.c, qtype_iq.c and qtype_grid.c share. */
#ifndef KV_QTYPE_INTERNAL_H
#define KV_QTYPE_INTERNAL_H

#include "gguf/qtype.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are read as they lie in the file: little endian hosts only");

/* Block i of src as a local copy: src may be unaligned, and a fixed-size memcpy is as cheap as a load. */
#define QT_LOAD(type, name, src, i)                                                                                            \
    type name;                                                                                                                 \
    memcpy(&name, (const uint8_t *)(src) + (i) * sizeof name, sizeof name)

void qt_dequant_q2_k(const void *src, float *dst, size_t n);
void qt_dequant_q3_k(const void *src, float *dst, size_t n);
void qt_dequant_q4_k(const void *src, float *dst, size_t n);
void qt_dequant_q5_k(const void *src, float *dst, size_t n);
void qt_dequant_q6_k(const void *src, float *dst, size_t n);
void qt_dequant_iq1_s(const void *src, float *dst, size_t n);
void qt_dequant_iq1_m(const void *src, float *dst, size_t n);
void qt_dequant_iq2_xxs(const void *src, float *dst, size_t n);
void qt_dequant_iq2_xs(const void *src, float *dst, size_t n);
void qt_dequant_iq2_s(const void *src, float *dst, size_t n);
void qt_dequant_iq3_xxs(const void *src, float *dst, size_t n);
void qt_dequant_iq3_s(const void *src, float *dst, size_t n);
void qt_dequant_iq4_xs(const void *src, float *dst, size_t n);
void qt_dequant_tq1_0(const void *src, float *dst, size_t n);
void qt_dequant_tq2_0(const void *src, float *dst, size_t n);

typedef enum qt_grid {
    QT_GRID_IQ2_XXS, /* 256 points of 8 digits */
    QT_GRID_IQ2_XS,  /* 512 */
    QT_GRID_IQ2_S,   /* 1024 */
    QT_GRID_IQ1,     /* 2048 */
    QT_GRID_IQ3_XXS, /* 256 points of 4 digits */
    QT_GRID_IQ3_S,   /* 512 */
} qt_grid;
/* Its points: digit i in byte i. Unpacked at the first call, forever; thread-safe. */
const uint64_t *qt_grid_points(qt_grid grid);

#endif
