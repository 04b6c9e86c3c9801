/* kvrun info: what a .kv file holds, without its model. */
#include "base/format.h"
#include "cli/cli_json.h"
#include "context/context_chat.h"
#include "context/context_file.h"
#include "kvrun/cmd.h"

static const char tool[] = "kvrun info";

enum { MOST_CHAT = 1 << 30 };

/* Of a chat: its turns; *there false: it is none. */
static kv_status count_turns(ctx_file *f, bool *there, size_t *n, kv_err *err) {
    const void *text;
    size_t len;
    ctx_chat c;
    *n = 0;
    kv_status st = ctx_file_section(f, CTX_CHAT, 0, MOST_CHAT, &text, &len, err);
    *there = !st && text;
    if (!*there || (st = ctx_chat_parse(text, len, ctx_file_path(f), &c, err)))
        return st;
    *n = c.n;
    ctx_chat_free(&c);
    return KV_OK;
}

static void show(const ctx_file *f, const ctx_about *a, bool chat, size_t turns) {
    char bytes[FORMAT_BYTES], f16[FORMAT_BYTES], when[FORMAT_DATE];
    cli_say(stdout, "title     %s\n", *a->title ? a->title : "(none)");
    cli_say(stdout, "model     %s (%s)\n", a->model, a->arch);
    cli_say(stdout, "tokens    %u, of a context of %u\n", a->n_tokens, a->n_ctx);
    if (chat)
        cli_say(stdout, "turns     %zu, of a chat ('/load' in kvrun goes on with it)\n", turns);
    cli_say(stdout, "cache     %s%s\n", a->cache, a->settings.profile ? ", by a profile" : "");
    cli_say(stdout, "size      %s%s (an f16 cache: %s, %.1fx)\n", format_bytes((double)ctx_file_bytes(f), bytes),
            ctx_file_packed(f) ? ", packed" : "", format_bytes((double)a->bytes_f16, f16),
            (double)a->bytes_f16 / (double)ctx_file_bytes(f));
    cli_say(stdout, "written   %s, by %s\n", format_date(a->saved, when), a->program);
    cli_say(stdout, "checked   every byte is as it was written\n");
}

static kv_status show_json(const ctx_file *f, const ctx_about *a, bool chat, size_t turns, kv_err *err) {
    json_t *j = json_object();
    cli_json_set(&j, "title", cli_json_text(a->title));
    cli_json_set(&j, "model", cli_json_text(a->model));
    cli_json_set(&j, "arch", cli_json_text(a->arch));
    cli_json_set(&j, "model_id", cli_json_text(a->model_id));
    cli_json_set(&j, "tokens", json_integer(a->n_tokens));
    cli_json_set(&j, "ctx", json_integer(a->n_ctx));
    cli_json_set(&j, "turns", chat ? json_integer((json_int_t)turns) : json_null());
    cli_json_set(&j, "cache", cli_json_text(a->cache));
    cli_json_set(&j, "profile", json_boolean(a->settings.profile));
    cli_json_set(&j, "packed", json_boolean(ctx_file_packed(f)));
    cli_json_set(&j, "bytes", json_integer((json_int_t)ctx_file_bytes(f)));
    cli_json_set(&j, "bytes_f16", json_integer((json_int_t)a->bytes_f16));
    cli_json_set(&j, "saved", json_integer(a->saved));
    cli_json_set(&j, "program", cli_json_text(a->program));
    return cli_json_print(j, JSON_INDENT(2), err);
}

int cmd_info(int argc, char **argv) {
    const char *path = NULL;
    bool json = false, chat;
    size_t turns;
    const cli_opt opts[] = {{"--json", NULL, CLI_FLAG, NULL, &json, 0, 0, "print it as JSON"}, {0}};
    const int code =
        cli_parse(&(cli_spec){.tool = tool,
                              .usage = "FILE.kv [--json]",
                              .summary = "Says what a .kv file holds, and checks every byte of it. Needs no model.",
                              .examples = "  kvrun info manual.kv\n",
                              .opts = opts,
                              .args = (const cli_arg[]){{"FILE", CLI_IN, &path}, {0}},
                              .n_required = 1},
                  argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    ctx_file *f = NULL;
    ctx_about about;
    cli_catch_signals(CLI_SOON);
    kv_status st = ctx_file_open(path, true, cli_go_on, NULL, &f, &err);
    if (!st && !(st = ctx_file_about(f, &about, &err)) && !(st = count_turns(f, &chat, &turns, &err))) {
        if (json)
            st = show_json(f, &about, chat, turns, &err);
        else
            show(f, &about, chat, turns);
    }
    ctx_file_close(f);
    return st ? cli_report(tool, &err) : CLI_OK;
}
