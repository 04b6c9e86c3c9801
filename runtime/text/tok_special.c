/* Special tokens: which tokens are special by their names, and where they stand in a text.
 *
 * The order is llama.cpp's: longer tokens are cut out before shorter ones, from left to right, whatever else the text could
 * mean. Control and unknown tokens count only where the caller wants special tokens parsed, user-defined ones always.
 *
 * One walk over a trie per byte of text gives the longest token that starts there. Then one pass per token length that occurs,
 * longest first, claims the free stretches: a stretch is free if its first and its last byte are, because everything claimed so
 * far is at least as long.
 */
#include "text/tok_internal.h"

#include <stdlib.h>
#include <string.h>

/* Names that end a generation, or that only control tokens bear, in files that do not say so (the list is llama.cpp's). */
static const struct {
    const char *name;
    bool eog;
} known_names[] = {
    {"<|eot_id|>", true},
    {"<|im_end|>", true},
    {"<|end|>", true},
    {"<|return|>", true},
    {"<|call|>", true},
    {"<end_of_turn>", true},
    {"<|endoftext|>", true},
    {"<|end_of_text|>", true},
    {"</s>", true},
    {"<|eom_id|>", true},
    {"<EOT>", true},
    {"_<EOT>", true},
    {"[EOT]", true},
    {"[EOS]", true},
    {"<eos>", true},
    {"<end_of_utterance>", true},
    {"<\uFF5Cend\u2581of\u2581sentence\uFF5C>", true},
    /* fill in the middle: padding and the start of the next file end a generation, the marks around the hole do not */
    {"<|fim_pad|>", true},
    {"<fim-pad>", true},
    {"<fim_pad>", true},
    {"<PAD>", true},
    {"[PAD]", true},
    {"<|fim_repo|>", true},
    {"<|repo_name|>", true},
    {"<fim-repo>", true},
    {"<REPO>", true},
    {"<reponame>", true},
    {"<|file_sep|>", true},
    {"<|fim_prefix|>", false},
    {"<fim-prefix>", false},
    {"<fim_prefix>", false},
    {"<PRE>", false},
    {"\u2581<PRE>", false},
    {"<|fim_suffix|>", false},
    {"<fim-suffix>", false},
    {"<fim_suffix>", false},
    {"<SUF>", false},
    {"\u2581<SUF>", false},
    {"<|fim_middle|>", false},
    {"<fim-middle>", false},
    {"<fim_middle>", false},
    {"<MID>", false},
    {"\u2581<MID>", false},
};

void tok_mark_known_names(tok *t) {
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++) {
        const int32_t id = tok_find(t, known_names[i].name, strlen(known_names[i].name));
        if (id >= 0)
            t->attr[id] |= ATTR_CONTROL | (known_names[i].eog ? ATTR_EOG : 0);
    }
}

static uint32_t child_of(const tok_trie *trie, uint32_t node, uint8_t byte) {
    uint32_t c = trie->node[node].child;
    while (c && trie->node[c].byte != byte)
        c = trie->node[c].next;
    return c;
}

static bool add_node(tok_trie *trie, uint8_t byte, uint32_t next) {
    if (trie->n == trie->cap) {
        const size_t cap = trie->cap ? 2 * trie->cap : 256;
        tok_node *p = realloc(trie->node, cap * sizeof *p);
        if (!p)
            return false;
        trie->node = p;
        trie->cap = cap;
    }
    trie->node[trie->n++] = (tok_node){.token = -1, .byte = byte, .next = next};
    return true;
}

static bool insert(tok_trie *trie, const tok_text *text, int32_t id) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < text->len; i++) {
        uint32_t c = child_of(trie, at, (uint8_t)text->s[i]);
        if (!c) {
            if (!add_node(trie, (uint8_t)text->s[i], trie->node[at].child))
                return false;
            c = trie->node[at].child = (uint32_t)trie->n - 1;
        }
        at = c;
    }
    trie->node[at].token = id;
    return true;
}

kv_status tok_special_build(tok *t, kv_err *err) {
    bool ok = add_node(&t->special, 0, 0);
    for (uint32_t id = 0; ok && id < t->n; id++)
        if (t->attr[id] & (ATTR_SPECIAL | ATTR_USER))
            ok = insert(&t->special, &t->text[id], (int32_t)id);
    return ok ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for special tokens");
}

/* The longest token of at most `limit` bytes at the start of text; -1: none. *len: its length, 0 where there is none. */
static int32_t match(const tok *t, const char *text, size_t limit, bool parse_special, uint32_t *len) {
    const tok_node *node = t->special.node;
    int32_t best = -1;
    uint32_t at = 0;
    *len = 0;
    for (size_t i = 0; i < limit && (at = child_of(&t->special, at, (uint8_t)text[i])); i++) {
        const int32_t id = node[at].token;
        if (id >= 0 && (parse_special || !(t->attr[id] & ATTR_SPECIAL))) {
            best = id;
            *len = (uint32_t)i + 1;
        }
    }
    return best;
}

/* Claim the free stretches of `want` bytes that are tokens. Where one is not free any more, longest[] falls back to the next
 * shorter token there. Returns the length of the next pass; 0: done. */
static uint32_t claim(const tok *t, const char *text, size_t len, bool parse_special, uint32_t *longest, uint32_t want,
                      int32_t *mark) {
    uint32_t shorter = 0, l;
    for (size_t i = 0; i < len; i++) {
        if (mark[i])
            continue;
        if (longest[i] == want && !mark[i + want - 1]) {
            mark[i] = match(t, text + i, want, parse_special, &l) + 1;
            for (uint32_t k = 1; k < want; k++)
                mark[i + k] = -1;
            continue;
        }
        if (longest[i] == want)
            match(t, text + i, want - 1, parse_special, &longest[i]);
        shorter = longest[i] > shorter ? longest[i] : shorter;
    }
    return shorter;
}

kv_status tok_special_find(const tok *t, const char *text, size_t len, bool parse_special, int32_t **out, kv_err *err) {
    uint32_t *longest = NULL, top = 0;
    int32_t *mark = NULL;
    *out = NULL;
    for (size_t i = 0; i < len; i++) {
        uint32_t l;
        if (match(t, text + i, len - i, parse_special, &l) < 0)
            continue;
        if (!longest && !(longest = calloc(len, sizeof *longest)))
            goto nomem;
        longest[i] = l;
        top = l > top ? l : top;
    }
    if (longest) {
        if (!(mark = calloc(len + 1, sizeof *mark)))
            goto nomem;
        while (top)
            top = claim(t, text, len, parse_special, longest, top, mark);
    }
    free(longest);
    *out = mark;
    return KV_OK;
nomem:
    free(longest);
    return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
}
