/* What the file of an address is called. Not libcurl's matter, so that who only reads catalogues needs none of it. */
#include "fetch/fetch.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static int digit(char c) {
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* s[0..n) with %XX as what they stand for. False: it is no name, or too long for one. */
static bool decode(const char *s, size_t n, char name[FETCH_NAME]) {
    size_t len = 0;
    for (size_t i = 0; i < n && len + 16 < FETCH_NAME; i++) {
        char c = s[i];
        if (c == '%') {
            if (i + 2 >= n || digit(s[i + 1]) < 0 || digit(s[i + 2]) < 0)
                return false;
            c = (char)(digit(s[i + 1]) * 16 + digit(s[i + 2]));
            i += 2;
        }
        if (iscntrl((unsigned char)c) || c == '/' || c == '\\')
            return false;
        name[len++] = c;
    }
    name[len] = '\0';
    return len && len + 16 < FETCH_NAME && *name != '.';
}

kv_status fetch_name(const char *url, char name[FETCH_NAME], kv_err *err) {
    const size_t scheme = !strncasecmp(url, "http://", 7) ? 7 : !strncasecmp(url, "https://", 8) ? 8 : 0;
    if (!scheme)
        return kv_fail(err, KV_EINVAL, "'%.300s' is no address that begins with http:// or https://", url);
    const char *host = url + scheme, *end = host + strcspn(host, "?#"), *from = end;
    while (from > host && from[-1] != '/')
        from--;
    if (from == host || !decode(from, (size_t)(end - from), name))
        return kv_fail(err, KV_EINVAL, "'%.300s' does not end with the name of a file", url);
    return KV_OK;
}
