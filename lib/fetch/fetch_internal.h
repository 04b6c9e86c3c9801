/* Shared by the files of this room. */
#ifndef FETCH_INTERNAL_H
#define FETCH_INTERNAL_H

#include "fetch/fetch.h"

/* ---- fetch_part.c: a file that grows, its sum, and FILE.from ---- */

enum { FETCH_MARK = 256, FETCH_PATH = 4096 };

struct evp_md_ctx_st;

typedef struct fetch_part {
    const char *path; /* borrowed */
    struct evp_md_ctx_st *sum;
    uint64_t have, size; /* size 0: not known */
    int fd;
    char url_sum[FETCH_SUM];
    char mark[FETCH_MARK];    /* for If-Range; "": none */
    char said_sum[FETCH_SUM]; /* by the server; "": none */
    char padding[2];
} fetch_part;

/* What is there, locked, its sum computed so far (which cfg->watch may stop); what does not belong to this address is dropped.
 * To be closed in every case. */
kv_status fetch_part_open(fetch_part *p, const char *url, const char *path, const fetch_cfg *cfg, kv_err *err);
void fetch_part_close(fetch_part *p);
/* Whether pieces of another state of the file would be noticed. */
bool fetch_part_can_go_on(const fetch_part *p, const fetch_cfg *cfg);
kv_status fetch_part_clear(fetch_part *p, kv_err *err);   /* not a byte, and no mark */
kv_status fetch_part_promise(fetch_part *p, kv_err *err); /* write FILE.from, before the first byte */
kv_status fetch_part_add(fetch_part *p, const void *data, size_t n, kv_err *err);
kv_status fetch_part_room(const fetch_part *p, kv_err *err);                  /* whether the disk has room for the rest */
kv_status fetch_part_finish(fetch_part *p, char sum[FETCH_SUM], kv_err *err); /* on the disk; its sum */

/* ---- fetch_http.c: one request ---- */

/* An address as messages show it: without user, password and what follows '?'. KV_EINVAL: not http or https. */
kv_status fetch_shown(const char *url, char shown[FETCH_PATH], char host[FETCH_NAME], kv_err *err);

typedef enum fetch_end {
    FETCH_WHOLE, /* all is there */
    FETCH_AGAIN, /* it may work the next time; err says what was wrong */
    FETCH_ANEW,  /* the same, but from the beginning */
    FETCH_FAILED /* it will not work; err */
} fetch_end;

/* Ask for what is missing of the file. wait: seconds that the server asks for before the next time, or 0. first: nothing has
 * come from this host yet, so that one that is not found is no matter of patience. */
fetch_end fetch_once(const char *url, fetch_part *p, const fetch_cfg *cfg, bool first, unsigned *wait, kv_err *err);

#endif
