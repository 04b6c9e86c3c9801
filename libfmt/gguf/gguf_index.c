/* Finding keys and tensors by name: open addressing over XXH3 with a seed of its own, at most half full. */
#include "gguf/gguf_internal.h"

#include "base/table_seed.h"

#include <stdlib.h>
#include <xxhash.h>

static gguf_str name_of(const gguf_index *x, size_t i) {
    return *(const gguf_str *)(const void *)((const char *)x->items + i * x->stride);
}

static uint32_t *slot_of(const gguf_index *x, gguf_str name) {
    size_t i = XXH3_64bits_withSeed(name.s, name.len, x->seed) & x->mask;
    while (x->slots[i]) {
        const gguf_str other = name_of(x, x->slots[i] - 1);
        if (other.len == name.len && !memcmp(other.s, name.s, name.len))
            break;
        i = (i + 1) & x->mask;
    }
    return &x->slots[i];
}

bool gguf_index_alloc(gguf_index *x, const void *items, size_t stride, size_t n) {
    size_t slots = 2;
    while (slots < 2 * n)
        slots *= 2;
    x->items = items;
    x->stride = stride;
    x->mask = slots - 1;
    x->seed = table_seed();
    x->slots = calloc(slots, sizeof *x->slots);
    return x->slots != NULL;
}

bool gguf_index_add(gguf_index *x, size_t i) {
    uint32_t *slot = slot_of(x, name_of(x, i));
    if (*slot)
        return false;
    *slot = (uint32_t)i + 1;
    return true;
}

const void *gguf_index_find(const gguf_index *x, gguf_str name) {
    const uint32_t slot = *slot_of(x, name);
    return slot ? (const char *)x->items + (slot - 1) * x->stride : NULL;
}
