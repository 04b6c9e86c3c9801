/* Blocks of weights: the first byte says of which type, the others are the blocks. They are expanded, and packed for products.
 */
#include "fuzz/fuzz.h"

#include "gguf/qtype.h"
#include "mat/mat_pack.h"

enum { MOST = 256 /* blocks */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const qtype_info *t = size ? qtype_get(data[0]) : NULL;
    if (!t)
        return 0;
    size_t blocks = (size - 1) / t->block_bytes;
    blocks = blocks < MOST ? blocks : MOST;
    uint8_t *src = malloc(blocks * t->block_bytes + 1); /* no byte more than it may read */
    float *out = malloc(blocks * t->block_elems * sizeof *out + 1);
    FUZZ_MUST(src && out);
    memcpy(src, data + 1, blocks * t->block_bytes);
    t->dequant(src, out, blocks * t->block_elems);
    const rt_fmt *f = rt_fmt_of(t->id);
    const size_t cols = blocks * t->block_elems;
    if (f && cols && cols % rt_fmt_block_cols(*f) == 0) {
        uint8_t *tile = aligned_alloc(64, rt_tile_bytes(*f, cols));
        FUZZ_MUST(tile);
        rt_tile_pack(t->id, src, blocks * t->block_bytes, 1, cols, tile);
        free(tile);
    }
    free(src);
    free(out);
    return 0;
}
