/* kvrun client: ask a server, and print what it says as it comes. */
#include "base/text.h"
#include "cli/cli.h"
#include "kvrun/client.h"
#include "kvrun/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tool[] = "kvrun client";

enum { MOST = 16 << 20 };

typedef struct options {
    const char *text, *url, *key, *key_file, *model, *system, *context;
    int64_t n, seed;
    double temp;
    bool thoughts, quiet;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {"--url", NULL, CLI_STR, "URL", &o->url, 0, 0, "where the server is (without this option: http://127.0.0.1:8080)"},
        {"--api-key", NULL, CLI_STR, "KEY", &o->key, 0, 0, "the key that it asks for"},
        {"--api-key-file", NULL, CLI_IN, "FILE", &o->key_file, 0, 0, "the same, the first line of a file"},
        {"--model", "-m", CLI_STR, "NAME", &o->model, 0, 0, "which of its models, where it has several"},
        {"--system", "-sys", CLI_STR, "TEXT", &o->system, 0, 0, "system prompt"},
        {"--context", NULL, CLI_STR, "NAME", &o->context, 0, 0,
         "ask about this context, which the server keeps (/v1/contexts)"},
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30, "most tokens of the answer; -1: until the model is done"},
        {"--temp", NULL, CLI_REAL, "T", &o->temp, -1, 100,
         "temperature; 0: always the most likely token; -1: as the server has it"},
        {"--seed", "-s", CLI_INT, "N", &o->seed, -1, 4294967295.0, "same seed, same answer; -1: another one every time"},
        {"--thoughts", NULL, CLI_FLAG, NULL, &o->thoughts, 0, 0, "show what the model thinks as well, on stderr"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "TEXT [options]",
                    .summary = "Asks a server that runs (kvrun serve, or any that speaks to clients of OpenAI), and prints "
                               "the answer as it comes. TEXT - is standard input.",
                    .examples = "  kvrun serve packed.gguf &\n"
                                "  kvrun client 'What is a KV cache?'\n"
                                "  git diff | kvrun client --system 'Write a commit message.' -\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"TEXT", CLI_STR, &o->text}, {0}},
                    .n_required = 1},
        argc, argv);
}

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

int cmd_client(int argc, char **argv) {
    options o = {.url = "http://127.0.0.1:8080", .n = -1, .temp = -1, .seed = -1};
    showing s = {.o = &o, .ended_line = true};
    char *text = NULL, *key = NULL;
    json_t *body = NULL;
    kv_err err = {0};
    const int code = parse(&o, argc, argv);
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
