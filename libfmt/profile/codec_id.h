/* Names of the cache codecs and what they cost: the rows that --help, profiles and the runtime's table of implementations
 * share. */
#ifndef KV_CODEC_ID_H
#define KV_CODEC_ID_H

#include <stdbool.h>
#include <stdint.h>

/* Codecs that work alike. */
typedef enum kv_codec_family {
    KV_FAMILY_FLOAT,
    KV_FAMILY_BLOCK,
    KV_FAMILY_HADAMARD,
    KV_FAMILY_TURBO,
    KV_FAMILY_POLAR,
    KV_FAMILY_KIVI,
    KV_FAMILY_TC,
    KV_FAMILY_COUNT
} kv_codec_family;

/* All codecs, in the order of their ids: id, name as written in profiles and after -ctk/-ctv, family, help; bits per number,
 * without what follows (0: a profile says), and how many numbers in f16 there are per vector of head_dim elements (norms), for
 * keys and for values. The codec `name` is kv_codec_<name> in runtime/codec/. */
#define KV_CODEC_LIST(X)                                                                                                       \
    X(F32, f32, FLOAT, "32-bit floats: the reference for quality", 32, 0, 0)                                                   \
    X(F16, f16, FLOAT, "16-bit floats: the reference for size", 16, 0, 0)                                                      \
    X(Q8_0, q8_0, BLOCK, "8-bit codes, one f16 scale per 32 (8.5 bits)", 8.5f, 0, 0)                                           \
    X(Q4_0, q4_0, BLOCK, "4-bit codes, one f16 scale per 32 (4.5 bits)", 4.5f, 0, 0)                                           \
    X(Q4_1, q4_1, BLOCK, "4-bit codes, an f16 scale and minimum per 32 (5 bits)", 5, 0, 0)                                     \
    X(Q5_0, q5_0, BLOCK, "5-bit codes, one f16 scale per 32 (5.5 bits)", 5.5f, 0, 0)                                           \
    X(Q5_1, q5_1, BLOCK, "5-bit codes, an f16 scale and minimum per 32 (6 bits)", 6, 0, 0)                                     \
    X(IQ4_NL, iq4_nl, BLOCK, "16 uneven levels, one f16 scale per 32 (4.5 bits)", 4.5f, 0, 0)                                  \
    X(Q8_0H, q8_0h, HADAMARD, "q8_0 after a Hadamard rotation (8.5 bits)", 8.5f, 0, 0)                                         \
    X(Q4_0H, q4_0h, HADAMARD, "q4_0 after a Hadamard rotation (4.5 bits)", 4.5f, 0, 0)                                         \
    X(Q4_1H, q4_1h, HADAMARD, "q4_1 after a Hadamard rotation (5 bits)", 5, 0, 0)                                              \
    X(Q5_0H, q5_0h, HADAMARD, "q5_0 after a Hadamard rotation (5.5 bits)", 5.5f, 0, 0)                                         \
    X(Q5_1H, q5_1h, HADAMARD, "q5_1 after a Hadamard rotation (6 bits)", 6, 0, 0)                                              \
    X(IQ4_NLH, iq4_nlh, HADAMARD, "iq4_nl after a Hadamard rotation (4.5 bits)", 4.5f, 0, 0)                                   \
    X(TURBO2, turbo2, TURBO, "TurboQuant, 2 bits and a norm", 2, 1, 1)                                                         \
    X(TURBO3, turbo3, TURBO, "TurboQuant, 3 bits and a norm", 3, 1, 1)                                                         \
    X(TURBO4, turbo4, TURBO, "TurboQuant, 4 bits and a norm", 4, 1, 1)                                                         \
    X(TURBO3Q, turbo3q, TURBO, "TurboQuant, keys 2 bits and a 1-bit QJL residual", 3, 2, 1)                                    \
    /* per 16 elements 8 angles of 4 bits, 7 of 2 bits and a radius in f16 */                                                  \
    X(POLAR4, polar4, POLAR, "PolarQuant, angles of 4 and 2 bits (3.875 bits)", 3.875f, 0, 0)                                  \
    /* scale and zero point in f16 per 32 */                                                                                   \
    X(KIVI2, kivi2, KIVI, "KIVI, 2 bits, keys per channel (3 bits)", 3, 0, 0)                                                  \
    X(KIVI4, kivi4, KIVI, "KIVI, 4 bits, keys per channel (5 bits)", 5, 0, 0)                                                  \
    /* calibrated ones come last */                                                                                            \
    X(TC, tc, TC, "calibrated transform codec, from a profile", 0, 0, 0)

#define KV_CODEC_ID_(id, ...) KV_##id,
typedef enum kv_codec_id { KV_CODEC_LIST(KV_CODEC_ID_) KV_CODEC_COUNT } kv_codec_id;
#undef KV_CODEC_ID_

typedef struct kv_codec_name {
    kv_codec_id id;
    kv_codec_family family;
    const char *name;
    const char *summary; /* one line for --help */
    bool calibrated;     /* needs a prof_tc for every head: its bits are what a profile says */
    float bits;
    uint8_t k_f16, v_f16;
} kv_codec_name;

extern const kv_codec_name kv_codec_names[KV_CODEC_COUNT]; /* indexed by id */

/* -1 when unknown. */
int kv_codec_by_name(const char *name);

/* True bits per element of a vector of head_dim elements, everything included; 0 where a profile says. head_dim 0 (not known):
 * the f16 numbers per vector are left out. */
float kv_codec_bits(kv_codec_id id, bool key, uint32_t head_dim);

#endif
