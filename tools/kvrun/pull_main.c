/* kvrun pull, once its options are known: finds out what is meant, has it fetched, shows how far it is, says what came of it.
 */
#include "kvrun/pull_main.h"
#include "base/clock.h"
#include "base/folder.h"
#include "base/format.h"
#include "cli/cli.h"
#include "cli/cli_json.h"
#include "cli/cli_models.h"
#include "cli/cli_near.h"
#include "gguf/gguf.h"
#include "models/pull.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const char hub[] = "https://huggingface.co";

/* What is to be fetched, and how it goes. */
typedef struct job {
    const pull_options *o;
    cli_models m;
    catalogue_entry entry; /* of the catalogue, or made up from a path or address */
    char *text;            /* what a made-up one points to */
    char *addresses;       /* of n files, CATALOGUE_ADDRESS bytes each */
    const char **urls;
    uint32_t n_urls;
    uint32_t file, files; /* which one is being fetched, from 0 */
    char target[STORE_PATH], name[FETCH_NAME];
    char label[128];
    cli_progress bar;
    bool shown;
    double began;
    uint64_t had; /* bytes of the file when it began */
} job;

/* ---- what is meant ---- */

static bool is_address(const char *s) {
    return strstr(s, "://") != NULL;
}

static const char *base_of(const pull_options *o) {
    const char *set = getenv("KV_MODEL_BASE");
    return o->from ? o->from : set && *set ? set : hub;
}

/* The page about a file, which people copy, is not the file: BASE/OWNER/NAME/blob/... and BASE/OWNER/NAME/resolve/... */
static void page_to_file(char *url, const char *base) {
    const size_t n = strlen(base);
    char *blob = !strncmp(url, base, n) ? strstr(url + n, "/blob/") : NULL;
    if (!blob)
        return;
    memmove(blob + strlen("/resolve"), blob + strlen("/blob"), strlen(blob + strlen("/blob")) + 1);
    memcpy(blob, "/resolve", strlen("/resolve"));
}

static kv_status of_address(job *j, kv_err *err) {
    if (!(j->text = malloc(strlen(j->o->what) + 16)))
        return kv_fail(err, KV_ENOMEM, "out of memory for an address");
    strcpy(j->text, j->o->what);
    page_to_file(j->text, base_of(j->o));
    kv_status st = fetch_name(j->text, j->name, err);
    char stem[STORE_NAME];
    if (st)
        return st;
    if (!j->o->out && !store_name(j->name, stem))
        return kv_fail(err, KV_EINVAL,
                       "'%.200s': a model is called NAME.gguf, or NAME-00001-of-00003.gguf; --out gives it a name", j->name);
    j->entry = (catalogue_entry){.file = j->name, .n_files = gguf_split_count(j->name)};
    return KV_OK;
}

