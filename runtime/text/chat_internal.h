/* Inside the chat formats.
 *
 * Messages come as clients send them (chat_request.c), and leave as what every template understands: a role, a text, calls with
 * ids. What a template has no words for is said in others on the way: tools in the system prompt, calls and results as texts
 * (chat_words.c). Then a template (chat_template.c) or a row of the table of formats (chat_rows.c) writes them.
 */
#ifndef RT_CHAT_INTERNAL_H
#define RT_CHAT_INTERNAL_H

#include "text/chat.h"

typedef struct chat_row chat_row;

enum { BOS_TOKEN, EOS_TOKEN, UNK_TOKEN, PAD_TOKEN, N_SPECIALS };

/* What a template does with what it is given; tried when it is opened. */
typedef struct chat_traits {
    bool merges_system; /* no system messages: their text goes in front of the next user's */
    bool tools;         /* shows the tools that there are, */
    bool system_tools;  /* in the system message, as JSON text (Phi-4 mini), */
    bool calls;         /* the calls of the assistant, */
    bool results;       /* and what came of them */
    bool text_args;     /* wants arguments as JSON text, not as objects */
    bool one_call;      /* refuses more than one call a message */
    bool thinks;        /* opens a thought where the assistant answers */
    bool short_ids;     /* wants ids of nine letters and digits */
} chat_traits;

struct chat_format {
    const chat_row *row;       /* or */
    tpl *t;                    /* a template, */
    char *source;              /* with its text, */
    size_t source_len;         /* of so many bytes */
    char *special[N_SPECIALS]; /* text of the token; NULL: none */
    bool keeps_bos;            /* the tokenizer adds none */
    chat_traits is;
    int64_t now; /* one date for the whole conversation */
};

/* ---- rows (chat_rows.c) ---- */

const chat_row *chat_row_of_vocabulary(const gguf_kv *tokens); /* NULL: none */
const chat_row *chat_row_of_name(const char *name);            /* NULL: none */
const char *chat_row_name(const chat_row *r);
bool chat_row_has_system(const chat_row *r);
const char *chat_row_names(size_t i); /* of row i; NULL: no more */
/* messages: role, one of "system", "user" and "assistant", and content, a text. */
kv_status chat_row_render(const chat_format *f, const json_t *messages, bool open, tpl_text *out, kv_err *err);

/* ---- templates (chat_template.c) ---- */

/* max_steps: as of tpl_cfg. tools, extra: or NULL. */
kv_status chat_template_render(const chat_format *f, const json_t *messages, const chat_request *r, uint64_t max_steps,
                               tpl_text *out, kv_err *err);
bool chat_ends_in_thought(const tpl_text *text);
kv_status chat_template_try(chat_format *f, kv_err *err);     /* find out what it does */
bool chat_mentions(const chat_format *f, const char *phrase); /* the template has it in its text */

/* ---- requests ---- */

/* Messages with role "system", "user", "assistant" or "tool", content as one text, calls with ids and names, results with the
 * id and the name of the call (chat_request.c). *out: caller decrefs. */
kv_status chat_read_messages(const chat_format *f, const json_t *messages, json_t **out, kv_err *err);
/* Tools in the one form, {"type": "function", "function": {"name", "parameters", ...}}; *out NULL: none. */
kv_status chat_read_tools(const json_t *tools, json_t **out, kv_err *err);
json_t *chat_copy(json_t *object); /* with the same members; NULL: no memory (json_copy may lose some) */
/* In words what the format has no place for (chat_words.c): *messages and *tools are replaced. */
kv_status chat_put_in_words(const chat_traits *is, json_t **messages, json_t **tools, kv_err *err);

#endif
