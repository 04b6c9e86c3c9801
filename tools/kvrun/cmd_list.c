/* kvrun list, kvrun rm, and kvrun alone: models that are here. */
#include "base/format.h"
#include "cli/cli_json.h"
#include "cli/cli_models.h"
#include "cli/cli_profile.h"
#include "gguf/gguf.h"
#include "kvrun/cmd.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char list_tool[] = "kvrun list", rm_tool[] = "kvrun rm";

enum { ARCH = 64 };

/* What a file says of itself, and which profile applies. */
typedef struct facts {
    char arch[ARCH];
    const char *type; /* of its weights; or NULL */
    uint32_t ctx;
    const char *profile; /* none, packed (in the file), shipped, own (calibrated here); NULL: not known */
    char path[CLI_PROFILE_PATH];
    int64_t made; /* the profile's file, seconds since 1970; 0: there is none */
    kv_err broken;
} facts;

/* What a file calls its mixture of types (general.file_type, llama.cpp's enum llama_ftype); NULL: a number without a name. */
static const char *mixture(uint32_t type) {
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",     [2] = "Q4_0",     [3] = "Q4_1",    [7] = "Q8_0",    [8] = "Q5_0",    [9] = "Q5_1",
        [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",  [13] = "Q3_K_L", [14] = "Q4_K_S", [15] = "Q4_K_M", [16] = "Q5_K_S",
        [17] = "Q5_K_M", [18] = "Q6_K",   [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS", [23] = "IQ3_XXS",
        [24] = "IQ1_S",  [25] = "IQ4_NL", [26] = "IQ3_S",   [27] = "IQ3_M",  [28] = "IQ2_S",  [29] = "IQ2_M",  [30] = "IQ4_XS",
        [31] = "IQ1_M",  [32] = "BF16",   [36] = "TQ1_0",   [37] = "TQ2_0",  [38] = "MXFP4",
    };
    return type < sizeof names / sizeof *names ? names[type] : NULL;
}

/* The mixture, or the type that has most bytes. */
static const char *type_of(const gguf *g) {
    uint32_t file_type = UINT32_MAX;
    gguf_get_u32(g, "general.file_type", false, &file_type, NULL);
    if (mixture(file_type))
        return mixture(file_type);
    uint64_t most = 0;
    const qtype_info *best = NULL;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const qtype_info *type = gguf_tensor_at(g, i)->type;
        uint64_t bytes = 0;
        for (size_t k = 0; type != best && k < gguf_n_tensors(g); k++)
            if (gguf_tensor_at(g, k)->type == type)
                bytes += gguf_tensor_at(g, k)->nbytes;
        if (bytes > most) {
            most = bytes;
            best = type;
        }
    }
    return best ? best->name : NULL;
}

static kv_status find_profile(const gguf *g, facts *f, kv_err *err) {
    char folder[CLI_FOLDER], hash[33], own[CLI_FOLDER];
    rt_hparams hp;
    prof *p = NULL;
    struct stat st;
    if (prof_is_in_gguf(g)) {
        f->profile = "packed";
        return KV_OK;
    }
    kv_status s = cli_cache_path("hash", folder, err);
    if (s || (s = rt_hparams_read(g, &hp, err)) || (s = gguf_model_hash_kept(g, folder, hash, err)) ||
        (s = cli_shipped_profile(list_tool, hash, &hp, &p, f->path, err)))
        return s;
    f->profile = "none";
    if (p) {
        const bool has_own = !cli_data_path("profiles", own, NULL);
        f->profile = has_own && !strncmp(f->path, own, strlen(own)) ? "own" : "shipped";
        f->made = stat(f->path, &st) ? 0 : st.st_mtime;
    } else
        *f->path = '\0';
    prof_free(p);
    return KV_OK;
}

