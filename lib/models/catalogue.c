/* Catalogues. Entries point into the trees that libfmt made of the files, which live as long. */
#include "models/catalogue.h"

#include "base/text.h"
#include "fetch/fetch.h"
#include "gguf/gguf.h"
#include "profile/yaml_tree.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MAX_FILE = 1 << 20, MAX_ENTRIES = 10000, MAX_URLS = 1000, MAX_TEXT = 1024 };

struct catalogue {
    catalogue_entry *entries;
    yaml_tree **trees;
    void **owned;
    size_t n, n_trees, n_owned;
};

/* What is being read. */
typedef struct reader {
    catalogue *c;
    const char *where;
    kv_err *err;
} reader;

static kv_status wrong(const reader *r, const yaml_node *n, const char *what) {
    return kv_fail(r->err, KV_EFORMAT, "%.500s:%u: %s%s%s", r->where, n->line, n->key ? n->key : "", n->key ? ": " : "", what);
}

static kv_status nomem(const reader *r) {
    return kv_fail(r->err, KV_ENOMEM, "%.500s: out of memory", r->where);
}

/* Memory that goes with the catalogue. */
static void *own(catalogue *c, void *memory) {
    void **grown = memory ? realloc(c->owned, (c->n_owned + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(memory);
        return NULL;
    }
    c->owned = grown;
    return c->owned[c->n_owned++] = memory;
}

/* ---- words ---- */

static bool made_of(const char *s, const char *others) {
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr(others, *s))
            return false;
    return true;
}

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), m = strlen(end);
    return n > m && !strcasecmp(s + n - m, end);
}

static bool is_name(const char *s) {
    return isalnum((unsigned char)*s) && strlen(s) < CATALOGUE_NAME && made_of(s, "._-");
}

/* OWNER/NAME. */
static bool is_repo(const char *s) {
    const char *slash = strchr(s, '/');
    return slash && slash > s && slash[1] && isalnum((unsigned char)*s) && isalnum((unsigned char)slash[1]) &&
           strchr(slash + 1, '/') == NULL && made_of(s, "._-/");
}

/* A path in a repository: nothing in it leads out of that. */
static bool is_path(const char *s) {
    if (!made_of(s, "._+-/") || !ends_with(s, ".gguf"))
        return false;
    for (const char *at = s;; at = strchr(at, '/') + 1) {
        if (*at == '.' || *at == '/')
            return false;
        if (!strchr(at, '/'))
            return true;
    }
}

static bool is_sum(const char *s) {
    return strlen(s) == FETCH_SUM - 1 && strspn(s, "0123456789abcdefABCDEF") == FETCH_SUM - 1;
}

static bool is_revision(const char *s) {
    return isalnum((unsigned char)*s) && made_of(s, "._-");
}

static bool is_text(const char *s) {
    return *s && strlen(s) < MAX_TEXT;
}

static bool is_url(const char *s) {
    return (!strncasecmp(s, "http://", 7) || !strncasecmp(s, "https://", 8)) && strlen(s) < CATALOGUE_ADDRESS - 8;
}

/* ---- an entry ---- */

typedef struct field {
    const char *key;
    bool (*good)(const char *);
    const char *must; /* what it must be */
    size_t offset;    /* of a const char * */
} field;

#define AT(member) offsetof(catalogue_entry, member)
static const field fields[] = {
    {"name", is_name, "a name has letters, digits, '.', '_' and '-', and begins with a letter or digit", AT(name)},
    {"about", is_text, "a short text", AT(about)},
    {"license", is_text, "a short text", AT(license)},
    {"repo", is_repo, "a repository is OWNER/NAME", AT(repo)},
    {"file", is_path, "a file has letters, digits and any of ._+-, and ends with .gguf", AT(path)},
    {"revision", is_revision, "a revision has letters, digits, '.', '_' and '-'", AT(revision)},
};

static kv_status take_field(const reader *r, const yaml_node *n, catalogue_entry *e, bool *taken) {
    for (const field *f = fields; f < fields + sizeof fields / sizeof *fields; f++)
        if (!strcmp(f->key, n->key)) {
            *taken = true;
            if (n->kind != YAML_TEXT || n->binary || !f->good(n->text))
                return wrong(r, n, f->must);
            *(const char **)((char *)e + f->offset) = n->text;
        }
    return KV_OK;
}

/* One text, or a list of them. */
static kv_status take_list(const reader *r, const yaml_node *n, uint32_t max, bool (*good)(const char *), const char *must,
                           const char *const **out, uint32_t *n_out) {
    const yaml_node *first = n->kind == YAML_LIST ? n->first : n;
    const uint32_t count = n->kind == YAML_LIST ? n->count : 1;
    if (n->kind == YAML_MAP || !count || count > max)
        return wrong(r, n, must);
    const char **list = own(r->c, malloc(count * sizeof *list));
    if (!list)
        return nomem(r);
    *n_out = 0;
    for (const yaml_node *t = first; t && *n_out < count; t = t->next) {
        if (t->kind != YAML_TEXT || t->binary || !good(t->text))
            return wrong(r, t, must);
        list[(*n_out)++] = t->text;
    }
    *out = list;
    return KV_OK;
}

