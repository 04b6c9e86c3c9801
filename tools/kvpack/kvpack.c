/* kvpack: bake a profile into a model file, show the one that is in it, take it out again. */
#include "base/format.h"
#include "cli/cli.h"
#include "cli/cli_models.h"
#include "cli/cli_paths.h"
#include "cli/cli_profile.h"
#include "gguf/gguf.h"
#include "kvpack/pack_fold.h"
#include "kvpack/pack_show.h"
#include "model/fold.h"
#include "profile/profile.h"

#include <stdio.h>
#include <string.h>

static const char tool[] = "kvpack";

typedef struct options {
    const char *files[2]; /* MODEL and profile, or what to show or strip */
    const char *out;
    bool show, strip, fold, dry_run, json;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {"--out", "-o", CLI_OUT, "FILE", &o->out, 0, 0,
         "write the result here; replaces what is there, but never the input. Of a model in several files, one, or as many "
         "again "
         "where FILE is called like a part (NAME-00001-of-00003.gguf)"},
        {"--fold", NULL, CLI_FLAG, NULL, &o->fold, 0, 0,
         "also multiply rows of the weights of queries and keys by the scales that PROFILE holds (kvcalib --fold-for), so that "
         "plain caches of any program that runs the file lose less; the profile follows"},
        {"--dry-run", "-n", CLI_FLAG, NULL, &o->dry_run, 0, 0,
         "check everything and say what would be written, but write nothing"},
        {"--show", NULL, CLI_FLAG, NULL, &o->show, 0, 0,
         "show the profile in a packed model, or a profile, with MODEL also what caches cost"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "with --show: one JSON object on stdout"},
        {"--strip", NULL, CLI_FLAG, NULL, &o->strip, 0, 0,
         "write the model without its profile and without what was folded: the original, byte for byte"},
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = tool,
            .usage = "MODEL [PROFILE] --out FILE [--fold] [--dry-run]\n--show FILE [MODEL] [--json]\n--strip FILE --out FILE",
            .brief = "put a profile into a model file, show it, take it out again",
            .summary = "Put a compression profile into the metadata of a GGUF model, so that kvrun applies it "
                       "by itself. Tensors stay as they are (but for --fold), byte for byte, and other programs run the file "
                       "as they run the original. PROFILE is a file or the name of a ready-made one (balanced); "
                       "without it, the profile shipped for the model.",
            .examples = "  kvpack model.gguf profile.yaml --out packed.gguf\n"
                        "  kvpack model.gguf profile.yaml --dry-run\n"
                        "  kvpack model.gguf balanced --out packed.gguf\n"
                        "  kvpack model.gguf profile.yaml --fold --out folded.gguf\n"
                        "  kvpack --show packed.gguf\n"
                        "  kvpack --strip packed.gguf --out model.gguf\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL_OR_ELSE, &o->files[0]}, {"PROFILE", CLI_PROFILE, &o->files[1]}, {0}},
            .n_required = 1},
        argc, argv);
}

static kv_status check(const options *o, kv_err *err) {
    if (o->show && o->strip)
        return kv_fail(err, KV_EINVAL, "--show and --strip are two different things; choose one");
    if (o->strip && o->files[1])
        return kv_fail(err, KV_EINVAL, "--strip takes one file, and '%s' is a second", o->files[1]);
    if (o->show && (o->out || o->dry_run))
        return kv_fail(err, KV_EINVAL, "--show writes no file: no %s with it", o->out ? "--out" : "--dry-run");
    if (o->fold && (o->show || o->strip))
        return kv_fail(err, KV_EINVAL, "--fold goes with --out: it makes a file, %s does something else",
                       o->show ? "--show" : "--strip");
    if (o->json && !o->show)
        return kv_fail(err, KV_EINVAL, "--json goes with --show");
    if (!o->show && !o->out && !o->dry_run)
        return kv_fail(err, KV_EINVAL, "where to? Add --out FILE (or --dry-run)");
    return KV_OK;
}

static kv_status check_match(const gguf *g, const prof *p, const rt_hparams *hp, const char *where, kv_err *err) {
    char hash[33];
    kv_status st = gguf_model_hash(g, hash, err);
    return st ? st : rt_profile_fits(hp, hash, p, where, err);
}