static void look_at(const store_row *row, facts *f) {
    char key[ARCH + 32];
    gguf *g = NULL;
    gguf_str arch = {0};
    *f = (facts){0};
    kv_status st = gguf_open(row->path, &g, &f->broken);
    if (st)
        return;
    if (!gguf_get_str(g, "general.architecture", false, &arch, NULL) && arch.len < ARCH) {
        memcpy(f->arch, arch.s, arch.len);
        snprintf(key, sizeof key, "%s.context_length", f->arch);
        gguf_get_u32(g, key, false, &f->ctx, NULL);
    }
    f->type = type_of(g);
    find_profile(g, f, &f->broken);
    gguf_close(g);
}

/* ---- text ---- */

static void show_profile(const facts *f) {
    char when[FORMAT_DATE];
    if (f->broken.code)
        cli_say(stdout, "      %s\n", f->broken.msg);
    else if (!strcmp(f->profile, "packed"))
        cli_say(stdout, "      profile in the file\n");
    else if (!strcmp(f->profile, "none"))
        cli_say(stdout, "      no profile; kvrun --calibrate makes one\n");
    else
        cli_say(stdout, "      profile %s, %s of %s\n", f->path, !strcmp(f->profile, "own") ? "made here" : "shipped",
                format_date(f->made, when));
}

static void show(const cli_models *m, const store_row *row) {
    char bytes[FORMAT_BYTES], when[FORMAT_DATE];
    const catalogue_entry *e = cli_models_entry(m, row);
    facts f = {0};
    cli_say(stdout, "%s%s%s%s\n", row->name, e ? " (" : "", e ? e->name : "", e ? ")" : "");
    if (row->partial) {
        cli_say(stdout, "      %s of it are here, of %s; kvrun pull goes on, kvrun rm removes them\n",
                format_bytes((double)row->bytes, bytes), format_date(row->when, when));
        return;
    }
    look_at(row, &f);
    cli_say(stdout, "      %s", format_bytes((double)row->bytes, bytes));
    if (*f.arch)
        cli_say(stdout, ", %s, %s, trained for %u tokens", f.arch, f.type ? f.type : "no weights", f.ctx);
    cli_say(stdout, ", of %s\n", format_date(row->when, when));
    show_profile(&f);
}

static bool is_here(const cli_models *m, const catalogue_entry *e) {
    for (size_t i = 0; i < m->here.n; i++)
        if (!m->here.v[i].partial && cli_models_entry(m, &m->here.v[i]) == e)
            return true;
    return false;
}

/* Those of the catalogues that are not here. Returns how many. */
static size_t show_known(const cli_models *m, bool count_only) {
    size_t n = 0;
    for (size_t i = 0; i < catalogue_size(m->known); i++) {
        const catalogue_entry *e = catalogue_at(m->known, i);
        char bytes[FORMAT_BYTES];
        if (is_here(m, e))
            continue;
        n++;
        if (!count_only)
            cli_say(stdout, "%-36s  %s%s%s\n", e->name, e->about ? e->about : e->file, e->size ? ", " : "",
                    e->size ? format_bytes((double)e->size, bytes) : "");
    }
    return n;
}

/* ---- JSON ---- */

static json_t *row_json(const cli_models *m, const store_row *row) {
    const catalogue_entry *e = cli_models_entry(m, row);
    json_t *j = json_object();
    facts f = {0};
    cli_json_set(&j, "name", cli_json_text(row->name));
    cli_json_set(&j, "catalogue", cli_json_text(e ? e->name : NULL));
    cli_json_set(&j, "file", cli_json_text(row->path));
    cli_json_set(&j, "files", json_integer(row->files));
    cli_json_set(&j, "bytes", json_integer((json_int_t)row->bytes));
    cli_json_set(&j, "changed", json_integer(row->when));
    cli_json_set(&j, "whole", json_boolean(!row->partial && !row->missing));
    if (!row->partial)
        look_at(row, &f);
    cli_json_set(&j, "arch", cli_json_text(*f.arch ? f.arch : NULL));
    cli_json_set(&j, "type", cli_json_text(f.type));
    cli_json_set(&j, "ctx", json_integer(f.ctx));
    cli_json_set(&j, "profile", cli_json_text(f.profile));
    cli_json_set(&j, "profile_file", cli_json_text(*f.path ? f.path : NULL));
    cli_json_set(&j, "profile_changed", f.made ? json_integer(f.made) : json_null());
    cli_json_set(&j, "error", cli_json_text(f.broken.code ? f.broken.msg : NULL));
    return j;
}

