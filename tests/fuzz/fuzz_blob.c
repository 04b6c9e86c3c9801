/* The binary part of a profile. The first byte says which of some profiles it belongs to, and whether the others are a zstd
 * frame as they stand or what is in one. Transforms that are read are set up, and a block goes through them.
 */
#include "fuzz/fuzz.h"

#include "codec/codec.h"
#include "profile/profile_internal.h"

#include <zstd.h>

enum { SHAPES = 4, MOST = 4096 };
static const struct { unsigned heads, dim; } shapes[SHAPES] = {{1, 4}, {2, 4}, {1, 32}, {1, 1}};

static size_t yaml(unsigned shape, char *out) {
    const unsigned heads = shapes[shape].heads, dim = shapes[shape].dim;
    return (size_t)snprintf(
        out, MOST,
        "version: 3\nmodel: {layers: 1, heads: %u, kv_heads: %u, head_dim: %u}\npolicy: {sinks: 0, window: 0}\n"
        "layers:\n- {layer: 0, k: {codec: tc, bits: 4}, v: {codec: tc, bits: 4}}\n",
        heads, heads, dim);
}

static void use(const prof_tc *tc, kv_side side) {
    kv_coder c = {0};
    float x[64 * 32], *tile;
    rt_exec e;
    kv_err err;
    FUZZ_MUST(!rt_exec_init(&e, side == KV_SIDE_K ? "scalar" : NULL, 1, false, &err));
    if (!kv_coder_init(&c, kv_codec_get(KV_TC), side, tc->dim, tc, &err)) {
        uint8_t *block = calloc(1, c.block_bytes + 8);
        void *scratch = aligned_alloc(64, (c.scratch / 64 + 1) * 64);
        tile = aligned_alloc(64, sizeof(float) * KV_BLOCK * (c.cdim + 16));
        FUZZ_MUST(block && scratch && tile);
        for (size_t i = 0; i < (size_t)KV_BLOCK * tc->dim; i++)
            x[i] = (float)((int)(i * 7 % 31) - 15) / 4;
        c.ops->encode(&c, e.k, block, 0, KV_BLOCK, x, scratch);
        c.ops->decode(&c, e.k, block, KV_BLOCK, tile);
        free(block);
        free(scratch);
        free(tile);
    } else {
        FUZZ_MUST(*err.msg);
    }
    kv_coder_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[MOST];
    kv_err err;
    prof *p;
    if (!size)
        return 0;
    const unsigned shape = data[0] % SHAPES;
    const bool packed = data[0] / SHAPES % 2;
    const size_t room = ZSTD_compressBound(size);
    uint8_t *frame = malloc(room);
    FUZZ_MUST(frame);
    size_t n = size - 1;
    if (packed)
        memcpy(frame, data + 1, n);
    else
        n = ZSTD_compress(frame, room, data + 1, n, 1);
    FUZZ_MUST(!ZSTD_isError(n));
    const size_t len = yaml(shape, text);
    const prof_source from = {text, len, frame, n, "p.gguf", NULL};
    const kv_status st = prof_parse_parts(&from, &p, &err);
    fuzz_said(st, &err, "p.gguf: "); /* no line of the text, which is right */
    for (unsigned h = 0; !st && h < shapes[shape].heads; h++) {
        use(prof_head_k(p, 0, h).tc, KV_SIDE_K);
        use(prof_head_v(p, 0, h).tc, KV_SIDE_V);
    }
    prof_free(p);
    free(frame);
    return 0;
}
