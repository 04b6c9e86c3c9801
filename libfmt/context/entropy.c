#include "context/entropy.h"

enum { WORD = 4 };

#define RATE(uses)     (131072 / (2 * (uses) + 3))
#define RATES_4(uses)  RATE(uses), RATE((uses) + 1), RATE((uses) + 2), RATE((uses) + 3)
#define RATES_16(uses) RATES_4(uses), RATES_4((uses) + 4), RATES_4((uses) + 8), RATES_4((uses) + 12)
#define RATES_64(uses) RATES_16(uses), RATES_16((uses) + 16), RATES_16((uses) + 32), RATES_16((uses) + 48)
const uint16_t ctx_bit_rates[CTX_BIT_USES + 1] = {RATES_64(0), RATES_64(64), RATES_64(128), RATES_64(192)};

void ctx_coder_start(ctx_coder *e, uint8_t *out, size_t size) {
    *e = (ctx_coder){.out = out, .size = size, .range = UINT64_MAX};
}

void ctx_coder_read(ctx_coder *e, const uint8_t *in, size_t size) {
    *e = (ctx_coder){.in = in, .size = size, .range = UINT64_MAX};
    e->value = (uint64_t)ctx_coder_get(e) << 32;
    e->value |= ctx_coder_get(e);
}

void ctx_coder_put(ctx_coder *e) {
    e->full |= e->size - e->at < WORD;
    if (e->full)
        return;
    for (int i = 0; i < WORD; i++)
        e->out[e->at + (size_t)i] = (uint8_t)(e->value >> (56 - 8 * i));
    e->at += WORD;
    e->value <<= 32;
}

void ctx_coder_carry(ctx_coder *e) {
    size_t i = e->at;
    while (i && !++e->out[--i])
        ;
}

/* The last word is of the first number of the interval whose bits below it are zeros, which need not be written; a decoder is
 * one word ahead. */
bool ctx_coder_end(ctx_coder *e, bool decode) {
    if (decode)
        return e->at == e->size + WORD;
    e->value += UINT32_MAX;
    if (e->value < UINT32_MAX)
        ctx_coder_carry(e);
    ctx_coder_put(e);
    return !e->full;
}
