#include "base/zframe.h"

#include <stdlib.h>
#include <zstd.h>

enum { LEVEL = 19 };

kv_status zframe_make(const uint8_t *raw, size_t n, uint8_t **frame, size_t *len, kv_err *err) {
    const size_t room = ZSTD_compressBound(n);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    size_t got = 0;
    kv_status st = KV_OK;
    *frame = malloc(room);
    if (!z || !*frame) {
        st = kv_fail(err, KV_ENOMEM, "out of memory to pack %zu bytes", n);
    } else {
        ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL);
        ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
        got = ZSTD_compress2(z, *frame, room, raw, n);
        if (ZSTD_isError(got))
            st = kv_fail(err, KV_ENOMEM, "packing %zu bytes: zstd: %s", n, ZSTD_getErrorName(got));
    }
    ZSTD_freeCCtx(z);
    if (st) {
        free(*frame);
        *frame = NULL;
    }
    *len = st ? 0 : got;
    return st;
}

kv_status zframe_open(const uint8_t *frame, size_t len, uint8_t *raw, size_t n, const char *what, kv_err *err) {
    ZSTD_DCtx *z = ZSTD_createDCtx();
    if (!z)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", what);
    const size_t got = ZSTD_decompressDCtx(z, raw, n, frame, len);
    ZSTD_freeDCtx(z);
    return ZSTD_isError(got) || got != n
               ? kv_fail(err, KV_EFORMAT, "%s: does not unpack to the %zu bytes that it is to hold; it is damaged", what, n)
               : KV_OK;
}
