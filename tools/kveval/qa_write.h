/* Finished questions about a document and where the results go. */
#ifndef QA_WRITE_H
#define QA_WRITE_H

#include "kveval/sweep_settings.h"
#include "measure/qa.h"
#include "report/report.h"

typedef struct qa_report { /* all borrowed */
    const rt_model *m;
    const qa_test *test;
    const sweep_list *settings;
    const qa_result *results;   /* (settings->n) */
    const char *chat;           /* name of the chat format; NULL: plain text */
    const char *questions_path; /* the document's is in origin.text */
    report_origin origin;
} qa_report;

/* A table for people on stdout. */
kv_status qa_print(const qa_report *r, kv_err *err);
/* Each writes one whole file, or leaves what was there; path "-": standard output. docs/evaluation.md describes the fields. */
kv_status qa_write_json(const qa_report *r, const char *path, kv_err *err);
kv_status qa_write_csv(const qa_report *r, const char *path, kv_err *err);
kv_status qa_write_html(const qa_report *r, const char *path, kv_err *err);

#endif
