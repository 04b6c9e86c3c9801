/* kvrun docs: the library of documents that models have read. */
#include "base/format.h"
#include "document/document.h"
#include "kvrun/cmd.h"
#include "kvrun/docs.h"
#include "kvrun/docs_show.h"

#include <stdlib.h>
#include <string.h>

/* ---- actions that need no model ---- */

static kv_status do_list(const docs_options *o, bool *stopped, kv_err *err) {
    library *l = NULL;
    library_list all = {0};
    (void)stopped;
    kv_status st = library_open(NULL, LIBRARY_READ, &l, err);
    if (!st)
        st = library_all(l, o->by && !strcmp(o->by, "name") ? LIBRARY_BY_NAME : LIBRARY_BY_USE, &all, err);
    if (!st)
        st = docs_show_list(l, &all, o->json, err);
    library_list_free(&all);
    library_close(l);
    return st;
}

/* All words of the command line as one text. Caller frees. */
static kv_status join(const cli_strs *words, char **out, kv_err *err) {
    size_t len = 1;
    for (size_t i = 0; i < words->n; i++)
        len += strlen(words->v[i]) + 1;
    if (!(*out = calloc(1, len)))
        return kv_fail(err, KV_ENOMEM, "out of memory for the words");
    for (size_t i = 0; i < words->n; i++)
        strcat(strcat(*out, i ? " " : ""), words->v[i]);
    return KV_OK;
}

static kv_status do_search(const docs_options *o, bool *stopped, kv_err *err) {
    library *l = NULL;
    library_list found = {0};
    char *words = NULL;
    (void)stopped;
    kv_status st = join(&o->words, &words, err);
    if (!st)
        st = library_open(NULL, LIBRARY_READ, &l, err);
    if (!st)
        st = library_search(l, words, NULL, (size_t)o->most, &found, err);
    if (!st)
        st = docs_show_found(&found, words, o->json, err);
    library_list_free(&found);
    library_close(l);
    free(words);
    return st;
}

static kv_status do_show(const docs_options *o, bool *stopped, kv_err *err) {
    library *l = NULL;
    library_list found = {0};
    (void)stopped;
    kv_status st = library_open(NULL, LIBRARY_READ, &l, err);
    if (!st)
        st = library_find(l, o->words.v[0], NULL, &found, err);
    if (!st)
        st = docs_show_facts(&found, o->json, err);
    library_list_free(&found);
    library_close(l);
    return st;
}

/* By its whole name: what is found by the beginning of one is not removed by it. */
static kv_status remove_one(library *l, const char *name, bool really, kv_err *err) {
    library_list found;
    char bytes[FORMAT_BYTES];
    kv_status st = library_find(l, name, NULL, &found, err);
    if (st)
        return st;
    if (strcmp(found.v[0].name, name))
        st = kv_fail(err, KV_EINVAL, "no document is called '%s'; to remove '%s', say its whole name", name, found.v[0].name);
    for (size_t i = 0; i < found.n && really && !st; i++)
        if (!(st = library_remove(l, found.v[i].id, err)))
            cli_note(docs_tool, "removed %s (%s), %s", found.v[i].name, found.v[i].model_name,
                     format_bytes((double)found.v[i].bytes, bytes));
    library_list_free(&found);
    return st;
}

static kv_status do_remove(const docs_options *o, bool *stopped, kv_err *err) {
    library *l = NULL;
    (void)stopped;
    kv_status st = library_open(NULL, LIBRARY_WRITE, &l, err);
    for (int really = 0; really < 2; really++) /* a wrong name among them leaves all */
        for (size_t i = 0; i < o->words.n && !st; i++)
            st = remove_one(l, o->words.v[i], really, err);
    library_close(l);
    return st;
}

