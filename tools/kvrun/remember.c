#include "kvrun/remember.h"

#include "base/format.h"
#include "cli/cli.h"
#include "cli/cli_folder.h"

#include <stdio.h>
#include <string.h>

enum { TITLE = 80 };

kv_status remember_folder(char *path, kv_err *err) {
    return cli_cache_folder("contexts", path, err);
}

void remember_open(remember *r, const char *tool, int64_t bytes, bool verbose) {
    char folder[CLI_FOLDER];
    kv_err err = {0};
    *r = (remember){.tool = tool, .verbose = verbose};
    if (bytes > 0 && (remember_folder(folder, &err) || contexts_open(folder, (uint64_t)bytes, &r->c, &err)))
        cli_note(tool, "nothing is kept of what is read: %s", err.msg);
}

void remember_close(remember *r) {
    contexts_close(r->c);
    r->c = NULL;
}

static void say_found(const remember *r, const contexts_found *f, size_t n) {
    if (f->damaged)
        cli_note(r->tool, "%u of the contexts that were kept could not be used, and were removed: %s", f->damaged, f->why.msg);
    if (r->verbose && f->tokens)
        cli_note(r->tool, "%u of %zu tokens were read before%s%s", f->tokens, n, *f->about.title ? ", in: " : "",
                 f->about.title);
}

kv_status remember_recall(void *user, rt_session *s, const int32_t *ids, size_t n, size_t *read, kv_err *err) {
    const remember *r = user;
    contexts_found found;
    kv_err why = {0};
    *read = 0;
    if (!r->c)
        return KV_OK;
    kv_status st = contexts_take(r->c, s, ids, n, cli_go_on, NULL, &found, &why);
    say_found(r, &found, n);
    if (st == KV_ECANCEL)
        return kv_fail(err, st, "%s", why.msg);
    if (st) {
        rt_session_go_back(s, 0);
        cli_note(r->tool, "what was read before is not used: %s", why.msg);
    } else {
        *read = found.read;
    }
    return KV_OK;
}

/* Its first line, or the beginning of that, in whole characters. */
static void shorten(const char *title, char to[TITLE]) {
    size_t len = strcspn(title, "\r\n");
    if (len >= TITLE)
        for (len = TITLE - 1; len && ((unsigned char)title[len] & 0xC0) == 0x80;)
            len--;
    snprintf(to, TITLE, "%.*s", (int)len, title);
}

void remember_keep(remember *r, rt_session *s, const char *title) {
    char line[TITLE], bytes[FORMAT_BYTES];
    contexts_end end;
    kv_err err = {0};
    if (!r->c)
        return;
    shorten(title, line);
    if (contexts_put(r->c, s, line, "kvrun " KV_TOOL_VERSION, &end, &err))
        cli_note(r->tool, "what was read cannot be kept for the next time: %s", err.msg);
    else if (end == CONTEXTS_LARGE)
        cli_note(r->tool, "what was read is not kept: it takes more than --context-cache allows for all, %s",
                 format_bytes((double)contexts_limit(r->c), bytes));
    else if (r->verbose && end == CONTEXTS_KEPT)
        cli_note(r->tool, "%u tokens are kept for the next time", rt_session_len(s));
}
