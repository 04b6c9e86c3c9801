/* Building documents: facts drawn, filler to the wanted length, facts put between its sentences.
 *
 * Facts go to evenly spaced depths in an order drawn at random, so that they lie everywhere, and the two of a question of two
 * hops far from each other as often as not. Tokens of pieces need not add up to those of the whole, so the whole is counted,
 * too, and a piece taken out where it is too long. Then every answer is looked for: where one stands in the text elsewhere,
 * too, the document is made anew. */
#include "measure/facts_build.h"

#include "base/splitmix64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_PIECES = 8, ATTEMPTS = 50 };

static kv_status count_tokens(const ask_frame *f, const char *text, size_t len, size_t *n, kv_err *err) {
    ask_ids ids = {0};
    kv_status st = ask_document(f, text, len, &ids, err);
    *n = ids.n;
    ask_ids_free(&ids);
    return st;
}

static size_t below(uint64_t *rng, size_t n) {
    return (size_t)(splitmix64(rng) % n);
}

/* ---- filler ---- */

static kv_status add_piece(facts_builder *b, const char *text, facts_break brk, kv_err *err) {
    char spaced[FACTS_PIECE + 2] = " ";
    if (b->n == b->cap) {
        b->cap = 2 * b->cap + 64;
        facts_piece *grown = realloc(b->piece, b->cap * sizeof *grown);
        if (!grown)
            return kv_fail(err, KV_ENOMEM, "out of memory for a document");
        b->piece = grown;
    }
    facts_piece *p = &b->piece[b->n];
    *p = (facts_piece){.text = strdup(text), .brk = brk};
    if (!p->text)
        return kv_fail(err, KV_ENOMEM, "out of memory for a document");
    b->n++;
    strcat(spaced, text);
    return count_tokens(b->frame, spaced, strlen(spaced), &p->tokens, err);
}

static kv_status draw_filler(facts_builder *b, size_t tokens, kv_err *err) {
    char text[FACTS_PIECE];
    for (size_t sum = 0; sum <= tokens; sum += b->piece[b->n - 1].tokens) {
        const facts_break brk = facts_next_filler(b, text);
        kv_status st = add_piece(b, text, brk, err);
        if (st)
            return st;
    }
    return KV_OK;
}

/* ---- places ---- */

/* Whether a fact may stand in front of piece i. */
static bool is_open(const facts_builder *b, size_t i) {
    if (i == 0)
        return false;
    if (i >= b->n)
        return true;
    const facts_break brk = b->piece[i].brk;
    return b->style->layout == FACTS_PROSE    ? brk == FACTS_SPACE
           : b->style->layout == FACTS_BLOCKS ? brk != FACTS_HEADING
                                              : brk == FACTS_PARAGRAPH;
}

/* The open place in front of which `wanted` tokens of filler are, as nearly as can be. */
static size_t nearest_place(const facts_builder *b, size_t wanted) {
    size_t sum = 0, best = b->n, away = SIZE_MAX;
    for (size_t i = 0; i <= b->n; i++) {
        const size_t d = sum > wanted ? sum - wanted : wanted - sum;
        if (is_open(b, i) && d < away) {
            away = d;
            best = i;
        }
        sum += i < b->n ? b->piece[i].tokens : 0;
    }
    return best;
}

static void place_facts(facts_builder *b, uint64_t rng) {
    size_t order[FACTS_MOST_FACTS], total = 0;
    for (size_t i = 0; i < b->n; i++)
        total += b->piece[i].tokens;
    for (size_t i = 0; i < b->n_facts; i++) {
        const size_t k = below(&rng, i + 1);
        order[i] = order[k];
        order[k] = i;
    }
    for (size_t i = 0; i < b->n_facts; i++) {
        const size_t share = 1024 * i + below(&rng, 1024); /* of 1024 * n_facts */
        b->fact[order[i]].before = nearest_place(b, total * share / (1024 * b->n_facts));
    }
}

/* ---- text ---- */

typedef struct writer {
    const facts_builder *b;
    char *text, *to;
    uint64_t rng; /* who speaks */
    char speaker[FACTS_VALUE];
} writer;

static void next_speaker(writer *w) {
    char drawn[FACTS_PIECE];
    do
        facts_expand(w->b->style, "{speaker}", NULL, &w->rng, drawn);
    while (!strcmp(drawn, w->speaker));
    snprintf(w->speaker, sizeof w->speaker, "%.*s", FACTS_VALUE - 1, drawn);
}

