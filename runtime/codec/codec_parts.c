/* What codecs need not do themselves, because a list of parts says how a block is laid out. */
#include "codec/codec.h"

#include <string.h>

static size_t part_bytes(const kv_part *p) {
    switch (p->kind) {
    case KV_PART_PLANES:
        return (size_t)p->count * 8;
    case KV_PART_COLS:
        return (size_t)p->count * p->size * KV_BLOCK;
    case KV_PART_HALVES:
        return (size_t)p->count * KV_BLOCK / 2;
    case KV_PART_ROWS:
        return (size_t)p->count * p->size * KV_BLOCK;
    case KV_PART_GROUPS:
        break;
    }
    return (size_t)p->count * p->size * KV_BLOCK / KV_PART_GROUP;
}

void kv_coder_part(kv_coder *c, kv_part_kind kind, size_t count, size_t size) {
    kv_part *p = &c->parts[c->n_parts++];
    *p = (kv_part){kind, (uint32_t)count, (uint32_t)size};
    c->block_bytes += part_bytes(p);
}

/* ---- zeroing ---- */

/* Low halves of the bytes belong to slots 0 to 31, high ones to the others. */
static void clear_halves(uint8_t *run, uint32_t slot) {
    for (uint32_t t = slot; t < KV_BLOCK; t++)
        run[t % 32] &= t < 32 ? 0xf0 : 0x0f;
}

static void clear_part(const kv_part *p, uint8_t *at, uint32_t slot) {
    const size_t row = (size_t)p->count * p->size;
    switch (p->kind) {
    case KV_PART_PLANES:
        for (uint32_t i = 0; i < p->count; i++) {
            uint64_t w;
            memcpy(&w, at + i * 8, 8);
            w &= ((uint64_t)1 << slot) - 1;
            memcpy(at + i * 8, &w, 8);
        }
        break;
    case KV_PART_COLS:
        for (uint32_t i = 0; i < p->count; i++)
            memset(at + ((size_t)i * KV_BLOCK + slot) * p->size, 0, (size_t)(KV_BLOCK - slot) * p->size);
        break;
    case KV_PART_HALVES:
        for (uint32_t i = 0; i < p->count; i++)
            clear_halves(at + (size_t)i * KV_BLOCK / 2, slot);
        break;
    case KV_PART_ROWS:
        memset(at + slot * row, 0, (KV_BLOCK - slot) * row);
        break;
    case KV_PART_GROUPS:
        memset(at + slot / KV_PART_GROUP * row, 0, (KV_BLOCK - slot) / KV_PART_GROUP * row);
        break;
    }
}

void kv_coder_clear(const kv_coder *c, uint8_t *block, uint32_t slot) {
    for (uint32_t i = 0; slot < KV_BLOCK && i < c->n_parts; i++) {
        clear_part(&c->parts[i], block, slot);
        block += part_bytes(&c->parts[i]);
    }
}

/* ---- moving ---- */

/* Squeezes the bits of words that `keep` names to the bottom, in order: log2(64) steps, each moves some bits by a power of two
 * (Warren, Hacker's Delight, 2nd ed., 7-4). What moves in a step depends on keep alone. */
typedef struct squeeze {
    uint64_t keep, move[6];
} squeeze;

static squeeze squeeze_of(uint64_t keep) {
    squeeze s = {.keep = keep};
    uint64_t gaps = ~keep << 1; /* zeros to the right of each bit are counted, bit by bit of the count */
    for (int i = 0; i < 6; i++) {
        uint64_t parity = gaps;
        for (int by = 1; by < 64; by *= 2)
            parity ^= parity << by;
        s.move[i] = parity & keep;
        keep = (keep ^ s.move[i]) | s.move[i] >> (1 << i);
        gaps &= ~parity;
    }
    return s;
}

static uint64_t squeezed(const squeeze *s, uint64_t x) {
    x &= s->keep;
    for (int i = 0; i < 6; i++) {
        uint64_t moved = x & s->move[i];
        x = (x ^ moved) | moved >> (1 << i);
    }
    return x;
}

/* A run of consecutive slots at a time. */
static uint32_t next_run(uint64_t *keep, uint32_t *from) {
    *from = (uint32_t)__builtin_ctzll(*keep);
    const uint64_t above = ~(*keep >> *from);
    const uint32_t n = above ? (uint32_t)__builtin_ctzll(above) : KV_BLOCK;
    *keep &= n + *from < KV_BLOCK ? ~(uint64_t)0 << (n + *from) : 0;
    return n;
}

static unsigned half_get(const uint8_t *run, uint32_t slot) {
    return run[slot % 32] >> (slot / 32 * 4) & 15;
}

static void gather_part(const kv_part *p, uint8_t *dst, uint32_t to, const uint8_t *src, const squeeze *s) {
    uint64_t keep = s->keep;
    if (p->kind == KV_PART_PLANES) {
        for (uint32_t i = 0; i < p->count; i++) {
            uint64_t w, d;
            memcpy(&w, src + i * 8, 8);
            memcpy(&d, dst + i * 8, 8);
            d |= squeezed(s, w) << to;
            memcpy(dst + i * 8, &d, 8);
        }
        return;
    }
    for (uint32_t from, n; keep; to += n) {
        n = next_run(&keep, &from);
        if (p->kind == KV_PART_ROWS) {
            const size_t row = (size_t)p->count * p->size;
            memcpy(dst + to * row, src + from * row, n * row);
        } else if (p->kind == KV_PART_COLS) {
            for (uint32_t i = 0; i < p->count; i++)
                memcpy(dst + ((size_t)i * KV_BLOCK + to) * p->size, src + ((size_t)i * KV_BLOCK + from) * p->size,
                       (size_t)n * p->size);
        } else {
            for (uint32_t i = 0; i < p->count; i++)
                for (uint32_t t = 0; t < n; t++)
                    dst[i * 32 + (to + t) % 32] |= (uint8_t)(half_get(src + (size_t)i * 32, from + t) << ((to + t) / 32 * 4));
        }
    }
}

bool kv_coder_gathers(const kv_coder *c) {
    return c->group == 1;
}

void kv_coder_gather(const kv_coder *c, uint8_t *dst, uint32_t to, const uint8_t *src, uint64_t keep) {
    const squeeze s = squeeze_of(keep);
    for (uint32_t i = 0; keep && i < c->n_parts; i++) {
        const size_t bytes = part_bytes(&c->parts[i]);
        gather_part(&c->parts[i], dst, to, src, &s);
        dst += bytes;
        src += bytes;
    }
}

/* The lowest n set bits. */
static uint64_t lowest(uint64_t bits, uint32_t n) {
    uint64_t rest = bits;
    for (; n; n--)
        rest &= rest - 1;
    return bits ^ rest;
}

uint32_t kv_coder_append(const kv_coder *c, uint8_t *dst, uint32_t to, const uint8_t *src, uint64_t keep) {
    while (keep) {
        const uint32_t count = (uint32_t)__builtin_popcountll(keep), room = KV_BLOCK - to % KV_BLOCK;
        const uint32_t n = count < room ? count : room;
        const uint64_t some = lowest(keep, n);
        kv_coder_gather(c, dst + to / KV_BLOCK * c->block_bytes, to % KV_BLOCK, src, some);
        keep ^= some;
        to += n;
    }
    return to;
}
