/* The frame of all fuzz targets. A target is one function that takes any bytes: libFuzzer calls it with bytes that it makes up,
 * replay.c with those of files. Whatever the bytes are, it must return; what must hold of its results it asserts itself.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "base/status.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size); /* 0; the name is libFuzzer's */

#define FUZZ_MUST(what)                                                                                                        \
    do {                                                                                                                       \
        if (!(what)) {                                                                                                         \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);                                          \
            abort();                                                                                                           \
        }                                                                                                                      \
    } while (0)

/* A file of these bytes that has no name on any disk; it is there until the descriptor that is returned is closed. */
static inline int fuzz_file(const void *bytes, size_t n, char path[64]) {
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_MUST(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* A failure says why, in one line that begins with the file where it is the file's. */
static inline void fuzz_said(kv_status st, const kv_err *err, const char *path) {
    if (st == KV_OK)
        return;
    FUZZ_MUST(err->code == st && *err->msg && !strchr(err->msg, '\n'));
    FUZZ_MUST(st == KV_ENOMEM || !strncmp(err->msg, path, strlen(path)));
}

#endif
