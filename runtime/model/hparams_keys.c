/* Single keys of an architecture. */
#include "model/hparams_internal.h"

#include <stdio.h>

const char *rt_key_of(const rt_reader *r, const char *suffix, char key[RT_KEY]) {
    snprintf(key, RT_KEY, "%s.%s", r->arch, suffix);
    return key;
}

kv_status rt_key_u32(const rt_reader *r, const char *suffix, bool required, uint32_t *out) {
    char key[RT_KEY];
    return gguf_get_u32(r->g, rt_key_of(r, suffix, key), required, out, r->err);
}

kv_status rt_key_f32(const rt_reader *r, const char *suffix, bool required, float *out) {
    char key[RT_KEY];
    return gguf_get_f32(r->g, rt_key_of(r, suffix, key), required, out, r->err);
}

kv_status rt_key_bool(const rt_reader *r, const char *suffix, bool *out) {
    char key[RT_KEY];
    return gguf_get_bool(r->g, rt_key_of(r, suffix, key), false, out, r->err);
}

kv_status rt_read_numbers(const rt_reader *r, const rt_number *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        kv_status st = rt_key_f32(r, rows[i].key, false, rows[i].to);
        if (st)
            return st;
        if (!(*rows[i].to >= rows[i].least && *rows[i].to <= rows[i].most))
            return kv_fail(r->err, KV_EFORMAT, "%s: %s.%s = %g is outside %g to %g", gguf_path(r->g), r->arch, rows[i].key,
                           (double)*rows[i].to, (double)rows[i].least, (double)rows[i].most);
    }
    return KV_OK;
}
