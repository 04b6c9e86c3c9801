/* GET /: a page to chat on, for browsers; a line of text for programs that only ask whether somebody is there. */
#include "serve/page.h"
#include "serve/handlers.h"

#include <stdlib.h>
#include <string.h>

/* Whether a list such as "gzip, br;q=0.5" has this word, and does not say that it is worth nothing. */
static bool lists(const char *header, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = header; at && *at; at += strcspn(at, ",")) {
        at += strspn(at, ", \t");
        if (strncmp(at, word, n) || (at[n] && !strchr(" \t,;", at[n])))
            continue;
        const size_t len = strcspn(at, ",");
        const char *q = strstr(at, "q=");
        return !q || q >= at + len || strtod(q + 2, NULL) > 0;
    }
    return false;
}

kv_status handle_page(sv_exchange *x, kv_err *err) {
    (void)err;
    if (!lists(exchange_header(x, "Accept"), "text/html")) {
        x->type = "text/plain; charset=utf-8";
        out_text(&x->out, "kvrun " KV_TOOL_VERSION " is running\n");
        return KV_OK;
    }
    const sv_page *page = lists(exchange_header(x, "Accept-Encoding"), "gzip") ? &page_gzip : &page_plain;
    x->type = "text/html; charset=utf-8";
    x->headers = page->headers;
    if (lists(exchange_header(x, "If-None-Match"), page->etag))
        x->http = 304;
    else
        out_add(&x->out, (const char *)page->bytes, page->n);
    return KV_OK;
}
