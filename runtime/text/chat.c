/* Chats as text: by the model's own template, or by a row of the table of formats that are known.
 *
 * A template decides everything itself. Two things are done for it: a BOS token at its start is left out where the tokenizer
 * adds one, and where it refuses or loses system messages, their text goes in front of the user's. What it does with a system
 * message is tried when it is opened.
 */
#include "text/chat.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EOS "\1" /* stands for the text of the model's EOS token */

typedef struct turn {
    const char *before, *after;
} turn;

typedef struct chat_row {
    const char *name;
    const char *token;            /* of the vocabulary, which says that it is this format; NULL: none does */
    turn system, user, assistant; /* system.before NULL: no such role, its text goes in front of the user's */
    const char *open;             /* starts the assistant's turn */
    bool trim;                    /* texts lose the white space around them */
} chat_row;

static const chat_row rows[] = {
    {.name = "phi-4",
     .system = {"<|im_start|>system<|im_sep|>", "<|im_end|>"},
     .user = {"<|im_start|>user<|im_sep|>", "<|im_end|>"},
     .assistant = {"<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
     .open = "<|im_start|>assistant<|im_sep|>"},
    {.name = "chatml",
     .token = "<|im_start|>",
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
     .open = "<|im_start|>assistant\n"},
    {.name = "gemma",
     .token = "<start_of_turn>",
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .open = "<start_of_turn>model\n",
     .trim = true},
    {.name = "llama-3",
     .token = "<|start_header_id|>",
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     .open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .trim = true},
    {.name = "phi-3",
     .system = {"<|system|>\n", "<|end|>\n"},
     .user = {"<|user|>\n", "<|end|>\n"},
     .assistant = {"<|assistant|>\n", "<|end|>\n"},
     .open = "<|assistant|>\n"},
    {.name = "zephyr",
     .system = {"<|system|>\n", EOS "\n"},
     .user = {"<|user|>\n", EOS "\n"},
     .assistant = {"<|assistant|>\n", EOS "\n"},
     .open = "<|assistant|>\n"},
    /* Mistral's differ in spaces and in whether there is a system turn */
    {.name = "mistral-v7",
     .system = {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"},
     .user = {"[INST] ", "[/INST]"},
     .assistant = {" ", EOS},
     .open = ""},
    {.name = "mistral-v7-tekken",
     .system = {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"},
     .user = {"[INST]", "[/INST]"},
     .assistant = {"", EOS},
     .open = ""},
    {.name = "mistral-v1", .user = {" [INST] ", " [/INST]"}, .assistant = {" ", EOS}, .open = ""},
    {.name = "mistral", .user = {"[INST] ", " [/INST]"}, .assistant = {"", EOS}, .open = ""},
    {.name = "mistral-v3", .user = {"[INST] ", "[/INST]"}, .assistant = {" ", EOS}, .open = ""},
    {.name = "mistral-tekken", .user = {"[INST]", "[/INST]"}, .assistant = {"", EOS}, .open = ""},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

/* Special tokens that templates can name. */
static const struct {
    const char *name, *key;
} specials[] = {
    {"bos_token", "tokenizer.ggml.bos_token_id"},
    {"eos_token", "tokenizer.ggml.eos_token_id"},
    {"unk_token", "tokenizer.ggml.unknown_token_id"},
    {"pad_token", "tokenizer.ggml.padding_token_id"},
};
enum { BOS_TOKEN, EOS_TOKEN, N_SPECIALS = sizeof specials / sizeof *specials };

struct chat_format {
    const chat_row *row;       /* or */
    tpl *t;                    /* a template */
    char *special[N_SPECIALS]; /* text of the token; NULL: none */
    bool keeps_bos;            /* the tokenizer adds none */
    bool merges_system;        /* the template knows no system messages */
    int64_t now;               /* one date for the whole conversation */
};

/* ---- opening ---- */

static const chat_row *row_of_vocabulary(const gguf_kv *tokens) {
    const chat_row *best = rows + N_ROWS;
    size_t cursor = 0;
    gguf_str s;
    while (tokens && gguf_next_str(tokens, &cursor, &s))
        for (const chat_row *r = rows; r < best; r++)
            if (r->token && s.len == strlen(r->token) && !memcmp(s.s, r->token, s.len))
                best = r;
    return best < rows + N_ROWS ? best : NULL;
}

static const chat_row *row_of_name(const char *name) {
    for (const chat_row *r = rows; r < rows + N_ROWS; r++)
        if (!strcmp(r->name, name))
            return r;
    return NULL;
}

/* Caller frees; NULL: none. */
static char *text_of_token(const gguf_kv *tokens, uint32_t id) {
    size_t cursor = 0;
    gguf_str s;
    for (uint32_t i = 0; tokens && gguf_next_str(tokens, &cursor, &s); i++)
        if (i == id)
            return strndup(s.s, s.len);
    return NULL;
}

/* A template of its own, or a row of the table. */
static kv_status open_choice(chat_format *f, const char *choice, kv_err *err) {
    enum { LONGEST = 16 << 20 };
    char *text = NULL, names[256] = "";
    size_t len, n = 0;
    kv_err why = {0};
    if ((f->row = row_of_name(choice)))
        return KV_OK;
    kv_status st = text_read(choice, LONGEST, &text, &len, &why);
    if (st) {
        for (int i = 0; i < N_ROWS; i++)
            n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", rows[i].name);
        return kv_fail(err, st, "no chat format and no file that can be read is called '%s' (%s); formats: %s", choice, why.msg,
                       names);
    }
    if ((st = tpl_new(text, len, &f->t, &why)))
        kv_fail(err, st, "%s: %s", choice, why.msg);
    free(text);
    return st;
}

static void try_system(chat_format *f);

kv_status chat_open(const gguf *g, const tok *t, const char *choice, chat_format **out, kv_err *err) {
    gguf_str tmpl = {0};
    const gguf_kv *tokens = NULL;
    kv_status st = KV_OK;
    *out = NULL;
    chat_format *f = calloc(1, sizeof *f);
    if (!f)
        return kv_fail(err, KV_ENOMEM, "out of memory for a chat format");
    f->keeps_bos = !t || !tok_add_bos(t);
    f->now = (int64_t)time(NULL);
    /* keys of a wrong type are the tokenizer's to complain about; here they are as good as absent */
    if (gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, true, &tokens, NULL) != KV_OK)
        tokens = NULL;
    if (choice)
        st = open_choice(f, choice, err);
    else if (gguf_get_str(g, "tokenizer.chat_template", true, &tmpl, NULL) == KV_OK)
        st = tpl_new(tmpl.s, tmpl.len, &f->t, err);
    else
        f->row = row_of_vocabulary(tokens);
    for (int i = 0; i < N_SPECIALS && !st; i++) {
        uint32_t id = UINT32_MAX;
        if (gguf_get_u32(g, specials[i].key, true, &id, NULL) == KV_OK)
            f->special[i] = text_of_token(tokens, id);
    }
    if (st || (!f->t && !f->row)) {
        chat_free(f);
        return st;
    }
    if (f->t)
        try_system(f);
    *out = f;
    return KV_OK;
}

void chat_free(chat_format *f) {
    if (!f)
        return;
    tpl_free(f->t);
    for (int i = 0; i < N_SPECIALS; i++)
        free(f->special[i]);
    free(f);
}

const char *chat_name(const chat_format *f) {
    return f->t ? "template" : f->row->name;
}

/* ---- by a template ---- */

static json_t *message(const char *role, const char *before, const char *text) {
    const size_t front = before ? strlen(before) + 2 : 0, len = strlen(text);
    char *joined = before ? malloc(front + len + 1) : NULL;
    if (before && !joined)
        return NULL;
    if (before)
        sprintf(joined, "%s\n\n%s", before, text);
    json_t *m = json_object();
    json_object_set_new(m, "role", json_string(role));
    /* bytes that are no UTF-8 are a text as well */
    json_object_set_new(m, "content", json_stringn_nocheck(before ? joined : text, front + len));
    free(joined);
    return m;
}

static json_t *values_of(const chat_format *f, const chat_msg *msgs, size_t n, bool open) {
    json_t *v = json_object(), *list = json_array();
    const char *pending = NULL; /* a system text that waits for the user's turn */
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        if (f->merges_system && !strcmp(msgs[i].role, "system")) {
            pending = msgs[i].text;
            continue;
        }
        const bool here = pending && !strcmp(msgs[i].role, "user");
        bad |= json_array_append_new(list, message(msgs[i].role, here ? pending : NULL, msgs[i].text));
        pending = here ? NULL : pending;
    }
    bad |= json_object_set_new(v, "messages", list);
    bad |= json_object_set_new(v, "add_generation_prompt", json_boolean(open));
    bad |= json_object_set_new(v, "tools", json_null());
    bad |= json_object_set_new(v, "documents", json_null());
    for (int i = 0; i < N_SPECIALS; i++)
        if (f->special[i] || i <= EOS_TOKEN) { /* templates add these two to texts without asking whether they are there */
            const char *text = f->special[i] ? f->special[i] : "";
            bad |= json_object_set_new(v, specials[i].name, json_stringn_nocheck(text, strlen(text)));
        }
    if (!bad)
        return v;
    json_decref(v);
    return NULL;
}

/* The tokenizer adds BOS: what the template writes of it goes. */
static void drop_bos(const chat_format *f, tpl_text *text) {
    const char *bos = f->special[BOS_TOKEN];
    const size_t len = bos ? strlen(bos) : 0;
    if (!len || f->keeps_bos || !text->n_spans || text->span[0].input || text->span[0].len < len || memcmp(text->s, bos, len))
        return;
    memmove(text->s, text->s + len, text->len - len + 1);
    text->len -= len;
    text->span[0].len -= len;
    if (!text->span[0].len)
        memmove(text->span, text->span + 1, --text->n_spans * sizeof *text->span);
}

static kv_status render_template(const chat_format *f, const chat_msg *msgs, size_t n, bool open, tpl_text *out, kv_err *err) {
    static const char *const own[] = {"role",      "bos_token", "eos_token",
                                      "unk_token", "pad_token", NULL}; /* what callers choose, not what users say */
    json_t *values = values_of(f, msgs, n, open);
    if (!values)
        return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
    const kv_status st = tpl_render(f->t, values, &(tpl_cfg){.own = own, .now = f->now}, out, err);
    json_decref(values);
    if (!st)
        drop_bos(f, out);
    return st;
}

/* Is the text there, once this is rendered? */
static bool shows(const chat_format *f, const chat_msg *msgs, size_t n, const char *text) {
    tpl_text out = {0};
    const bool yes = !render_template(f, msgs, n, true, &out, NULL) && memmem(out.s, out.len, text, strlen(text));
    tpl_text_free(&out);
    return yes;
}

/* Find out whether the template takes system messages; one that fails anyway will say so when it is used. */
static void try_system(chat_format *f) {
    const chat_msg msgs[] = {{"system", "the system's words"}, {"user", "the user's words"}};
    f->merges_system = !shows(f, msgs, 2, msgs[0].text) && shows(f, msgs + 1, 1, msgs[1].text);
}

/* ---- by a row of the table ---- */

static void put(tpl_text *out, FILE *o, const char *s, size_t len, bool input) {
    tpl_span *last = out->n_spans ? &out->span[out->n_spans - 1] : NULL;
    if (!len)
        return;
    fwrite(s, 1, len, o);
    if (last && last->input == input)
        last->len += len;
    else
        out->span[out->n_spans++] = (tpl_span){len, input};
}

static void put_mark(tpl_text *out, FILE *o, const chat_format *f, const char *mark) {
    const char *eos = f->special[EOS_TOKEN] ? f->special[EOS_TOKEN] : "";
    for (; *mark; mark++)
        put(out, o, *mark == *EOS ? eos : mark, *mark == *EOS ? strlen(eos) : 1, false);
}

static void put_text(tpl_text *out, FILE *o, const char *text, bool trim) {
    static const char white[] = " \t\n\v\f\r";
    size_t len = strlen(text);
    if (trim) {
        const size_t skip = strspn(text, white);
        text += skip;
        len -= skip;
        while (len && strchr(white, text[len - 1]))
            len--;
    }
    put(out, o, text, len, true);
}

static const turn *turn_of(const chat_row *r, const char *role) {
    return !strcmp(role, "system")      ? &r->system
           : !strcmp(role, "user")      ? &r->user
           : !strcmp(role, "assistant") ? &r->assistant
                                        : NULL;
}

static kv_status render_row(const chat_format *f, const chat_msg *msgs, size_t n, bool open, tpl_text *out, kv_err *err) {
    const chat_row *r = f->row;
    const char *pending = NULL; /* a system text that waits for the user's turn */
    *out = (tpl_text){.span = malloc((5 * n + 1) * sizeof *out->span)};
    FILE *o = out->span ? open_memstream(&out->s, &out->len) : NULL;
    for (size_t i = 0; o && i < n; i++) {
        const turn *t = turn_of(r, msgs[i].role);
        if (!t->before) {
            pending = msgs[i].text;
            continue;
        }
        put_mark(out, o, f, t->before);
        if (pending && t == &r->user) {
            put_text(out, o, pending, false);
            put(out, o, "\n\n", 2, false);
            pending = NULL;
        }
        put_text(out, o, msgs[i].text, r->trim);
        put_mark(out, o, f, t->after);
    }
    if (o && open)
        put_mark(out, o, f, r->open);
    const bool bad = !o || ferror(o);
    if ((o && fclose(o)) || bad || !out->s) { /* closing it succeeds even without the memory for it */
        tpl_text_free(out);
        return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
    }
    return KV_OK;
}

kv_status chat_render(const chat_format *f, const chat_msg *msgs, size_t n, bool open, tpl_text *out, kv_err *err) {
    *out = (tpl_text){0};
    for (size_t i = 0; i < n; i++)
        if (!turn_of(rows, msgs[i].role))
            return kv_fail(err, KV_EINVAL, "message %zu: unknown role '%s'; roles are system, user and assistant", i,
                           msgs[i].role);
    return f->t ? render_template(f, msgs, n, open, out, err) : render_row(f, msgs, n, open, out, err);
}
