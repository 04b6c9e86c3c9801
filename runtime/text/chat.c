/* Chat formats: a table of what stands before and after each role's text.
 *
 * A template is recognised by strings that only its family has; the first row all of whose marks occur in it wins, unless the
 * template shows that it is only similar: it has what the family never has, ends the user's turn otherwise, or keeps a default
 * system prompt where it is not found. What differs between models of a family is read from the file: the text of the EOS
 * token, and the default system prompt, which templates hold as a literal between the marks of a system turn.
 */
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EOS "\1" /* stands for the text of the model's EOS token */

typedef struct turn {
    const char *before, *after;
} turn;

typedef struct chat_row {
    const char *name;
    const char *marks[2];         /* all occur in the template */
    const char *never;            /* does not; or NULL */
    const char *end;              /* follows the user's text at once, where marks[0] begins the turn; NULL: not looked at */
    const char *token;            /* without a template: a token of the vocabulary that says the same */
    turn system, user, assistant; /* system.before NULL: no such role, its text goes in front of the user's */
    const char *open;             /* starts the assistant's turn */
    bool trim;                    /* texts lose the white space around them */
} chat_row;

static const chat_row rows[] = {
    {.name = "phi-4",
     .marks = {"<|im_start|>", "<|im_sep|>"},
     .system = {"<|im_start|>system<|im_sep|>", "<|im_end|>"},
     .user = {"<|im_start|>user<|im_sep|>", "<|im_end|>"},
     .assistant = {"<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
     .open = "<|im_start|>assistant<|im_sep|>"},
    {.name = "chatml",
     .marks = {"<|im_start|>"},
     .token = "<|im_start|>",
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
     .open = "<|im_start|>assistant\n"},
    {.name = "gemma",
     .marks = {"<start_of_turn>"},
     .token = "<start_of_turn>",
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .open = "<start_of_turn>model\n",
     .trim = true},
    {.name = "llama-3",
     .marks = {"<|start_header_id|>", "<|eot_id|>"},
     .token = "<|start_header_id|>",
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     .open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .trim = true},
    {.name = "phi-3",
     .marks = {"<|user|>", "<|end|>"},
     .end = "<|end|>",
     .system = {"<|system|>\n", "<|end|>\n"},
     .user = {"<|user|>\n", "<|end|>\n"},
     .assistant = {"<|assistant|>\n", "<|end|>\n"},
     .open = "<|assistant|>\n"},
    {.name = "zephyr",
     .marks = {"<|user|>", "eos_token"},
     .end = "eos_token",
     .system = {"<|system|>\n", EOS "\n"},
     .user = {"<|user|>\n", EOS "\n"},
     .assistant = {"<|assistant|>\n", EOS "\n"},
     .open = "<|assistant|>\n"},
    /* Mistral's differ in spaces and in whether there is a system turn */
    {.name = "mistral-v7",
     .marks = {"[INST]", "[SYSTEM_PROMPT] "},
     .never = "<<SYS>>",
     .system = {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"},
     .user = {"[INST] ", "[/INST]"},
     .assistant = {" ", EOS},
     .open = ""},
    {.name = "mistral-v7-tekken",
     .marks = {"[INST]", "[SYSTEM_PROMPT]"},
     .never = "<<SYS>>",
     .system = {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"},
     .user = {"[INST]", "[/INST]"},
     .assistant = {"", EOS},
     .open = ""},
    {.name = "mistral-v1",
     .marks = {" [INST] "},
     .never = "<<SYS>>",
     .user = {" [INST] ", " [/INST]"},
     .assistant = {" ", EOS},
     .open = ""},
    {.name = "mistral",
     .marks = {"[INST] ", " [/INST]"},
     .never = "<<SYS>>",
     .user = {"[INST] ", " [/INST]"},
     .assistant = {"", EOS},
     .open = ""},
    {.name = "mistral-v3",
     .marks = {"[INST] "},
     .never = "<<SYS>>",
     .user = {"[INST] ", "[/INST]"},
     .assistant = {" ", EOS},
     .open = ""},
    {.name = "mistral-tekken",
     .marks = {"[INST]"},
     .never = "<<SYS>>",
     .user = {"[INST]", "[/INST]"},
     .assistant = {"", EOS},
     .open = ""},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

/* Bytes: real ones have up to some 20,000. Looking for marks and literals is not linear in them. */
enum { MAX_TEMPLATE = 1 << 16 };

struct chat_format {
    const chat_row *row;
    char *system; /* default system prompt; NULL: none */
    char *eos;    /* text of the EOS token; NULL: none */
};

/* ---- the default system prompt ---- */

/* Does s start with the mark, in which a line end may be written as an escape? A line end at the end of the mark counts only
 * where `whole`: templates often add it separately. Returns the bytes the mark takes there; 0: no. */
static size_t starts_with(const char *s, const char *end, const char *want, bool whole) {
    const char *p = s;
    for (; *want && (whole || strcmp(want, "\n")); want++, p++) {
        if (end - p >= 2 && *want == '\n' && p[0] == '\\' && p[1] == 'n')
            p++;
        else if (p >= end || *p != *want)
            return 0;
    }
    return (size_t)(p - s);
}

/* The literal at s up to `after`, escapes resolved; NULL where the literal ends before that, or is empty, or out of memory
 * (*full). quote: what encloses it, 0 where it is plain text of the template. Caller frees. */
static char *literal_until(const char *s, const char *end, char quote, const char *after, bool *full) {
    char *out = malloc((size_t)(end - s) + 1);
    size_t n = 0;
    bool found = false;
    *full = !out;
    for (; out && s < end && !(found = starts_with(s, end, after, false)); s++) {
        if (quote ? *s == quote : *s == '{' && end - s > 1 && (s[1] == '{' || s[1] == '%'))
            break;
        char c = *s;
        if (quote && c == '\\' && end - s > 1)
            c = *++s == 'n' ? '\n' : *s == 't' ? '\t' : *s;
        out[n++] = c;
    }
    if (!found || !n) {
        free(out);
        return NULL;
    }
    out[n] = 0;
    return out;
}

/* The text of the first system turn that the template holds as a literal; *out NULL: none. Caller frees. */
static kv_status default_system(const chat_row *row, gguf_str tmpl, char **out, kv_err *err) {
    const char *end = tmpl.s + tmpl.len;
    bool full = false;
    *out = NULL;
    if (!row->system.before || *row->system.after == *EOS)
        return KV_OK;
    for (const char *s = tmpl.s; s < end && !*out && !full; s++) {
        const size_t len = starts_with(s, end, row->system.before, true);
        const char quote = s > tmpl.s && (s[-1] == '\'' || s[-1] == '"') ? s[-1] : 0;
        *out = len ? literal_until(s + len, end, quote, row->system.after, &full) : NULL;
    }
    return full ? kv_fail(err, KV_ENOMEM, "out of memory for the chat format") : KV_OK;
}

/* ---- recognising ---- */

static bool holds(gguf_str text, const char *what) {
    return !what || memmem(text.s, text.len, what, strlen(what));
}

/* Where `what` is in s[0..end); NULL: nowhere. */
static const char *find(const char *s, const char *end, const char *what) {
    return memmem(s, (size_t)(end - s), what, strlen(what));
}

/* Does a message's text stand right in front of `at`, with nothing but what joins expressions and literals between? */
static bool follows_content(const char *s, const char *at) {
    static const char joins[] = " '\"+-{}[]()|";
    static const char *const names[] = {"content", "trim", "strip"}; /* message['content'] | trim, say */
    while (at > s && strchr(joins, at[-1]))
        at--;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t len = strlen(names[i]);
        if ((size_t)(at - s) >= len && !memcmp(at - len, names[i], len))
            return true;
    }
    return false;
}

/* Does the template write a turn that begins with the mark, has a message's text and then ends so? All of it stands between two
 * statements of Jinja. */
static bool writes_turn(gguf_str tmpl, const char *mark, const char *end_mark) {
    const char *end = tmpl.s + tmpl.len;
    for (const char *s = tmpl.s; (s = find(s, end, mark)); s++) {
        const char *stop = find(s, end, "{%"), *at = s;
        stop = stop ? stop : end;
        while ((at = find(at, stop, end_mark)))
            if (follows_content(s, at++))
                return true;
    }
    return false;
}

static const chat_row *row_of_template(gguf_str tmpl) {
    for (const chat_row *r = rows; r < rows + N_ROWS; r++)
        if (holds(tmpl, r->marks[0]) && holds(tmpl, r->marks[1]))
            return (!r->never || !holds(tmpl, r->never)) && (!r->end || writes_turn(tmpl, r->marks[0], r->end)) ? r : NULL;
    return NULL;
}

/* Is s[0..end), the inside of a statement, one that gives a variable called after the system prompt a text of several words, or
 * begins a block with such a text? */
static bool sets_system(const char *s, const char *end) {
    while (s < end && strchr("- \n\t", *s))
        s++;
    if (end - s < 4 || memcmp(s, "set ", 4))
        return false;
    const char *name_end = memchr(s, '=', (size_t)(end - s));
    if (!find(s, name_end ? name_end : end, "system"))
        return false;
    for (const char *q = name_end; q && q < end; q++) {
        if (*q != '\'' && *q != '"')
            continue;
        const char *close = memchr(q + 1, *q, (size_t)(end - q - 1));
        if (!close)
            return false;
        if (memchr(q, ' ', (size_t)(close - q)))
            return true;
        q = close;
    }
    return !name_end;
}

/* A default system prompt that is kept in a variable: it is not known where it goes. */
static bool hides_system(gguf_str tmpl) {
    const char *end = tmpl.s + tmpl.len;
    for (const char *s = tmpl.s; (s = find(s, end, "{%"));) {
        const char *close = find(s += 2, end, "%}");
        if (close && sets_system(s, close))
            return true;
    }
    return false;
}

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

/* *out NULL: there is no such token. Caller frees. */
static kv_status text_of_token(const gguf_kv *tokens, uint32_t id, char **out, kv_err *err) {
    size_t cursor = 0;
    gguf_str s;
    *out = NULL;
    for (uint32_t i = 0; tokens && gguf_next_str(tokens, &cursor, &s); i++)
        if (i == id)
            return (*out = strndup(s.s, s.len)) ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the chat format");
    return KV_OK;
}

bool chat_has_template(const gguf *g) {
    gguf_str tmpl;
    return gguf_get_str(g, "tokenizer.chat_template", true, &tmpl, NULL) == KV_OK;
}

kv_status chat_detect(const gguf *g, chat_format **out, kv_err *err) {
    gguf_str tmpl = {0};
    const gguf_kv *tokens = NULL;
    uint32_t eos = UINT32_MAX;
    kv_status st = KV_OK;
    *out = NULL;
    /* keys of a wrong type are the tokenizer's to complain about; here they are as good as absent */
    const bool has_tmpl = gguf_get_str(g, "tokenizer.chat_template", true, &tmpl, NULL) == KV_OK;
    if (tmpl.len > MAX_TEMPLATE)
        return KV_OK;
    if (gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, true, &tokens, NULL) != KV_OK)
        tokens = NULL;
    const chat_row *row = has_tmpl ? row_of_template(tmpl) : row_of_vocabulary(tokens);
    if (!row)
        return KV_OK;
    chat_format *f = calloc(1, sizeof *f);
    if (!f)
        return kv_fail(err, KV_ENOMEM, "out of memory for the chat format");
    f->row = row;
    if (has_tmpl)
        st = default_system(row, tmpl, &f->system, err);
    if (!st && gguf_get_u32(g, "tokenizer.ggml.eos_token_id", true, &eos, NULL) == KV_OK)
        st = text_of_token(tokens, eos, &f->eos, err);
    if (st || (has_tmpl && !f->system && hides_system(tmpl)))
        chat_free(f);
    else
        *out = f;
    return st;
}

void chat_free(chat_format *f) {
    if (!f)
        return;
    free(f->system);
    free(f->eos);
    free(f);
}

const char *chat_name(const chat_format *f) {
    return f->row->name;
}

/* ---- rendering ---- */

static void put(FILE *out, const chat_format *f, const char *mark) {
    for (; *mark; mark++)
        if (*mark != *EOS)
            fputc(*mark, out);
        else if (f->eos)
            fputs(f->eos, out);
}

static void put_text(FILE *out, const char *text, bool trim) {
    static const char white[] = " \t\n\v\f\r";
    size_t len = strlen(text);
    if (trim) {
        const size_t skip = strspn(text, white);
        text += skip;
        len -= skip;
        while (len && strchr(white, text[len - 1]))
            len--;
    }
    fwrite(text, 1, len, out);
}

static const turn *turn_of(const chat_row *r, const char *role) {
    return !strcmp(role, "system")      ? &r->system
           : !strcmp(role, "user")      ? &r->user
           : !strcmp(role, "assistant") ? &r->assistant
                                        : NULL;
}

kv_status chat_render(const chat_format *f, const chat_msg *msgs, size_t n, bool open, char **out, kv_err *err) {
    const chat_row *r = f->row;
    const char *pending = NULL; /* a system text that waits for the user's turn */
    char *text = NULL;
    size_t len;
    for (size_t i = 0; i < n; i++)
        if (!turn_of(r, msgs[i].role))
            return kv_fail(err, KV_EINVAL, "message %zu: unknown role '%s'; roles are system, user and assistant", i,
                           msgs[i].role);
    FILE *o = open_memstream(&text, &len);
    if (!o)
        return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
    if (f->system && n && strcmp(msgs[0].role, "system")) {
        put(o, f, r->system.before);
        put_text(o, f->system, false);
        put(o, f, r->system.after);
    }
    for (size_t i = 0; i < n; i++) {
        const turn *t = turn_of(r, msgs[i].role);
        if (!t->before) {
            pending = msgs[i].text;
            continue;
        }
        put(o, f, t->before);
        if (pending && t == &r->user) {
            put_text(o, pending, false);
            put_text(o, "\n\n", false);
            pending = NULL;
        }
        put_text(o, msgs[i].text, r->trim);
        put(o, f, t->after);
    }
    if (open)
        put(o, f, r->open);
    const bool bad = ferror(o);
    if (fclose(o) || bad || !text) { /* closing it succeeds even without the memory for it */
        free(text);
        return kv_fail(err, KV_ENOMEM, "out of memory for a conversation");
    }
    *out = text;
    return KV_OK;
}
