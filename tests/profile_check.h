/* Reading and writing profiles in tests, where it must not fail, and their binary part, where it may. */
#ifndef PROFILE_CHECK_H
#define PROFILE_CHECK_H

#include "profile/profile_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

static inline prof *must_parse(const char *text, size_t len) {
    prof *p;
    kv_err err = {0};
    if (prof_parse(text, len, "t.yaml", &p, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return p;
}

/* Not inlined: gcc 12 would take the pointer handed out for one to the local variable. */
__attribute__((noinline, unused)) static char *must_format(const prof *p, size_t *len) {
    char *text;
    kv_err err = {0};
    if (prof_format(p, &text, len, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return text;
}

static inline void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("no '%s' in:\n%s", part, text);
}

/* Read p (taken) with `raw` compressed as its data, and `trailing` bytes behind it, of the 8 that are an empty frame. */
static inline kv_status read_with_data(prof *p, const uint8_t *raw, size_t n, size_t trailing, kv_err *err) {
    prof *q = NULL;
    char *text;
    size_t len, room = ZSTD_compressBound(n) + trailing;
    assert_int_equal(prof_format_parts(p, false, &text, &len, NULL), KV_OK);
    uint8_t *frame = calloc(1, room);
    assert_non_null(frame);
    size_t frame_len = ZSTD_compress(frame, room, raw, n, 3);
    assert_false(ZSTD_isError(frame_len));
    memcpy(frame + frame_len, "\x50\x2a\x4d\x18\0\0\0", trailing);
    kv_status st = prof_parse_parts(&(prof_source){text, len, frame, frame_len + trailing, "t.gguf", NULL}, &q, err);
    assert_int_equal(st == KV_OK, q != NULL);
    prof_free(q);
    prof_free(p);
    free(frame);
    free(text);
    return st;
}

#endif
