/* States and edges, and characters as bytes. */
#include "grammar/grammar_internal.h"

#include <stdlib.h>

static bool grow(automata *a, void **p, uint32_t *cap, uint32_t need, size_t size) {
    if (need <= *cap)
        return true;
    const uint32_t more = need < 256 ? 512 : 2 * need;
    void *grown = realloc(*p, more * size);
    if (!grown) {
        a->st = KV_ENOMEM;
        return false;
    }
    *p = grown;
    *cap = more;
    return true;
}

uint32_t automata_state(automata *a) {
    if (!a->st && a->n_states >= GRAMMAR_MOST_STATES)
        a->st = KV_ERANGE;
    if (a->st || !grow(a, (void **)&a->first, &a->cap_states, a->n_states + 1, sizeof *a->first))
        return 0;
    a->first[a->n_states] = 0;
    return a->n_states++;
}

void automata_edge(automata *a, uint32_t from, edge e) {
    if (!a->st && a->n_edges >= 8 * GRAMMAR_MOST_STATES)
        a->st = KV_ERANGE;
    if (a->st || !grow(a, (void **)&a->edges, &a->cap_edges, a->n_edges + 2, sizeof *a->edges))
        return;
    if (!a->n_edges)
        a->n_edges = 1;
    e.next = a->first[from];
    a->edges[a->n_edges] = e;
    a->first[from] = a->n_edges++;
}

void automata_empty(automata *a, uint32_t from, uint32_t to) {
    automata_edge(a, from, (edge){.kind = EDGE_EMPTY, .to = to});
}

static size_t encode(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (c & 0x3F));
    return 4;
}

/* A run of characters whose encodings are all pairs of bytes in lo[i] .. hi[i]. */
static void add_run(automata *a, uint32_t from, uint32_t to, const uint8_t *lo, const uint8_t *hi, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t next = i + 1 == n ? to : automata_state(a);
        automata_edge(a, from, (edge){.kind = EDGE_BYTES, .lo = lo[i], .hi = hi[i], .to = next});
        from = next;
    }
}

/* Characters of one length are cut where a byte in front of a whole run of last bytes would change. After Cox, regular
 * expressions on UTF-8 ranges (RE2, 2010). */
static void add_length(automata *a, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi) {
    for (int i = 1; i < 4; i++) {
        const uint32_t mask = (1u << 6 * i) - 1;
        if ((lo & ~mask) == (hi & ~mask))
            continue;
        if (lo & mask) {
            add_length(a, from, to, lo, lo | mask);
            add_length(a, from, to, (lo | mask) + 1, hi);
            return;
        }
        if ((hi & mask) != mask) {
            add_length(a, from, to, lo, (hi & ~mask) - 1);
            add_length(a, from, to, hi & ~mask, hi);
            return;
        }
    }
    uint8_t first[4], last[4];
    const size_t n = encode(lo, first);
    encode(hi, last);
    add_run(a, from, to, first, last, n);
}

void automata_chars(automata *a, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi) {
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xD7FF, 0xFFFF, 0x10FFFF};
    static const uint32_t begins[] = {0, 0x80, 0x800, 0xE000, 0x10000}; /* without surrogates, which are no characters */
    for (int i = 0; i < 5; i++) {
        const uint32_t l = lo > begins[i] ? lo : begins[i], h = hi < ends[i] ? hi : ends[i];
        if (l <= h)
            add_length(a, from, to, l, h);
    }
}
