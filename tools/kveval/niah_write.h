/* A finished needle test and where its results go. */
#ifndef NIAH_WRITE_H
#define NIAH_WRITE_H

#include "kveval/sweep_settings.h"
#include "measure/niah.h"
#include "report/report.h"

typedef struct niah_test { /* all borrowed */
    const rt_model *m;
    niah_cfg cfg;
    const sweep_list *settings;
    const niah_result *results; /* (settings->n) */
    const char *chat;           /* name of the chat format; NULL: plain text */
    report_origin origin;
} niah_test;

/* A table for people on stdout. */
kv_status niah_print(const niah_test *t, kv_err *err);
/* Each writes one whole file, or leaves what was there; path "-": standard output. docs/evaluation.md describes the fields. */
kv_status niah_write_json(const niah_test *t, const char *path, kv_err *err);
kv_status niah_write_csv(const niah_test *t, const char *path, kv_err *err);
kv_status niah_write_html(const niah_test *t, const char *path, kv_err *err); /* niah_page.c */

#endif
