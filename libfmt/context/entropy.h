/* Bits in as few bits as they are surprising: adaptive binary arithmetic coding.
 *
 * A bit is coded under a context, which holds how likely a one is there and learns from every bit; whoever codes chooses
 * contexts by what was coded before. The interval is halved unevenly, as a range that words are shifted out of (Martin, "Range
 * encoding", 1979), and counts how often a context was used for how fast it learns. Integers only: the same bytes on every
 * machine.
 *
 * Coder and decoder are one function, so that what chooses contexts can be one function as well: `decode` is a constant where
 * it is called, and `bit` is then ignored. Decoding reads zeros behind the end and yields bits whatever the bytes are;
 * afterwards ctx_coder_end says whether they were those of a coder.
 */
#ifndef KV_CONTEXT_ENTROPY_H
#define KV_CONTEXT_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A context: the chance of a one in its upper 22 bits, and how often it was used in its lower ten, up to CTX_BIT_USES. */
typedef uint32_t ctx_bit;
#define CTX_BIT_NEW ((ctx_bit)1 << 31)
enum { CTX_BIT_COUNT = 10, CTX_BIT_USES = 255 };

typedef struct ctx_coder {
    const uint8_t *in; /* decoding */
    uint8_t *out;      /* coding */
    size_t at, size;   /* bytes done, and there */
    uint64_t range;
    uint64_t value; /* coding: where the interval begins; decoding: how far into it what is read lies */
    bool full;      /* there was not room for all */
} ctx_coder;

extern const uint16_t ctx_bit_rates[CTX_BIT_USES + 1]; /* 65536 / (uses + 1.5) */

/* out, in: borrowed. */
void ctx_coder_start(ctx_coder *e, uint8_t *out, size_t size);
void ctx_coder_read(ctx_coder *e, const uint8_t *in, size_t size);
/* Of a coder: what is left goes out; false: there was not room. Of a decoder: whether just these bytes were coded. */
bool ctx_coder_end(ctx_coder *e, bool decode);
/* For ctx_code: the next word out. */
void ctx_coder_put(ctx_coder *e);
/* Adds one to what was written: the beginning of the interval grew beyond its bits. */
void ctx_coder_carry(ctx_coder *e);

/* And in; here, so that a coder that is a local variable can stay in registers while it decodes. */
static inline uint32_t ctx_coder_get(ctx_coder *e) {
    uint32_t word = 0;
    for (size_t i = e->at; i < e->at + 4; i++)
        word = word << 8 | (i < e->size ? e->in[i] : 0);
    e->at += 4;
    return word;
}

static inline void ctx_bit_learn(ctx_bit *p, bool bit) {
    const uint32_t uses = *p & ((1u << CTX_BIT_COUNT) - 1);
    const int32_t chance = (int32_t)(*p >> CTX_BIT_COUNT), aim = bit ? (1 << 22) - 1 : 0;
    const int32_t learnt = chance + (int32_t)((int64_t)(aim - chance) * ctx_bit_rates[uses] >> 16);
    *p = (uint32_t)learnt << CTX_BIT_COUNT | (uses + (uses < CTX_BIT_USES));
}

/* One bit; returns it. */
static inline bool ctx_code(ctx_coder *e, ctx_bit *p, bool bit, const bool decode) {
    const uint64_t chance = *p >> 16, bound = (e->range >> 16) * (chance + !chance);
    if (decode) { /* without branches on what nobody can foresee */
        const uint64_t zero = -(uint64_t)(e->value >= bound);
        bit = !zero;
        e->value -= bound & zero;
        e->range = (bound & ~zero) | ((e->range - bound) & zero);
    } else if (bit) {
        e->range = bound;
    } else {
        e->value += bound;
        e->range -= bound;
        if (e->value < bound)
            ctx_coder_carry(e);
    }
    if (!(e->range >> 32)) {
        e->range <<= 32;
        if (decode)
            e->value = e->value << 32 | ctx_coder_get(e);
        else
            ctx_coder_put(e);
    }
    ctx_bit_learn(p, bit);
    return bit;
}

/* A number of n bits, highest first, under a tree of 2^n contexts. */
static inline unsigned ctx_code_bits(ctx_coder *e, ctx_bit *tree, unsigned n, unsigned number, const bool decode) {
    unsigned node = 1;
    for (unsigned i = n; i-- > 0;)
        node = node * 2 + ctx_code(e, &tree[node], number >> i & 1, decode);
    return node - (1u << n);
}

#endif
