/* Inside the tokenizers.
 *
 * A tokenizer is a vocabulary (token texts as they stand in the file, a hash from text to id, attributes, the bytes each token
 * stands for: tok_vocab.c) and one of two ways to cut text into tokens. Both start from single characters (SPM) or bytes (BPE)
 * in a linked list and join neighbours, best first, until nothing joins any more: tok_merge.c does that with a heap, tok_bpe.c
 * and tok_spm.c say which neighbours join and how urgently. Before that, tok_special.c cuts out special tokens, and for BPE
 * tok_pre.c cuts the text into words, as a row of tok_pre_table.c says. Nothing in a tok changes after tok_new, so any number
 * of threads may encode with it.
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
    ATTR_USER = 8,     /* User-defined: it is found before anything else, even where special tokens are not parsed. */
    ATTR_UNUSED = 16,  /* It never appears in text. */
    ATTR_BYTE = 32,    /* It is <0xXX> and stands for this byte. */
    ATTR_EOG = 64,     /* It ends a generation. */
    ATTR_LSTRIP = 128, /* White space before it is dropped, where it is found in a text. */
    ATTR_RSTRIP = 256, /* White space behind it is dropped. */
    ATTR_TURN = 512,   /* It is user-defined, but marks turns: it is no text of a message. */
    ATTR_SPECIAL = ATTR_UNKNOWN | ATTR_CONTROL,
};

enum { TOK_NOTES = 6 };

enum {
    TOK_MAX_TEXT = 1 << 29, /* Bytes: offsets inside are 32 bits, and U+FFFD or U+2581 may triple a text. */
    TOK_MAX_TOKEN =
        1 << 14, /* Bytes: the longest tokens of real vocabularies have some hundred; looking for one takes as long. */
};

/* Ids on their way out. */
typedef struct tok_ids {
    int32_t *id; /* (n) The ids, in the order of the text; NULL while there are none. */
    size_t n;    /* So many ids are there. */
    size_t cap;  /* So many ids have room before the next reallocation. */
} tok_ids;

/* ---- pre-tokenizer: text to words (tok_pre.c) ---- */

/* What goes with the name of a pre-tokenizer besides its expressions. */
enum {
    PRE_BOS = 1 << 0,          /* Texts start with BOS unless the file says otherwise, */
    PRE_FORCE_BOS = 1 << 1,    /* or whatever it says. */
    PRE_NO_BOS = 1 << 2,       /* There is no BOS unless the file names one; else token 11 is. */
    PRE_NO_EOS = 1 << 3,       /* The same of EOS. */
    PRE_WHOLE = 1 << 4,        /* A word that is a token is taken as it is, whatever the merges say; */
    PRE_NEWLINES = 1 << 5,     /* or only one that is nothing but newlines. */
    PRE_NO_MERGES = 1 << 6,    /* A file may come without merges. */
    PRE_RAW = 1 << 7,          /* Tokens are spelled in characters, with <0xXX> for the bytes of those that are no token. */
    PRE_MARKS = 1 << 8,        /* Spaces are written U+2581 before anything else, */
    PRE_LINES = 1 << 9,        /* and every line starts with one. */
    PRE_THREES_FROM = 1 << 10, /* Matches of the first expression are digits, which are cut before each three from the end, */
    PRE_THREES_TO = 1 << 11,   /* or behind. */
};

enum { TOK_PRE_STEPS = 6 };

/* A row of the table of pre-tokenizers (tok_pre_table.c). */
typedef struct tok_pre_row {
    const char *names;               /* Values of tokenizer.ggml.pre stand here, separated by spaces. */
    unsigned flags;                  /* PRE_ bits. */
    const char *step[TOK_PRE_STEPS]; /* Expressions are for PCRE2; NULL: there are no more. */
} tok_pre_row;

const tok_pre_row *tok_pre_find(gguf_str name); /* NULL: no such name */
const char *tok_pre_names(size_t i);            /* of row i; NULL: there are no more rows */
kv_status tok_pre_unknown(gguf_str name, const char *file, kv_err *err);

typedef struct tok_pre tok_pre;

/* The bytes to merge and where words end in them. `text` is the input itself or a cleaned copy. Freed with tok_words_free. */
typedef struct tok_words {
    const uint8_t *text; /* The bytes are the input, borrowed, or lie in the copy. */
    uint32_t *end;       /* (n) Word i is text[end[i-1], end[i]). */
    size_t n;            /* There are so many words. */
    uint8_t *copy;       /* It holds the cleaned text and, behind it, what PCRE2 sees; NULL: the input needed no cleaning. */
} tok_words;

