/* kvrun read: a document, once, into a .kv file. */
#include "base/format.h"
#include "kvrun/cmd.h"
#include "kvrun/reading.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kvrun read";

typedef struct options {
    const char *model, *document, *out, *as, *title;
    int64_t ctx;
    bool append, pack, quiet;
    cli_cache cache;
    cli_machine machine;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {"--out", "-o", CLI_OUT, "FILE", &o->out, 0, 0, "the .kv file (without this option: the document's name with .kv)"},
        {"--append", NULL, CLI_FLAG, NULL, &o->append, 0, 0,
         "put the document behind what --out already holds, without reading that again"},
        {"--pack", NULL, CLI_FLAG, NULL, &o->pack, 0, 0,
         "write a smaller file, for keeping and sending; it is unpacked when it is asked"},
        {"--as", NULL, CLI_CHOICE, DOCUMENT_KIND_NAMES, &o->as, 0, 0,
         "read it as this kind of document, however it is called and begins"},
        {"--title", NULL, CLI_STR, "TEXT", &o->title, 0, 0, "what to call it (without this option: as the document does)"},
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
        &(cli_spec){.tool = tool,
                    .usage = "MODEL DOCUMENT [--out FILE] [options]",
                    .summary =
                        "Reads a document once and keeps what the model made of it, its compressed KV cache, in a .kv "
                        "file, from which kvrun ask answers questions at once. Reading that was interrupted goes on where "
                        "it was. - is standard input.",
                    .examples = "  kvrun read packed.gguf manual.pdf --out manual.kv\n"
                                "  kvrun ask packed.gguf manual.kv 'How is it reset?'\n"
                                "  kvrun read packed.gguf appendix.txt --out manual.kv --append\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {"DOCUMENT", CLI_IN, &o->document}, {0}},
                    .n_required = 2},
        argc, argv);
}

/* "manual.txt" -> "manual.kv", in the folder that one is in. */
static char *default_out(const char *path) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    const size_t len = dot && dot > (slash ? slash + 1 : path) ? (size_t)(dot - path) : strlen(path);
    char *out = malloc(len + 4);
    if (out)
        snprintf(out, len + 4, "%.*s.kv", (int)len, path);
    return out;
}

static kv_status read_it(const options *o, const char *out, const char *partial, engine *e, reading_result *r, kv_err *err) {
    document d;
    kv_status st = document_read(o->document, o->as, NULL, NULL, &d, err);
    if (st)
        return st;
    const reading how = {.e = e, .ctx = o->ctx, .partial = partial, .quiet = o->quiet};
    if (!d.len)
        st = kv_fail(err, KV_EINVAL, "%s: there is no text in it", o->document);
    else if (o->append)
        st = reading_append(&how, &d, out, out, o->pack, r, err);
    else
        st = reading_to_file(&how, &d, o->title, out, o->pack, r, err);
    document_free(&d);
    return st;
}

int cmd_read(int argc, char **argv) {
    options o = {.ctx = -1, .cache = CLI_CACHE_DEFAULT};
    kv_err err = {0};
    engine e = {0};
    reading_result r = {0};
    char *out = NULL, *partial = NULL, bytes[FORMAT_BYTES], f16[FORMAT_BYTES];
    const int code = parse(&o, argc, argv);
    kv_status st = KV_OK;
    if (code >= 0)
        return code;
    if (!o.out && !strcmp(o.document, "-"))
        st = kv_fail(&err, KV_EINVAL, "a document from standard input has no name: say --out FILE");
    else if (o.append && o.title)
        st = kv_fail(&err, KV_EINVAL, "--append keeps the title that the file has: leave --title out");
    else if (!(out = o.out ? strdup(o.out) : default_out(o.document)) || asprintf(&partial, "%s.partial", out) < 0)
        st = kv_fail(&err, KV_ENOMEM, "out of memory");
    if (st)
        goto done;
    cli_catch_signals(CLI_PATIENT);
    if ((st = engine_open(&(engine_cfg){tool, o.model, &o.cache, &o.machine, NULL, true}, &e, &err)) ||
        (st = read_it(&o, out, partial, &e, &r, &err)))
        goto done;
    cli_note(tool, "%s: %u tokens in %.1f s, %s (f16: %s, %.1fx)", out, r.tokens, r.seconds,
             format_bytes((double)r.bytes, bytes), format_bytes((double)r.bytes_f16, f16),
             (double)r.bytes_f16 / (double)r.bytes);
done:
    engine_close(&e);
    free(out);
    free(partial);
    return st ? cli_report(tool, &err) : CLI_OK;
}
