/* Reading a document once and asking many questions about it; and whether an answer is right.
 *
 * What a model sees is one turn of the user, in the model's chat format where it has one:
 *
 *   head:      start of the turn, what this is, and where the question is known beforehand the question
 *   document
 *   tail:      the question, start of the assistant's turn, and words that begin the answer
 *
 * An asker reads head and document once; every tail is a sequence of its own that shares what was read (rt_seq_share). So each
 * question finds the cache as reading left it, also where it could not be rewound: windows, tokens that are gone.
 */
#ifndef ASK_H
#define ASK_H

#include "model/model.h"
#include "text/chat.h"

/* ---- what is fed ---- */

typedef struct ask_ids {
    int32_t *v;
    size_t n;
} ask_ids; /* starts as {0}; free with ask_ids_free */
void ask_ids_free(ask_ids *ids);

/* The texts around a document. */
typedef struct ask_frame {
    const tok *t;         /* of the model; borrowed */
    char *before, *after; /* of the user's turn */
    const char *name;     /* of the chat format; NULL: none, and questions stand as plain text */
    chat_format *format;  /* what name belongs to */
    bool parse_special;   /* pieces of documents that are special tokens become those; false at first */
} ask_frame;              /* free with ask_frame_free */
kv_status ask_frame_new(const rt_model *m, ask_frame *out, kv_err *err);
void ask_frame_free(ask_frame *f);

/* Append the tokens of head, document and tail. known: the question when it stands in front of the document, else NULL. prime:
 * how the answer begins, or NULL. Text from outside is read as special tokens only in documents, and only where the frame
 * says so. */
kv_status ask_head(const ask_frame *f, const char *known, ask_ids *ids, kv_err *err);
kv_status ask_document(const ask_frame *f, const char *text, size_t len, ask_ids *ids, kv_err *err);
kv_status ask_tail(const ask_frame *f, const char *question, const char *prime, ask_ids *ids, kv_err *err);

/* ---- asking ---- */

enum { ASK_ANSWER = 512 }; /* bytes of an answer that are kept */

typedef struct ask_cfg {
    rt_ctx_cfg ctx;
    uint32_t answer_tokens;                      /* most tokens of an answer */
    bool (*progress)(void *user, size_t tokens); /* so many more were read; false: stop. May be NULL */
    void *user;
} ask_cfg;

typedef struct asker asker;
/* m and the profile in cfg->ctx are borrowed for the life of the asker. Caller frees with asker_free. */
kv_status asker_new(const rt_model *m, const ask_cfg *cfg, asker **out, kv_err *err);
void asker_free(asker *a);
kv_cache_info asker_cache_info(const asker *a); /* of what reads */

/* Forget everything and read n > 0 tokens: head and document. KV_ECANCEL when told to stop. */
kv_status asker_read(asker *a, const int32_t *ids, size_t n, kv_err *err);
/* An answer as tokens: what ended it is one of them. */
enum { ASK_REPLY = 64 };
typedef struct ask_reply {
    int32_t ids[ASK_REPLY];
    uint32_t n;
    double logprob; /* of all of them together, in nats */
} ask_reply;

/* A question. */
typedef struct ask_turn {
    const ask_ids *tail;     /* n > 0 tokens to be fed after what was read */
    const ask_reply *given;  /* an answer (n > 0) from elsewhere, to say how likely it is here; or NULL: answer */
    char answer[ASK_ANSWER]; /* valid UTF-8 without control characters and without white space around it; empty for given */
    ask_reply reply;         /* its first tokens, or those given */
} ask_turn;
/* Ask n questions: fills answer and reply. Each of what was read, and none of the others; with the same bits as alone, though
 * several go through the model at once. An answer is the likeliest token at every step, until the model ends its turn, a line
 * ends or answer_tokens are there. As often as one likes. */
kv_status asker_ask(asker *a, ask_turn *turns, size_t n, kv_err *err);

/* ---- scoring ---- */

/* Case-folded (Unicode NFKC), everything but letters, digits and marks to single spaces, without "a", "an", "the" and
 * without commas that group digits. NULL when out of memory or not UTF-8; caller frees. */
char *ask_normalise(const char *text);
/* Whether one of the wanted answers, separated by '|', stands in the answer as whole words after both are normalised. */
kv_status ask_is_right(const char *answer, const char *wanted, bool *right, kv_err *err);

typedef struct ask_tally {
    uint32_t n, hits;
} ask_tally;
double ask_share(ask_tally t); /* hits / n; NaN for none */
/* 95 % confidence interval of the share (Wilson, 1927); 0..1 for none. */
void ask_wilson(ask_tally t, double *lo, double *hi);
/* "97 % (85–99)", or without the interval; "–" for none. Returns buf. */
char *ask_percent(ask_tally t, bool interval, char buf[48]);

#endif
