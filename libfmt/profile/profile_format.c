/* A profile as YAML text, through libyaml's emitter along the schema's rows. The same profile gives the same bytes. */
#include "base/atomic_file.h"
#include "profile/blob.h"
#include "profile/profile_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { WIDTH = 128 };
static const char TITLE[] = "# KV-cache compression profile (kvcalib). Every key: docs/profile.md\n";

typedef struct writer {
    yaml_emitter_t emitter;
    char *text;
    size_t len, cap;
    uint32_t version;
    const prof *p; /* the document's */
    char *data;    /* its binary part as base64, or NULL */
    size_t data_len;
} writer;

static int append(void *user, unsigned char *bytes, size_t n) {
    writer *w = user;
    if (w->cap - w->len <= n) {
        size_t cap = (w->len + n) * 2 + 4096;
        char *text = realloc(w->text, cap);
        if (!text)
            return 0;
        w->text = text;
        w->cap = cap;
    }
    memcpy(w->text + w->len, bytes, n);
    w->len += n;
    w->text[w->len] = '\0';
    return 1;
}

/* libyaml's events own copies of what they are given, and both steps can run out of memory. */
static kv_status emit(writer *w, int initialized, yaml_event_t *ev, kv_err *err) {
    if (initialized && yaml_emitter_emit(&w->emitter, ev))
        return KV_OK;
    if (initialized && w->emitter.error != YAML_MEMORY_ERROR && w->emitter.error != YAML_WRITER_ERROR)
        return kv_fail(err, KV_EINVAL, "profile: cannot be written as YAML: %s", w->emitter.problem);
    return kv_fail(err, KV_ENOMEM, "profile: out of memory");
}

static kv_status scalar(writer *w, const char *text, size_t len, const char *tag, yaml_scalar_style_t style, kv_err *err) {
    yaml_event_t ev;
    int ok = yaml_scalar_event_initialize(&ev, NULL, (const yaml_char_t *)tag, (const yaml_char_t *)text, (int)len, tag == NULL,
                                          tag == NULL, style);
    return emit(w, ok, &ev, err);
}

static kv_status plain(writer *w, const char *text, kv_err *err) {
    return scalar(w, text, strlen(text), NULL, YAML_PLAIN_SCALAR_STYLE, err);
}

static kv_status map_begin(writer *w, bool flow, kv_err *err) {
    yaml_event_t ev;
    int ok = yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, flow ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE);
    return emit(w, ok, &ev, err);
}

static kv_status map_end(writer *w, kv_err *err) {
    yaml_event_t ev;
    return emit(w, yaml_mapping_end_event_initialize(&ev), &ev, err);
}

static kv_status list_begin(writer *w, bool flow, kv_err *err) {
    yaml_event_t ev;
    int ok =
        yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1, flow ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
    return emit(w, ok, &ev, err);
}

static kv_status list_end(writer *w, kv_err *err) {
    yaml_event_t ev;
    return emit(w, yaml_sequence_end_event_initialize(&ev), &ev, err);
}

static kv_status number(writer *w, double v, int digits, kv_err *err) {
    char text[32];
    prof_number(text, v, digits);
    return plain(w, text, err);
}

static kv_status floats(writer *w, const float *v, uint32_t n, int digits, kv_err *err) {
    kv_status st = list_begin(w, true, err);
    for (uint32_t i = 0; i < n && st == KV_OK; i++)
        st = number(w, v[i], digits, err);
    return st == KV_OK ? list_end(w, err) : st;
}

static kv_status quoted(writer *w, const char *text, kv_err *err) {
    return scalar(w, text, strlen(text), NULL, YAML_DOUBLE_QUOTED_SCALAR_STYLE, err);
}

/* One name, or one per KV head where they differ. */
static kv_status codecs(writer *w, const prof_kv *kv, uint32_t layer, kv_err *err) {
    const uint32_t n = prof_kv_heads(w->p, layer);
    if (!prof_kv_mixed(kv, n))
        return plain(w, kv_codec_names[prof_kv_head(kv, 0).codec].name, err);
    kv_status st = list_begin(w, true, err);
    for (uint32_t h = 0; h < n && st == KV_OK; h++)
        st = plain(w, kv_codec_names[kv->codecs[h]].name, err);
    return st == KV_OK ? list_end(w, err) : st;
}

