/* GGUF files that a test writes itself: keys only, no tensors. */
#ifndef TEST_GGUF_IMAGE_H
#define TEST_GGUF_IMAGE_H

#include "gguf/gguf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct file_image {
    uint8_t *p;
    size_t n, cap;
    uint64_t n_keys;
} file_image;

static inline void put(file_image *f, const void *p, size_t n) {
    if (f->n + n > f->cap) {
        f->cap = 2 * (f->n + n);
        f->p = realloc(f->p, f->cap);
    }
    memcpy(f->p + f->n, p, n);
    f->n += n;
}

static inline void put_u32(file_image *f, uint32_t v) {
    put(f, &v, sizeof v);
}
static inline void put_u64(file_image *f, uint64_t v) {
    put(f, &v, sizeof v);
}

static inline void put_text(file_image *f, const char *s, size_t n) {
    put_u64(f, n);
    put(f, s, n);
}

static inline void put_key(file_image *f, const char *key, uint32_t type) {
    if (!f->n) { /* magic, version, no tensors, and the number of keys, which open_image fills in */
        put(f, "GGUF\3\0\0\0", 8);
        put_u64(f, 0);
        put_u64(f, 0);
    }
    f->n_keys++;
    put_text(f, key, strlen(key));
    put_u32(f, type);
}

static inline void put_str(file_image *f, const char *key, const char *value) {
    put_key(f, key, GGUF_STRING);
    put_text(f, value, strlen(value));
}

static inline void put_id(file_image *f, const char *key, uint32_t value) {
    put_key(f, key, GGUF_U32);
    put_u32(f, value);
}

static inline void put_bool(file_image *f, const char *key, bool value) {
    const uint8_t byte = value;
    put_key(f, key, GGUF_BOOL);
    put(f, &byte, 1);
}

/* The elements follow with put_text or put. */
static inline void put_array(file_image *f, const char *key, uint32_t elem, uint64_t count) {
    put_key(f, key, GGUF_ARRAY);
    put_u32(f, elem);
    put_u64(f, count);
}

/* Open the image as a file, which lives in memory and is gone with the gguf. Frees the image. */
static inline kv_status open_image(file_image *f, gguf **g, kv_err *err) {
    char path[64];
    const int fd = memfd_create("test.gguf", 0);
    kv_status st = KV_EIO;
    memcpy(f->p + 16, &f->n_keys, sizeof f->n_keys);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0 && write(fd, f->p, f->n) == (ssize_t)f->n)
        st = gguf_open(path, g, err);
    if (fd >= 0)
        close(fd);
    free(f->p);
    *f = (file_image){0};
    return st;
}

#endif
