/* One request with libcurl. The multi interface, so that whoever watches is asked ten times a second, whatever the network
 * does. */
#include "base/clock.h"
#include "fetch/fetch_internal.h"

#include <ctype.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_REDIRECTS = 10, CONNECT_TIMEOUT = 30, POLL_MS = 50, MAX_BEGINNING = 16 };

/* Of the last answer: those before it were redirects. */
typedef struct headers {
    char etag[FETCH_MARK], date[FETCH_MARK], range[96], encoding[32];
    char sum[FETCH_SUM]; /* of any answer: the hub says it, and not where it leads to */
    char padding[7];
    uint64_t length;
    bool has_length;
    char more[7];
} headers;

typedef struct request {
    CURL *easy;
    fetch_part *part;
    const fetch_cfg *cfg;
    const char *shown;
    headers got;
    fetch_end end;
    kv_err err; /* of what was decided about the answer */
    bool decided, first;
    char padding[6];
} request;

/* ---- addresses ---- */

static kv_status parse(const char *url, CURLU **out, kv_err *err) {
    char *scheme = NULL;
    *out = curl_url();
    if (!*out)
        return kv_fail(err, KV_ENOMEM, "out of memory for an address");
    const bool good = !curl_url_set(*out, CURLUPART_URL, url, 0) && !curl_url_get(*out, CURLUPART_SCHEME, &scheme, 0) &&
                      (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
    curl_free(scheme);
    if (good)
        return KV_OK;
    curl_url_cleanup(*out);
    *out = NULL;
    return kv_fail(err, KV_EINVAL, "'%.300s' is no address that begins with http:// or https://", url);
}

kv_status fetch_shown(const char *url, char shown[FETCH_PATH], char host[FETCH_NAME], kv_err *err) {
    CURLU *u;
    char *name = NULL, *whole = NULL;
    kv_status st = parse(url, &u, err);
    if (st)
        return st;
    if (curl_url_set(u, CURLUPART_USER, NULL, 0) || curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) ||
        curl_url_set(u, CURLUPART_QUERY, NULL, 0) || curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) ||
        curl_url_get(u, CURLUPART_HOST, &name, 0) || curl_url_get(u, CURLUPART_URL, &whole, 0))
        st = kv_fail(err, KV_ENOMEM, "out of memory for an address");
    else {
        snprintf(shown, FETCH_PATH, "%.900s", whole);
        snprintf(host, FETCH_NAME, "%.200s", name);
    }
    curl_free(name);
    curl_free(whole);
    curl_url_cleanup(u);
    return st;
}

/* ---- headers ---- */

/* The value of a header line, if it has this name, without blanks around it and what has no room: then nothing of it. */
static bool value_of(const char *line, size_t n, const char *name, char *out, size_t room) {
    const size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) || line[len] != ':')
        return false;
    line += len + 1, n -= len + 1;
    while (n && isspace((unsigned char)*line))
        line++, n--;
    while (n && isspace((unsigned char)line[n - 1]))
        n--;
    *out = '\0';
    if (n < room && !memchr(line, '\0', n)) {
        memcpy(out, line, n);
        out[n] = '\0';
    }
    return true;
}

/* An ETag in quotes that is a sum. */
static void take_sum(const char *tag, char sum[FETCH_SUM]) {
    if (strlen(tag) == FETCH_SUM + 1 && tag[0] == '"' && strspn(tag + 1, "0123456789abcdefABCDEF") == FETCH_SUM - 1)
        snprintf(sum, FETCH_SUM, "%.*s", FETCH_SUM - 1, tag + 1);
}

static size_t on_header(char *line, size_t size, size_t n, void *user) {
    headers *h = &((request *)user)->got;
    char value[FETCH_MARK];
    n *= size;
    if (n > 5 && !strncmp(line, "HTTP/", 5)) {
        headers empty = {0};
        memcpy(empty.sum, h->sum, sizeof empty.sum);
        *h = empty;
    } else if (value_of(line, n, "X-Linked-ETag", value, sizeof value))
        take_sum(value, h->sum);
    else if (value_of(line, n, "Content-Length", value, sizeof value)) {
        char *end;
        h->length = strtoull(value, &end, 10);
        h->has_length = isdigit((unsigned char)*value) && !*end;
    } else if (!value_of(line, n, "ETag", h->etag, sizeof h->etag) &&
               !value_of(line, n, "Last-Modified", h->date, sizeof h->date) &&
               !value_of(line, n, "Content-Range", h->range, sizeof h->range))
        value_of(line, n, "Content-Encoding", h->encoding, sizeof h->encoding);
    return n;
}