static json_t *known_json(const catalogue_entry *e) {
    json_t *j = json_object();
    cli_json_set(&j, "name", cli_json_text(e->name));
    cli_json_set(&j, "about", cli_json_text(e->about));
    cli_json_set(&j, "file", cli_json_text(e->file));
    cli_json_set(&j, "license", cli_json_text(e->license));
    cli_json_set(&j, "bytes", e->size ? json_integer((json_int_t)e->size) : json_null());
    return j;
}

static kv_status show_json(const cli_models *m, bool all, kv_err *err) {
    json_t *out = json_object(), *here = json_array(), *known = json_array();
    for (size_t i = 0; i < m->here.n; i++)
        cli_json_add(&here, row_json(m, &m->here.v[i]));
    for (size_t i = 0; all && i < catalogue_size(m->known); i++)
        if (!is_here(m, catalogue_at(m->known, i)))
            cli_json_add(&known, known_json(catalogue_at(m->known, i)));
    cli_json_set(&out, "folder", cli_json_text(m->folder));
    cli_json_set(&out, "models", here);
    if (all)
        cli_json_set(&out, "known", known);
    else
        json_decref(known);
    return cli_json_print(out, JSON_INDENT(2), err);
}

/* ---- list ---- */

static void show_all(const cli_models *m, bool all) {
    if (!m->here.n)
        cli_say(stdout, "no models in %s\n", m->folder);
    for (size_t i = 0; i < m->here.n; i++)
        show(m, &m->here.v[i]);
    const size_t n = show_known(m, true);
    if (all && n) {
        cli_say(stdout, "\nNot here, but known ('kvrun pull NAME' gets one):\n");
        show_known(m, false);
    } else if (n)
        cli_note(list_tool, "%zu more are known by name: kvrun list --all", n);
}

int cmd_list(int argc, char **argv) {
    bool json = false, all = false;
    const cli_opt opts[] = {
        {"--all", "-a", CLI_FLAG, NULL, &all, 0, 0, "those, too, that catalogues know and that are not here"},
        {"--json", NULL, CLI_FLAG, NULL, &json, 0, 0, "print it as JSON"},
        {0},
    };
    const int code =
        cli_parse(&(cli_spec){.tool = list_tool,
                              .usage = "[--all] [--json]",
                              .summary = "Lists models that kvrun pull has fetched, or that were put where it puts "
                                         "them: size, architecture, type of the weights, context, and the profile "
                                         "that applies.",
                              .examples = "  kvrun list\n"
                                          "  kvrun list --all\n",
                              .opts = opts},
                  argc, argv);
    kv_err err = {0};
    cli_models m;
    if (code >= 0)
        return code;
    cli_catch_signals(CLI_AT_ONCE);
    kv_status st = cli_models_open(&m, &err);
    if (!st && json)
        st = show_json(&m, all, &err);
    else if (!st)
        show_all(&m, all);
    cli_models_close(&m);
    return st ? cli_report(list_tool, &err) : CLI_OK;
}