/* name: tokenizer.ggml.pre. KV_EUNSUPP lists those supported. */
kv_status tok_pre_new(gguf_str name, const char *file, tok_pre **out, kv_err *err);
void tok_pre_free(tok_pre *p);
unsigned tok_pre_flags(const tok_pre *p); /* PRE_ bits */
kv_status tok_pre_split(const tok_pre *p, const uint8_t *text, size_t len, tok_words *out, kv_err *err);
void tok_words_free(tok_words *w);

/* ---- special tokens (tok_special.c) ---- */

/* The texts of special tokens in rising order: those that begin alike lie side by side, the shorter before the longer. */
typedef struct tok_special {
    const char *s; /* The bytes lie in tok.pool. */
    uint32_t len;  /* There are so many bytes. */
    int32_t id;    /* The token has this id. */
} tok_special;

typedef struct tok_specials {
    tok_special *v;      /* (n) The tokens. */
    uint32_t n;          /* There are so many of them. */
    uint32_t first[257]; /* Those that begin with byte b are v[first[b]] to v[first[b + 1] - 1]. */
} tok_specials;

/* ---- the tokenizer ---- */

typedef struct tok_text {
    const char *s; /* The bytes lie in tok.pool, without a 0 at the end. */
    uint32_t len;  /* There are so many bytes. */
} tok_text;

/* A slot of the hash table of merges. */
typedef struct tok_pair {
    int32_t left;   /* The left token has this id. */
    int32_t right;  /* The right token has this id. */
    int32_t joined; /* Both together become this token. */
    uint32_t rank;  /* The pair stands in this line of the merge list: earlier ones join first. UINT32_MAX: an empty slot. */
} tok_pair;

struct tok {
    bool spm;             /* The tokenizer is SPM; else it is BPE. */
    unsigned flags;       /* BPE: PRE_ bits of the pre-tokenizer; SPM: 0. */
    bool add_bos;         /* Texts start with bos where the caller asks for such tokens. */
    bool add_eos;         /* Texts end with eos where the caller asks for such tokens. */
    bool space_prefix;    /* SPM: a space comes before texts. */
    int32_t bos;          /* This token starts a text; -1: none does. */
    int32_t eos;          /* This token ends a text; -1: none does. */
    int32_t unk;          /* This token stands for what no other token does; -1: none does. */
    uint32_t n;           /* There are so many tokens. */
    uint32_t max_len;     /* The longest token text has so many bytes. */
    char *pool;           /* All texts lie here, then all pieces. */
    tok_text *text;       /* (n) Texts are as in the file. */
    tok_text *piece;      /* (n) Pieces are the bytes that tokens stand for. */
    uint16_t *attr;       /* (n) Attributes are ATTR_ bits. */
    float *score;         /* (n) SPM: the pair whose token has the best score joins first. BPE: NULL. */
    uint32_t *slot;       /* (slot_mask + 1) The hash table of texts holds id + 1; 0: an empty slot. */
    uint32_t slot_mask;   /* Slots are a power of two, less one here. */
    uint64_t seed;        /* Both hash tables, of texts and of merges, hash with this seed. */
    tok_specials special; /* These are the tokens that tok_special.c looks for. */
    int32_t byte_id[256]; /* Bytes have these tokens (BPE: of their letter; SPM: <0xXX>, the byte itself or unk); -1: none. */
    tok_pair *pair;       /* (pair_mask + 1) BPE: the hash table of merges; SPM: NULL. */
    uint32_t pair_mask;   /* BPE: slots are a power of two, less one here. */
    tok_pre *pre;         /* BPE: the pre-tokenizer; SPM: NULL. */
    size_t n_notes;       /* There are so many notes. */
    char note[TOK_NOTES][192]; /* Notes say what was made of odd keys. */
};

/* ---- vocabulary (tok_vocab.c) ---- */
/* Texts, their hash and attributes, from tokenizer.ggml.tokens and .token_type; what is allocated is freed with tok_free, also
 * after a failure. KV_EFORMAT: no tokens, too many, too long ones, two with the same text, unknown types; KV_ENOMEM. */