/* ---- what the answer means ---- */

static bool decide(request *r, fetch_end end) {
    r->decided = true;
    r->end = end;
    return end == FETCH_WHOLE; /* so far */
}

__attribute__((format(printf, 4, 5))) static bool refuse(request *r, fetch_end end, kv_status code, const char *fmt, ...) {
    va_list ap;
    char text[sizeof r->err.msg];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    kv_fail(&r->err, code, "%s: %s", r->shown, text);
    return decide(r, end);
}

/* That the file may be as large as it says. */
static bool accept_size(request *r) {
    const fetch_part *p = r->part;
    const fetch_cfg *c = r->cfg;
    if (c->size && p->size && p->size != c->size)
        return refuse(r, FETCH_FAILED, KV_EMISMATCH, "has %" PRIu64 " bytes, and not the %" PRIu64 " that are expected",
                      p->size, c->size);
    if (c->max && p->size > c->max)
        return refuse(r, FETCH_FAILED, KV_ERANGE, "has %" PRIu64 " bytes, and no more than %" PRIu64 " are allowed", p->size,
                      c->max);
    if (fetch_part_room(p, &r->err))
        return decide(r, FETCH_FAILED);
    return true;
}

static bool whole_file(request *r) {
    fetch_part *p = r->part;
    if (p->have && r->cfg->say)
        r->cfg->say(r->cfg->user, *p->mark
                                      ? "the file has changed, or its server sends no parts: fetching it from the beginning"
                                      : "this server sends no parts: fetching the file from the beginning");
    if (fetch_part_clear(p, &r->err))
        return decide(r, FETCH_FAILED);
    const char *mark = *r->got.etag == '"' ? r->got.etag : r->got.date; /* W/"..." is too weak for pieces */
    snprintf(p->mark, sizeof p->mark, "%s", mark);
    memcpy(p->said_sum, r->got.sum, sizeof p->said_sum);
    p->size = r->got.has_length ? r->got.length : 0;
    if (!accept_size(r))
        return false;
    return fetch_part_promise(p, &r->err) ? decide(r, FETCH_FAILED) : decide(r, FETCH_WHOLE);
}

/* "bytes 100-199/200": what was asked for, of a file that has the size that it had. */
static bool rest_of_file(request *r) {
    fetch_part *p = r->part;
    uint64_t from, to, size = 0;
    char end;
    const int n = sscanf(r->got.range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64 "%c", &from, &to, &size, &end);
    const bool open = n == 2 && strstr(r->got.range, "/*");
    if ((n != 3 && !open) || from != p->have || (!open && (to + 1 != size || (p->size && size != p->size))))
        return refuse(r, FETCH_ANEW, KV_EIO, "the server sends another part than the one that is missing");
    if (*p->mark == '"' && *r->got.etag && strcmp(p->mark, r->got.etag)) /* If-Range is not everybody's */
        return refuse(r, FETCH_ANEW, KV_EIO, "the file has changed");
    if (!open)
        p->size = size;
    return accept_size(r) && decide(r, FETCH_WHOLE);
}

static bool worth_a_retry(long code) {
    return code == 408 || code == 425 || code == 429 || code >= 500;
}

/* Before the first byte of the body. False: there is no use in it. */
static bool take_answer(request *r) {
    long code = 0;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &code);
    if (*r->got.encoding && strcasecmp(r->got.encoding, "identity"))
        return refuse(r, FETCH_FAILED, KV_EIO, "comes as %s, which nobody has asked for", r->got.encoding);
    if (code == 200)
        return whole_file(r);
    if (code == 206 && r->part->have)
        return rest_of_file(r);
    if (code == 416 && r->part->have)
        return refuse(r, FETCH_ANEW, KV_EIO, "the file is shorter than what was fetched of it");
    if (code == 404 || code == 410)
        return refuse(r, FETCH_FAILED, KV_EIO, "there is no such file (HTTP %ld)", code);
    if (code == 401 || code == 403)
        return refuse(r, FETCH_FAILED, KV_EIO,
                      "the server does not let everybody have it (HTTP %ld): it wants a login, or that "
                      "its terms are agreed to",
                      code);
    if (code == 407)
        return refuse(r, FETCH_FAILED, KV_EIO, "the proxy wants a login (HTTP 407): http://USER:PASSWORD@PROXY in https_proxy");
    return refuse(r, worth_a_retry(code) ? FETCH_AGAIN : FETCH_FAILED, KV_EIO, "the server answers HTTP %ld", code);
}

