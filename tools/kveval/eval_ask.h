/* What kveval niah, qa and facts share: questions asked of one cache setting or several. Options are rows for a cli_spec's
 * table. */
#ifndef EVAL_ASK_H
#define EVAL_ASK_H

#include "cli/cli_cache.h"
#include "kveval/sweep_settings.h"
#include "measure/ask.h"

typedef struct ask_options {
    const char *settings, *json, *csv, *html;
    cli_strs setting;
    cli_cache cache;
    cli_machine machine;
    bool exact, quiet;
} ask_options;

/* o: ask_options * */
#define ASK_SETTING_ROWS(o)                                                                                                    \
    {.kind = CLI_HEADING, .help = "Cache setting"}, CLI_CACHE_ROWS(&(o)->cache),                                               \
        {"--settings",                                                                                                         \
         NULL,                                                                                                                 \
         CLI_IN,                                                                                                               \
         "FILE",                                                                                                               \
         &(o)->settings,                                                                                                       \
         0,                                                                                                                    \
         0,                                                                                                                    \
         "several settings, one a line, \"name: options\", the options being those above; what a line leaves out is as given " \
         "here"},                                                                                                              \
    {                                                                                                                          \
        "--setting", NULL, CLI_STRS, "\"NAME: OPTIONS\"...", &(o)->setting, 0, 0, "one more such setting"                      \
    }

/* csv, html: what these files are */
#define ASK_OUTPUT_ROWS(o, what_csv, what_html)                                                                                \
    {.kind = CLI_HEADING, .help = "Machine and output"}, CLI_MACHINE_ROWS(&(o)->machine),                                      \
        {"--exact", NULL, CLI_FLAG, NULL, &(o)->exact, 0, 0, "f32 matrix products instead of int8 ones: slower"},              \
        {"--json",                                                                                                             \
         NULL,                                                                                                                 \
         CLI_OUT_OR_STDOUT,                                                                                                    \
         "[FILE]",                                                                                                             \
         &(o)->json,                                                                                                           \
         0,                                                                                                                    \
         0,                                                                                                                    \
         "all figures and answers as JSON; without a file on stdout, in place of the table"},                                  \
        {"--csv", NULL, CLI_OUT, "FILE", &(o)->csv, 0, 0, what_csv},                                                           \
        {"--html", NULL, CLI_OUT, "FILE", &(o)->html, 0, 0, what_html}, {                                                      \
        "--quiet", "-q", CLI_FLAG, NULL, &(o)->quiet, 0, 0, "no progress bar"                                                  \
    }

/* A model, and the settings to ask it with. */
typedef struct ask_session {
    cli_model m;
    cli_cache base; /* what a setting leaves out */
    sweep_list list;
    ask_frame frame;
} ask_session;

/* Load what the options name, and see that the output can be written. Close it, whether it was opened or not. */
kv_status ask_session_open(ask_session *s, const char *tool, const char *path, const ask_options *o, kv_err *err);
void ask_session_close(ask_session *s);

/* Say so if a context is longer than what the model was trained for. */
void ask_session_warn(const ask_session *s, const char *tool, uint32_t n_ctx);

/* Numbers between commas, which an option takes; all different and within low..high, sorted. KV_EINVAL names the option. */
kv_status ask_parse_numbers(const char *option, const char *s, double low, double high, double *out, size_t most, size_t *n,
                            kv_err *err);
/* The same of whole numbers, at most ASK_MOST_LENGTHS. */
enum { ASK_MOST_LENGTHS = 16 };
kv_status ask_parse_lengths(const char *option, const char *s, uint32_t low, uint32_t high, uint32_t out[ASK_MOST_LENGTHS],
                            size_t *n, kv_err *err);

#endif
