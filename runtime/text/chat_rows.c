/* The table of chat formats that are known, for models without a template. */
#include "text/chat_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EOS "\1" /* stands for the text of the model's EOS token */

typedef struct turn {
    const char *before, *after;
} turn;

struct chat_row {
    const char *name;
    const char *token;            /* of the vocabulary, which says that it is this format; NULL: none does */
    turn system, user, assistant; /* system.before NULL: no such role, its text goes in front of the user's */
    const char *open;             /* starts the assistant's turn */
    bool trim;                    /* texts lose the white space around them */
};

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

/* ---- finding one ---- */

const chat_row *chat_row_of_vocabulary(const gguf_kv *tokens) {
    const chat_row *best = rows + N_ROWS;
    size_t cursor = 0;
    gguf_str s;
    while (tokens && gguf_next_str(tokens, &cursor, &s))
        for (const chat_row *r = rows; r < best; r++)
            if (r->token && s.len == strlen(r->token) && !memcmp(s.s, r->token, s.len))
                best = r;
    return best < rows + N_ROWS ? best : NULL;
}

const chat_row *chat_row_of_name(const char *name) {
    for (const chat_row *r = rows; r < rows + N_ROWS; r++)
        if (!strcmp(r->name, name))
            return r;
    return NULL;
}

const char *chat_row_name(const chat_row *r) {
    return r->name;
}

bool chat_row_has_system(const chat_row *r) {
    return r->system.before;
}

const char *chat_row_names(size_t i) {
    return i < N_ROWS ? rows[i].name : NULL;
}

/* ---- writing ---- */

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

static void put_text(tpl_text *out, FILE *o, const json_t *content, bool trim) {
    static const char white[] = " \t\n\v\f\r";
    const char *text = json_string_value(content);
    size_t len = json_string_length(content);
    if (trim) {
        const size_t skip = strspn(text, white);
        text += skip;
        len -= skip;
        while (len && text[len - 1] && strchr(white, text[len - 1])) /* a NUL is text */
            len--;
    }
    put(out, o, text, len, true);
}

static const turn *turn_of(const chat_row *r, const char *role) {
    return !strcmp(role, "system") ? &r->system : !strcmp(role, "user") ? &r->user : &r->assistant;
}

kv_status chat_row_render(const chat_format *f, const json_t *messages, bool open, tpl_text *out, kv_err *err) {
    const chat_row *r = f->row;
    const size_t n = json_array_size(messages);
    *out = (tpl_text){.span = malloc((3 * n + 1) * sizeof *out->span)};
    FILE *o = out->span ? open_memstream(&out->s, &out->len) : NULL;
    for (size_t i = 0; o && i < n; i++) {
        const json_t *m = json_array_get(messages, i);
        const turn *t = turn_of(r, json_string_value(json_object_get(m, "role")));
        put_mark(out, o, f, t->before);
        put_text(out, o, json_object_get(m, "content"), r->trim);
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
