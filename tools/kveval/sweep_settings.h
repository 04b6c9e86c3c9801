/* A list of cache settings, each a name and options: "q4, window 128: -ctk q4_0 -ctv q4_0 --window 128 --sinks 4". */
#ifndef SWEEP_SETTINGS_H
#define SWEEP_SETTINGS_H

#include "cli/cli_cache.h"
#include "cli/cli_paths.h"
#include "eval/eval.h"

enum { SWEEP_MOST = 256, SWEEP_NAME = 80, SWEEP_MIXED = -1 };

typedef struct sweep_setting {
    char *name, *options;  /* as written */
    char *words;           /* options, cut; cache.profile points into it */
    cli_cache cache;       /* as parsed */
    prof *own;             /* what --profile names, or NULL */
    char profile_hash[33]; /* XXH3-128 of what prof_format makes of the profile that applies; empty without one */
    bool unnamed;          /* gets its name from sweep_resolve */
    rt_ctx_cfg cfg;        /* complete after sweep_resolve; cfg.profile: own, or the model's, or NULL */
} sweep_setting;

typedef struct sweep_list {
    sweep_setting *v;
    size_t n;
    const cli_cache *base; /* what a line's options leave out; borrowed. NULL: CLI_CACHE_DEFAULT */
} sweep_list;              /* starts as {0} or with a base; free with sweep_free */

/* Add the setting of one line. where: begins error messages. KV_EINVAL: not "name: options", a name given twice, or options
 * that are not cache options. */
kv_status sweep_add(sweep_list *l, const char *where, const char *line, kv_err *err);
/* The settings of a file, one a line; empty lines and those that begin with '#' do not count. Errors name file and line. */
kv_status sweep_add_file(sweep_list *l, const char *path, kv_err *err);
/* Those of a file (or NULL), then the lines of --setting. */
kv_status sweep_add_all(sweep_list *l, const char *path, const cli_strs *lines, kv_err *err);
/* Likewise; where there are none, the base alone. sweep_resolve names it by what it comes to: "q4_0, window 64". */
kv_status sweep_add_given(sweep_list *l, const char *path, const cli_strs *lines, kv_err *err);
/* The model's own profile, if it has one, as it was made; every uncalibrated codec but `baseline` that suits heads of this
 * width, for keys and values alike, without window and with four sinks; and the profile without window, to compare with those.
 */
kv_status sweep_add_default(sweep_list *l, uint32_t head_dim, const prof *models_own, int baseline, kv_err *err);
/* Before any work: load the profiles that settings name; none of them is one of the outputs. Errors of cli_paths_check and
 * cli_find_profile. */
kv_status sweep_load_profiles(sweep_list *l, const cli_path *outs, size_t n, kv_err *err);
/* Load the profiles that are not loaded yet, and check that they fit the model. models_own: of the model or NULL; borrowed. */
kv_status sweep_resolve(sweep_list *l, const rt_model *m, const prof *models_own, kv_err *err);
/* The first setting of a resolved list whose cache is f16 and keeps all tokens. Where there is none, one is put in front of the
 * others and *added is set. */
kv_status sweep_reference(sweep_list *l, const rt_model *m, size_t *index, bool *added, kv_err *err);
/* What eval_run and niah_run take: (n), names borrowed, the array to be freed. */
kv_status sweep_to_eval(const sweep_list *l, eval_setting **out, kv_err *err);
void sweep_free(sweep_list *l);

/* What a resolved setting comes to: codec of the keys (or values), or SWEEP_MIXED where layers differ; tokens in f16. */
int sweep_codec(const sweep_setting *s, bool values);
uint32_t sweep_window(const sweep_setting *s);
uint32_t sweep_sinks(const sweep_setting *s);
/* The window that the calibrated profile was made for, where the setting has a narrower one: then it loses many times what the
 * profile is worth. 0: it is not so. */
uint32_t sweep_made_for(const sweep_setting *s);
/* Window and sinks as pages show them: "128, 4", or "0 (made for 128), 4". buf: 64 bytes; returns it. */
char *sweep_kept(const sweep_setting *s, char buf[64]);
/* What a table says at the end of a setting's row: of a narrow window; or nothing. */
const char *sweep_remark(const sweep_setting *s, char buf[64]);
/* "q4_0", "q8_0 / q4_0" (keys / values), "mixed". buf: 48 bytes; returns it. */
char *sweep_codec_names(const sweep_setting *s, char buf[48]);

#endif
