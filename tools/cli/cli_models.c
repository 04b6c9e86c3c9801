#include "cli/cli_models.h"

#include "base/format.h"
#include "cli/cli_near.h"
#include "cli/message.h"
#include "shipped/shipped.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MOST_LISTED = 10, LISTED = 600 };

kv_status cli_models_folder(char path[CLI_FOLDER], kv_err *err) {
    const char *own = getenv("KV_MODEL_DIR");
    if (!own || !*own)
        return cli_cache_path("models", path, err);
    const int n = snprintf(path, CLI_FOLDER, "%s", own);
    return n < CLI_FOLDER ? KV_OK : kv_fail(err, KV_EINVAL, "KV_MODEL_DIR: this path is too long");
}

static kv_status open_catalogues(catalogue **out, kv_err *err) {
    char shipped[SHIPPED_PATH], path[SHIPPED_PATH + 32], own[CLI_FOLDER];
    shipped_directory(shipped);
    snprintf(path, sizeof path, "%s/../models/catalogue.yaml", shipped);
    const bool has_own = !cli_config_path("models.yaml", own, NULL);
    return catalogue_open((const char *[]){path, own}, has_own ? 2 : 1, out, err);
}

kv_status cli_models_open(cli_models *m, kv_err *err) {
    *m = (cli_models){0};
    kv_status st = cli_models_folder(m->folder, err);
    if (!st)
        st = store_read(m->folder, &m->here, err);
    return st ? st : open_catalogues(&m->known, err);
}

void cli_models_close(cli_models *m) {
    store_free(&m->here);
    catalogue_free(m->known);
    m->known = NULL;
}

/* ---- finding one ---- */

static const char *file_of(const store_row *row) {
    const char *slash = strrchr(row->path, '/');
    return slash ? slash + 1 : row->path;
}

/* Of two entries for one file, the one that is called so. */
static const catalogue_entry *entry_of(const cli_models *m, const store_row *row, const char *begins) {
    for (size_t i = 0; i < catalogue_size(m->known); i++) {
        const catalogue_entry *e = catalogue_at(m->known, i);
        if (!strcasecmp(e->file, file_of(row)) && (!begins || !strncasecmp(e->name, begins, strlen(begins))))
            return e;
    }
    return NULL;
}

const catalogue_entry *cli_models_entry(const cli_models *m, const store_row *row) {
    return entry_of(m, row, NULL);
}

static bool is_called(const store_row *row, const char *word) {
    return !strcasecmp(row->name, word) || !strcasecmp(file_of(row), word);
}

/* One that is whole, if there is one: a part of it may be there as well. */
static const store_row *exact(const cli_models *m, const char *word) {
    const catalogue_entry *e = catalogue_find(m->known, word);
    const store_row *found = NULL;
    for (size_t i = 0; i < m->here.n; i++) {
        const store_row *row = &m->here.v[i];
        if ((is_called(row, word) || (e && !strcasecmp(e->file, file_of(row)))) && (!found || !row->partial))
            found = row;
    }
    return found;
}

/* "a, b and 3 more" */
static void list(char out[LISTED], size_t n, const char *name) {
    const size_t len = strlen(out);
    if (n < MOST_LISTED && len + strlen(name) + 3 < LISTED)
        snprintf(out + len, LISTED - len, "%s%s", n ? ", " : "", name);
    else if (n == MOST_LISTED && len + 8 < LISTED)
        strcat(out, ", ...");
}

kv_status cli_models_find(const cli_models *m, const char *word, const store_row **out, kv_err *err) {
    char names[LISTED] = "";
    size_t n = 0;
    const store_row *found = NULL;
    if ((*out = exact(m, word)) || !*word)
        return KV_OK;
    for (size_t i = 0; i < m->here.n; i++) {
        const store_row *row = &m->here.v[i];
        const bool same = found && !strcmp(found->path, row->path); /* a part beside the whole */
        if (same || (strncasecmp(row->name, word, strlen(word)) && !entry_of(m, row, word)))
            continue;
        list(names, n++, row->name);
        found = row;
    }
    if (n > 1)
        return kv_fail(err, KV_EINVAL, "'%.100s' may be any of several models: %s", word, names);
    *out = found;
    return KV_OK;
}

kv_status cli_models_unknown(const cli_models *m, const char *word, kv_err *err) {
    const catalogue_entry *e = catalogue_find(m->known, word);
    const char *best = NULL;
    size_t distance = SIZE_MAX;
    if (e)
        return kv_fail(err, KV_EIO, "the model %s is known, but not here yet: 'kvrun pull %s' gets it", e->name, e->name);
    for (size_t i = 0; i < m->here.n; i++)
        cli_consider(word, m->here.v[i].name, &best, &distance);
    const bool here = best != NULL;
    for (size_t i = 0; i < catalogue_size(m->known); i++) {
        const catalogue_entry *known = catalogue_at(m->known, i);
        const size_t was = distance;
        cli_consider(word, known->name, &best, &distance);
        if (distance < was)
            return kv_fail(err, KV_EIO, "'%.100s' is no file, and no model; did you mean %s? ('kvrun pull %s' gets it)", word,
                           known->name, known->name);
    }
    return kv_fail(err, KV_EIO,
                   "'%.100s' is no file, and no model%s%s%s ('kvrun list' says which are here, 'kvrun pull' gets others)", word,
                   here ? "; did you mean " : "", here ? best : "", here ? "?" : "");
}

void cli_models_names(FILE *to) {
    cli_models m;
    if (!cli_models_open(&m, NULL))
        for (size_t i = 0; i < m.here.n; i++) {
            const catalogue_entry *e = cli_models_entry(&m, &m.here.v[i]);
            cli_say(to, "%s\n", m.here.v[i].name);
            if (e)
                cli_say(to, "%s\n", e->name);
        }
    cli_models_close(&m);
}

/* ---- words of the command line ---- */

static bool looks_like_path(const char *word) {
    const size_t n = strlen(word);
    return strchr(word, '/') || (n > 5 && !strcasecmp(word + n - 5, ".gguf"));
}

static kv_status in_store(const cli_models *m, const char *word, char path[CLI_FOLDER], bool *found, kv_err *err) {
    const store_row *row;
    char bytes[FORMAT_BYTES];
    kv_status st = cli_models_find(m, word, &row, err);
    if (st || (!row && (found || looks_like_path(word))))
        return st;
    if (!row)
        return cli_models_unknown(m, word, err);
    if (row->partial)
        return kv_fail(err, KV_EIO, "the model %s is here only in part (%s): 'kvrun pull' again goes on", row->name,
                       format_bytes((double)row->bytes, bytes));
    snprintf(path, CLI_FOLDER, "%s", row->path);
    if (found)
        *found = true;
    return KV_OK;
}

kv_status cli_model_path(const char *word, char path[CLI_FOLDER], bool *found, kv_err *err) {
    cli_models m = {0};
    kv_status st = KV_OK;
    if (found)
        *found = false;
    if (strlen(word) >= CLI_FOLDER)
        return kv_fail(err, KV_EINVAL, "'%.100s...': this path is too long", word);
    strcpy(path, word);
    if (!access(word, F_OK) || strchr(word, '/'))
        return KV_OK;
    if (!(st = cli_models_open(&m, err)))
        st = in_store(&m, word, path, found, err);
    cli_models_close(&m);
    return st;
}