static kv_status take_size(const reader *r, const yaml_node *n, uint64_t *out) {
    char *end;
    errno = 0;
    const unsigned long long v = n->kind == YAML_TEXT && isdigit((unsigned char)*n->text) ? strtoull(n->text, &end, 10) : 0;
    if (!v || *end || errno || v > 1ull << 60)
        return wrong(r, n, "a size is a number of bytes");
    *out = v;
    return KV_OK;
}

static kv_status take_key(const reader *r, const yaml_node *n, catalogue_entry *e) {
    bool taken = false;
    kv_status st = take_field(r, n, e, &taken);
    if (taken)
        return st;
    if (!strcmp(n->key, "size"))
        return take_size(r, n, &e->size);
    if (!strcmp(n->key, "sha256"))
        return take_list(r, n, CATALOGUE_SUMS, is_sum, "a sum has 64 hexadecimal digits; of a split model there is a list",
                         &e->sums, &e->n_sums);
    if (!strcmp(n->key, "url") || !strcmp(n->key, "urls")) {
        if (e->n_urls)
            return wrong(r, n, "there are url and urls; one of them is enough");
        return take_list(r, n, n->key[3] ? MAX_URLS : 1, is_url, "an address begins with http:// or https://", &e->urls,
                         &e->n_urls);
    }
    return wrong(r, n, "this key is not known; those are name, about, license, repo, file, revision, url, urls, sha256, size");
}

/* What the file is called here, from the address or the path. */
static kv_status name_file(const reader *r, const yaml_node *n, catalogue_entry *e) {
    if (!e->path) {
        char *name = own(r->c, malloc(FETCH_NAME));
        kv_err why = {0};
        if (!name)
            return nomem(r);
        if (e->n_urls != 1 || fetch_name(e->urls[0], name, &why) || !ends_with(name, ".gguf"))
            return wrong(r, n, "an entry needs a file: what it is called, with .gguf at its end");
        e->path = name;
    }
    const char *slash = strrchr(e->path, '/');
    e->file = slash ? slash + 1 : e->path;
    return KV_OK;
}

static kv_status check_entry(const reader *r, const yaml_node *n, catalogue_entry *e) {
    if (!e->name)
        return wrong(r, n, "an entry needs a name");
    if ((e->repo != NULL) == (e->n_urls > 0))
        return wrong(r, n, "an entry has either a repo, with a file, or a url");
    if (e->revision && !e->repo)
        return wrong(r, n, "a revision is one of a repo");
    kv_status st = name_file(r, n, e);
    if (st)
        return st;
    if (!e->revision)
        e->revision = "main";
    const unsigned parts = gguf_split_count(e->file);
    if (parts > CATALOGUE_SUMS)
        return wrong(r, n, "a model in more than 256 files");
    if (parts > 1 && (e->n_urls > 1 || !strstr(e->file, "-00001-of-")))
        return wrong(r, n, "of a split model, file is the first part, and there is one url, which the others follow from");
    e->n_files = parts;
    if (e->n_sums && e->n_sums != e->n_files)
        return wrong(r, n, "sha256 has not as many sums as there are files");
    return KV_OK;
}

static kv_status add_entry(const reader *r, const yaml_node *n, size_t from) {
    catalogue *c = r->c;
    catalogue_entry e = {.from = r->where, .line = n->line};
    kv_status st = KV_OK;
    if (n->kind != YAML_MAP)
        return wrong(r, n, "an entry has keys: name, repo, file ...");
    for (const yaml_node *k = n->first; k && !st; k = k->next)
        st = take_key(r, k, &e);
    if (st || (st = check_entry(r, n, &e)))
        return st;
    for (size_t i = 0; i < c->n; i++)
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): check_entry saw a name */
        if (!strcasecmp(c->entries[i].name, e.name)) {
            if (i >= from || c->entries[i].from == e.from)
                return kv_fail(r->err, KV_EFORMAT, "%.500s:%u: '%s' is there already, in line %u", r->where, e.line, e.name,
                               c->entries[i].line);
            c->entries[i] = e;
            return KV_OK;
        }
    if (c->n == MAX_ENTRIES)
        return wrong(r, n, "more than 10000 models");
    catalogue_entry *grown = realloc(c->entries, (c->n + 1) * sizeof *grown);
    if (!grown)
        return nomem(r);
    c->entries = grown;
    c->entries[c->n++] = e;
    return KV_OK;
}

/* ---- a file ---- */

