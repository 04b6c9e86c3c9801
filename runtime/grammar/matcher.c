/* Where a text is in a grammar, byte by byte: sets of (state, where its rule began). After Earley, An efficient context-free
 * parsing algorithm, CACM 13, 1970; empty rules as Aycock and Horspool, Practical Earley parsing, Computer Journal 45, 2002. */
#include "grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_ITEMS = 1 << 22,
    MOST_WORK =
        1 << 18 /* steps of a byte: usual grammars take some hundred, those that can be read in many ways more with length */
};

typedef struct item {
    uint32_t state, origin;
} item;

struct matcher {
    const grammar *g;
    item *items;
    size_t n, cap;
    size_t *sets; /* (len + 2) where the set after each byte begins; the last is their end */
    size_t len, cap_sets;
    uint32_t *table; /* of the set that is made: item + 1, open addressing */
    size_t mask, used, work;
    kv_status st;
};

static uint64_t hash(item i) {
    uint64_t x = ((uint64_t)i.state << 32 | i.origin) * 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
}

static bool grow_table(matcher *m, size_t begin) {
    const size_t size = 2 * (m->mask + 1);
    uint32_t *grown = calloc(size, sizeof *grown);
    if (!grown)
        return false;
    free(m->table);
    m->table = grown;
    m->mask = size - 1;
    for (size_t i = begin; i < m->n; i++) {
        size_t at = hash(m->items[i]) & m->mask;
        while (grown[at])
            at = (at + 1) & m->mask;
        grown[at] = (uint32_t)i + 1;
    }
    return true;
}

/* Into the set that is made, once. */
static void add(matcher *m, size_t begin, item it) {
    size_t at = hash(it) & m->mask;
    if (!m->st && ++m->work > MOST_WORK)
        m->st = KV_ERANGE;
    if (m->st)
        return;
    for (; m->table[at]; at = (at + 1) & m->mask) {
        const item *there = &m->items[m->table[at] - 1];
        if (there->state == it.state && there->origin == it.origin)
            return;
    }
    if (m->n >= MOST_ITEMS) {
        m->st = KV_ERANGE;
        return;
    }
    if (m->n == m->cap) {
        item *grown = realloc(m->items, 2 * m->cap * sizeof *grown);
        if (!grown) {
            m->st = KV_ENOMEM;
            return;
        }
        m->items = grown;
        m->cap *= 2;
    }
    m->items[m->n++] = it;
    m->table[at] = (uint32_t)m->n;
    if (2 * ++m->used > m->mask && !grow_table(m, begin))
        m->st = KV_ENOMEM;
}

/* Everything that a rule that ends here lets go on. */
static void complete(matcher *m, size_t begin, uint32_t rule, uint32_t origin) {
    const automata *a = &m->g->a;
    const size_t from = m->sets[origin], to = m->sets[origin + 1];
    m->work += to - from;
    for (size_t i = from; i < to && !m->st; i++) {
        const item it = m->items[i];
        for (uint32_t e = a->first[it.state]; e; e = a->edges[e].next)
            if (a->edges[e].kind == EDGE_RULE && a->edges[e].rule == rule)
                add(m, begin, (item){a->edges[e].to, it.origin});
    }
}

/* All that follows from what is in the set without a byte. */
static void close_set(matcher *m, size_t begin, uint32_t pos) {
    const grammar *g = m->g;
    for (size_t i = begin; i < m->n && !m->st; i++) {
        const item it = m->items[i];
        for (uint32_t e = g->a.first[it.state]; e; e = g->a.edges[e].next) {
            const edge *d = &g->a.edges[e];
            if (d->kind == EDGE_EMPTY)
                add(m, begin, (item){d->to, it.origin});
            if (d->kind != EDGE_RULE)
                continue;
            add(m, begin, (item){g->start[d->rule], pos});
            if (g->nullable[d->rule])
                add(m, begin, (item){d->to, it.origin});
        }
        if (g->is_final[it.state] && it.origin != pos) /* one that is empty went on above */
            complete(m, begin, g->rule_of[it.state], it.origin);
    }
}

