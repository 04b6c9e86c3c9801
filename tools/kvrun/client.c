#include "kvrun/client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 8 << 20 };

/* ---- lines ---- */

static bool end_line(client_lines *l) {
    size_t n = l->len;
    const char *s = l->line;
    l->len = 0;
    if (n && s[n - 1] == '\r')
        n--;
    if (n < 5 || memcmp(s, "data:", 5))
        return true; /* a comment, an event's name, or an empty line */
    const size_t from = n > 5 && s[5] == ' ' ? 6 : 5;
    return l->data(l->user, s + from, n - from);
}

bool client_lines_push(client_lines *l, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            if (l->line && !end_line(l))
                return false;
            continue;
        }
        if (l->len == l->cap) {
            const size_t cap = l->cap ? 2 * l->cap : 1024;
            char *line = cap <= LONGEST ? realloc(l->line, cap) : NULL;
            if (!line)
                return false;
            l->line = line;
            l->cap = cap;
        }
        l->line[l->len++] = bytes[i];
    }
    return true;
}

/* ---- an answer ---- */

typedef struct hearing {
    const client_cfg *cfg;
    CURL *curl;
    client_lines lines;
    char *whole; /* of an answer that is no stream: an error */
    size_t len;
    kv_status st;
    kv_err err;
    bool done;
} hearing;

static bool fail(hearing *h, kv_status st, const char *what) {
    h->st = kv_fail(&h->err, st, "%s", what);
    return false;
}

/* {"error": {"message": "..."}} or {"error": "..."}; NULL: none. */
static const char *error_of(const json_t *j) {
    const json_t *e = json_object_get(j, "error"), *message = json_object_get(e, "message");
    return json_is_string(e) ? json_string_value(e)
           : e               ? json_is_string(message) ? json_string_value(message) : "an error"
                             : NULL;
}

static bool take_piece(hearing *h, const json_t *delta, const char *key, bool thought) {
    const json_t *text = json_object_get(delta, key);
    if (!json_string_length(text) || h->cfg->piece(h->cfg->user, json_string_value(text), json_string_length(text), thought))
        return true;
    return fail(h, KV_EIO, "the answer cannot be written");
}

static bool take_data(void *user, const char *text, size_t len) {
    hearing *h = user;
    if (len == 6 && !memcmp(text, "[DONE]", 6))
        return h->done = true;
    json_t *j = json_loadb(text, len, 0, NULL);
    const json_t *delta = json_object_get(json_array_get(json_object_get(j, "choices"), 0), "delta");
    const json_t *progress = json_object_get(j, "prompt_progress");
    bool go_on;
    if (!json_is_object(j))
        go_on = fail(h, KV_EFORMAT, "the server says what is no JSON");
    else if (error_of(j))
        go_on = fail(h, KV_EINVAL, error_of(j));
    else
        go_on = take_piece(h, delta, "reasoning_content", true) && take_piece(h, delta, "content", false);
    const double all = json_number_value(json_object_get(progress, "total"));
    if (go_on && all > 0 && h->cfg->progress)
        h->cfg->progress(h->cfg->user, json_number_value(json_object_get(progress, "processed")) / all);
    json_decref(j);
    return go_on;
}

static size_t on_bytes(char *bytes, size_t one, size_t n, void *user) {
    hearing *h = user;
    long status = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
        if (client_lines_push(&h->lines, bytes, one * n))
            return one * n;
        if (!h->st)
            fail(h, KV_EFORMAT, "the server's lines are too long");
        return 0;
    }
    char *whole = h->len + n < LONGEST ? realloc(h->whole, h->len + n + 1) : NULL;
    if (!whole)
        return 0;
    h->whole = whole;
    memcpy(whole + h->len, bytes, n);
    whole[h->len += n] = '\0';
    return n;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const hearing *h = user;
    (void)a, (void)b, (void)c, (void)d;
    return !h->cfg->go_on();
}

static kv_status refused(const hearing *h, long status, kv_err *err) {
    json_t *j = h->whole ? json_loadb(h->whole, h->len, 0, NULL) : NULL;
    const char *words = error_of(j);
    const kv_status st = status == 429 || status == 503 ? KV_EBUSY : KV_EINVAL;
    kv_fail(err, st, "%s: HTTP %ld: %s", h->cfg->url, status, words ? words : "it does not say why");
    json_decref(j);
    return st;
}

static kv_status what_came(const hearing *h, CURLcode code, const char *said, kv_err *err) {
    long status = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (h->st)
        return kv_fail(err, h->st, "%s: %s", h->cfg->url, h->err.msg);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return kv_fail(err, KV_ECANCEL, "interrupted");
    if (code == CURLE_COULDNT_CONNECT)
        return kv_fail(err, KV_EIO, "%s: nothing answers there (kvrun serve MODEL starts a server)", h->cfg->url);
    if (code)
        return kv_fail(err, KV_EIO, "%s: %s", h->cfg->url, *said ? said : curl_easy_strerror(code));
    if (status != 200)
        return refused(h, status, err);
    return h->done ? KV_OK : kv_fail(err, KV_EIO, "%s: it broke off in the middle of the answer", h->cfg->url);
}

/* NULL: out of memory. */
static struct curl_slist *headers_of(const client_cfg *cfg) {
    struct curl_slist *all = curl_slist_append(NULL, "Content-Type: application/json");
    if (all && cfg->key) {
        char *line = NULL;
        struct curl_slist *more =
            asprintf(&line, "Authorization: Bearer %s", cfg->key) < 0 ? NULL : curl_slist_append(all, line);
        free(line);
        if (!more)
            curl_slist_free_all(all);
        all = more;
    }
    return all;
}

kv_status client_chat(const client_cfg *cfg, const json_t *body, kv_err *err) {
    hearing h = {.cfg = cfg};
    char said[CURL_ERROR_SIZE] = "", *url = NULL, *text = json_dumps(body, JSON_COMPACT);
    struct curl_slist *headers = headers_of(cfg);
    kv_status st;
    h.curl = curl_easy_init();
    h.lines = (client_lines){.data = take_data, .user = &h};
    if (!h.curl || !text || !headers || asprintf(&url, "%s/v1/chat/completions", cfg->url) < 0) {
        url = NULL;
        st = kv_fail(err, KV_ENOMEM, "out of memory");
        goto done;
    }
    curl_easy_setopt(h.curl, CURLOPT_URL, url);
    curl_easy_setopt(h.curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h.curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h.curl, CURLOPT_POSTFIELDS, text);
    curl_easy_setopt(h.curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
    curl_easy_setopt(h.curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(h.curl, CURLOPT_WRITEDATA, &h);
    curl_easy_setopt(h.curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h.curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h.curl, CURLOPT_XFERINFODATA, &h);
    curl_easy_setopt(h.curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(1000 * cfg->connect));
    curl_easy_setopt(h.curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h.curl, CURLOPT_ERRORBUFFER, said);
    const CURLcode code = curl_easy_perform(h.curl);
    st = what_came(&h, code, said, err);
done:
    if (h.curl)
        curl_easy_cleanup(h.curl);
    curl_slist_free_all(headers);
    free(h.lines.line);
    free(h.whole);
    free(url);
    free(text);
    return st;
}