static kv_status find_entry(job *j, kv_err *err) {
    const char *what = j->o->what;
    const catalogue_entry *e = catalogue_find(j->m.known, what);
    if (is_address(what))
        return of_address(j, err);
    if (e)
        j->entry = *e;
    else if (!(j->text = strdup(what)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a name");
    else if (!catalogue_of_path(j->text, &j->entry)) {
        const char *best = NULL;
        size_t distance = SIZE_MAX;
        for (size_t i = 0; i < catalogue_size(j->m.known); i++)
            cli_consider(what, catalogue_at(j->m.known, i)->name, &best, &distance);
        return kv_fail(err, KV_EINVAL,
                       "'%.100s' is in no catalogue%s%s%s ('kvrun list --all' says what is), and neither an address nor "
                       "OWNER/REPOSITORY/FILE.gguf",
                       what, best ? "; did you mean " : "", best ? best : "", best ? "?" : "");
    }
    snprintf(j->name, sizeof j->name, "%s", j->entry.file);
    return KV_OK;
}

/* One address for each file, or for each piece. */
static kv_status find_addresses(job *j, kv_err *err) {
    const catalogue_entry *e = &j->entry;
    j->n_urls = e->n_urls > 1 ? e->n_urls : e->n_files;
    j->urls = calloc(j->n_urls, sizeof *j->urls);
    j->addresses = malloc((size_t)j->n_urls * CATALOGUE_ADDRESS);
    if (!j->urls || !j->addresses)
        return kv_fail(err, KV_ENOMEM, "out of memory for addresses");
    const char *first = e->n_urls ? e->urls[0] : j->text;
    for (uint32_t i = 0; i < j->n_urls; i++) {
        char *out = j->addresses + (size_t)i * CATALOGUE_ADDRESS;
        kv_status st = KV_OK;
        j->urls[i] = out;
        if (e->n_urls > 1)
            j->urls[i] = e->urls[i];
        else if (e->repo)
            st = catalogue_address(e, base_of(j->o), i + 1, out, err);
        else if (j->n_urls == 1)
            j->urls[i] = first;
        else if (!pull_part_address(first, e->file, i + 1, out))
            st = kv_fail(err, KV_EINVAL, "'%.300s': the other parts cannot be found by this address", first);
        if (st)
            return st;
    }
    return KV_OK;
}

static kv_status too_long(const char *path, kv_err *err) {
    return kv_fail(err, KV_EINVAL, "%.200s: this path is too long", path);
}

static kv_status place_in_store(job *j, kv_err *err) {
    const int n = snprintf(j->target, sizeof j->target, "%s/%s", j->m.folder, j->name);
    return n < STORE_PATH - 8 ? folder_make(j->m.folder, err) : too_long(j->m.folder, err);
}

/* What --out names in the end, if it is a link; nothing but a file may be replaced. */
static kv_status place_out(job *j, kv_err *err) {
    char real[PATH_MAX];
    struct stat st;
    const char *out = j->o->out;
    if (!lstat(out, &st) && (stat(out, &st) || !S_ISREG(st.st_mode) || !(out = realpath(out, real))))
        return kv_fail(err, KV_EINVAL, "--out %.400s: is there, and no file; name another place", j->o->out);
    if (strlen(out) >= STORE_PATH - 8)
        return too_long(out, err);
    strcpy(j->target, out);
    return KV_OK;
}

static kv_status check(job *j, kv_err *err) {
    const pull_options *o = j->o;
    char stem[STORE_NAME];
    if (o->sha256 && (strlen(o->sha256) != FETCH_SUM - 1 || strspn(o->sha256, "0123456789abcdefABCDEF") != FETCH_SUM - 1))
        return kv_fail(err, KV_EINVAL, "--sha256: '%.100s' is not 64 hexadecimal digits", o->sha256);
    if (o->sha256 && j->entry.n_files > 1)
        return kv_fail(err, KV_EINVAL, "--sha256 is the sum of one file, and this model is in %u", j->entry.n_files);
    if (j->entry.n_files > CATALOGUE_SUMS)
        return kv_fail(err, KV_EINVAL, "%s: a model in more than %d files", j->name, CATALOGUE_SUMS);
    if (j->entry.n_files > 1 && !store_name(j->name, stem))
        return kv_fail(err, KV_EINVAL, "%s: name the first part of it", j->name);
    if (o->out && gguf_split_count(o->out) != j->entry.n_files)
        return kv_fail(err, KV_EINVAL, "--out %s: the model is in %u files; leave --out out, or give it such a name", o->out,
                       j->entry.n_files);
    if (o->sha256) {
        j->entry.sums = &o->sha256;
        j->entry.n_sums = 1;
    }
    return o->out ? place_out(j, err) : place_in_store(j, err);
}

/* ---- how it goes ---- */

static bool watch(void *user, uint64_t have, uint64_t total) {
    job *j = user;
    char is[FORMAT_BYTES], speed[FORMAT_BYTES];
    const double now = clock_now();
    if (!have)
        return cli_go_on(NULL, 0);
    const double share = total ? (double)have / (double)total : 0, passed = now - j->began;
    if (!j->shown) {
        j->shown = true;
        j->had = have;
        j->began = now;
        j->bar.from = ((double)j->file + share) / (double)j->files;
        return cli_go_on(NULL, 0);
    }
    char part[32] = "";
    if (j->files > 1)
        snprintf(part, sizeof part, "%u/%u: ", j->file + 1, j->files);
    snprintf(j->label, sizeof j->label, "%s%s at %s/s", part, format_bytes(total ? (double)total : (double)have, is),
             format_bytes(passed > 0 && have > j->had ? (double)(have - j->had) / passed : 0, speed));
    cli_progress_set(&j->bar, ((double)j->file + share) / (double)j->files);
    return cli_go_on(NULL, 0);
}

static void say(void *user, const char *text) {
    job *j = user;
    cli_progress_end(&j->bar);
    if (!j->o->quiet)
        cli_note(pull_tool, "%s", text);
}

static void next_file(void *user, uint32_t no, uint32_t n, const char *name) {
    job *j = user;
    j->file = no;
    j->files = n;
    j->shown = false;
    j->began = clock_now();
    if (!j->o->quiet)
        cli_note(pull_tool, "fetching %s", name);
}

/* ---- what came of it ---- */

static kv_status print_json(const job *j, const pull_result *r, bool there, kv_err *err) {
    json_t *out = json_object(), *sums = json_array();
    for (uint32_t i = 0; i < r->n_sums; i++)
        cli_json_add(&sums, cli_json_text(r->sums[i]));
    cli_json_set(&out, "file", cli_json_text(j->target));
    cli_json_set(&out, "files", json_integer(j->entry.n_files));
    cli_json_set(&out, "bytes", json_integer((json_int_t)r->bytes));
    cli_json_set(&out, "resumed", json_integer((json_int_t)r->resumed));
    cli_json_set(&out, "there_already", json_boolean(there));
    cli_json_set(&out, "sha256", sums);
    cli_json_set(&out, "checked",
                 r->checked == FETCH_UNCHECKED ? json_null()
                                               : cli_json_text(r->checked == FETCH_BY_CALLER ? "given" : "server"));
    return cli_json_print(out, JSON_INDENT(2), err);
}

static void say_sums(const pull_result *r) {
    if (r->checked == FETCH_BY_CALLER)
        cli_note(pull_tool, "the SHA-256 is right");
    else if (r->checked == FETCH_BY_SERVER)
        cli_note(pull_tool, "the SHA-256 is what the server says: %s%s", r->sums[0], r->n_sums > 1 ? ", ..." : "");
    else
        cli_note(pull_tool, "nobody has said what the SHA-256 must be, so it was not checked; it is %s%s", r->sums[0],
                 r->n_sums > 1 ? ", ..." : "");
}

static kv_status report(const job *j, const pull_result *r, bool there, kv_err *err) {
    char bytes[FORMAT_BYTES], before[FORMAT_BYTES], stem[STORE_NAME];
    const char *slash = strrchr(j->target, '/');
    if (!j->o->quiet) {
        if (there)
            cli_note(pull_tool, "%s: a model of this name is there already, %s", j->target,
                     format_bytes((double)r->bytes, bytes));
        else
            cli_note(pull_tool, "%s: %s%s%s%s", j->target, format_bytes((double)r->bytes, bytes),
                     r->resumed ? ", of which " : "", r->resumed ? format_bytes((double)r->resumed, before) : "",
                     r->resumed ? " had been fetched before" : "");
        if (r->n_sums)
            say_sums(r);
        if (j->entry.license)
            cli_note(pull_tool, "its license: %s", j->entry.license);
        if (!j->o->out && store_name(slash ? slash + 1 : j->target, stem))
            cli_note(pull_tool, "'kvrun %s' begins a chat",
                     j->entry.name && !strchr(j->entry.name, '/') ? j->entry.name : stem);
    }
    if (j->o->json)
        return print_json(j, r, there, err);
    cli_say(stdout, "%s\n", j->target);
    return KV_OK;
}

/* Whether the model is there already; then with the sums that are asked for. */
static kv_status look(job *j, const fetch_cfg *f, pull_result *r, bool *there, kv_err *err) {
    const store_row *row = NULL;
    *there = false;
    for (size_t i = 0; i < j->m.here.n && !j->o->out; i++)
        if (!j->m.here.v[i].partial && !j->m.here.v[i].missing && !strcmp(j->m.here.v[i].path, j->target))
            row = &j->m.here.v[i];
    if (!row)
        return KV_OK;
    *there = true;
    r->bytes = row->bytes;
    for (uint32_t i = 0; i < j->entry.n_sums; i++) {
        char path[STORE_PATH];
        strcpy(path, j->target);
        if (j->entry.n_files > 1)
            gguf_split_path(path, i + 1, path);
        kv_status st = fetch_sum(path, f, r->sums[i], err);
        if (st)
            return st;
        if (strcasecmp(r->sums[i], j->entry.sums[i]))
            return kv_fail(
                err, KV_EMISMATCH,
                "%.500s: is there already, with another SHA-256: %s; 'kvrun rm %.100s' removes it, then pull it again", path,
                r->sums[i], row->name);
        r->n_sums = i + 1;
        r->checked = FETCH_BY_CALLER;
    }
    return KV_OK;
}

static kv_status run(job *j, kv_err *err) {
    const pull_options *o = j->o;
    const char *ca = getenv("SSL_CERT_FILE");
    pull_result *r = calloc(1, sizeof *r);
    bool there = false;
    kv_status st = r ? cli_models_open(&j->m, err) : kv_fail(err, KV_ENOMEM, "out of memory");
    if (st || (st = fetch_init(err)) || (st = find_entry(j, err)) || (st = check(j, err)) || (st = find_addresses(j, err)))
        goto done;
    const fetch_cfg f = {.agent = "kvcalib/" KV_TOOL_VERSION,
                         .ca = ca && *ca ? ca : NULL,
                         .max = (uint64_t)o->max,
                         .retries = (unsigned)o->retries,
                         .timeout = (unsigned)o->timeout,
                         .watch = watch,
                         .say = say,
                         .user = j};
    if ((st = look(j, &f, r, &there, err)))
        goto done;
    if (!there) {
        cli_progress_start(&j->bar, j->label, o->quiet);
        snprintf(j->label, sizeof j->label, "%s", "connecting");
        st = pull_model(&(pull_cfg){.target = j->target,
                                    .urls = j->urls,
                                    .sums = j->entry.sums,
                                    .n_urls = j->n_urls,
                                    .n_sums = j->entry.n_sums,
                                    .join = j->entry.n_urls > 1,
                                    .size = j->entry.size,
                                    .fetch = f,
                                    .file = next_file},
                        r, err);
        cli_progress_end(&j->bar);
    }
    if (!st)
        st = report(j, r, there, err);
done:
    free(r);
    return st;
}

int pull_main(int argc, char **argv) {
    pull_options o;
    kv_err err = {0};
    const int code = pull_parse(&o, argc, argv);
    if (code >= 0)
        return code;
    job *j = calloc(1, sizeof *j);
    kv_status st = j ? KV_OK : kv_fail(&err, KV_ENOMEM, "out of memory");
    cli_catch_signals(CLI_SOON);
    if (!st) {
        j->o = &o;
        st = run(j, &err);
        cli_models_close(&j->m);
        free(j->text);
        free(j->addresses);
        free(j->urls);
        free(j);
    }
    return st ? cli_report(pull_tool, &err) : CLI_OK;
}
