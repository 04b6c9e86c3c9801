/* Contexts in files, and what they say of themselves. */
#include "api/api_internal.h"
#include "session/store.h"

#include <stdio.h>
#include <string.h>

kv_status kv_context_save(kv_session *session, const char *path, const kv_context_options *options, kv_progress progress,
                          void *user, kv_err *err) {
    static const kv_context_options defaults = KV_CONTEXT_OPTIONS_INIT;
    const uint64_t known = KV_CONTEXT_PACKED | KV_CONTEXT_LEAN;
    kv_context_options o;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_CONTEXT_OPTIONS", err);
    if (st)
        return st;
    if (!path)
        return api_missing("path of a context", err);
    if (o.flags & ~known)
        return kv_fail(err, KV_EINVAL, "unknown flags %#llx of a context", (unsigned long long)(o.flags & ~known));
    if (o.title && strlen(o.title) > 1000)
        return kv_fail(err, KV_EINVAL, "the title of a context has at most 1,000 bytes, not %zu", strlen(o.title));
    const rt_save_cfg cfg = {.title = o.title,
                             .program = "libkv " KV_TOOL_VERSION,
                             .packed = o.flags & KV_CONTEXT_PACKED,
                             .lean = o.flags & KV_CONTEXT_LEAN};
    return rt_session_save(session->rt, path, &cfg, progress, user, err);
}

kv_status kv_context_get_facts(const char *path, kv_context_facts *out, kv_err *err) {
    ctx_file *f;
    ctx_about a;
    if (!path)
        return api_missing("path of a context", err);
    kv_status st = ctx_file_open(path, false, NULL, NULL, &f, err);
    if (st)
        return st;
    if (!(st = ctx_file_about(f, &a, err))) {
        kv_context_facts facts = {.size = sizeof facts,
                                  .bytes = ctx_file_bytes(f),
                                  .bytes_f16 = a.bytes_f16,
                                  .saved = a.saved,
                                  .n_tokens = a.n_tokens,
                                  .n_ctx = a.n_ctx,
                                  .n_checkpoints = a.n_marks,
                                  .packed = ctx_file_packed(f)};
        snprintf(facts.title, sizeof facts.title, "%s", a.title);
        snprintf(facts.model_name, sizeof facts.model_name, "%s", a.model);
        snprintf(facts.arch, sizeof facts.arch, "%s", a.arch);
        snprintf(facts.cache, sizeof facts.cache, "%s", a.cache);
        st = api_facts(out, &facts, sizeof facts, "KV_CONTEXT_FACTS", err);
    }
    ctx_file_close(f);
    return st;
}