static kv_status read_root(const reader *r, const yaml_node *root) {
    const yaml_node *models = NULL;
    bool version = false;
    const size_t from = r->c->n;
    if (root->kind != YAML_MAP || root->next)
        return kv_fail(r->err, KV_EFORMAT, "%.500s:%u: a catalogue has the keys version and models", r->where, root->line);
    for (const yaml_node *n = root->first; n; n = n->next) {
        if (!strcmp(n->key, "version")) {
            version = n->kind == YAML_TEXT && !strcmp(n->text, "1");
            if (!version)
                return wrong(r, n, "is not 1: a later kvrun may understand it");
        } else if (!strcmp(n->key, "models"))
            models = n;
        else
            return wrong(r, n, "this key is not known; those are version and models");
    }
    if (!version)
        return wrong(r, root, "version: 1 is missing");
    if (models && models->kind != YAML_LIST && !(models->kind == YAML_TEXT && !models->len))
        return wrong(r, models, "is a list of entries");
    kv_status st = KV_OK;
    for (const yaml_node *n = models && models->kind == YAML_LIST ? models->first : NULL; n && !st; n = n->next)
        st = add_entry(r, n, from);
    return st;
}

static kv_status read_file(catalogue *c, const char *path, kv_err *err) {
    char *text, *where;
    size_t len;
    yaml_tree *tree = NULL;
    if (access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR))
        return KV_OK;
    kv_status st = text_read(path, MAX_FILE, &text, &len, err);
    if (st)
        return st == KV_ERANGE ? kv_fail(err, KV_EFORMAT, "%.500s: is larger than a catalogue may be, 1 MiB", path) : st;
    const reader r = {c, where = own(c, strdup(path)), err};
    yaml_tree **grown = where ? realloc(c->trees, (c->n_trees + 1) * sizeof *grown) : NULL;
    if (!grown)
        st = kv_fail(err, KV_ENOMEM, "%.500s: out of memory", path);
    else {
        c->trees = grown;
        st = yaml_tree_read(text, len, where, &tree, err);
    }
    if (!st) {
        c->trees[c->n_trees++] = tree;
        st = read_root(&r, yaml_tree_root(tree));
    }
    free(text);
    return st;
}

static int by_name(const void *a, const void *b) {
    return strcasecmp(((const catalogue_entry *)a)->name, ((const catalogue_entry *)b)->name);
}

kv_status catalogue_open(const char *const *files, size_t n, catalogue **out, kv_err *err) {
    catalogue *c = calloc(1, sizeof *c);
    kv_status st = c ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the catalogue");
    *out = NULL;
    for (size_t i = 0; i < n && !st; i++)
        st = read_file(c, files[i], err);
    if (st) {
        catalogue_free(c);
        return st;
    }
    if (c->n)
        qsort(c->entries, c->n, sizeof *c->entries, by_name);
    *out = c;
    return KV_OK;
}

void catalogue_free(catalogue *c) {
    if (!c)
        return;
    for (size_t i = 0; i < c->n_trees; i++)
        yaml_tree_free(c->trees[i]);
    for (size_t i = 0; i < c->n_owned; i++)
        free(c->owned[i]);
    free(c->trees);
    free(c->owned);
    free(c->entries);
    free(c);
}

size_t catalogue_size(const catalogue *c) {
    return c->n;
}

const catalogue_entry *catalogue_at(const catalogue *c, size_t i) {
    return &c->entries[i];
}

const catalogue_entry *catalogue_find(const catalogue *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (!strcasecmp(c->entries[i].name, name))
            return &c->entries[i];
    return NULL;
}

kv_status catalogue_address(const catalogue_entry *e, const char *base, uint32_t no, char out[CATALOGUE_ADDRESS], kv_err *err) {
    size_t len = strlen(base);
    while (len && base[len - 1] == '/')
        len--;
    const int n = snprintf(out, CATALOGUE_ADDRESS, "%.*s/%s/resolve/%s/%s", (int)len, base, e->repo, e->revision, e->path);
    if (n < 0 || n >= CATALOGUE_ADDRESS)
        return kv_fail(err, KV_EINVAL, "%s: its address is too long", e->repo);
    if (e->n_files > 1)
        gguf_split_path(out, no, out);
    return KV_OK;
}

bool catalogue_of_path(char *text, catalogue_entry *out) {
    char *slash = strchr(text, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    if (!second)
        return false;
    *second = '\0';
    if (!is_repo(text) || !is_path(second + 1)) {
        *second = '/';
        return false;
    }
    const char *last = strrchr(second + 1, '/');
    *out = (catalogue_entry){.name = text, .repo = text, .revision = "main", .path = second + 1, .from = "", .n_files = 1};
    out->file = last ? last + 1 : out->path;
    out->n_files = gguf_split_count(out->file);
    return true;
}