static void begin_set(matcher *m) {
    if (m->used)
        memset(m->table, 0, (m->mask + 1) * sizeof *m->table);
    m->used = m->work = 0;
}

kv_status matcher_new(const grammar *g, matcher **out, kv_err *err) {
    enum { FIRST = 256 };
    matcher *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m || !(m->items = malloc(FIRST * sizeof *m->items)) || !(m->sets = malloc(FIRST * sizeof *m->sets)) ||
        !(m->table = calloc(2 * FIRST, sizeof *m->table))) {
        matcher_free(m);
        return kv_fail(err, KV_ENOMEM, "out of memory for following a grammar");
    }
    m->g = g;
    m->cap = m->cap_sets = FIRST;
    m->mask = 2 * FIRST - 1;
    m->sets[0] = 0;
    add(m, 0, (item){g->start[0], 0});
    close_set(m, 0, 0);
    m->sets[1] = m->n;
    if (m->st) {
        const kv_status st = m->st;
        matcher_free(m);
        return kv_fail(err, st, "out of memory for following a grammar");
    }
    *out = m;
    return KV_OK;
}

void matcher_free(matcher *m) {
    if (!m)
        return;
    free(m->items);
    free(m->sets);
    free(m->table);
    free(m);
}

size_t matcher_len(const matcher *m) {
    return m->len;
}

void matcher_back(matcher *m, size_t len) {
    if (len >= m->len)
        return;
    m->len = len;
    m->n = m->sets[len + 1];
}

static bool take_one(matcher *m, uint8_t byte) {
    const automata *a = &m->g->a;
    const size_t from = m->sets[m->len], to = m->sets[m->len + 1];
    if (m->len + 3 > m->cap_sets) {
        size_t *grown = realloc(m->sets, 2 * m->cap_sets * sizeof *grown);
        if (!grown) {
            m->st = KV_ENOMEM;
            return false;
        }
        m->sets = grown;
        m->cap_sets *= 2;
    }
    begin_set(m);
    for (size_t i = from; i < to && !m->st; i++) {
        const item it = m->items[i];
        for (uint32_t e = a->first[it.state]; e; e = a->edges[e].next)
            if (a->edges[e].kind == EDGE_BYTES && byte >= a->edges[e].lo && byte <= a->edges[e].hi)
                add(m, to, (item){a->edges[e].to, it.origin});
    }
    if (m->n > to)
        close_set(m, to, (uint32_t)m->len + 1);
    if (m->st || m->n == to) {
        m->n = to;
        return false;
    }
    m->len++;
    m->sets[m->len + 1] = m->n;
    return true;
}

bool matcher_take(matcher *m, const char *bytes, size_t n, kv_status *st) {
    const size_t before = m->len;
    bool good = true;
    m->st = KV_OK;
    for (size_t i = 0; i < n && good; i++)
        good = take_one(m, (uint8_t)bytes[i]);
    if (!good)
        matcher_back(m, before);
    *st = m->st;
    return good;
}

bool matcher_may_end(const matcher *m) {
    const uint32_t final = m->g->final[0];
    for (size_t i = m->sets[m->len]; i < m->sets[m->len + 1]; i++)
        if (m->items[i].state == final && m->items[i].origin == 0)
            return true;
    return m->len == 0 && m->g->nullable[0];
}

bool matcher_must_end(const matcher *m) {
    const automata *a = &m->g->a;
    for (size_t i = m->sets[m->len]; i < m->sets[m->len + 1]; i++)
        for (uint32_t e = a->first[m->items[i].state]; e; e = a->edges[e].next)
            if (a->edges[e].kind == EDGE_BYTES)
                return false;
    return matcher_may_end(m);
}
