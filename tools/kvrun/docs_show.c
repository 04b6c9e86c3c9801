#include "kvrun/docs_show.h"

#include "base/format.h"
#include "base/printable.h"
#include "cli/cli_json.h"
#include "cli/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <utf8proc.h>

const char docs_tool[] = "kvrun docs";

enum { DATE = 32, SHOWN = PRINTABLE_GROWTH * 4096 + 1, WIDEST = 48 };

/* "2026-11-30 13:05": local time for people, UTC as ISO 8601 has it for programs. */
static const char *date(int64_t seconds, bool json, char buf[DATE]) {
    const time_t t = (time_t)seconds;
    struct tm tm;
    if (!(json ? gmtime_r(&t, &tm) : localtime_r(&t, &tm)) ||
        !strftime(buf, DATE, json ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%d %H:%M", &tm))
        snprintf(buf, DATE, "?");
    return buf;
}

/* ---- JSON ---- */

static json_t *as_json(const library_document *d, bool found) {
    char added[DATE], used[DATE];
    json_t *j = json_object();
    const struct {
        const char *key, *text;
    } texts[] = {{"name", d->name},
                 {"title", d->title},
                 {"source", d->source},
                 {"model", d->model_name},
                 {"model_hash", d->model_hash},
                 {"payload", d->payload_path},
                 {"text", d->text_path},
                 {"added", date(d->added, true, added)},
                 {"used", date(d->used, true, used)}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cli_json_set(&j, texts[i].key, cli_json_text(texts[i].text));
    cli_json_set(&j, "tokens", json_integer(d->tokens));
    cli_json_set(&j, "bytes", json_integer((json_int_t)d->bytes));
    cli_json_set(&j, "missing", json_boolean(d->missing));
    if (found) {
        cli_json_set(&j, "rank", json_real(d->rank));
        cli_json_set(&j, "snippet", cli_json_text(d->snippet));
    }
    return j;
}

static json_t *list_json(const library_list *all, bool found) {
    json_t *list = json_array();
    for (size_t i = 0; i < all->n; i++)
        cli_json_add(&list, as_json(&all->v[i], found));
    return list;
}

static kv_status print_json(const library_list *all, bool found, const library_totals *t, kv_err *err) {
    json_t *j = json_object();
    cli_json_set(&j, "documents", list_json(all, found));
    if (t) {
        cli_json_set(&j, "bytes", json_integer((json_int_t)t->bytes));
        cli_json_set(&j, "limit", t->limit ? json_integer((json_int_t)t->limit) : json_null());
    }
    return cli_json_print(j, JSON_INDENT(2), err);
}

/* ---- text ---- */

kv_status docs_flush(kv_err *err) {
    return fflush(stdout) || ferror(stdout) ? kv_fail(err, KV_EIO, "cannot write the result: %m") : KV_OK;
}

/* Columns of a terminal that a text takes. */
static int width(const char *s) {
    utf8proc_int32_t c;
    int columns = 0;
    for (utf8proc_ssize_t n; *s && (n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c)) > 0; s += n)
        columns += utf8proc_charwidth(c);
    return columns;
}

static const char *shown(const char *s, char buf[SHOWN]) {
    printable(s, strlen(s), NULL, buf, SHOWN);
    return buf;
}

static int widest(const library_list *all, bool models) {
    char buf[SHOWN];
    int most = 0;
    for (size_t i = 0; i < all->n; i++) {
        const int w = width(shown(models ? all->v[i].model_name : all->v[i].name, buf));
        most = w > most && w <= WIDEST ? w : most;
    }
    return most;
}

static void print_padded(const char *s, int columns) {
    char buf[SHOWN];
    const int w = width(shown(s, buf));
    printf("%s%*s  ", buf, columns > w ? columns - w : 0, "");
}

static void note_totals(const library_totals *t) {
    char bytes[FORMAT_BYTES], limit[FORMAT_BYTES];
    cli_note(docs_tool, "%zu document%s, %s%s%s", t->documents, t->documents == 1 ? "" : "s",
             format_bytes((double)t->bytes, bytes), t->limit ? "; limit " : "",
             t->limit ? format_bytes((double)t->limit, limit) : "");
    if (t->missing)
        cli_note(docs_tool, "the cache of %zu of them has vanished: 'docs add' reads one anew, 'docs remove' removes it",
                 t->missing);
}

kv_status docs_show_list(library *l, const library_list *all, bool json, kv_err *err) {
    const int names = widest(all, false), models = widest(all, true);
    library_totals t;
    kv_status st = library_get_totals(l, &t, err);
    if (st || json)
        return st ? st : print_json(all, false, &t, err);
    for (size_t i = 0; i < all->n; i++) {
        const library_document *d = &all->v[i];
        char bytes[FORMAT_BYTES], used[DATE];
        print_padded(d->name, names);
        print_padded(d->model_name, models);
        printf("%9u tokens  %10s  used %s%s\n", d->tokens, format_bytes((double)d->bytes, bytes), date(d->used, false, used),
               d->missing ? "  missing" : "");
    }
    note_totals(&t);
    return docs_flush(err);
}

kv_status docs_show_found(const library_list *found, const char *words, bool json, kv_err *err) {
    if (json)
        return print_json(found, true, NULL, err);
    for (size_t i = 0; i < found->n; i++) {
        const library_document *d = &found->v[i];
        cli_say(stdout, "%s%s (%s)%s\n    %s\n", i ? "\n" : "", d->name, d->model_name, d->missing ? ", missing" : "",
                d->snippet);
    }
    if (!found->n)
        cli_note(docs_tool, "no document has any word of '%s'", words);
    return docs_flush(err);
}

kv_status docs_show_facts(const library_list *found, bool json, kv_err *err) {
    if (json)
        return print_json(found, false, NULL, err);
    for (size_t i = 0; i < found->n; i++) {
        const library_document *d = &found->v[i];
        char bytes[FORMAT_BYTES], tokens[32], added[DATE], used[DATE], line[SHOWN];
        snprintf(tokens, sizeof tokens, "%u", d->tokens);
        const struct {
            const char *key, *text;
        } rows[] = {{"name", d->name},
                    {"title", d->title},
                    {"source", d->source},
                    {"model", d->model_name},
                    {"identity", d->model_hash},
                    {"tokens", tokens},
                    {"size", format_bytes((double)d->bytes, bytes)},
                    {"added", date(d->added, false, added)},
                    {"used", date(d->used, false, used)},
                    {d->missing ? "missing" : "cache", d->payload_path},
                    {"text", d->text_path}};
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            if (*rows[r].text)
                printf("%s%-8s  %s\n", i && !r ? "\n" : "", rows[r].key, shown(rows[r].text, line));
    }
    return docs_flush(err);
}

void docs_note_gone(library_list *gone) {
    for (size_t i = 0; i < gone->n; i++)
        cli_note(docs_tool, "%s (%s) went, which was not used for longest: the library has a limit", gone->v[i].name,
                 gone->v[i].model_name);
    library_list_free(gone);
}
