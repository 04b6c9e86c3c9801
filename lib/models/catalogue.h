/* Models by name: catalogues, files of YAML that say what a model is called and where it is to be had.
 *
 *   version: 1
 *   models:
 *     - name: qwen2.5-coder-0.5b            # letters, digits, '.', '_' and '-'
 *       about: Qwen2.5 Coder 0.5B Instruct, Q4_K_M
 *       repo: Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF     # OWNER/NAME on a model hub
 *       file: qwen2.5-coder-0.5b-instruct-q4_k_m.gguf   # in it; of a split model the first part
 *       revision: main                      # this, if it is not said
 *       sha256: 1d96...                     # of a split model a list, one for each part; if it is known
 *       size: 491400032                     # bytes of all parts; if it is known
 *       license: apache-2.0                 # if it is known
 *     - name: my-model
 *       url: https://example.org/my-model.gguf          # in place of repo
 *     - name: in-pieces
 *       file: whole.gguf
 *       urls: [https://example.org/a, https://example.org/b]   # in place of repo: joined, these are the file
 *
 * Whatever is not understood is an error with file and line. An entry of a later catalogue stands in place of one of the same
 * name in an earlier one.
 */
#ifndef CATALOGUE_H
#define CATALOGUE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CATALOGUE_NAME = 64, CATALOGUE_SUMS = 256, CATALOGUE_ADDRESS = 2048 };

typedef struct catalogue_entry {
    const char *name, *about, *license; /* about, license: or NULL */
    const char *repo, *revision;        /* repo: or NULL, where there are addresses */
    const char *file;                   /* what it is called here; of a split model the first part */
    const char *path;                   /* in the repository: file, perhaps below folders */
    const char *const *urls;            /* n_urls; joined where there are several */
    const char *const *sums;            /* n_sums: 0, or one for each file */
    const char *from;                   /* the catalogue */
    uint64_t size;                      /* 0: not known */
    uint32_t n_urls, n_sums;
    uint32_t n_files; /* of a split model its parts, else 1 */
    uint32_t line;    /* in the catalogue */
} catalogue_entry;

typedef struct catalogue catalogue;

/* Read n files, of which those that are not there are empty. *out: caller frees with catalogue_free. KV_EFORMAT: names file and
 * line; KV_EIO, KV_ENOMEM. */
kv_status catalogue_open(const char *const *files, size_t n, catalogue **out, kv_err *err);
void catalogue_free(catalogue *c); /* NULL is fine */
size_t catalogue_size(const catalogue *c);
const catalogue_entry *catalogue_at(const catalogue *c, size_t i);           /* in the order of their names */
const catalogue_entry *catalogue_find(const catalogue *c, const char *name); /* whatever the case of letters; or NULL */

/* The address of file no (from 1) of an entry that has a repo: BASE/REPO/resolve/REVISION/PATH. KV_EINVAL: too long. */
kv_status catalogue_address(const catalogue_entry *e, const char *base, uint32_t no, char out[CATALOGUE_ADDRESS], kv_err *err);

/* An entry made of "OWNER/NAME/PATH.gguf"; out borrows from text, which is cut. False: it is not of this form. */
bool catalogue_of_path(char *text, catalogue_entry *out);

#endif