int cmd_nothing(void) {
    kv_err err = {0};
    cli_models m;
    kv_status st = cli_models_open(&m, &err);
    if (st) {
        cli_models_close(&m);
        return cli_report("kvrun", &err);
    }
    size_t whole = 0;
    for (size_t i = 0; i < m.here.n; i++)
        whole += !m.here.v[i].partial;
    if (whole)
        cli_say(stdout, "Models that are here ('kvrun list' says more):\n");
    for (size_t i = 0; i < m.here.n; i++) {
        char bytes[FORMAT_BYTES];
        if (!m.here.v[i].partial)
            cli_say(stdout, "%-36s  %s\n", m.here.v[i].name, format_bytes((double)m.here.v[i].bytes, bytes));
    }
    if (show_known(&m, true)) {
        cli_say(stdout, "%sModels that can be fetched by name:\n", whole ? "\n" : "");
        show_known(&m, false);
    }
    if (whole)
        cli_say(stdout, "\nTo begin: kvrun %s\n", m.here.v[0].name);
    else if (catalogue_size(m.known))
        cli_say(stdout, "\nTo begin: kvrun pull %s\n", catalogue_at(m.known, 0)->name);
    else
        cli_say(stdout, "To begin: kvrun MODEL.gguf\n");
    cli_models_close(&m);
    return CLI_OK;
}

/* ---- rm ---- */

/* False: no. */
static bool confirmed(const store_row *row) {
    char answer[16], bytes[FORMAT_BYTES];
    fprintf(stderr, "%s: ", rm_tool);
    cli_say(stderr, "remove %s, %s%s? [y/N] ", row->path, format_bytes((double)row->bytes, bytes),
            row->partial ? " that were fetched of it" : "");
    return fgets(answer, sizeof answer, stdin) && (!strcmp(answer, "y\n") || !strcmp(answer, "yes\n"));
}

static kv_status remove_one(const cli_models *m, const char *word, bool yes, bool *left, kv_err *err) {
    const store_row *row;
    char bytes[FORMAT_BYTES];
    kv_status st = cli_models_find(m, word, &row, err);
    if (st)
        return st;
    if (!row)
        return kv_fail(err, KV_EIO, "there is no model '%.100s' in %s ('kvrun list' says which are)", word, m->folder);
    if (!yes && !isatty(STDIN_FILENO))
        return kv_fail(err, KV_EINVAL, "nobody can be asked whether to remove %.400s: --yes removes it", row->path);
    if (!yes && !confirmed(row)) {
        *left = true;
        return KV_OK;
    }
    if (!(st = store_remove(row, err)))
        cli_note(rm_tool, "%s is removed, %s are free", row->name, format_bytes((double)row->bytes, bytes));
    return st;
}

int cmd_rm(int argc, char **argv) {
    cli_strs names = {0};
    bool yes = false, left = false;
    const cli_opt opts[] = {{"--yes", "-y", CLI_FLAG, NULL, &yes, 0, 0, "do not ask"}, {0}};
    const cli_opt rest = {"NAME", NULL, CLI_STRS, "NAME", &names, 0, 0, NULL};
    const char *first = NULL;
    int code =
        cli_parse(&(cli_spec){.tool = rm_tool,
                              .usage = "NAME ... [--yes]",
                              .summary = "Removes models that kvrun list shows, or what was fetched of them, from the folder "
                                         "of models. Files elsewhere are never touched. At a terminal it asks.",
                              .examples = "  kvrun rm smollm2-135m\n",
                              .opts = opts,
                              .args = (const cli_arg[]){{"NAME", CLI_STR, &first}, {0}},
                              .rest = &rest,
                              .n_required = 1},
                  argc, argv);
    kv_err err = {0};
    cli_models m;
    if (code >= 0)
        return code;
    cli_catch_signals(CLI_AT_ONCE);
    kv_status st = cli_models_open(&m, &err);
    if (!st)
        st = remove_one(&m, first, yes, &left, &err);
    for (size_t i = 0; i < names.n && !st; i++)
        st = remove_one(&m, names.v[i], yes, &left, &err);
    cli_models_close(&m);
    free(names.v);
    return st ? cli_report(rm_tool, &err) : left ? CLI_FAIL : CLI_OK;
}