/* The first bytes are what they must be, as far as they are there. */
static bool begins_well(request *r, const char *data, size_t n) {
    const char *want = r->cfg->begins;
    const size_t len = want ? strlen(want) : 0, have = r->part->have < len ? (size_t)r->part->have : len;
    const size_t some = n < len - have ? n : len - have;
    if (!some || !memcmp(want + have, data, some))
        return true;
    return refuse(r, FETCH_FAILED, KV_EFORMAT, "is no such file: it begins with '%.*s' and not with %s",
                  (int)(n < MAX_BEGINNING ? n : MAX_BEGINNING), data, want);
}

static size_t on_data(char *data, size_t size, size_t n, void *user) {
    request *r = user;
    fetch_part *p = r->part;
    n *= size;
    if ((!r->decided && !take_answer(r)) || r->end != FETCH_WHOLE || !begins_well(r, data, n))
        return 0;
    if (p->size && n > p->size - p->have)
        refuse(r, FETCH_ANEW, KV_EIO, "more comes than the server has announced");
    else if (r->cfg->max && p->have + n > r->cfg->max)
        refuse(r, FETCH_FAILED, KV_ERANGE, "has more than the %" PRIu64 " bytes that are allowed", r->cfg->max);
    else if (fetch_part_add(p, data, n, &r->err))
        decide(r, FETCH_FAILED);
    else
        return n;
    return 0;
}

/* ---- the request ---- */

/* What libcurl complains of, for people, and whether patience helps. */
static fetch_end explain(const request *r, CURLcode code, const char *host, const char *detail, kv_err *err) {
    const char *more = *detail ? detail : curl_easy_strerror(code);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        kv_fail(err, KV_EIO, "%s: cannot be found: %s (is there a network? https_proxy says which proxy to use)",
                code == CURLE_COULDNT_RESOLVE_PROXY ? "the proxy" : host, more);
        return r->first ? FETCH_FAILED : FETCH_AGAIN;
    case CURLE_COULDNT_CONNECT:
        kv_fail(err, KV_EIO, "%s: cannot be reached: %s", host, more);
        return r->first ? FETCH_FAILED : FETCH_AGAIN;
    case CURLE_UNSUPPORTED_PROTOCOL:
        kv_fail(err, KV_EIO, "%s: leads to somewhere else than http and https, or from https to http: %s", r->shown, more);
        return FETCH_FAILED;
    case CURLE_TOO_MANY_REDIRECTS:
        kv_fail(err, KV_EIO, "%s: leads from one address to the next, more than %d times", r->shown, MAX_REDIRECTS);
        return FETCH_FAILED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        kv_fail(err, KV_EIO, "%s: no trusted connection (TLS): %s (SSL_CERT_FILE names certificates to trust)", host, more);
        return FETCH_FAILED;
    case CURLE_OUT_OF_MEMORY:
        kv_fail(err, KV_ENOMEM, "%s: out of memory", r->shown);
        return FETCH_FAILED;
    case CURLE_OPERATION_TIMEDOUT:
        kv_fail(err, KV_EIO, "%s: the server has fallen silent", r->shown);
        return FETCH_AGAIN;
    default:
        kv_fail(err, KV_EIO, "%s: the connection has failed: %s", r->shown, more);
        return FETCH_AGAIN;
    }
}