kv_status tok_vocab_load(tok *t, const gguf *g, kv_err *err);
int32_t tok_find(const tok *t, const char *text, size_t len); /* id of a token by its text; -1: none */
bool tok_push(tok_ids *ids, int32_t id);                      /* false: out of memory */

/* ---- tok_special.c ---- */
/* <|im_end|> and the like: attributes by name, and by keys that say which token is one. ends: ids that end a generation; -1:
 * none. */
void tok_mark_known(tok *t, const gguf *g, const int32_t *ends, size_t n_ends);
kv_status tok_special_build(tok *t, kv_err *err);

/* What a byte of a text is besides 0, free, and id + 1, where a special token starts. */
enum {
    TOK_INSIDE = -1,  /* It is part of the special token before it. */
    TOK_DROPPED = -2, /* It is white space that a special token swallows. */
};
/* Where special tokens stand in the text, longest tokens first. *out: NULL where there are none, else (len + 1) with what each
 * byte is. Caller frees. */
kv_status tok_special_find(const tok *t, const char *text, size_t len, bool parse_special, const uint8_t *input, int32_t **out,
                           kv_err *err);
/* tok_encode; input: (len) not 0 for bytes of which no control token is made, whatever the flags say; NULL: there are none. */
kv_status tok_encode_marked(const tok *t, const char *text, size_t len, unsigned flags, const uint8_t *input, int32_t **ids,
                            size_t *n, kv_err *err);

/* ---- tok_bpe.c, tok_spm.c: a fragment of text without special tokens, to ids ---- */
kv_status tok_bpe_load(tok *t, const gguf *g, kv_err *err);
kv_status tok_bpe_encode(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err);
size_t tok_bpe_piece(const char *text, size_t len, char *out); /* writes at most len bytes */
kv_status tok_spm_load(tok *t, const gguf *g, kv_err *err);
kv_status tok_spm_encode(const tok *t, const char *text, size_t len, tok_ids *ids, kv_err *err);
size_t tok_spm_piece(const char *text, size_t len, char *out);
/* text with U+2581 for spaces, *n bytes, and one more in front where `first`, at the start of every line where `lines`, unless
 * there is one. NULL: out of memory. Caller frees. */
char *tok_mark_spaces(const char *text, size_t len, bool first, bool lines, size_t *n);

/* Bytes of a character by its first byte; a stray continuation byte is one of its own. */
static inline size_t tok_char_len(uint8_t b) {
    return b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

/* ---- joining neighbours (tok_merge.c) ---- */
/* A stretch of text that is, or may become, a token. */
typedef struct tok_sym {
    uint32_t at;  /* The stretch starts at this byte. */
    uint32_t len; /* It has so many bytes; 0: it was joined into its left neighbour. */
    int32_t id;   /* It is this token; -1: not known. */
    int32_t prev; /* The left neighbour is this symbol; -1: none. */
    int32_t next; /* The right neighbour is this symbol; -1: none. */
} tok_sym;

/* Two neighbours that could be joined. */
typedef struct tok_cand {
    uint64_t key;   /* The key is urgency (smaller first) << 32 | left symbol, so that ties go to the left. */
    uint32_t right; /* The right one is this symbol. */
    uint32_t len;   /* Both together had this length when the candidate was made. */
    int32_t id;     /* They become this token. */
} tok_cand;

/* Zero-initialise; reused from word to word; freed with tok_merge_free. */
typedef struct tok_merger {
    tok_sym *sym;    /* (n_sym) Symbols are in the order of the text. */
    size_t n_sym;    /* There are so many symbols. */
    size_t cap_sym;  /* So many symbols have room before the next reallocation. */
    tok_cand *heap;  /* (n_heap) Candidates are a binary heap by key. */
    size_t n_heap;   /* There are so many candidates. */
    size_t cap_heap; /* So many candidates have room before the next reallocation. */
} tok_merger;

/* Do l and r join? Then the urgency (smaller is sooner) and the id of the result. */
typedef bool (*tok_join_fn)(const void *ctx, const tok_sym *l, const tok_sym *r, uint32_t *urgency, int32_t *id);

bool tok_merge_add(tok_merger *m, uint32_t at, uint32_t len, int32_t id); /* append a symbol; false: out of memory */
bool tok_merge_run(tok_merger *m, tok_join_fn join, const void *ctx);     /* follow sym[0].next afterwards */
void tok_merge_free(tok_merger *m);

#endif