static kv_status do_limit(const docs_options *o, bool *stopped, kv_err *err) {
    const char *word = o->words.n ? o->words.v[0] : NULL;
    const uint64_t limit = word ? format_parse_bytes(word) : 0;
    library *l = NULL;
    library_list gone = {0};
    library_totals t;
    char bytes[FORMAT_BYTES];
    (void)stopped;
    if (word && !limit && strcmp(word, "none"))
        return kv_fail(err, KV_EINVAL, "'%s': give a size such as 20G or 500M, or none", word);
    kv_status st = library_open(NULL, word ? LIBRARY_WRITE : LIBRARY_READ, &l, err);
    if (!st && word && !(st = library_set_limit(l, limit, &gone, err)))
        docs_note_gone(&gone);
    if (!st && !(st = library_get_totals(l, &t, err))) {
        puts(t.limit ? format_bytes((double)t.limit, bytes) : "none");
        st = docs_flush(err);
    }
    library_close(l);
    return st;
}

static kv_status do_check(const docs_options *o, bool *stopped, kv_err *err) {
    library *l = NULL;
    library_totals t;
    (void)o, (void)stopped;
    kv_status st = library_open(NULL, LIBRARY_READ, &l, err);
    if (!st)
        st = library_check(l, err);
    if (!st && !(st = library_get_totals(l, &t, err))) {
        if (t.missing)
            st = kv_fail(err, KV_EIO, "%s: the caches of %zu documents have vanished ('kvrun docs list' says which)",
                         library_folder(l), t.missing);
        else
            cli_note(docs_tool, "%s is whole: %zu documents", library_folder(l), t.documents);
    }
    library_close(l);
    return st;
}

/* ---- the command line ---- */

static kv_status do_add(const docs_options *o, bool *stopped, kv_err *err) {
    (void)stopped;
    return docs_add(o, err);
}

enum { ADD = 1, ASK = 2, LIST = 4, SEARCH = 8, SHOW = 16, REMOVE = 32, LIMIT = 64, CHECK = 128 };

static const struct action {
    const char *name, *words;
    unsigned bit;
    size_t least, most;
    kv_status (*run)(const docs_options *o, bool *stopped, kv_err *err);
} actions[] = {
    {"add", "MODEL FILE...", ADD, 2, SIZE_MAX, do_add},
    {"ask", "MODEL [NAME] 'QUESTION'...", ASK, 2, SIZE_MAX, docs_ask},
    {"list", "", LIST, 0, 0, do_list},
    {"search", "WORDS", SEARCH, 1, SIZE_MAX, do_search},
    {"show", "NAME", SHOW, 1, 1, do_show},
    {"remove", "NAME...", REMOVE, 1, SIZE_MAX, do_remove},
    {"limit", "[SIZE|none]", LIMIT, 0, 1, do_limit},
    {"check", "", CHECK, 0, 0, do_check},
};
enum { ACTIONS = sizeof actions / sizeof *actions };

static const docs_options defaults = {.ctx = -1, .n = -1, .most = 10, .cache = CLI_CACHE_DEFAULT};

