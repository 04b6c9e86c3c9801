/* kvpack: bake a profile into a model file, show the one that is in it, take it out again. */
#include "atomic_file.h"
#include "cli.h"
#include "gguf.h"
#include "pack_show.h"
#include "profile.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char tool[] = "kvpack";

typedef struct options {
    const char *files[2]; /* MODEL and profile, or one file to show or strip */
    const char *out;
    bool show, strip, dry_run, json;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {"--out", "-o", CLI_STR, "FILE", &o->out, 0, 0, "write the result here; replaces what is there, but never the input"},
        {"--dry-run", "-n", CLI_FLAG, NULL, &o->dry_run, 0, 0,
         "check everything and say what would be written, but write nothing"},
        {"--show", NULL, CLI_FLAG, NULL, &o->show, 0, 0, "show the profile in a packed model, or a profile file"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "with --show: one JSON object on stdout"},
        {"--strip", NULL, CLI_FLAG, NULL, &o->strip, 0, 0, "write the model without its profile: the original, byte for byte"},
        {0},
    };
    return cli_parse(&(cli_spec){.tool = tool,
                                 .usage = "MODEL PROFILE --out FILE [--dry-run]\n--show FILE [--json]\n--strip FILE --out FILE",
                                 .summary =
                                     "Put a compression profile into the metadata of a GGUF model, so that kvrun applies it "
                                     "by itself. Tensors stay as they are, byte for byte, and other programs run the file as "
                                     "they run the original.",
                                 .examples = "  kvpack model.gguf profile.yaml --out packed.gguf\n"
                                             "  kvpack model.gguf profile.yaml --dry-run\n"
                                             "  kvpack --show packed.gguf\n"
                                             "  kvpack --strip packed.gguf --out model.gguf\n",
                                 .opts = opts,
                                 .positional = o->files,
                                 .n_positional = 2,
                                 .n_required = 1},
                     argc, argv);
}

static kv_status check(const options *o, kv_err *err) {
    if (o->show && o->strip)
        return kv_fail(err, KV_EINVAL, "--show and --strip are two different things; choose one");
    if ((o->show || o->strip) && o->files[1])
        return kv_fail(err, KV_EINVAL, "%s takes one file, and '%s' is a second", o->show ? "--show" : "--strip", o->files[1]);
    if (o->show && (o->out || o->dry_run))
        return kv_fail(err, KV_EINVAL, "--show writes no file: no %s with it", o->out ? "--out" : "--dry-run");
    if (o->json && !o->show)
        return kv_fail(err, KV_EINVAL, "--json goes with --show");
    if (!o->show && !o->strip && !o->files[1])
        return kv_fail(err, KV_EINVAL, "no profile: kvpack MODEL PROFILE --out FILE (or --show, --strip)");
    if (!o->show && !o->out && !o->dry_run)
        return kv_fail(err, KV_EINVAL, "where to? Add --out FILE (or --dry-run)");
    return KV_OK;
}

/* Shape of a model from its keys. Key names carry the architecture: "llama.block_count". */
static kv_status read_shape(const gguf *g, pack_shape *s, kv_err *err) {
    gguf_str arch = {0};
    uint32_t heads = 0, width = 0;
    kv_status st = gguf_get_str(g, "general.architecture", true, &arch, err);
    if (st)
        return st;
    *s = (pack_shape){0};
    const struct {
        const char *name;
        bool required;
        uint32_t *value;
    } keys[] = {{"block_count", true, &s->n_layer},
                {"attention.head_count", true, &heads},
                {"attention.head_count_kv", false, &s->n_kv_head},
                {"embedding_length", true, &width},
                {"attention.key_length", false, &s->head_dim},
                {"attention.sliding_window", false, &s->sliding_window}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[128];
        snprintf(key, sizeof key, "%.*s.%s", (int)(arch.len < 60 ? arch.len : 60), arch.s, keys[i].name);
        if ((st = gguf_get_u32(g, key, keys[i].required, keys[i].value, err)))
            return st;
    }
    if (!s->n_kv_head)
        s->n_kv_head = heads;
    if (!s->head_dim && heads)
        s->head_dim = width / heads;
    return KV_OK;
}

static kv_status check_match(const gguf *g, const prof *p, const pack_shape *s, const char *where, kv_err *err) {
    char hash[33];
    kv_status st = gguf_model_hash(g, hash, err);
    return st ? st : prof_matches(p, hash, s->n_layer, s->n_kv_head, s->head_dim, where, err);
}

