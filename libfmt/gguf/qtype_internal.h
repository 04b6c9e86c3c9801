/* What qtype.c and qtype_k.c share. */
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

#endif
