/* GGUF files for the tests, written byte by byte in a small notation:
 *
 *   N:W     the number N, W bytes wide, little endian          'text'  a string: u64 length, then its bytes
 *   "text"  bytes alone                                        .N      N bytes that count up from 0
 *   |N      zeros up to a multiple of N
 */
#ifndef KV_TESTS_GGUF_TEXT_H
#define KV_TESTS_GGUF_TEXT_H

#include "gguf/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct blob {
    uint8_t bytes[4096];
    size_t len;
} blob;

static inline void append(blob *b, const void *bytes, size_t n) {
    assert_true(b->len + n <= sizeof b->bytes);
    memcpy(b->bytes + b->len, bytes, n);
    b->len += n;
}

static inline blob assemble(const char *text) {
    blob b = {.len = 0};
    char *p = (char *)text;
    while (*p) {
        char kind = *p;
        if (kind == ' ') {
            p++;
        } else if (kind == '\'' || kind == '"') {
            const char *begin = ++p;
            p = strchr(p, kind);
            assert_non_null(p);
            uint64_t n = (uint64_t)(p++ - begin);
            if (kind == '\'')
                append(&b, &n, sizeof n);
            append(&b, begin, n);
        } else if (kind == '.') {
            uint64_t n = strtoull(p + 1, &p, 0);
            for (uint64_t i = 0; i < n; i++)
                append(&b, &(uint8_t){(uint8_t)i}, 1);
        } else if (kind == '|') {
            uint64_t n = strtoull(p + 1, &p, 0);
            while (b.len % n)
                append(&b, "", 1);
        } else {
            uint64_t value = strtoull(p, &p, 0);
            assert_int_equal(*p, ':');
            append(&b, &value, strtoull(p + 1, &p, 0));
        }
    }
    return b;
}

/* Open bytes as a file, by way of a file that has no name on any disk. */
static inline kv_status open_bytes(const void *bytes, size_t len, gguf **g, kv_err *err) {
    char path[64];
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    kv_status st = gguf_open(path, g, err);
    close(fd);
    return st;
}

static inline gguf *must_open_bytes(blob b) {
    gguf *g;
    kv_err err;
    if (open_bytes(b.bytes, b.len, &g, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return g;
}

/* Magic, version and the two counts. */
#define HEAD(tensors, keys) "\"GGUF\" 3:4 " #tensors ":8 " #keys ":8 "

/* A file with a key of every type and tensors of several; alignment 64. */
static const char sample[] = HEAD(4, 22) "'general.alignment' 4:4 64:4 "
                                         "'n.u8' 0:4 200:1 "
                                         "'n.i8' 1:4 0xff:1 "
                                         "'n.u16' 2:4 60000:2 "
                                         "'n.i16' 3:4 0x8000:2 "
                                         "'n.u32' 4:4 0xffffffff:4 "
                                         "'n.i32' 5:4 0xfffffffe:4 "
                                         "'n.f32' 6:4 0x3fc00000:4 "
                                         "'n.bool' 7:4 1:1 "
                                         "'n.str' 8:4 'hello' "
                                         "'n.empty' 8:4 '' "
                                         "'n.u64' 10:4 0x100000000:8 "
                                         "'n.i64' 11:4 0xffffffffffffffff:8 "
                                         "'n.f64' 12:4 0xc004000000000000:8 "
                                         "'n.huge' 10:4 0xffffffffffffffff:8 "
                                         "'a.u8' 9:4 0:4 3:8 7:1 8:1 9:1 "
                                         "'a.i16' 9:4 3:4 2:8 1:2 0xffff:2 "
                                         "'a.f32' 9:4 6:4 2:8 0x3f800000:4 0xbf000000:4 "
                                         "'a.bool' 9:4 7:4 2:8 0:1 1:1 "
                                         "'a.str' 9:4 8:4 3:8 'one' '' 'three' "
                                         "'a.none' 9:4 8:4 0:8 "
                                         "'kvcalib.version' 4:4 1:4 "
                                         "'blk.0.attn_q.weight' 2:4 4:8 2:8 0:4 0:8 "
                                         "'blk.0.attn_k.weight' 1:4 32:8 8:4 64:8 "
                                         "'blk.0.ffn_up.weight' 3:4 3:8 1:8 2:8 1:4 128:8 "
                                         "'output_norm.weight' 1:4 256:8 12:4 192:8 "
                                         "|64 .32 |64 .34 |64 .12 |64 .144";

#endif
