/* Conversations in .kv files. */
#include "kvrun/conversation_internal.h"

#include "session/store.h"

#include <stdlib.h>
#include <string.h>

enum { TITLE = 80 };

/* Of a file that says it is a chat, against what its session holds. */
static kv_status check(const ctx_chat *chat, const rt_session *s, const char *path, kv_err *err) {
    if (chat->at - chat->gone == rt_session_len(s))
        return KV_OK;
    return kv_fail(err, KV_EFORMAT, "%s: its chat is of %llu tokens, and it holds %u", path,
                   (unsigned long long)(chat->at - chat->gone), rt_session_len(s));
}

/* Of a list of files: the beginning of the first line of what was asked first. */
static void title_of(const ctx_chat *c, char out[TITLE]) {
    const char *text = c->n ? c->turns[0].question + c->turns[0].ahead : "a document";
    size_t len = strcspn(text, "\r\n");
    if (len >= TITLE)
        for (len = TITLE - 1; len && ((unsigned char)text[len] & 0xC0) == 0x80;)
            len--;
    snprintf(out, TITLE, "%.*s", (int)len, text);
}

kv_status conversation_save(conversation *c, const char *path, kv_progress progress, void *user, kv_err *err) {
    char title[TITLE];
    const rt_sampler_place place = rt_sampler_where(gen_sampler(c->g));
    char *text = NULL;
    size_t len;
    if (!c->format)
        return kv_fail(err, KV_EINVAL,
                       "the model has no chat format, so that no turn knows of the last: there is nothing to save");
    if (!c->chat.n && !c->chat.ahead)
        return kv_fail(err, KV_EINVAL, "nothing was said yet: there is nothing to save");
    kv_status st = conversation_settle(c, err);
    if (st)
        return st;
    conversation_tidy(c);
    title_of(&c->chat, title);
    ctx_chat chat = c->chat;
    chat.gone = conversation_gone(c);
    chat.at = gen_len(c->g) + chat.gone;
    chat.random = place.random;
    chat.surprise = place.surprise;
    if ((st = ctx_chat_format(&chat, &text, &len, err)))
        return st;
    const rt_save_cfg cfg = {.title = title, .program = "kvrun " KV_TOOL_VERSION, .chat = text};
    st = rt_session_save(gen_session(c->g), path, &cfg, progress, user, err);
    free(text);
    return st;
}

kv_status conversation_load(conversation *c, const char *path, const rt_ctx_cfg *cfg, kv_progress progress, void *user,
                            kv_err *err) {
    rt_session *s = NULL;
    ctx_chat chat = {0};
    const char *text;
    size_t len;
    if (!c->format)
        return kv_fail(err, KV_EINVAL, "%s: the model has no chat format, so that it cannot go on with a chat", path);
    kv_status st = rt_session_open(c->m, NULL, cfg, path, progress, user, &s, err);
    if (st || (st = rt_session_chat(s, &text, &len, err)))
        goto done;
    if (!text) {
        st = kv_fail(err, KV_EINVAL, "%s: holds no chat, but a document: 'kvrun ask' asks it", path);
        goto done;
    }
    if ((st = ctx_chat_parse(text, len, path, &chat, err)) || (st = check(&chat, s, path, err)) ||
        (st = gen_take(c->g, s, err)))
        goto done;
    s = NULL;
    ctx_chat_free(&c->chat);
    c->chat = chat;
    c->cap = chat.n;
    chat = (ctx_chat){0};
    c->before = c->told = c->chat.gone;
    c->dropped = gen_dropped(c->g);
    conversation_find_place(c, c->chat.at);
    rt_sampler_put(gen_sampler(c->g), (rt_sampler_place){c->chat.random, c->chat.surprise});
    st = gen_set_keep(c->g, (size_t)c->chat.keep, err);
done:
    ctx_chat_free(&chat);
    rt_session_free(s);
    return st;
}
