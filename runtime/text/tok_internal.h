/* Inside the tokenizers.
 *
 * A tokenizer is a vocabulary (token texts as they stand in the file, a hash from text to id, attributes, the bytes each token
 * stands for) and one of two ways to cut text into tokens. Both start from single characters (SPM) or bytes (BPE) in a linked
 * list and join neighbours, best first, until nothing joins any more: tok_merge.c does that with a heap, tok_bpe.c and
 * tok_spm.c say which neighbours join and how urgently. Before that, tok_special.c cuts out special tokens, and for BPE
 * tok_pre.c cuts the text into words. Nothing in a tok changes after tok_new, so any number of threads may encode with it.
 */
#ifndef RT_TOK_INTERNAL_H
#define RT_TOK_INTERNAL_H

#include "text/tok.h"

/* What a token is. A file gives each token one of these (tokenizer.ggml.token_type); names that are known to end a generation
 * become control tokens too. */
enum {
    ATTR_NORMAL = 1,
    ATTR_UNKNOWN = 2,
    ATTR_CONTROL = 4,
    ATTR_USER = 8,    /* user-defined: found in the text before anything else, even where special tokens are not parsed */
    ATTR_UNUSED = 16, /* never appears in text */
    ATTR_BYTE = 32,   /* <0xXX> */
    ATTR_EOG = 64,    /* ends a generation */
    ATTR_SPECIAL = ATTR_UNKNOWN | ATTR_CONTROL,
};

/* ids on their way out */
typedef struct tok_ids {
    int32_t *id;
    size_t n, cap;
} tok_ids;

/* ---- pre-tokenizer: text to words (tok_pre.c) ---- */

typedef struct tok_pre tok_pre;

/* The bytes to merge and where words end in them. `text` is the input itself or a cleaned copy. Freed with tok_words_free. */
typedef struct tok_words {
    const uint8_t *text;
    uint32_t *end; /* word i is text[end[i-1], end[i]) */
    size_t n;
    uint8_t *copy; /* cleaned text and, behind it, what PCRE2 sees; NULL: the input needed no cleaning */
} tok_words;

/* name: tokenizer.ggml.pre, empty where absent. KV_EUNSUPP lists those supported. */
kv_status tok_pre_new(gguf_str name, const char *file, tok_pre **out, kv_err *err);
void tok_pre_free(tok_pre *p);
bool tok_pre_adds_bos(const tok_pre *p);
bool tok_pre_whole_words(const tok_pre *p); /* a word that is a token is taken as it is, whatever the merges say */
kv_status tok_pre_split(const tok_pre *p, const uint8_t *text, size_t len, tok_words *out, kv_err *err);
void tok_words_free(tok_words *w);

/* ---- special tokens (tok_special.c) ---- */

typedef struct tok_node { /* of a trie over the texts of special tokens */
    int32_t token;        /* that ends here; -1: none */
    uint32_t child, next; /* node numbers; 0: none */
    uint8_t byte;
} tok_node;

typedef struct tok_trie {
    tok_node *node; /* node[0] is the root */
    size_t n, cap;
} tok_trie;

/* ---- the tokenizer ---- */

typedef struct tok_text {
    const char *s; /* into tok.pool */
    uint32_t len;
} tok_text;

typedef struct tok_pair { /* slot of the hash table of merges; rank UINT32_MAX: empty */
    int32_t left, right, joined;
    uint32_t rank;
} tok_pair;

struct tok {
    bool spm;
    bool add_bos, add_eos, space_prefix;
    int32_t bos, eos, unk;
    uint32_t n;       /* tokens */
    uint32_t max_len; /* bytes of the longest token text */
    char *pool;       /* all texts, then all pieces */
    tok_text *text;   /* (n) as in the file */
    tok_text *piece;  /* (n) the bytes they stand for in text */
    uint8_t *attr;    /* (n) */
    float *score;     /* (n) SPM only */
    uint32_t *slot;   /* hash of texts: id + 1, 0 empty */
    uint32_t slot_mask;
    tok_trie special;
    int32_t byte_id[256]; /* token of each byte (BPE: of the letter that stands for it; SPM: <0xXX>); -1: none */
    /* BPE only */
    tok_pair *pair;
    uint32_t pair_mask;
    tok_pre *pre;
};

/* ---- tok.c ---- */
int32_t tok_find(const tok *t, const char *text, size_t len); /* id of a token by its text; -1: none */
bool tok_push(tok_ids *ids, int32_t id);                      /* false: out of memory */

/* ---- tok_special.c ---- */
void tok_mark_known_names(tok *t); /* <|im_end|> and the like: attributes by name */
kv_status tok_special_build(tok *t, kv_err *err);
/* Where special tokens stand in the text, longest tokens first. *out: NULL where there are none, else (len + 1) with, per byte:
 * 0 free, id + 1 where a token starts, -1 inside one. Caller frees. */
kv_status tok_special_find(const tok *t, const char *text, size_t len, bool parse_special, int32_t **out, kv_err *err);

/* ---- tok_bpe.c, tok_spm.c: a fragment of text without special tokens, to ids ---- */
kv_status tok_bpe_load(tok *t, const gguf *g, kv_err *err);
kv_status tok_bpe_encode(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err);
size_t tok_bpe_piece(const char *text, size_t len, char *out); /* writes at most len bytes */
kv_status tok_spm_load(tok *t, const gguf *g, kv_err *err);
kv_status tok_spm_encode(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err);
size_t tok_spm_piece(const char *text, size_t len, char *out);

/* ---- joining neighbours (tok_merge.c) ---- */
typedef struct tok_sym { /* a stretch of text that is, or may become, a token; len 0: joined into its left neighbour */
    uint32_t at, len;
    int32_t id; /* -1: not known */
    int32_t prev, next;
} tok_sym;

typedef struct tok_cand { /* two neighbours that could be joined */
    uint64_t key;         /* urgency (smaller first) << 32 | left symbol: ties go to the left */
    uint32_t right, len;  /* right symbol; length of both together when the candidate was made */
    int32_t id;           /* what they become */
} tok_cand;

typedef struct tok_merger { /* zero-initialise; reused from word to word; freed with tok_merge_free */
    tok_sym *sym;
    size_t n_sym, cap_sym;
    tok_cand *heap;
    size_t n_heap, cap_heap;
} tok_merger;

/* Do l and r join? Then the urgency (smaller is sooner) and the id of the result. */
typedef bool (*tok_join_fn)(const void *ctx, const tok_sym *l, const tok_sym *r, uint32_t *urgency, int32_t *id);

bool tok_merge_add(tok_merger *m, uint32_t at, uint32_t len, int32_t id); /* append a symbol; false: out of memory */
bool tok_merge_run(tok_merger *m, tok_join_fn join, const void *ctx);     /* follow sym[0].next afterwards */
void tok_merge_free(tok_merger *m);

#endif
