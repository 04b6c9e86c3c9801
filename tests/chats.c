/* chats TEMPLATE: renders every request of a JSON array on stdin, {"messages", "tools", "extra", "open"}, as a server would,
 * and reads "reply" as the answer. Writes an array of {"text", "thinking", "format", "content", "thought", "calls"} or
 * {"error"}. For tests/chats. */
#include "gguf_image.h"
#include "reply/reply.h"

#include <stdlib.h>
#include <string.h>

typedef struct said {
    json_t *calls;
    char *content, *thought;
    size_t n_content, n_thought;
    FILE *to[2], *args;
    char *arguments;
    size_t n_arguments;
} said;

static FILE *must(FILE *f) {
    if (!f)
        exit(3);
    return f;
}

static void content(void *user, const char *text, size_t len) {
    fwrite(text, 1, len, ((said *)user)->to[0]);
}

static void thought(void *user, const char *text, size_t len) {
    fwrite(text, 1, len, ((said *)user)->to[1]);
}

static void call(void *user, uint32_t index, const char *name) {
    said *s = user;
    json_array_append_new(s->calls, json_pack("{s:s,s:I}", "name", name, "index", (json_int_t)index));
    s->args = must(open_memstream(&s->arguments, &s->n_arguments));
}

static void arguments(void *user, uint32_t index, const char *text, size_t len) {
    (void)index;
    fwrite(text, 1, len, ((said *)user)->args);
}

static void call_end(void *user, uint32_t index, bool whole) {
    said *s = user;
    json_t *c = json_array_get(s->calls, index);
    fclose(s->args);
    json_object_set_new(c, "arguments", json_stringn(s->arguments, s->n_arguments));
    json_object_set_new(c, "whole", json_boolean(whole));
    free(s->arguments);
}

static void read_reply(const chat_format *f, const json_t *tools, const char *text, bool thinking, json_t *out) {
    said s = {.calls = json_array()};
    s.to[0] = must(open_memstream(&s.content, &s.n_content));
    s.to[1] = must(open_memstream(&s.thought, &s.n_thought));
    const reply_cfg cfg = {.format = reply_format_of(f),
                           .tools = tools,
                           .thinking = thinking,
                           .user = &s,
                           .events = {content, thought, call, arguments, call_end}};
    reply *r;
    kv_err err;
    if (reply_new(&cfg, &r, &err))
        exit(1);
    for (const char *c = text; *c; c++)
        if (reply_push(r, c, 1, &err))
            exit(3);
    if (reply_end(r, &err))
        exit(3);
    reply_free(r);
    fclose(s.to[0]);
    fclose(s.to[1]);
    json_object_set_new(out, "content", json_stringn(s.content, s.n_content));
    json_object_set_new(out, "thought", json_stringn(s.thought, s.n_thought));
    json_object_set_new(out, "calls", s.calls);
    free(s.content);
    free(s.thought);
}

static json_t *run(const chat_format *f, const json_t *r) {
    bool thinking;
    tpl_text text;
    kv_err err = {0};
    const json_t *tools = json_object_get(r, "tools"), *answer = json_object_get(r, "reply");
    const chat_request q = {.messages = json_object_get(r, "messages"),
                            .tools = tools,
                            .extra = json_object_get(r, "extra"),
                            .open = json_is_true(json_object_get(r, "open"))};
    if (chat_render_request(f, &q, &text, &thinking, &err))
        return json_pack("{s:s}", "error", err.msg);
    json_t *out = json_pack("{s:o,s:b,s:s}", "text", json_stringn(text.s, text.len), "thinking", (int)thinking, "format",
                            reply_format_name(reply_format_of(f)));
    const json_t *inside = json_object_get(r, "thinking");
    if (json_is_string(answer))
        read_reply(f, tools, json_string_value(answer), inside ? json_is_true(inside) : thinking, out);
    tpl_text_free(&text);
    return out;
}

int main(int argc, char **argv) {
    kv_err err = {0};
    file_image image = {0};
    gguf *g;
    chat_format *f = NULL;
    json_error_t je;
    json_t *all = argc > 1 ? json_loadf(stdin, 0, &je) : NULL, *out = json_array(), *r;
    size_t i;
    static const char *const tokens[] = {"<s>", "</s>", "<unk>", "<pad>"};
    static const char *const keys[] = {"bos", "eos", "unknown", "padding"};
    put_array(&image, "tokenizer.ggml.tokens", GGUF_STRING, 4);
    for (int k = 0; k < 4; k++)
        put_text(&image, tokens[k], strlen(tokens[k]));
    for (int k = 0; k < 4; k++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", keys[k]);
        put_id(&image, key, (uint32_t)k);
    }
    if (!all || open_image(&image, &g, &err) || chat_open(g, NULL, argv[1], &f, &err)) {
        fprintf(stderr, "%s\n", *err.msg ? err.msg : "usage: chats TEMPLATE < REQUESTS");
        return 1;
    }
    json_array_foreach(all, i, r) json_array_append_new(out, run(f, r));
    json_dumpf(out, stdout, JSON_ENSURE_ASCII);
    json_decref(out);
    json_decref(all);
    chat_free(f);
    gguf_close(g);
    return 0;
}
