/* The folder where models are: whole ones, and those that are being fetched.
 *
 *   NAME.gguf, or NAME-00001-of-00003.gguf and so on
 *   NAME.gguf.part/     files under the names that they will have, and beside them what they are parts of (fetch/fetch.h)
 */
#ifndef STORE_MODELS_H
#define STORE_MODELS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORE_PATH = 4096, STORE_NAME = 256 };

typedef struct store_row {
    char name[STORE_NAME];   /* of the file, without .gguf and -00001-of-00003 */
    char *path;              /* of the first file; of what is not there yet, where it will be */
    uint64_t bytes;          /* of all files */
    int64_t when;            /* of the last change, seconds since 1970 */
    uint32_t files, missing; /* of a split model: files that there should be, and those that are not there */
    bool partial;            /* is being fetched, or was: bytes are what is there of it */
    char padding[7];
} store_row;

typedef struct store_list {
    store_row *v; /* by name */
    size_t n;
} store_list;

/* What is in a folder; one that is not there is empty. To be freed with store_free, in every case. KV_EIO, KV_ENOMEM. */
kv_status store_read(const char *folder, store_list *out, kv_err *err);
void store_free(store_list *l);

/* The name of a model whose (first) file is called so. out: STORE_NAME bytes. False: no name of a model, or not of the first
 * part of one. */
bool store_name(const char *file, char *out);
/* Where its parts are fetched: PATH.part. KV_EINVAL: too long. */
kv_status store_part_folder(const char *path, char out[STORE_PATH], kv_err *err);
/* Remove the files of a row, those that are being fetched as well. KV_EIO: names what cannot be removed. */
kv_status store_remove(const store_row *row, kv_err *err);

#endif
