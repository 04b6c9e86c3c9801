/* Profiles inside GGUF files, as three metadata keys and no tensor: other readers pass over keys that they do not know, but
 * llama.cpp refuses a file with tensors that it does not know.
 */
#include "blob.h"
#include "profile_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "kvcalib.", KEY_VERSION[] = "kvcalib.version", KEY_TEXT[] = "kvcalib.profile",
                  KEY_DATA[] = "kvcalib.data";

kv_status prof_from_gguf(const gguf *g, prof **out, kv_err *err) {
    *out = NULL;
    if (!gguf_find(g, KEY_VERSION) && !gguf_find(g, KEY_TEXT) && !gguf_find(g, KEY_DATA))
        return KV_OK;
    uint32_t version = 0;
    gguf_str text = {0};
    const gguf_kv *data = NULL;
    kv_status st;
    if ((st = gguf_get_u32(g, KEY_VERSION, true, &version, err)) != KV_OK ||
        (st = gguf_get_str(g, KEY_TEXT, true, &text, err)) != KV_OK ||
        (st = gguf_get_array(g, KEY_DATA, GGUF_U8, false, &data, err)) != KV_OK)
        return st;
    if (version != PROF_VERSION)
        return kv_fail(err, KV_EUNSUPP,
                       "%s: %s: %u, this tool reads version %d; get the tool that packed it, or calibrate again", gguf_path(g),
                       KEY_VERSION, version, PROF_VERSION);
    char where[512];
    snprintf(where, sizeof where, "%.480s: %s", gguf_path(g), KEY_TEXT);
    return prof_parse_parts(text.s, text.len, data ? data->raw : NULL, data ? data->raw_bytes : 0, where, out, err);
}

kv_status prof_pack(const gguf *src, const prof *p, const char *path, kv_err *err) {
    if (!p)
        return gguf_copy(src, path, PREFIX, NULL, 0, err);
    char *text = NULL;
    uint8_t *frame = NULL;
    size_t text_len, frame_len;
    const uint32_t version = PROF_VERSION;
    kv_status st = prof_format_parts(p, false, &text, &text_len, err);
    if (st != KV_OK)
        goto done;
    gguf_set sets[3] = {{KEY_VERSION, GGUF_U32, &version, sizeof version}, {KEY_TEXT, GGUF_STRING, text, text_len}};
    size_t n = 2;
    if (prof_n_tc(p) > 0) {
        if ((st = prof_blob_encode(p, &frame, &frame_len, err)) != KV_OK)
            goto done;
        sets[n++] = (gguf_set){KEY_DATA, GGUF_ARRAY, frame, frame_len};
    }
    st = gguf_copy(src, path, PREFIX, sets, n, err);
done:
    free(text);
    free(frame);
    return st;
}
