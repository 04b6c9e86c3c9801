/* A finished sweep and where its results go. */
#ifndef SWEEP_H
#define SWEEP_H

#include "kveval/sweep_settings.h"
#include "measure/eval_io.h"
#include "report/report.h"

typedef struct sweep { /* all borrowed */
    const rt_model *model;
    const prof *profile; /* the model's own, or NULL */
    eval_cfg cfg;
    bool exact;
    const sweep_list *settings;
    const eval_result *results; /* (settings->n) */
    report_origin origin;
} sweep;

/* A table for people on stdout. */
kv_status sweep_print(const sweep *s, kv_err *err);
/* Each writes one whole file, or leaves what was there. docs/evaluation.md describes the columns. */
kv_status sweep_write_json(const sweep *s, const char *path, kv_err *err);
kv_status sweep_write_csv(const sweep *s, const char *path, kv_err *err);
kv_status sweep_write_html(const sweep *s, const char *path, kv_err *err); /* sweep_page.c */
kv_status sweep_write_svg(const sweep *s, const char *path, kv_err *err);  /* sweep_page.c */

/* What a setting is: name, options, codecs, window, sinks, profile_hash. NULL when out of memory. */
json_t *sweep_setting_json(const sweep_setting *s);

#endif
