/* Who may ask. Pure functions of what a request's headers say. */
#ifndef SERVE_GUARD_H
#define SERVE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Whether an address that is listened at is of this machine alone. */
bool guard_loopback(const char *host);
/* Whether the Host header (NULL: there is none) is one of a server that listens on a loopback address: localhost, that address,
 * or one of the names. A page of somebody else's, whose name was made to lead here (DNS rebinding), is called otherwise. */
bool guard_host(const char *header, const char *listens, const char *const *names, size_t n);
/* Whether a page of this Origin (NULL: no page asks) may: the server's own, or one of the list. */
bool guard_origin(const char *origin, const char *host_header, const char *const *origins, size_t n);
/* Whether the value of Authorization ("Bearer KEY"), or else of X-Api-Key, is one of the keys. Takes as long for every key of
 * the same length that is wrong. */
bool guard_key(const char *authorization, const char *x_api_key, const char *const *keys, size_t n);
/* Names of stored contexts: letters, digits, '-', '_' and '.', not first a '.', at most 64. */
bool guard_name(const char *name);

#endif