static bool has_profile(const gguf *g) {
    return gguf_find(g, "kvcalib.version") || gguf_find(g, "kvcalib.profile") || gguf_find(g, "kvcalib.data");
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* ---- show ---- */

/* A GGUF file says so in its first four bytes; anything else is read as YAML. */
static bool is_gguf(const char *path) {
    char magic[4] = "";
    FILE *f = fopen(path, "rb");
    bool yes = f && fread(magic, 1, sizeof magic, f) == sizeof magic && !memcmp(magic, "GGUF", 4);
    if (f)
        fclose(f);
    return yes;
}

static kv_status show(const options *o, kv_err *err) {
    const char *path = o->files[0];
    gguf *g = NULL;
    prof *p = NULL;
    pack_shape shape;
    kv_status st;
    if (is_gguf(path)) {
        if ((st = gguf_open(path, &g, err)) || (st = prof_from_gguf(g, &p, err)))
            goto done;
        if (!p) {
            st = kv_fail(err, KV_EFORMAT, "%s: holds no profile; kvpack MODEL PROFILE --out FILE puts one in", path);
            goto done;
        }
        if ((st = read_shape(g, &shape, err)) || (st = check_match(g, p, &shape, path, err)))
            goto done;
    } else {
        if ((st = prof_load(path, &p, err)))
            goto done;
        shape = (pack_shape){.n_layer = p->n_layer, .n_kv_head = p->n_kv_head, .head_dim = p->head_dim};
    }
    st = (o->json ? pack_show_json : pack_show_text)(p, &shape, path, err);
done:
    prof_free(p);
    gguf_close(g);
    return st;
}

/* ---- strip ---- */

static kv_status strip(const options *o, kv_err *err) {
    gguf *g;
    kv_status st = gguf_open(o->files[0], &g, err);
    if (st)
        return st;
    if (!has_profile(g))
        st = kv_fail(err, KV_EFORMAT, "%s: holds no profile, there is nothing to strip", o->files[0]);
    else if (o->dry_run)
        printf("%s would be written without its profile\n", o->files[0]);
    else
        st = prof_pack(g, NULL, o->out, err);
    gguf_close(g);
    return st;
}

/* ---- pack ---- */

static kv_status say(const options *o, const gguf *g, const prof *p, const pack_shape *shape, kv_err *err) {
    size_t added;
    struct stat file;
    char whole[24], part[24], head[600];
    kv_status st = prof_pack_bytes(p, &added, err);
    if (st)
        return st;
    if (stat(o->files[0], &file))
        return kv_fail(err, KV_EIO, "%s: %s", o->files[0], strerror(errno));
    const double now = pack_token_bytes(p, shape, false), f16 = pack_token_bytes(p, shape, true);
    snprintf(head, sizeof head, "%.500s: model %s, profile %s (%.2f %% of it)%s", o->out ? o->out : "dry run",
             cli_bytes((double)file.st_size, whole), cli_bytes((double)added, part),
             100.0 * (double)added / (double)file.st_size, has_profile(g) ? ", in place of the one that was there" : "");
    if (o->dry_run)
        printf("%s; an encoded token takes %.0f bytes, in f16 %.0f (%.2f times smaller); nothing written\n", head, now, f16,
               f16 / now);
    else
        cli_note(tool, "%s; an encoded token takes %.0f bytes, in f16 %.0f (%.2f times smaller)", head, now, f16, f16 / now);
    return KV_OK;
}

static kv_status pack(const options *o, kv_err *err) {
    gguf *g = NULL;
    prof *p = NULL;
    pack_shape shape;
    kv_status st;
    if ((st = gguf_open(o->files[0], &g, err)) || (st = prof_load(o->files[1], &p, err)) || (st = read_shape(g, &shape, err)) ||
        (st = check_match(g, p, &shape, o->files[1], err)))
        goto done;
    if (o->out && (same_file(o->out, o->files[0]) || same_file(o->out, o->files[1]))) {
        st = kv_fail(err, KV_EINVAL, "--out %s is the input itself; choose another name", o->out);
        goto done;
    }
    if (!o->dry_run && (st = prof_pack(g, p, o->out, err)))
        goto done;
    st = say(o, g, p, &shape, err);
done:
    prof_free(p);
    gguf_close(g);
    return st;
}

/* Copying a model has no point at which to ask whether to go on: leave at once, without the half-written file. */
static void on_interrupt(int sig) {
    (void)sig;
    atomic_file_cleanup();
    _exit(CLI_INTERRUPTED);
}

int main(int argc, char **argv) {
    options o = {0};
    kv_err err = {0};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    kv_status st = check(&o, &err);
    if (!st)
        st = o.show ? show(&o, &err) : o.strip ? strip(&o, &err) : pack(&o, &err);
    return st ? cli_report(tool, &err) : CLI_OK;
}
