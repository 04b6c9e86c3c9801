/* Drawing the parts of a document: families of facts and their entries, and filler from a text. */
#include "measure/facts_build.h"

#include "base/splitmix64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t below(uint64_t *rng, size_t n) {
    return (size_t)(splitmix64(rng) % n);
}

static void shuffle(size_t *order, size_t n, uint64_t *rng) {
    for (size_t i = 0; i < n; i++) {
        const size_t k = below(rng, i + 1);
        if (k < i)
            order[i] = order[k];
        order[k] = i;
    }
}

/* ---- values ---- */

/* Two names that share a part, or two values that read the same. */
static bool alike(const facts_value *a, const facts_value *b) {
    if (!strcmp(a->shown, b->shown))
        return true;
    const char *la = strchr(a->wanted, '|'), *lb = strchr(b->wanted, '|');
    const size_t na = strcspn(a->shown, " "), nb = strcspn(b->shown, " ");
    return la && lb && (!strcmp(la, lb) || (na == nb && a->shown[0] > '9' && !memcmp(a->shown, b->shown, na)));
}

/* A value unlike those from used[from] on. */
static bool draw_new(facts_builder *b, const char *kind, size_t from, facts_value *out) {
    enum { TRIES = 200 };
    for (int i = 0; i < TRIES; i++) {
        bool same = false;
        facts_draw_value(b->style, kind, &b->rng, out);
        for (size_t k = from; k < b->n_used && !same; k++)
            same = alike(&b->used[k], out);
        if (same)
            continue;
        b->used[b->n_used++] = *out;
        return true;
    }
    return false;
}

/* ---- families ---- */

size_t facts_entries(const facts_style *s, size_t i_family) {
    return i_family + 1 == FACTS_QUESTIONS && s->layout != FACTS_TABLES ? 1 : s->entries;
}

typedef struct entry {
    facts_value k, b, a;
} entry;

typedef struct family {
    const facts_family *f;
    entry e[FACTS_MOST_ENTRIES];
    size_t n, n_asked; /* for the first ones */
    size_t question;   /* for the very first; others follow */
} family;

/* Bridges and answers are unlike everything before. Something may be the key of several families, so that there are near misses
 * of two kinds: the same said of others, and other things said of the same; but not somebody, whose name may be an answer. */
static bool draw_entries(facts_builder *b, size_t entries, family *x) {
    const size_t from = strcmp(x->f->key, "person") ? b->n_used : 0;
    for (x->n = 0; x->n < entries; x->n++) {
        entry *e = &x->e[x->n];
        if (!draw_new(b, x->f->key, from, &e->k) || (x->f->bridge && !draw_new(b, x->f->bridge, 0, &e->b)) ||
            !draw_new(b, x->f->answer, 0, &e->a))
            return false;
    }
    return true;
}

static void write_entry(facts_builder *b, const entry *e, const char *const wordings[FACTS_WORDINGS], char out[FACTS_PIECE]) {
    size_t n = 0;
    while (n < FACTS_WORDINGS && wordings[n])
        n++;
    facts_expand(b->style, wordings[below(&b->rng, n)], &(facts_slots){e->k.shown, e->b.shown, e->a.shown, NULL}, &b->rng, out);
}

static kv_status add_fact(facts_builder *b, facts_placed x, const char *text, kv_err *err) {
    x.text = strdup(text);
    if (!x.text)
        return kv_fail(err, KV_ENOMEM, "out of memory for a document");
    b->fact[b->n_facts++] = x;
    return KV_OK;
}

/* Every entry a fact of its own. */
static kv_status add_scattered(facts_builder *b, const family *x, unsigned hop, kv_err *err) {
    char text[FACTS_PIECE];
    kv_status st = KV_OK;
    for (size_t i = 0; i < x->n && !st; i++) {
        write_entry(b, &x->e[i], hop ? x->f->second : x->f->fact, text);
        st = add_fact(b, (facts_placed){.hop = hop, .part = {{x->question + i, 0, strlen(text)}}, .n_parts = i < x->n_asked},
                      text, err);
    }
    return st;
}

/* All entries in a table. */
static kv_status add_table(facts_builder *b, const family *x, unsigned hop, kv_err *err) {
    size_t order[FACTS_MOST_ENTRIES];
    char text[FACTS_MOST_ENTRIES * FACTS_PIECE], row[FACTS_PIECE], *to = stpcpy(text, hop ? x->f->second_head : x->f->head);
    facts_placed fact = {.hop = hop};
    shuffle(order, x->n, &b->rng);
    for (size_t i = 0; i < x->n; i++) {
        write_entry(b, &x->e[order[i]], hop ? x->f->second : x->f->fact, row);
        to = stpcpy(to, "\n");
        if (order[i] < x->n_asked)
            fact.part[fact.n_parts++] = (struct facts_part){x->question + order[i], (size_t)(to - text), strlen(row)};
        to = stpcpy(to, row);
    }
    return add_fact(b, fact, text, err);
}

