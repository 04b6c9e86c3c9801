/* A model that has no profile yet: what one would gain, and making it. */
#include "base/format.h"
#include "calibrate/calibrate.h"
#include "cli/cli_folder.h"
#include "kvrun/engine.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WINDOW = 128, SINKS = 4 };

void engine_say_gain(const engine *e, gen *g) {
    const kv_cache_info info = kv_cache_get_info(rt_ctx_cache(gen_ctx(g)));
    char now[FORMAT_BYTES], then[FORMAT_BYTES];
    cli_note(
        e->cfg.tool,
        "there is no profile for this model: with one, its cache would take some %s instead of %s; --calibrate makes it, once, "
        "in some minutes",
        format_bytes((double)info.bytes_f16 * CALIBRATE_BITS / 16, then), format_bytes((double)info.bytes, now));
}

/* "qwen2.5-coder-0.5b-8f2c31d0.yaml": what the model is called, as far as a file can be, and the beginning of its hash. */
static void name_of(const rt_model *m, char out[96]) {
    const char *from = rt_model_hparams(m)->name;
    size_t n = 0;
    for (; *from && n < 64; from++)
        if (isalnum((unsigned char)*from) || *from == '.')
            out[n++] = (char)tolower((unsigned char)*from);
        else if (n && out[n - 1] != '-')
            out[n++] = '-';
    snprintf(out + n, 96 - n, "%s%.8s.yaml", n && out[n - 1] != '-' ? "-" : "", rt_model_hash(m));
}

kv_status engine_calibrate(engine *e, kv_err *err) {
    const calibrate_cfg cfg = {.window = WINDOW, .sinks = SINKS, .frame = CALIBRATE_FRAME, .evict = PROF_EVICT_DEFAULT};
    const calibrate_aim aim = {.bits = CALIBRATE_BITS, .measure = true};
    char folder[CLI_FOLDER], name[96];
    prof *p = NULL;
    cli_progress bar;
    if (e->profile) {
        cli_note(e->cfg.tool, "a profile applies to this model already: there is nothing to calibrate");
        return KV_OK;
    }
    kv_status st = cli_data_folder("profiles/models", folder, err);
    if (st)
        return st;
    cli_progress_start(&bar, "calibrating", false);
    st = calibrate_run(e->model, &cfg, &aim, (calibrate_progress){cli_progress_show, &bar}, &p, NULL, err);
    cli_progress_end(&bar);
    if (st)
        return st;
    name_of(e->model, name);
    const int n = snprintf(e->shipped, sizeof e->shipped, "%s/%s", folder, name);
    st = n > 0 && (size_t)n < sizeof e->shipped ? prof_save(p, e->shipped, err)
                                                : kv_fail(err, KV_EINVAL, "%s: this path is too long", folder);
    if (st) {
        prof_free(p);
        *e->shipped = '\0';
        return st;
    }
    e->profile = p;
    return KV_OK;
}
