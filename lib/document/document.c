#include "document/document.h"

#include "base/atomic_file.h"
#include "document/document_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    document_parser *parse;
} kinds[DOCUMENT_KINDS] = {
    [DOCUMENT_TEXT] = {"text", document_text_parse},
};

const char *document_kind_name(document_kind kind) {
    return kinds[kind].name;
}

static kv_status find_kind(const char *as, document_kind *out, kv_err *err) {
    *out = DOCUMENT_TEXT;
    for (document_kind k = 0; as && k < DOCUMENT_KINDS; k++)
        if (!strcmp(as, kinds[k].name)) {
            *out = k;
            return KV_OK;
        }
    return as ? kv_fail(err, KV_EINVAL, "no kind of document is called '%s'; there are " DOCUMENT_KIND_NAMES, as) : KV_OK;
}

kv_status document_read(const char *path, const char *as, kv_progress progress, void *user, document *out, kv_err *err) {
    const bool standard = !strcmp(path, "-");
    const char *slash = strrchr(path, '/');
    document_input in = {.where = standard ? "stdin" : path, .progress = progress, .user = user};
    *out = (document){0};
    kv_status st = find_kind(as, &out->kind, err);
    if (st || (st = standard ? stream_read(stdin, in.where, DOCUMENT_MAX, &in.bytes, &in.size, err)
                             : file_read(path, DOCUMENT_MAX, &in.bytes, &in.size, err)))
        goto done;
    if (progress && !progress(user, 0)) {
        st = kv_fail(err, KV_ECANCEL, "%s: reading was stopped", in.where);
        goto done;
    }
    if ((st = kinds[out->kind].parse(&in, out, err)))
        goto done;
    if (!out->title && !(out->title = strdup(slash ? slash + 1 : in.where)))
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory for its title", in.where);
done:
    free(in.bytes);
    if (st)
        document_free(out);
    return st;
}

void document_free(document *d) {
    free(d->text);
    free(d->title);
    *d = (document){0};
}