static void write_question(facts_builder *b, const family *x, size_t i_entry, facts_question *q) {
    const entry *e = &x->e[i_entry];
    char text[FACTS_PIECE];
    facts_expand(b->style, x->f->question, &(facts_slots){.k = e->k.shown, .b = e->b.shown}, &b->rng, text);
    snprintf(q->text, sizeof q->text, "%.*s", (int)sizeof q->text - 1, text);
    strcpy(q->wanted, e->a.wanted);
    q->hops = x->f->bridge ? 2 : 1;
}

static kv_status draw_families(facts_builder *b, const facts_family *of, size_t wanted, size_t n_before, facts_doc *d,
                               bool *good, kv_err *err) {
    size_t order[32], n = 0;
    while (of[n].key)
        n++;
    shuffle(order, n, &b->rng);
    kv_status st = KV_OK;
    for (size_t i = 0; i < wanted && i < n && *good && !st; i++) {
        family x = {.f = &of[order[i]], .question = d->n};
        if (!(*good = draw_entries(b, facts_entries(b->style, n_before + i), &x)))
            break;
        x.n_asked = b->near_misses ? x.n : 1;
        for (size_t k = 0; k < x.n_asked; k++)
            write_question(b, &x, k, &d->q[d->n++]);
        for (unsigned hop = 0; hop < (x.f->bridge ? 2 : 1) && !st; hop++)
            st = b->style->layout == FACTS_TABLES ? add_table(b, &x, hop, err) : add_scattered(b, &x, hop, err);
    }
    return st;
}

kv_status facts_draw(facts_builder *b, facts_doc *d, bool *good, kv_err *err) {
    kv_status st = draw_families(b, b->style->one, FACTS_ONE_HOP, 0, d, good, err);
    return st ? st : draw_families(b, b->style->two, FACTS_TWO_HOPS, FACTS_ONE_HOP, d, good, err);
}

/* ---- filler from a text ---- */

/* The end of the sentence that begins at s, white space behind it included. */
static size_t sentence(const char *s, size_t len) {
    enum { LONGEST = FACTS_PIECE / 2 };
    size_t blank = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] != ' ')
            continue;
        if (i && strchr(".!?", s[i - 1]))
            return i + 1;
        if (i >= LONGEST)
            return blank ? blank : i + 1;
        blank = i + 1;
    }
    return len;
}

/* As the comment lines of a source file. */
static void comment(const char *s, size_t len, char out[FACTS_PIECE]) {
    enum { WIDTH = 90 };
    size_t column = 0;
    char *to = stpcpy(out, "# ");
    for (size_t i = 0; i < len; i++) {
        if (s[i] == ' ' && column >= WIDTH) {
            to = stpcpy(to, "\n# ");
            column = 0;
        } else
            *to++ = s[i];
        column++;
    }
    *to = '\0';
}

/* Sentence by sentence, from a paragraph drawn at random on; so none comes twice before all have come. */
static facts_break draw_from_source(facts_builder *b, char out[FACTS_PIECE]) {
    const facts_source *s = b->source;
    const bool begins = !b->in_paragraph;
    if (begins)
        b->paragraph = b->begun ? (b->paragraph + 1) % s->n : below(&b->rng, s->n);
    b->begun = true;
    const struct facts_span *p = &s->paragraph[b->paragraph];
    const char *text = s->text + p->at + b->in_paragraph;
    const size_t left = p->len - b->in_paragraph;
    size_t n = sentence(text, left);
    if (n > FACTS_PIECE - 128)
        for (n = FACTS_PIECE - 128; ((unsigned char)text[n] & 0xC0) == 0x80;) /* a whole character */
            n--;
    size_t len = n;
    while (len && text[len - 1] == ' ')
        len--;
    b->in_paragraph = n < left ? b->in_paragraph + n : 0;
    if (b->style->layout == FACTS_BLOCKS)
        comment(text, len, out);
    else
        snprintf(out, FACTS_PIECE, "%.*s", (int)len, text);
    return begins ? FACTS_PARAGRAPH : FACTS_SPACE;
}

facts_break facts_next_filler(facts_builder *b, char out[FACTS_PIECE]) {
    return b->source ? draw_from_source(b, out) : facts_draw_filler(&b->filler, &b->rng, out);
}