/* Returns where the text begins. */
static size_t append(writer *w, const char *text, facts_break brk) {
    const facts_layout layout = w->b->style->layout;
    const bool apart = brk != FACTS_SPACE || layout == FACTS_BLOCKS;
    if (w->to > w->text)
        w->to = stpcpy(w->to, !apart ? " " : "\n\n");
    if (apart && layout == FACTS_TURNS && w->to > w->text) {
        next_speaker(w);
        w->to = stpcpy(stpcpy(w->to, w->speaker), ": ");
    }
    const size_t at = (size_t)(w->to - w->text);
    w->to = stpcpy(w->to, text);
    return at;
}

static kv_status write_text(const facts_builder *b, facts_doc *d, kv_err *err) {
    size_t size = 1;
    for (size_t i = 0; i < b->n; i++)
        size += strlen(b->piece[i].text) + FACTS_VALUE + 4;
    for (size_t i = 0; i < b->n_facts; i++)
        size += strlen(b->fact[i].text) + FACTS_VALUE + 4;
    writer w = {.b = b, .text = malloc(size), .rng = b->seed};
    if (!w.text)
        return kv_fail(err, KV_ENOMEM, "out of memory for a document");
    w.to = w.text;
    const facts_break brk = b->style->layout == FACTS_PROSE ? FACTS_SPACE : FACTS_PARAGRAPH;
    for (size_t i = 0; i <= b->n; i++) {
        for (size_t k = 0; k < b->n_facts; k++) {
            const facts_placed *x = &b->fact[k];
            if (x->before != i)
                continue;
            const size_t at = append(&w, x->text, brk);
            for (size_t p = 0; p < x->n_parts; p++)
                d->q[x->part[p].question].fact[x->hop] = (struct facts_span){at + x->part[p].at, x->part[p].len};
        }
        if (i < b->n)
            append(&w, b->piece[i].text, b->piece[i].brk);
    }
    free(d->text);
    d->text = w.text;
    d->len = (size_t)(w.to - w.text);
    return count_tokens(b->frame, d->text, d->len, &d->n_tokens, err);
}

/* ---- answers ---- */

/* How often words stand in a text, both normalised. */
static size_t count_words(const char *text, const char *words) {
    const size_t len = strlen(words);
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, words)); at++)
        n += (at == text || at[-1] == ' ') && (!at[len] || at[len] == ' ');
    return n;
}

static kv_status unique_answer(const char *text, const char *wanted, bool *unique, kv_err *err) {
    for (const char *one = wanted; *unique; one++) {
        const size_t len = strcspn(one, "|");
        char *raw = strndup(one, len), *words = raw ? ask_normalise(raw) : NULL;
        if (!words) {
            free(raw);
            return kv_fail(err, KV_ENOMEM, "out of memory for a document");
        }
        *unique = count_words(text, words) <= 1;
        free(raw);
        free(words);
        one += len;
        if (!*one)
            break;
    }
    return KV_OK;
}

/* Every answer stands in the text once. */
static kv_status unique_answers(const facts_doc *d, bool *unique, kv_err *err) {
    char *text = ask_normalise(d->text);
    kv_status st = text ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a document");
    *unique = true;
    for (size_t i = 0; i < d->n && !st && *unique; i++)
        st = unique_answer(text, d->q[i].wanted, unique, err);
    free(text);
    return st;
}

/* ---- a document ---- */

/* What head, tail and answer leave of the context, by the longest question. */
static kv_status room(const ask_frame *f, uint32_t ctx, const facts_doc *d, size_t *tokens, kv_err *err) {
    size_t most = 0;
    for (size_t i = 0; i < d->n; i++) {
        ask_ids ids = {0};
        kv_status st = ask_head(f, NULL, &ids, err);
        if (!st)
            st = qa_tail(f, d->q[i].text, FACTS_HOW, &ids, err);
        most = ids.n > most ? ids.n : most;
        ask_ids_free(&ids);
        if (st)
            return st;
    }
    *tokens = most + FACTS_ANSWER_TOKENS < ctx ? ctx - most - FACTS_ANSWER_TOKENS : 0;
    return KV_OK;
}

