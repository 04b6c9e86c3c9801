/* Building haystacks: filler to the wanted length, facts between its sentences.
 *
 * Filler is drawn first, sentence by sentence with its tokens counted; needles then go to the boundary between sentences that
 * is nearest to their depth, and other facts (of the same kind, near misses) to boundaries drawn at random. Tokens of the
 * pieces need not add up to those of the whole, so the whole is counted, too, and its end cut where it is too long.
 */
#include "measure/niah.h"

#include "base/splitmix64.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SENTENCES = 4, MOST_FACTS = 8 * NIAH_MOST_DEPTHS };

typedef struct sentence {
    char text[NIAH_SENTENCE];
    bool begins; /* a paragraph */
    size_t tokens;
} sentence;

typedef struct fact {
    niah_fact f;
    size_t before; /* goes in front of this sentence */
    size_t needle; /* index, or SIZE_MAX */
} fact;

typedef struct builder {
    const ask_frame *f;
    uint64_t rng;
    fact facts[MOST_FACTS]; /* needles first */
    size_t n_facts;
    sentence *s;
    size_t n, cap;
} builder;

static kv_status count_tokens(const ask_frame *f, const char *text, size_t len, size_t *n, kv_err *err) {
    ask_ids ids = {0};
    kv_status st = ask_document(f, text, len, &ids, err);
    *n = ids.n;
    ask_ids_free(&ids);
    return st;
}

/* ---- facts ---- */

size_t niah_needles(const niah_cfg *cfg) {
    return cfg->needles && cfg->needles < cfg->n_depth ? cfg->needles : cfg->n_depth;
}

static size_t groups(const niah_cfg *cfg) {
    return (cfg->n_depth + niah_needles(cfg) - 1) / niah_needles(cfg);
}

size_t niah_hays(const niah_cfg *cfg) {
    return cfg->repeats * groups(cfg);
}

/* No two facts of a haystack are about the same thing or have the same answer. */
static bool is_new(const builder *b, const niah_fact *f) {
    for (size_t i = 0; i < b->n_facts; i++)
        if (!strcmp(b->facts[i].f.answer, f->answer) || !strcmp(b->facts[i].f.key, f->key))
            return false;
    return true;
}

static fact *add_fact(builder *b, const niah_template *t) {
    enum { TRIES = 1000 }; /* there are more keys than facts, so this ends long before */
    fact *x = &b->facts[b->n_facts];
    x->needle = SIZE_MAX;
    for (int i = 0; i < TRIES; i++) {
        niah_draw_fact(t, &b->rng, &x->f);
        if (is_new(b, &x->f))
            break;
    }
    b->n_facts++;
    return x;
}

static void add_near(builder *b, const niah_template *t, const niah_fact *of, unsigned which) {
    fact *x = &b->facts[b->n_facts];
    bool same;
    x->needle = SIZE_MAX;
    do {
        niah_draw_near(t, of, which, &b->rng, &x->f);
        same = false;
        for (size_t i = 0; i < b->n_facts; i++)
            same |= !strcmp(b->facts[i].f.answer, x->f.answer);
    } while (same);
    b->n_facts++;
}

/* The needles of a haystack, then everything else that is there to mislead. */
static void draw_facts(builder *b, const niah_cfg *cfg, size_t index, niah_hay *h) {
    const size_t per_hay = niah_needles(cfg), repeat = index / groups(cfg), first = index % groups(cfg) * per_hay;
    for (size_t d = first; d < first + per_hay && d < cfg->n_depth; d++) {
        niah_needle *x = &h->needles[h->n];
        *x = (niah_needle){.template = cfg->templates[(d + repeat) % cfg->n_template], .i_depth = d};
        fact *made = add_fact(b, &niah_templates[x->template]);
        made->needle = h->n++;
        x->fact = made->f;
    }
    for (size_t i = 0; i < h->n; i++) {
        const niah_template *t = &niah_templates[h->needles[i].template];
        bool seen = false; /* needles of one kind mislead each other: the others of the kind are there once */
        for (size_t k = 0; k < i; k++)
            seen |= h->needles[k].template == h->needles[i].template;
        for (unsigned k = 0; !seen && k < t->others; k++)
            add_fact(b, t);
        for (unsigned k = 0; k < sizeof t->near / sizeof *t->near && t->near[k]; k++)
            add_near(b, t, &h->needles[i].fact, k);
    }
}

/* ---- filler ---- */

static kv_status draw_filler(builder *b, size_t tokens, kv_err *err) {
    niah_filler state = {0};
    for (size_t sum = 0;;) {
        char spaced[NIAH_SENTENCE + 2] = " ";
        sentence s;
        niah_draw_filler(&state, &b->rng, s.text, &s.begins);
        strcpy(spaced + 1, s.text);
        kv_status st = count_tokens(b->f, spaced, strlen(spaced), &s.tokens, err);
        if (st)
            return st;
        if ((sum += s.tokens) > tokens)
            return KV_OK;
        if (b->n == b->cap) {
            b->cap = 2 * b->cap + 64;
            sentence *grown = realloc(b->s, b->cap * sizeof *grown);
            if (!grown)
                return kv_fail(err, KV_ENOMEM, "out of memory for a haystack of %zu tokens", tokens);
            b->s = grown;
        }
        b->s[b->n++] = s;
    }
}

