/* Getting a model whole: its files are fetched into a folder beside the place where they are to be, opened as what they are
 * meant to be, and only then moved there. A process may be killed at any moment: the same again goes on from there.
 */
#ifndef PULL_H
#define PULL_H

#include "fetch/fetch.h"
#include "models/catalogue.h"
#include "models/store.h"

typedef struct pull_cfg {
    const char *target;      /* the path of the model, of its first file where there are several */
    const char *const *urls; /* of its files in order; or of the pieces of its one file */
    const char *const *sums; /* n_sums: 0, or one for each file */
    uint32_t n_urls, n_sums;
    bool join; /* they are pieces of one file */
    char padding[7];
    uint64_t size;   /* of all files; 0: not known */
    fetch_cfg fetch; /* how; sums, sizes and beginnings in it do not count, and watch is told of one file at a time */
    void (*file)(void *user, uint32_t no, uint32_t n, const char *name); /* told before each file; or NULL */
} pull_cfg;

typedef struct pull_result {
    uint64_t bytes, resumed;
    fetch_checked checked; /* the least of all files */
    uint32_t n_sums;
    char sums[CATALOGUE_SUMS][FETCH_SUM]; /* of the files */
} pull_result;

/* The model is at cfg->target; what was there is replaced. Errors of fetch_file, of gguf_open (then nothing is kept); KV_EIO
 * where another process is at it. */
kv_status pull_model(const pull_cfg *cfg, pull_result *out, kv_err *err);

/* The address of part no of a model, by that of its first part. out: CATALOGUE_ADDRESS bytes. False: it is not called so. */
bool pull_part_address(const char *url, const char *name, uint32_t no, char *out);

#endif
