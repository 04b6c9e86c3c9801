/* kvrun contexts: what --context-cache has kept. */
#include "base/format.h"
#include "cli/cli_folder.h"
#include "cli/cli_json.h"
#include "kvrun/cmd.h"
#include "kvrun/remember.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kvrun contexts";

typedef struct options {
    bool json, clear;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {{"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "print it as JSON"},
                            {"--clear", NULL, CLI_FLAG, NULL, &o->clear, 0, 0, "remove all of it"},
                            {0}};
    return cli_parse(&(cli_spec){.tool = tool,
                                 .usage = "[--json | --clear]",
                                 .summary = "Lists what kvrun --context-cache has kept of prompts and chats, that which was "
                                            "used last first.",
                                 .examples = "  kvrun contexts\n"
                                             "  kvrun contexts --clear\n",
                                 .opts = opts},
                     argc, argv);
}

/* What the file says of itself. False: nothing that makes sense. */
static bool tell(const contexts_row *row, ctx_about *about) {
    ctx_file *f;
    kv_err err = {0};
    memset(about, 0, sizeof *about);
    kv_status st = ctx_file_open(row->path, false, NULL, NULL, &f, &err);
    if (!st) {
        st = ctx_file_about(f, about, &err);
        ctx_file_close(f);
    }
    if (st)
        cli_note(tool, "%s", err.msg);
    return !st;
}

static void show(const contexts_row *rows, size_t n) {
    char bytes[FORMAT_BYTES], when[FORMAT_DATE];
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        ctx_about a;
        if (!tell(&rows[i], &a))
            continue;
        all += rows[i].bytes;
        cli_say(stdout, "%s  %8u tokens  %10s  %s: %s\n", format_date(rows[i].used, when), rows[i].tokens,
                format_bytes((double)rows[i].bytes, bytes), a.model, *a.title ? a.title : "(no title)");
    }
    cli_say(stdout, "%s%zu contexts, %s\n", n ? "\n" : "", n, format_bytes((double)all, bytes));
}

static kv_status show_json(const contexts_row *rows, size_t n, kv_err *err) {
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        ctx_about a;
        if (!tell(&rows[i], &a))
            continue;
        json_t *j = json_object();
        cli_json_set(&j, "title", cli_json_text(a.title));
        cli_json_set(&j, "model", cli_json_text(a.model));
        cli_json_set(&j, "cache", cli_json_text(a.cache));
        cli_json_set(&j, "tokens", json_integer(rows[i].tokens));
        cli_json_set(&j, "bytes", json_integer((json_int_t)rows[i].bytes));
        cli_json_set(&j, "used", json_integer(rows[i].used));
        cli_json_set(&j, "saved", json_integer(a.saved));
        cli_json_set(&j, "file", cli_json_text(rows[i].path));
        cli_json_add(&all, j);
    }
    return cli_json_print(all, JSON_INDENT(2), err);
}

static kv_status list(const options *o, contexts *c, kv_err *err) {
    contexts_row *rows;
    size_t n;
    kv_status st = contexts_list(c, &rows, &n, err);
    if (!st && o->json)
        st = show_json(rows, n, err);
    else if (!st)
        show(rows, n);
    free(rows);
    return st;
}

static kv_status clear(contexts *c, kv_err *err) {
    size_t n;
    kv_status st = contexts_clear(c, &n, err);
    if (!st)
        cli_note(tool, "%zu contexts were removed", n);
    return st;
}

int cmd_contexts(int argc, char **argv) {
    options o = {0};
    char folder[CLI_FOLDER];
    contexts *c = NULL;
    kv_err err = {0};
    const int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = o.json && o.clear ? kv_fail(&err, KV_EINVAL, "--json lists what --clear removes; choose one") : KV_OK;
    if (!st && !(st = remember_folder(folder, &err)) && !(st = contexts_open(folder, 0, &c, &err)))
        st = o.clear ? clear(c, &err) : list(&o, c, &err);
    contexts_close(c);
    return st ? cli_report(tool, &err) : CLI_OK;
}
