#include "context/entropy.h"

enum { WORD = 4 };

static void start(ctx_coder *e) {
    e->range = UINT64_MAX;
    for (unsigned i = 0; i <= CTX_BIT_USES; i++)
        e->rate[i] = (uint16_t)(131072 / (2 * i + 3));
}

void ctx_coder_start(ctx_coder *e, uint8_t *out, size_t size) {
    *e = (ctx_coder){.out = out, .size = size};
    start(e);
}

void ctx_coder_read(ctx_coder *e, const uint8_t *in, size_t size) {
    *e = (ctx_coder){.in = in, .size = size};
    start(e);
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

uint32_t ctx_coder_get(ctx_coder *e) {
    uint32_t word = 0;
    for (size_t i = e->at; i < e->at + WORD; i++)
        word = word << 8 | (i < e->size ? e->in[i] : 0);
    e->at += WORD;
    return word;
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
