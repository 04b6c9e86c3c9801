#include "serve/guard.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool same(const char *a, size_t n, const char *b) {
    return strlen(b) == n && !strncasecmp(a, b, n);
}

/* The name in "name:port", "[::1]:port". */
static size_t name_length(const char *host) {
    if (*host == '[') {
        const char *end = strchr(host, ']');
        return end ? (size_t)(end + 1 - host) : strlen(host);
    }
    return strcspn(host, ":");
}

bool guard_loopback(const char *host) {
    return !strcasecmp(host, "localhost") || !strcmp(host, "::1") || !strncmp(host, "127.", 4);
}

bool guard_host(const char *header, const char *listens, const char *const *names, size_t n) {
    if (!header || !guard_loopback(listens))
        return true;
    const size_t len = name_length(header);
    if (same(header, len, "localhost") || same(header, len, "127.0.0.1") || same(header, len, "[::1]") ||
        same(header, len, listens))
        return true;
    for (size_t i = 0; i < n; i++)
        if (same(header, len, names[i]))
            return true;
    return false;
}

bool guard_origin(const char *origin, const char *host_header, const char *const *origins, size_t n) {
    const char *host = origin ? strstr(origin, "://") : NULL;
    if (!origin)
        return true;
    if (host && host_header && !strncmp(origin, "http", 4) && !strcasecmp(host + 3, host_header))
        return true;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(origins[i], "*") || !strcasecmp(origins[i], origin))
            return true;
    return false;
}

/* Looks at all of both, however soon they differ. */
static bool equal(const char *a, const char *b) {
    const size_t la = strlen(a), lb = strlen(b);
    unsigned differs = la != lb;
    for (size_t i = 0; i < la; i++)
        differs |= (unsigned char)a[i] ^ (unsigned char)(lb ? b[i % lb] : 0);
    return !differs;
}

bool guard_key(const char *authorization, const char *x_api_key, const char *const *keys, size_t n) {
    const char *given = authorization && !strncasecmp(authorization, "Bearer ", 7) ? authorization + 7 : x_api_key;
    unsigned right = 0;
    for (size_t i = 0; given && i < n; i++)
        right |= equal(given, keys[i]);
    return !n || right;
}

bool guard_name(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    const size_t len = strlen(name);
    return len && len <= 64 && *name != '.' && strspn(name, letters) == len;
}