static void drop_piece(facts_builder *b, size_t i) {
    if (i + 1 < b->n && b->piece[i].brk == FACTS_PARAGRAPH && b->piece[i + 1].brk == FACTS_SPACE)
        b->piece[i + 1].brk = FACTS_PARAGRAPH;
    free(b->piece[i].text);
    memmove(b->piece + i, b->piece + i + 1, (--b->n - i) * sizeof *b->piece);
    while (b->n > 1 && b->piece[b->n - 1].brk == FACTS_HEADING)
        free(b->piece[--b->n].text);
}

/* Take out the smallest piece that has so many tokens, or else the last one; the opening stays. */
static void shorten(facts_builder *b, size_t tokens) {
    size_t best = b->n - 1, least = SIZE_MAX;
    for (size_t i = 1; i < b->n; i++)
        if (b->piece[i].brk != FACTS_HEADING && b->piece[i].tokens >= tokens && b->piece[i].tokens < least) {
            best = i;
            least = b->piece[i].tokens;
        }
    drop_piece(b, best);
}

/* Filler and facts in as many tokens as there is room for. */
static kv_status fill(facts_builder *b, size_t tokens, uint32_t ctx, facts_doc *d, kv_err *err) {
    size_t of_facts = 0, n = 0;
    char opening[FACTS_PIECE];
    kv_status st = KV_OK;
    for (size_t i = 0; i < b->n_facts && !st; i++, of_facts += n)
        st = count_tokens(b->frame, b->fact[i].text, strlen(b->fact[i].text), &n, err);
    facts_expand(b->style, b->style->opening, NULL, &b->rng, opening);
    if (!st)
        st = add_piece(b, opening, FACTS_PARAGRAPH, err);
    if (!st)
        st = draw_filler(b, tokens > of_facts ? tokens - of_facts : 0, err);
    while (!st) {
        if (b->n < LEAST_PIECES)
            return kv_fail(err, KV_ERANGE,
                           "%u tokens are too few for a document of kind %s with its facts: about %zu are the least", ctx,
                           b->style->name, ctx - tokens + of_facts + 40 * LEAST_PIECES);
        place_facts(b, b->seed);
        if ((st = write_text(b, d, err)) || d->n_tokens <= tokens)
            break;
        shorten(b, d->n_tokens - tokens);
    }
    return st;
}

static kv_status build(const facts_cfg *cfg, const ask_frame *f, uint64_t seed, uint32_t ctx, facts_doc *d, bool *good,
                       kv_err *err) {
    facts_builder b = {.style = facts_styles[d->style],
                       .frame = f,
                       .source = cfg->source,
                       .seed = seed,
                       .rng = seed,
                       .near_misses = cfg->near_misses};
    size_t tokens = 0;
    b.filler.style = b.style;
    kv_status st = facts_draw(&b, d, good, err);
    if (!st && *good && !(st = room(f, ctx, d, &tokens, err)) && !(st = fill(&b, tokens, ctx, d, err)))
        st = unique_answers(d, good, err);
    for (size_t i = 0; i < b.n; i++)
        free(b.piece[i].text);
    for (size_t i = 0; i < b.n_facts; i++)
        free(b.fact[i].text);
    free(b.piece);
    return st;
}

kv_status facts_doc_new(const facts_cfg *cfg, const ask_frame *f, size_t i_length, size_t index, facts_doc *out, kv_err *err) {
    const uint32_t ctx = cfg->tokens[i_length];
    *out = (facts_doc){0};
    for (uint64_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        facts_doc d = {.style = (int)(index % FACTS_STYLES), .i_length = i_length};
        uint64_t seed = cfg->seed ^ (attempt << 56 | (uint64_t)ctx << 32 | index);
        bool good = true;
        splitmix64(&seed);
        kv_status st = build(cfg, f, splitmix64(&seed), ctx, &d, &good, err);
        if (!st && good) {
            *out = d;
            return KV_OK;
        }
        facts_doc_free(&d);
        if (st)
            return st;
    }
    return kv_fail(
        err, KV_ERANGE,
        "document %zu of %u tokens: in %d attempts, some answer always stood in the filler, too; another text may hold "
        "fewer numbers and names",
        index, ctx, ATTEMPTS);
}

void facts_doc_free(facts_doc *d) {
    free(d->text);
    *d = (facts_doc){0};
}
