/* Finished questions about generated documents and where the results go. */
#ifndef FACTS_WRITE_H
#define FACTS_WRITE_H

#include "kveval/sweep_settings.h"
#include "measure/facts.h"
#include "report/report.h"

typedef struct facts_report { /* all borrowed */
    const rt_model *m;
    const facts_set *set;
    const sweep_list *settings;
    const facts_result *results; /* (settings->n) */
    size_t reference;            /* the setting that others are compared with */
    const char *chat;            /* name of the chat format; NULL: plain text */
    report_origin origin;        /* text: what filler was drawn from, or NULL */
} facts_report;

/* How questions are split up: by kind of document, by hops, by length. */
typedef struct facts_part {
    char name[32]; /* "minutes", "two hops", "6000 tokens" */
    facts_where where;
} facts_part;
enum { FACTS_PARTS = FACTS_STYLES + 2 + FACTS_MOST_LENGTHS };
/* Those that hold questions, or all of a split that do where it has more than one such part; returns how many. */
size_t facts_parts(const facts_set *s, facts_part out[FACTS_PARTS]);

/* "-1.9 (-3.5 to -0.4)" points, or without the interval. Returns buf. */
char *facts_points(paired p, bool interval, char buf[64]);

/* Whether settings disagree on a question, the how manieth of all. */
bool facts_differ(const facts_report *r, size_t question);

/* A table for people on stdout. */
kv_status facts_print(const facts_report *r, kv_err *err);
/* Each writes one whole file, or leaves what was there; path "-": standard output. docs/evaluation.md describes the fields. */
kv_status facts_write_json(const facts_report *r, const char *path, kv_err *err);
kv_status facts_write_csv(const facts_report *r, const char *path, kv_err *err);
kv_status facts_write_html(const facts_report *r, const char *path, kv_err *err); /* facts_page.c */

#endif
