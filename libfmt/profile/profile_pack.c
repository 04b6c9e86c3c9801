/* Profiles inside GGUF files, as three metadata keys and no tensor: other readers pass over keys that they do not know, but
 * llama.cpp refuses a file with tensors that it does not know.
 */
#include "profile/blob.h"
#include "profile/profile_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = PROF_GGUF_PREFIX, KEPT[] = "kvcalib.fold.", KEY_VERSION[] = "kvcalib.version",
                  KEY_TEXT[] = "kvcalib.profile", KEY_DATA[] = "kvcalib.data";

bool prof_is_in_gguf(const gguf *g) {
    return gguf_find(g, KEY_VERSION) || gguf_find(g, KEY_TEXT) || gguf_find(g, KEY_DATA);
}

kv_status prof_from_gguf(const gguf *g, const prof_model *model, prof **out, kv_err *err) {
    *out = NULL;
    if (!prof_is_in_gguf(g))
        return KV_OK;
    uint32_t version = 0;
    gguf_str text = {0};
    const gguf_kv *data = NULL;
    kv_status st;
    if ((st = gguf_get_u32(g, KEY_VERSION, true, &version, err)) != KV_OK ||
        (st = gguf_get_str(g, KEY_TEXT, true, &text, err)) != KV_OK ||
        (st = gguf_get_array(g, KEY_DATA, GGUF_U8, false, &data, err)) != KV_OK)
        return st;
    if (version < 1 || version > PROF_VERSION)
        return kv_fail(err, KV_EUNSUPP,
                       "%s: %s: %u, this tool reads versions 1 to %d; get the tool that packed it, or calibrate again",
                       gguf_path(g), KEY_VERSION, version, PROF_VERSION);
    char where[512];
    snprintf(where, sizeof where, "%.480s: %s", gguf_path(g), KEY_TEXT);
    const prof_source from = {text.s, text.len, data ? data->raw : NULL, data ? data->raw_bytes : 0, where, model};
    return prof_parse_parts(&from, out, err);
}

/* What a profile looks like inside a GGUF. */
typedef struct packed {
    uint32_t version;
    char *text;
    uint8_t *frame; /* NULL where there is no calibrated data */
    size_t text_len, frame_len;
} packed;

static void packed_free(packed *k) {
    free(k->text);
    free(k->frame);
}

/* The binary parts of p and those for narrower windows, one frame after the other. */
static kv_status pack_frames(const prof *p, packed *k, kv_err *err) {
    kv_status st = KV_OK;
    for (; p && prof_has_data(p) && st == KV_OK; p = p->narrower) {
        uint8_t *frame = NULL;
        size_t len;
        if ((st = prof_blob_encode(p, &frame, &len, err)) != KV_OK)
            break;
        uint8_t *all = realloc(k->frame, k->frame_len + len);
        if (all) {
            memcpy(all + k->frame_len, frame, len);
            k->frame = all;
            k->frame_len += len;
        } else {
            st = kv_fail(err, KV_ENOMEM, "profile: out of memory");
        }
        free(frame);
    }
    return st;
}

static kv_status packed_make(const prof *p, packed *k, kv_err *err) {
    *k = (packed){.version = prof_version(p)};
    kv_status st = prof_format_parts(p, false, &k->text, &k->text_len, err);
    return st == KV_OK ? pack_frames(p, k, err) : st;
}

enum { MOST_KEPT = 8, KEY_BYTES = 64 };

/* Keys that stay as they are, whatever profile there is. */
typedef struct kept {
    char names[MOST_KEPT][KEY_BYTES];
    gguf_set sets[3 + MOST_KEPT]; /* behind those of a profile */
    size_t n;
} kept;

static kv_status keep(const gguf *src, kept *k, kv_err *err) {
    for (size_t i = 0; i < gguf_n_kv(src); i++) {
        const gguf_kv *kv = gguf_kv_at(src, i);
        const bool string = kv->type == GGUF_STRING, bytes = kv->type == GGUF_ARRAY && kv->elem_type == GGUF_U8;
        if (kv->key.len < sizeof KEPT - 1 || memcmp(kv->key.s, KEPT, sizeof KEPT - 1))
            continue;
        if ((!string && !bytes) || k->n == MOST_KEPT || kv->key.len >= KEY_BYTES)
            return kv_fail(err, KV_EFORMAT, "%s: %.*s: is no key that kvpack --fold writes", gguf_path(src),
                           (int)(kv->key.len < KEY_BYTES ? kv->key.len : KEY_BYTES), kv->key.s);
        char *name = k->names[k->n];
        memcpy(name, kv->key.s, kv->key.len);
        name[kv->key.len] = 0;
        const size_t length = string ? sizeof(uint64_t) : 0; /* of a string, in front of it */
        k->sets[3 + k->n++] = (gguf_set){name, kv->type, kv->raw + length, kv->raw_bytes - length};
    }
    return KV_OK;
}

kv_status prof_pack_with(const gguf *src, const prof *p, const gguf_set *more, size_t n_more, const char *path, kv_err *err) {
    packed k = {0};
    kept others = {0};
    kv_status st = more ? KV_OK : keep(src, &others, err);
    if (n_more > MOST_KEPT)
        st = kv_fail(err, KV_EINVAL, "%s: more than %d keys beside a profile", path, MOST_KEPT);
    if (st || (p && (st = packed_make(p, &k, err))))
        goto done;
    if (more)
        memcpy(others.sets + 3, more, (others.n = n_more) * sizeof *more);
    gguf_set *sets = others.sets + 3;
    if (p && k.frame)
        *--sets = (gguf_set){KEY_DATA, GGUF_ARRAY, k.frame, k.frame_len};
    if (p) {
        *--sets = (gguf_set){KEY_TEXT, GGUF_STRING, k.text, k.text_len};
        *--sets = (gguf_set){KEY_VERSION, GGUF_U32, &k.version, sizeof k.version};
    }
    st = gguf_copy(src, path, PREFIX, sets, (size_t)(others.sets + 3 + others.n - sets), err);
done:
    packed_free(&k);
    return st;
}

kv_status prof_pack(const gguf *src, const prof *p, const char *path, kv_err *err) {
    return prof_pack_with(src, p, NULL, 0, path, err);
}

kv_status prof_pack_bytes(const prof *p, size_t *bytes, kv_err *err) {
    enum { KEY = 8 + 4, STRING = 8, ARRAY = 4 + 8 }; /* lengths and types */
    packed k;
    kv_status st = packed_make(p, &k, err);
    if (st == KV_OK) {
        *bytes = strlen(KEY_VERSION) + KEY + sizeof k.version + strlen(KEY_TEXT) + KEY + STRING + k.text_len;
        if (k.frame)
            *bytes += strlen(KEY_DATA) + KEY + ARRAY + k.frame_len;
    }
    packed_free(&k);
    return st;
}
