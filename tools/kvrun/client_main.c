/* kvrun client, once its options are known: ask, and show the answer as it comes. */
#include "kvrun/client_main.h"
#include "base/text.h"
#include "cli/cli.h"
#include "kvrun/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tool = client_tool;

typedef client_options options;

enum { MOST = 16 << 20 };

/* ---- showing ---- */

typedef struct showing {
    const options *o;
    cli_progress bar;
    bool ended_line, said;
} showing;

static bool show(void *user, const char *text, size_t len, bool thought) {
    showing *s = user;
    FILE *to = thought ? stderr : stdout;
    if (thought && !s->o->thoughts)
        return true;
    cli_progress_end(&s->bar);
    if (!thought)
        s->ended_line = text[len - 1] == '\n';
    s->said |= !thought;
    cli_say(to, "%.*s", (int)len, text);
    return !fflush(to);
}

static void progress(void *user, double done) {
    showing *s = user;
    cli_progress_set(&s->bar, done);
}

static bool go_on(void) {
    return !cli_interrupted();
}

/* ---- asking ---- */

static kv_status body_of(const options *o, const char *text, json_t **out, kv_err *err) {
    json_t *messages = json_array();
    if (o->system)
        json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "system", "content", o->system));
    json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", text));
    json_t *j = json_pack("{s:o,s:b,s:b}", "messages", messages, "stream", 1, "return_progress", 1);
    if (o->model)
        json_object_set_new(j, "model", json_string(o->model));
    if (o->context)
        json_object_set_new(j, "kv_context", json_string(o->context));
    if (o->n >= 0)
        json_object_set_new(j, "max_tokens", json_integer(o->n));
    if (o->temp >= 0)
        json_object_set_new(j, "temperature", json_real(o->temp));
    if (o->seed >= 0)
        json_object_set_new(j, "seed", json_integer(o->seed));
    *out = j;
    if (!j || json_array_size(messages) != 1u + (o->system != NULL))
        return kv_fail(err, KV_EFORMAT, "the text is not UTF-8");
    return KV_OK;
}

static kv_status take_text(const options *o, char **text, kv_err *err) {
    size_t len = strlen(o->text);
    if (!strcmp(o->text, "-"))
        return text_read_stream(stdin, "stdin", MOST, text, &len, err);
    *text = strdup(o->text);
    return *text ? text_clean("TEXT", *text, &len, err) : kv_fail(err, KV_ENOMEM, "out of memory");
}

static kv_status take_key(const options *o, char **key, kv_err *err) {
    size_t len;
    if (o->key && o->key_file)
        return kv_fail(err, KV_EINVAL, "--api-key and --api-key-file both give a key");
    if (o->key)
        return (*key = strdup(o->key)) ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory");
    kv_status st = o->key_file ? text_read(o->key_file, MOST, key, &len, err) : KV_OK;
    if (*key)
        (*key)[strcspn(*key, "\n")] = '\0';
    return st;
}

int client_main(int argc, char **argv) {
    options o;
    showing s = {.o = &o, .ended_line = true};
    char *text = NULL, *key = NULL;
    json_t *body = NULL;
    kv_err err = {0};
    const int code = client_parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = take_text(&o, &text, &err);
    if (!st && !(st = take_key(&o, &key, &err)) && !(st = body_of(&o, text, &body, &err))) {
        const client_cfg cfg = {o.url, key, 10, go_on, show, progress, &s};
        cli_catch_signals(CLI_PATIENT);
        cli_progress_start(&s.bar, "reading", o.quiet);
        st = client_chat(&cfg, body, &err);
        cli_progress_end(&s.bar);
    }
    if (s.said && !s.ended_line)
        printf("\n");
    json_decref(body);
    free(text);
    free(key);
    return st ? cli_report(tool, &err) : CLI_OK;
}
