/* Special tokens: which tokens are special by their names, and where they stand in a text.
 *
 * The order is llama.cpp's: longer tokens are cut out before shorter ones, from left to right, whatever else the text could
 * mean. Control and unknown tokens count only where the caller wants special tokens parsed, user-defined ones always.
 *
 * For every byte of the text, the tokens that may start there are a range of the list of all, which each further byte narrows;
 * that gives the longest one. Then one pass per token length that occurs, longest first, claims the free stretches: a stretch
 * is free if its first and its last byte are, because everything claimed so far is at least as long. Some tokens drop the white
 * space beside them, which is not free any more either.
 */
#include "text/tok_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that are known by their names, in files that do not say what they are (the lists are llama.cpp's): all become control
 * tokens. Where a key names the token of a kind, no other is looked for. */
static const struct {
    bool eog;          /* it ends a generation */
    const char *keys;  /* tokenizer.ggml.*_token_id, separated by spaces */
    const char *names; /* separated by spaces */
} known[] = {
    {true, "",
     "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> "
     "_<EOT> [EOT] "
     "[EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
     "<\uFF5Cend\u2581of\u2581sentence\uFF5C> [e~[ <|ifm|im_end|>"},
    /* fill in the middle: padding and the start of the next file end a generation, the marks around the hole do not */
    {true, "fim_pad", "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]"},
    {true, "fim_rep", "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>"},
    {true, "fim_sep", "<|file_sep|> <|plamo:file_separator|>"},
    {false, "fim_pre prefix",
     "<|fim_prefix|> <fim-prefix> <fim_prefix> <\uFF5Cfim\u2581begin\uFF5C> <PRE> \u2581<PRE> <|code_prefix|> <|prefix|> "
     "<|plamo:fim_prefix|>"},
    {false, "fim_suf suffix",
     "<|fim_suffix|> <fim-suffix> <fim_suffix> <\uFF5Cfim\u2581hole\uFF5C> <SUF> \u2581<SUF> <|code_suffix|> <|suffix|> "
     "<|plamo:fim_suffix|>"},
    {false, "fim_mid middle",
     "<|fim_middle|> <fim-middle> <fim_middle> <\uFF5Cfim\u2581end\uFF5C> <MID> \u2581<MID> <|code_middle|> <|middle|> "
     "<|plamo:fim_middle|>"},
};