static kv_status tc_words(writer *w, const prof_field *f, const prof_tc *t, kv_err *err) {
    char dims[PROF_DIMS_TEXT];
    float spectrum[PROF_SPECTRUM];
    if (f->kind == PK_SPECTRUM)
        return floats(w, spectrum, prof_tc_spectrum(t, spectrum), f->digits, err);
    prof_tc_dims(t, dims);
    return quoted(w, dims, err);
}

/* A number that all KV heads of a layer have, or one for each. */
static kv_status budgets(writer *w, const prof_layer *l, uint32_t layer, kv_err *err) {
    char text[16];
    kv_status st = l->budgets ? list_begin(w, true, err) : KV_OK;
    for (uint32_t h = 0; st == KV_OK && h < (l->budgets ? prof_kv_heads(w->p, layer) : 1); h++) {
        snprintf(text, sizeof text, "%" PRIu32, l->budgets ? l->budgets[h] : l->budget);
        st = plain(w, text, err);
    }
    return st == KV_OK && l->budgets ? list_end(w, err) : st;
}

/* What all layers have, or what each has. */
static kv_status per_layer(writer *w, const prof_field *f, uint32_t most, kv_err *err) {
    const uint16_t *each = *(uint16_t *const *)((const char *)w->p + f->count);
    char text[16];
    kv_status st = each ? list_begin(w, true, err) : KV_OK;
    for (uint32_t l = 0; st == KV_OK && l < (each ? w->p->n_layer : 1); l++) {
        snprintf(text, sizeof text, "%" PRIu32, each ? each[l] : most);
        st = plain(w, text, err);
    }
    return st == KV_OK && each ? list_end(w, err) : st;
}

static kv_status budget(writer *w, kv_budget b, kv_err *err) {
    char text[KV_BUDGET_TEXT];
    kv_budget_format(b, text);
    return b.tokens ? plain(w, text, err) : quoted(w, text, err);
}

static kv_status ranges(writer *w, const prof_ranges *r, kv_err *err) {
    char text[PROF_RANGES_TEXT];
    prof_ranges_format(r, text);
    return quoted(w, text, err);
}

static kv_status write_value(writer *w, const prof_place *at, kv_err *err) {
    const prof_field *f = at->field;
    char text[32];
    switch (f->kind) {
    case PK_CONST:
        return number(w, w->version, 9, err);
    case PK_INDEX:
        return number(w, at->n, 9, err);
    case PK_U32:
        snprintf(text, sizeof text, "%" PRIu32, *(const uint32_t *)at->value);
        return plain(w, text, err);
    case PK_PER_LAYER:
        return per_layer(w, f, *(const uint32_t *)at->value, err);
    case PK_U64:
        snprintf(text, sizeof text, "%" PRIu64, *(const uint64_t *)at->value);
        return plain(w, text, err);
    case PK_F32:
        return number(w, *(const float *)at->value, f->digits, err);
    case PK_F64:
        return number(w, *(const double *)at->value, f->digits, err);
    case PK_CODEC:
        return plain(w, kv_codec_names[*(const kv_codec_id *)at->value].name, err);
    case PK_STR:
    case PK_HASH: /* quoted: a hash may consist of digits, a name of anything */
        return quoted(w, at->value, err);
    case PK_F32S:
        return floats(w, at->value, at->n, f->digits, err);
    case PK_CODECS:
        return codecs(w, at->value, at->n, err);
    case PK_CHOICE:
        return plain(w, kv_codec_names[((const prof_choice *)at->value)->codec].name, err);
    case PK_RANGES:
        return ranges(w, at->value, err);
    case PK_NAME:
        return plain(w, f->name(*(const uint32_t *)at->value), err);
    case PK_BOOL:
        return plain(w, *(const bool *)at->value ? "true" : "false", err);
    case PK_BUDGET:
        return budget(w, *(const kv_budget *)at->value, err);
    case PK_BUDGETS:
        return budgets(w, at->value, at->n, err);
    case PK_DIMS:
    case PK_SPECTRUM:
        return tc_words(w, f, *(const prof_tc *const *)at->value, err);
    case PK_DATA:
        return scalar(w, w->data, w->data_len, "tag:yaml.org,2002:binary", YAML_LITERAL_SCALAR_STYLE, err);
    case PK_MAP:
    case PK_LIST:
    case PK_HEADS:
    case PK_COUNT:
        break;
    }
    return KV_OK;
}

