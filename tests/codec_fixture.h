/* One coder by itself, for test_codec*.c. */
#ifndef CODEC_FIXTURE_H
#define CODEC_FIXTURE_H

#include "cache_fixture.h"

#include "codec/codec_rotate.h"
#include "profile/codec_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* A coder with its block and working memory. */
typedef struct bench {
    kv_coder c;
    uint8_t *block;
    void *work;
    float *tile;
    const rt_kernels *k;
} bench;

static inline bench open_coder(kv_codec_id id, kv_side side, uint32_t dim, const prof_tc *tc) {
    bench b = {.k = rt_kernels_for(rt_cpu_detect())};
    assert_int_equal(kv_coder_init(&b.c, kv_codec_get(id), side, dim, tc, NULL), KV_OK);
    assert_int_equal(b.c.block_bytes % 8, 0);
    b.block = calloc(1, b.c.block_bytes);
    b.work = malloc(b.c.scratch + 1);
    b.tile = malloc((size_t)b.c.cdim * KV_BLOCK * sizeof(float) + 1);
    return b;
}

static inline void close_coder(bench *b) {
    free(b->block);
    free(b->work);
    free(b->tile);
    kv_coder_free(&b->c);
}

/* Slot t of a block whose first n slots are filled. */
static inline void bench_read(const bench *b, uint32_t t, uint32_t n, float *x) {
    read_slot(&b->c, b->k, b->block, t, n, b->tile, x);
}

#endif