/* Tokens that always count and are shown, whatever the file calls them: they are how gpt-oss marks the parts of an answer. */
static const char *const harmony[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

/* White space that is dropped beside special tokens, by what a file calls itself. */
static const struct {
    const char *key, *part; /* a string value and a part of it, in lower case */
    const char *token;      /* this token drops what is before it; NULL: all special ones but some drop what is behind */
} strips[] = {
    {"tokenizer.ggml.pre", "jina-v2-de", "<mask>"},
    {"tokenizer.ggml.pre", "jina-v2-es", "<mask>"},
    {"tokenizer.ggml.pre", "jina-v2-code", "<mask>"},
    {"general.architecture", "nomic-bert-moe", "<mask>"},
    {"general.architecture", "jina-bert-v3", "<mask>"},
    {"general.name", "phi-3", NULL},
    {"general.name", "phi3", NULL},
    {"general.name", "modern-bert", "[MASK]"},
};
static const char *const not_stripped[] = {"<unk>", "<s>", "<|endoftext|>"};

enum { N_KNOWN = sizeof known / sizeof *known, N_STRIPS = sizeof strips / sizeof *strips };
enum { N_HARMONY = sizeof harmony / sizeof *harmony, N_NOT_STRIPPED = sizeof not_stripped / sizeof *not_stripped };

static int32_t by_name(const tok *t, const char *name) {
    return tok_find(t, name, strlen(name));
}

/* The first of words that are separated by spaces; *words moves on. false: there is none. */
static bool next_word(const char **words, gguf_str *word) {
    *word = (gguf_str){*words, strcspn(*words, " ")};
    *words += word->len + ((*words)[word->len] == ' ');
    return word->len;
}

/* The token that a key names; -1: none. What is no id is passed over: these keys are a matter of editors. */
static int32_t by_key(const tok *t, const gguf *g, gguf_str what) {
    char key[64];
    uint32_t id = UINT32_MAX;
    snprintf(key, sizeof key, "tokenizer.ggml.%.*s_token_id", (int)what.len, what.s);
    return !gguf_get_u32(g, key, false, &id, NULL) && id < t->n ? (int32_t)id : -1;
}

static void mark_known(tok *t, const gguf *g, size_t row) {
    const uint16_t eog = known[row].eog ? ATTR_EOG : 0;
    const char *words = known[row].keys;
    gguf_str word;
    int32_t id = -1;
    while (next_word(&words, &word)) {
        const int32_t named = by_key(t, g, word);
        id = named >= 0 ? named : id;
    }
    if (id >= 0)
        t->attr[id] |= eog;
    words = id >= 0 ? "" : known[row].names;
    while (next_word(&words, &word)) {
        const int32_t named = tok_find(t, word.s, word.len);
        if (named >= 0)
            t->attr[named] |= ATTR_CONTROL | eog;
    }
}

static bool ends(const tok *t, const char *name) {
    const int32_t id = by_name(t, name);
    return id >= 0 && t->attr[id] & ATTR_EOG;
}

/* Names that end a generation in most vocabularies, but not beside certain others. */
static void mark_exceptions(tok *t) {
    const bool parts = (ends(t, "<|call|>") || ends(t, "<|calls|>")) && (ends(t, "<|return|>") || ends(t, "<|flush|>"));
    const bool tools = ends(t, "<|tool_response>") || ends(t, "<|plamo:eos|>");
    if (parts && ends(t, "<|end|>"))
        t->attr[by_name(t, "<|end|>")] = ATTR_USER | ATTR_TURN;
    if (tools && ends(t, "</s>"))
        t->attr[by_name(t, "</s>")] = ATTR_NORMAL;
}

static bool has_part(const gguf *g, const char *key, const char *part) {
    gguf_str s = {0};
    const size_t len = strlen(part);
    if (gguf_get_str(g, key, false, &s, NULL))
        return false;
    for (size_t i = 0; i + len <= s.len; i++) {
        size_t k = 0;
        while (k < len && tolower((unsigned char)s.s[i + k]) == part[k])
            k++;
        if (k == len)
            return true;
    }
    return false;
}

static void mark_strips(tok *t, const gguf *g) {
    size_t row = 0;
    while (row < N_STRIPS && !has_part(g, strips[row].key, strips[row].part))
        row++;
    if (row == N_STRIPS)
        return;
    if (strips[row].token) {
        const int32_t id = by_name(t, strips[row].token);
        if (id >= 0)
            t->attr[id] |= ATTR_LSTRIP;
        return;
    }
    for (uint32_t id = 0; id < t->n; id++)
        if (t->attr[id] & (ATTR_SPECIAL | ATTR_USER))
            t->attr[id] |= ATTR_RSTRIP;
    for (size_t i = 0; i < N_NOT_STRIPPED; i++) {
        const int32_t id = by_name(t, not_stripped[i]);
        if (id >= 0)
            t->attr[id] &= (uint16_t)~ATTR_RSTRIP;
    }
}

void tok_mark_known(tok *t, const gguf *g, const int32_t *end, size_t n_end) {
    for (size_t row = 0; row < N_KNOWN; row++)
        mark_known(t, g, row);
    for (size_t i = 0; i < N_HARMONY; i++) {
        const int32_t id = by_name(t, harmony[i]);
        if (id >= 0)
            t->attr[id] = ATTR_USER | ATTR_TURN | (t->attr[id] & ATTR_EOG);
    }
    for (size_t i = 0; i < n_end; i++)
        if (end[i] >= 0)
            t->attr[end[i]] |= ATTR_EOG;
    mark_exceptions(t);
    mark_strips(t, g);
}

static int by_text(const void *a, const void *b) {
    const tok_special *x = a, *y = b;
    const int c = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

static bool is_special(const tok *t, uint32_t id) {
    return t->attr[id] & (ATTR_SPECIAL | ATTR_USER) && t->text[id].len;
}

kv_status tok_special_build(tok *t, kv_err *err) {
    tok_specials *all = &t->special;
    uint32_t n = 0;
    for (uint32_t id = 0; id < t->n; id++)
        n += is_special(t, id);
    if (!(all->v = malloc((n + (size_t)1) * sizeof *all->v)))
        return kv_fail(err, KV_ENOMEM, "out of memory for %u special tokens", n);
    for (uint32_t id = 0; id < t->n; id++)
        if (is_special(t, id))
            all->v[all->n++] = (tok_special){t->text[id].s, t->text[id].len, (int32_t)id};
    qsort(all->v, n, sizeof *all->v, by_text);
    for (uint32_t i = 0, b = 0; b <= 256; b++) {
        while (i < n && (uint8_t)all->v[i].s[0] < b)
            i++;
        all->first[b] = i;
    }
    return KV_OK;
}

/* The first of v[from..end) whose byte number `at` is not below `byte`; all of them are longer than `at`, and begin alike. */
static uint32_t lower(const tok_special *v, uint32_t from, uint32_t end, size_t at, unsigned byte) {
    while (from < end) {
        const uint32_t mid = from + (end - from) / 2;
        if ((uint8_t)v[mid].s[at] < byte)
            from = mid + 1;
        else
            end = mid;
    }
    return from;
}

/* A text in which special tokens are looked for. */
typedef struct source {
    const char *text;
    size_t len;
    bool parse_special;
    const uint8_t *input; /* as of tok_special_find */
} source;

/* The longest token of at most `limit` bytes at a place of a text; -1: none. *len: its length, 0 where there is none. */
static int32_t match(const tok *t, const source *s, size_t place, size_t limit, uint32_t *len) {
    const tok_special *v = t->special.v;
    const uint8_t *text = (const uint8_t *)s->text + place;
    uint32_t from = limit ? t->special.first[*text] : 0, end = limit ? t->special.first[*text + 1] : 0;
    int32_t best = -1;
    bool input = false;
    *len = 0;
    for (size_t at = 1; from < end; at++) { /* v[from..end) begin with the first `at` bytes of the text */
        input |= s->input && s->input[place + at - 1];
        if (v[from].len == at) {
            const int not_now = (!s->parse_special || input ? ATTR_SPECIAL : 0) | (input ? ATTR_TURN : 0);
            if (!(t->attr[v[from].id] & not_now)) {
                best = v[from].id;
                *len = (uint32_t)at;
            }
            from++; /* there are no two with the same text */
        }
        if (at == limit)
            break;
        from = lower(v, from, end, at, text[at]);
        end = lower(v, from, end, at, text[at] + 1u);
    }
    return best;
}

static bool is_free_space(const char *text, const int32_t *mark, size_t i) {
    return !mark[i] && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'));
}

/* The white space that the token at text[i, i + n) swallows. */
static void drop_spaces(const tok *t, const char *text, size_t len, size_t i, size_t n, int32_t *mark) {
    const uint16_t attr = t->attr[mark[i] - 1];
    for (size_t k = i; attr & ATTR_LSTRIP && k > 0 && is_free_space(text, mark, k - 1); k--)
        mark[k - 1] = TOK_DROPPED;
    for (size_t k = i + n; attr & ATTR_RSTRIP && k < len && is_free_space(text, mark, k); k++)
        mark[k] = TOK_DROPPED;
}

/* Claim the free stretches of `want` bytes that are tokens. Where one is not free any more, longest[] falls back to the next
 * shorter token there. Returns the length of the next pass; 0: done. */
static uint32_t claim(const tok *t, const source *s, uint32_t *longest, uint32_t want, int32_t *mark) {
    uint32_t shorter = 0, l;
    for (size_t i = 0; i < s->len; i++) {
        if (mark[i])
            continue;
        if (longest[i] == want && !mark[i + want - 1]) {
            mark[i] = match(t, s, i, want, &l) + 1;
            for (uint32_t k = 1; k < want; k++)
                mark[i + k] = TOK_INSIDE;
            drop_spaces(t, s->text, s->len, i, want, mark);
            continue;
        }
        if (longest[i] == want)
            match(t, s, i, want - 1, &longest[i]);
        shorter = longest[i] > shorter ? longest[i] : shorter;
    }
    return shorter;
}

kv_status tok_special_find(const tok *t, const char *text, size_t len, bool parse_special, const uint8_t *input, int32_t **out,
                           kv_err *err) {
    const source s = {text, len, parse_special, input};
    uint32_t *longest = NULL, top = 0;
    int32_t *mark = NULL;
    *out = NULL;
    for (size_t i = 0; i < len; i++) {
        uint32_t l;
        if (match(t, &s, i, len - i, &l) < 0)
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
            top = claim(t, &s, longest, top, mark);
    }
    free(longest);
    *out = mark;
    return KV_OK;
nomem:
    free(longest);
    return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", len);
}