static kv_status write_place(void *user, const prof_place *at, kv_err *err) {
    writer *w = user;
    const prof_field *f = at->field;
    if (f->kind == PK_DATA && !w->data)
        return KV_OK;
    if (at->step == PROF_ELEM_BEGIN)
        return map_begin(w, f->flags & PF_FLOW, err);
    if (at->step == PROF_ELEM_END)
        return map_end(w, err);
    if (at->step == PROF_END)
        return f->kind == PK_MAP ? map_end(w, err) : list_end(w, err);
    kv_status st = plain(w, f->key, err);
    if (st != KV_OK)
        return st;
    if (at->step == PROF_VALUE)
        return write_value(w, at, err);
    return f->kind == PK_MAP ? map_begin(w, f->flags & PF_FLOW && !at->n, err) : list_begin(w, false, err);
}

static kv_status encode_data(const prof *p, char **text, size_t *len, kv_err *err) {
    uint8_t *frame;
    size_t frame_len;
    kv_status st = prof_blob_encode(p, &frame, &frame_len, err);
    if (st != KV_OK)
        return st;
    if (!(*text = prof_base64_encode(frame, frame_len, len)))
        st = kv_fail(err, KV_ENOMEM, "profile: out of memory");
    free(frame);
    return st;
}

static kv_status write_document(writer *w, const prof *p, bool first, bool with_data, kv_err *err) {
    yaml_event_t ev;
    kv_status st = KV_OK;
    w->p = p;
    if (with_data && prof_has_data(p))
        st = encode_data(p, &w->data, &w->data_len, err);
    if (st == KV_OK)
        st = emit(w, yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, first), &ev, err);
    if (st == KV_OK)
        st = map_begin(w, false, err);
    if (st == KV_OK)
        st = prof_walk(p, write_place, w, err);
    if (st == KV_OK)
        st = map_end(w, err);
    if (st == KV_OK)
        st = emit(w, yaml_document_end_event_initialize(&ev, 1), &ev, err);
    free(w->data);
    w->data = NULL;
    return st;
}

static kv_status write_all(writer *w, const prof *p, bool with_data, kv_err *err) {
    yaml_event_t ev;
    kv_status st = emit(w, yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING), &ev, err);
    for (const prof *q = p; q && st == KV_OK; q = q->narrower)
        st = write_document(w, q, q == p, with_data, err);
    return st == KV_OK ? emit(w, yaml_stream_end_event_initialize(&ev), &ev, err) : st;
}

kv_status prof_format_parts(const prof *p, bool with_data, char **text, size_t *len, kv_err *err) {
    writer w = {.version = prof_version(p)};
    *text = NULL;
    *len = 0;
    kv_status st = prof_check(p, "profile", err);
    if (st != KV_OK)
        return st;
    if (!yaml_emitter_initialize(&w.emitter) || !append(&w, (unsigned char *)TITLE, sizeof TITLE - 1)) {
        st = kv_fail(err, KV_ENOMEM, "profile: out of memory");
        goto done;
    }
    yaml_emitter_set_output(&w.emitter, append, &w);
    yaml_emitter_set_width(&w.emitter, WIDTH);
    yaml_emitter_set_unicode(&w.emitter, 1);
    st = write_all(&w, p, with_data, err);
done:
    yaml_emitter_delete(&w.emitter);
    if (st == KV_OK) {
        *text = w.text;
        *len = w.len;
    } else {
        free(w.text);
    }
    return st;
}

kv_status prof_format(const prof *p, char **text, size_t *len, kv_err *err) {
    return prof_format_parts(p, true, text, len, err);
}

kv_status prof_save(const prof *p, const char *path, kv_err *err) {
    char *text;
    size_t len;
    kv_status st = prof_format(p, &text, &len, err);
    if (st != KV_OK)
        return st;
    st = file_write(path, text, len, err);
    free(text);
    return st;
}