/* The profile that a model has inside, which must be for it. */
static kv_status own_profile(const gguf *g, const rt_hparams *hp, prof **p, kv_err *err) {
    char hash[33];
    kv_status st = gguf_model_hash(g, hash, err);
    return st ? st : rt_own_profile(g, hp, hash, p, err);
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

/* Of a packed model, or of a profile, alone or with the model that it is for. */
static kv_status show(const options *o, kv_err *err) {
    const bool swapped = o->files[1] && is_gguf(o->files[0]);
    const char *first = o->files[swapped], *model = o->files[1] ? o->files[!swapped] : is_gguf(first) ? first : NULL;
    char path[CLI_PROFILE_PATH], found[CLI_FOLDER];
    gguf *g = NULL;
    prof *p = NULL;
    rt_hparams hp;
    kv_status st;
    snprintf(path, sizeof path, "%s", first);
    if (model && model == o->files[1]) { /* behind a profile: nobody has looked for it by its name */
        if ((st = cli_model_path(model, found, NULL, err)))
            return st;
        model = found;
    }
    if (model && ((st = gguf_open(model, &g, err)) || (st = rt_hparams_read(g, &hp, err))))
        goto done;
    if (model == first) {
        if ((st = own_profile(g, &hp, &p, err)))
            goto done;
        if (!p) {
            st = kv_fail(err, KV_EFORMAT, "%s: holds no profile; kvpack MODEL PROFILE --out FILE puts one in", first);
            goto done;
        }
    } else if ((st = cli_find_profile(first, &p, path, err))) {
        goto done;
    }
    if (model && model != first && (st = check_match(g, p, &hp, path, err)))
        goto done;
    st = (o->json ? pack_show_json : pack_show_text)(p, model ? &hp : NULL, path, err);
done:
    prof_free(p);
    gguf_close(g);
    return st;
}

/* ---- strip ---- */

static kv_status strip(const options *o, kv_err *err) {
    gguf *g;
    rt_hparams hp;
    kv_status st = gguf_open(o->files[0], &g, err);
    if (st)
        return st;
    const bool folded = rt_folded(g);
    if (!prof_is_in_gguf(g) && !folded)
        st = kv_fail(err, KV_EFORMAT, "%s: holds no profile, there is nothing to strip", o->files[0]);
    if (!st && folded && !(st = rt_hparams_read(g, &hp, err)))
        st = rt_fold_take_back(g, &hp, err);
    if (!st && o->dry_run)
        cli_say(stdout, "%s would be written without its profile%s\n", o->files[0],
                folded ? " and without what was folded" : "");
    else if (!st)
        st = gguf_copy(g, o->out, PROF_GGUF_PREFIX, NULL, 0, err);
    gguf_close(g);
    return st;
}

/* ---- pack ---- */

static kv_status say(const options *o, const gguf *g, const prof *p, const rt_hparams *hp, kv_err *err) {
    size_t added;
    const double bytes = (double)gguf_file_bytes(g);
    char whole[24], part[24], head[600];
    pack_token token;
    kv_status st;
    if ((st = prof_pack_bytes(p, &added, err)) || (st = pack_token_bytes(p, hp, &token, err)))
        return st;
    snprintf(head, sizeof head, "%.500s: model %s, profile %s (%.2f %% of it)%s", o->out ? o->out : "dry run",
             format_bytes(bytes, whole), format_bytes((double)added, part), 100.0 * (double)added / bytes,
             prof_is_in_gguf(g) ? ", in place of the one that was there" : "");
    if (o->dry_run)
        cli_say(stdout, "%s; an encoded token takes %.0f bytes, in f16 %.0f (%.2f times smaller); nothing written\n", head,
                token.bytes, token.f16, token.f16 / token.bytes);
    else
        cli_note(tool, "%s; an encoded token takes %.0f bytes, in f16 %.0f (%.2f times smaller)", head, token.bytes, token.f16,
                 token.f16 / token.bytes);
    return KV_OK;
}

/* The profile that was named, else the one shipped for the model. */
static kv_status get_profile(const options *o, const gguf *g, const rt_hparams *hp, prof **p, char *path, kv_err *err) {
    char hash[33];
    kv_status st;
    if (o->files[1]) {
        if ((st = cli_find_profile(o->files[1], p, path, err)))
            return st;
        return check_match(g, *p, hp, path, err);
    }
    if ((st = gguf_model_hash(g, hash, err)))
        return st;
    if ((st = cli_shipped_profile(tool, hash, hp, p, path, err)))
        return st;
    if (!*p)
        return kv_fail(err, KV_EINVAL,
                       "no profile was given, and none is shipped for this model (hash %s): make one (kvcalib %s --out "
                       "PROFILE), or name a ready-made one such as balanced (kvpack %s balanced --out FILE)",
                       hash, o->files[0], o->files[0]);
    cli_note(tool, "profile %s is for this model and applies; name another one to have that", path);
    const cli_path files[] = {{CLI_IN, "the profile shipped for this model,", path}, {CLI_OUT, "--out", o->out}};
    return cli_paths_check(files, 2, err);
}

static kv_status pack(const options *o, kv_err *err) {
    char path[CLI_PROFILE_PATH];
    gguf *g = NULL;
    prof *p = NULL;
    rt_hparams hp;
    pack_folded folded = {0};
    kv_status st;
    if ((st = gguf_open(o->files[0], &g, err)) || (st = rt_hparams_read(g, &hp, err)) ||
        (o->fold && (st = rt_fold_check(g, &hp, err))) || (st = get_profile(o, g, &hp, &p, path, err)) ||
        (o->fold && (st = pack_fold(g, &hp, p, path, &folded, err))))
        goto done;
    if (!o->dry_run && (st = prof_pack_with(g, p, folded.n_keys ? folded.keys : NULL, folded.n_keys, o->out, err)))
        goto done;
    if (o->fold)
        cli_note(tool,
                 "scales were folded into %u layers for caches of type %s: this model's keys are others now, and the profile "
                 "is for them",
                 folded.layers, folded.made_for);
    st = say(o, g, p, &hp, err);
done:
    pack_folded_free(&folded);
    prof_free(p);
    gguf_close(g);
    return st;
}

int main(int argc, char **argv) {
    options o = {0};
    kv_err err = {0};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals(CLI_AT_ONCE); /* copying a model has no point at which to ask whether to go on */
    kv_status st = check(&o, &err);
    if (!st)
        st = o.show ? show(&o, &err) : o.strip ? strip(&o, &err) : pack(&o, &err);
    return st ? cli_report(tool, &err) : CLI_OK;
}