static int parse(docs_options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "Documents"},
        {"--name", NULL, CLI_STR, "NAME", &o->name, 0, 0, "add: what to call the document (without this option: as its file)"},
        {"--again", NULL, CLI_FLAG, NULL, &o->again, 0, 0, "add: read it even if it is there with the same text"},
        {"--as", NULL, CLI_CHOICE, DOCUMENT_KIND_NAMES, &o->as, 0, 0,
         "add: read it as this kind of document, however it is called and begins"},
        {"--about", NULL, CLI_STR, "WORDS", &o->about, 0, 0, "ask: of the document that has most to do with these words"},
        {"--by", NULL, CLI_CHOICE, "use|name", &o->by, 0, 0, "list: what was used last comes first, or by name"},
        {"--most", NULL, CLI_INT, "N", &o->most, 1, 1000, "search: so many documents at most"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "list, search, show and ask: print JSON"},
        {.kind = CLI_HEADING, .help = "Reading and answering"},
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30, "most tokens of an answer; -1: until the model is done"},
        {"--temp", NULL, CLI_REAL, "T", &o->temp, 0, 100, "temperature; 0: always the most likely token"},
        {"--seed", "-s", CLI_INT, "N", &o->seed, 0, 4294967295.0, "same seed, same answers, with a temperature"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 0, 1 << 24,
         "tokens of context; 0: as many as the model was trained for (without this option: for the document and some "
         "questions)"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {.kind = CLI_HEADING, .help = "Model and machine"},
        CLI_MACHINE_ROWS(&o->machine),
        {.kind = CLI_HEADING, .help = "Cache"},
        CLI_CACHE_ROWS(&o->cache),
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = docs_tool,
            .usage = "add MODEL FILE... | ask MODEL [NAME] 'QUESTION'... | list | search WORDS | show NAME | remove NAME... | "
                     "limit [SIZE|none] | check",
            .summary =
                "A library of documents that models have read. add reads files once and keeps what the model made of them; "
                "where there is no such file, the document of that name is read anew, by another model say. ask answers "
                "questions about one, by its name or the beginning of it, else about the one that --about or the question "
                "itself fits best. search looks for words in names and texts. remove takes whole names. limit keeps the "
                "library below a size: what was not used for longest goes. check looks at all of the database. The library "
                "is in $XDG_DATA_HOME/kvcalib/library, or else in ~/.local/share/kvcalib/library.",
            .examples = "  kvrun docs add packed.gguf manual.pdf contract.docx\n"
                        "  kvrun docs ask packed.gguf manual 'How is it reset?' 'Who made it?'\n"
                        "  kvrun docs ask packed.gguf 'When does the contract end?'\n"
                        "  kvrun docs search 'reset button'\n"
                        "  kvrun docs limit 20G\n",
            .opts = opts,
            .args = (const cli_arg[]){{"ACTION", CLI_STR, &o->action}, {0}},
            .rest = &(const cli_opt){.name = "WORD", .kind = CLI_INS, .dst = &o->words}, /* of which some are files */
            .n_required = 1},
        argc, argv);
}

static kv_status find_action(const docs_options *o, const struct action **out, kv_err *err) {
    char names[128] = "";
    for (int i = 0; i < ACTIONS; i++) {
        if (!strcmp(o->action, actions[i].name)) {
            *out = &actions[i];
            return KV_OK;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", actions[i].name);
    }
    return kv_fail(err, KV_EINVAL, "'%s' is nothing that can be done with documents; %s are", o->action, names);
}

/* Options of other actions are mistakes; those of model and cache are not looked at one by one. */
static kv_status check(const docs_options *o, const struct action *a, kv_err *err) {
    const struct {
        bool given;
        const char *name;
        unsigned of;
    } options[] = {{o->name, "--name", ADD},
                   {o->again, "--again", ADD},
                   {o->as, "--as", ADD},
                   {o->about, "--about", ASK},
                   {o->by, "--by", LIST},
                   {o->most != defaults.most, "--most", SEARCH},
                   {o->json, "--json", LIST | SEARCH | SHOW | ASK},
                   {o->n != defaults.n, "--predict", ASK},
                   {o->temp != defaults.temp, "--temp", ASK},
                   {o->seed != defaults.seed, "--seed", ASK},
                   {o->ctx != defaults.ctx, "--ctx", ADD | ASK},
                   {cli_cache_given(&o->cache), "an option of the cache", ADD | ASK}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given && !(options[i].of & a->bit))
            return kv_fail(err, KV_EINVAL, "%s has no meaning with %s", options[i].name, a->name);
    if (o->words.n < a->least || o->words.n > a->most)
        return kv_fail(err, KV_EINVAL, "usage: %s %s %s", docs_tool, a->name, a->words);
    return KV_OK;
}

int cmd_docs(int argc, char **argv) {
    docs_options o = defaults;
    const struct action *a = NULL;
    kv_err err = {0};
    bool stopped = false;
    const int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = find_action(&o, &a, &err);
    if (!st && !(st = check(&o, a, &err))) {
        cli_catch_signals(CLI_PATIENT);
        st = a->run(&o, &stopped, &err);
    }
    free(o.words.v);
    return st ? cli_report(docs_tool, &err) : stopped ? CLI_INTERRUPTED : CLI_OK;
}