static kv_status set_up(request *r, const char *url, struct curl_slist **lines, char *detail) {
    CURL *c = r->easy;
    const fetch_cfg *cfg = r->cfg;
    const bool tls = !strncasecmp(url, "https:", 6);
    char line[FETCH_MARK + 16], range[32];
    CURLcode bad = CURLE_OK;
#define SET(option, value) (bad = bad ? bad : curl_easy_setopt(c, option, value))
    SET(CURLOPT_URL, url);
    SET(CURLOPT_ERRORBUFFER, detail);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    SET(CURLOPT_REDIR_PROTOCOLS, (long)(tls ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT);
    if (cfg->agent)
        SET(CURLOPT_USERAGENT, cfg->agent);
    if (cfg->ca)
        SET(CURLOPT_CAINFO, cfg->ca);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, r);
    SET(CURLOPT_WRITEFUNCTION, on_data);
    SET(CURLOPT_WRITEDATA, r);
    if (r->part->have) {
        snprintf(range, sizeof range, "%" PRIu64 "-", r->part->have);
        SET(CURLOPT_RANGE, range); /* copied */
        snprintf(line, sizeof line, "If-Range: %s", r->part->mark);
        if (*r->part->mark && !(*lines = curl_slist_append(NULL, line)))
            bad = CURLE_OUT_OF_MEMORY;
        if (*lines)
            SET(CURLOPT_HTTPHEADER, *lines);
    }
#undef SET
    return bad ? KV_ENOMEM : KV_OK;
}

/* CURLE_ABORTED_BY_CALLBACK: told to stop. libcurl's own low speed limit looks at an average, and takes longer to see that
 * nothing comes. */
static CURLcode run(CURLM *multi, request *r) {
    int running = 1, left;
    CURLMcode bad = CURLM_OK;
    uint64_t had = r->part->have;
    double since = clock_now();
    while (running && !bad) {
        bad = curl_multi_perform(multi, &running);
        if (r->cfg->watch && !r->cfg->watch(r->cfg->user, r->part->have, r->part->size))
            return CURLE_ABORTED_BY_CALLBACK;
        if (r->part->have != had) {
            had = r->part->have;
            since = clock_now();
        } else if (r->cfg->timeout && clock_now() - since > r->cfg->timeout)
            return CURLE_OPERATION_TIMEDOUT;
        if (running && !bad)
            bad = curl_multi_poll(multi, NULL, 0, POLL_MS, NULL);
    }
    const CURLMsg *m = bad ? NULL : curl_multi_info_read(multi, &left);
    return m && m->msg == CURLMSG_DONE ? m->data.result : bad == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_RECV_ERROR;
}

/* What came of it. */
static fetch_end conclude(request *r, CURLcode code, const char *host, const char *detail, unsigned *wait, kv_err *err) {
    curl_off_t asked = 0;
    if (!code && !r->decided)
        take_answer(r); /* there was no body */
    if (r->decided && r->end != FETCH_WHOLE) {
        if (!curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &asked) && asked > 0)
            *wait = asked < 1 << 20 ? (unsigned)asked : 1u << 20;
        *err = r->err;
        return r->end;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        kv_fail(err, KV_ECANCEL, "%.600s: stopped; the same again goes on", r->part->path);
        return FETCH_FAILED;
    }
    if (code && code != CURLE_PARTIAL_FILE)
        return explain(r, code, host, detail, err);
    if (r->part->size && r->part->have < r->part->size) {
        kv_fail(err, KV_EIO, "%s: ends after %" PRIu64 " of %" PRIu64 " bytes", r->shown, r->part->have, r->part->size);
        return FETCH_AGAIN;
    }
    return code ? explain(r, code, host, detail, err) : FETCH_WHOLE;
}

fetch_end fetch_once(const char *url, fetch_part *p, const fetch_cfg *cfg, bool first, unsigned *wait, kv_err *err) {
    char shown[FETCH_PATH], host[FETCH_NAME], detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *lines = NULL;
    request r = {.part = p, .cfg = cfg, .shown = shown, .first = first};
    if (fetch_shown(url, shown, host, err))
        return FETCH_FAILED;
    CURLM *multi = curl_multi_init();
    r.easy = curl_easy_init();
    fetch_end end = FETCH_FAILED;
    if (!multi || !r.easy || set_up(&r, url, &lines, detail) || curl_multi_add_handle(multi, r.easy))
        kv_fail(err, KV_ENOMEM, "%s: out of memory, or libcurl cannot do what is asked of it", shown);
    else {
        end = conclude(&r, run(multi, &r), host, detail, wait, err);
        curl_multi_remove_handle(multi, r.easy);
    }
    curl_easy_cleanup(r.easy);
    curl_multi_cleanup(multi);
    curl_slist_free_all(lines);
    return end;
}