/* The sentence in front of which `depth` percent of the filler's tokens are gone, as nearly as can be. */
static size_t boundary(const builder *b, double depth) {
    size_t total = 0, sum = 0, best = 0;
    for (size_t i = 0; i < b->n; i++)
        total += b->s[i].tokens;
    const double wanted = depth / 100 * (double)total;
    double nearest = wanted;
    for (size_t i = 0; i < b->n; i++) {
        sum += b->s[i].tokens;
        if (fabs((double)sum - wanted) < nearest) {
            nearest = fabs((double)sum - wanted);
            best = i + 1;
        }
    }
    return best;
}

static void place_facts(builder *b, const niah_cfg *cfg, const niah_hay *h) {
    for (size_t i = 0; i < b->n_facts; i++)
        b->facts[i].before = i < h->n ? boundary(b, cfg->depth[h->needles[i].i_depth]) : splitmix64(&b->rng) % (b->n + 1);
}

/* ---- text ---- */

static void append(char **to, const char *s, const char *start, bool paragraph) {
    if (*to > start)
        *to = stpcpy(*to, paragraph ? "\n\n" : " ");
    *to = stpcpy(*to, s);
}

static kv_status write_text(const builder *b, niah_hay *h, kv_err *err) {
    char *text = malloc((b->n + b->n_facts) * (NIAH_SENTENCE + 2) + 1), *to = text;
    if (!text)
        return kv_fail(err, KV_ENOMEM, "out of memory for a haystack");
    for (size_t i = 0; i <= b->n; i++) {
        for (size_t k = 0; k < b->n_facts; k++)
            if (b->facts[k].before == i) {
                append(&to, b->facts[k].f.text, text, false);
                if (b->facts[k].needle != SIZE_MAX)
                    h->needles[b->facts[k].needle].at = (size_t)(to - text) - strlen(b->facts[k].f.text);
            }
        if (i < b->n)
            append(&to, b->s[i].text, text, b->s[i].begins);
    }
    free(h->text);
    h->text = text;
    h->len = (size_t)(to - text);
    return count_tokens(b->f, text, h->len, &h->n_tokens, err);
}

/* What head, tail and answer leave of the context, by the longest question there is. The same whether it is known or not, so
 * that the texts are, too. */
static kv_status room(const ask_frame *f, uint32_t ctx, const niah_hay *h, size_t *tokens, kv_err *err) {
    size_t most = 0;
    for (size_t i = 0; i < h->n; i++) {
        ask_ids ids = {0};
        const niah_fact *x = &h->needles[i].fact;
        kv_status st = ask_head(f, x->question, &ids, err);
        if (!st)
            st = ask_tail(f, x->question, x->prime, &ids, err);
        most = ids.n > most ? ids.n : most;
        ask_ids_free(&ids);
        if (st)
            return st;
    }
    *tokens = most + NIAH_ANSWER_TOKENS < ctx ? ctx - most - NIAH_ANSWER_TOKENS : 0;
    return KV_OK;
}

static kv_status too_short(uint32_t ctx, size_t wanted, kv_err *err) {
    return kv_fail(err, KV_ERANGE,
                   "a context of %u tokens is too short for a haystack with its needles: about %zu are the least", ctx, wanted);
}

kv_status niah_hay_new(const niah_cfg *cfg, const ask_frame *f, size_t i_ctx, size_t index, niah_hay *out, kv_err *err) {
    const uint32_t ctx = cfg->ctx[i_ctx];
    builder *b = calloc(1, sizeof *b);
    niah_hay h = {0};
    size_t tokens = 0, of_facts = 0;
    kv_status st = b ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a haystack");
    if (st)
        return st;
    b->f = f;
    b->rng = cfg->seed ^ ((uint64_t)ctx << 32 | index);
    splitmix64(&b->rng);
    draw_facts(b, cfg, index, &h);
    if ((st = room(f, ctx, &h, &tokens, err)))
        goto done;
    for (size_t i = 0, n; i < b->n_facts && !st; i++, of_facts += n)
        st = count_tokens(f, b->facts[i].f.text, strlen(b->facts[i].f.text), &n, err);
    if (st || (tokens > of_facts && (st = draw_filler(b, tokens - of_facts, err))))
        goto done;
    if (b->n < LEAST_SENTENCES) {
        st = too_short(ctx, ctx - tokens + of_facts + LEAST_SENTENCES * NIAH_SENTENCE / 4, err);
        goto done;
    }
    for (const uint64_t rng = b->rng;; b->n--) {
        b->rng = rng;
        place_facts(b, cfg, &h);
        if ((st = write_text(b, &h, err)) || h.n_tokens <= tokens)
            break;
        if (b->n <= LEAST_SENTENCES) {
            st = too_short(ctx, ctx + h.n_tokens - tokens, err);
            break;
        }
    }
    if (st)
        goto done;
    *out = h;
    h = (niah_hay){0};
done:
    free(b->s);
    free(b);
    niah_hay_free(&h);
    return st;
}

void niah_hay_free(niah_hay *h) {
    free(h->text);
    *h = (niah_hay){0};
}
