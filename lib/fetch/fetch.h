/* Fetching a file by HTTP, so that what was fetched once is not fetched again.
 *
 * A file grows where it is to be. Beside it lies FILE.from, which says what it is a part of: the address (its sum alone, as
 * addresses may hold secrets), the size, and the mark by which the server knows this state of it (a strong ETag, else the date
 * of its last change). Whoever calls again, after an error, Ctrl-C, or a kill at any moment, goes on behind the last byte with
 * Range and If-Range (RFC 9110, 13 and 14); where the file has changed meanwhile, it begins anew. Without such a mark one goes
 * on only where a sum is known that will tell.
 *
 * The sum is SHA-256, computed while bytes arrive, by EVP of OpenSSL (libcrypto). One that the caller knows must be met; else
 * one that the server says (X-Linked-ETag, as model hubs send it); without either it is computed all the same.
 *
 * Errors of the network and of servers (5xx, 408, 425, 429, a connection that breaks off or falls silent) are tried again,
 * after 1/4, 1/2, 1 ... seconds or what Retry-After says; the count begins anew whenever the file has become longer than it
 * ever was. Redirects lead to http and https only, and never from https to http. Proxies are what the environment says
 * (http_proxy, https_proxy, no_proxy). One process at a time fetches a file: FILE is locked.
 *
 * Nothing here is global but what libcurl keeps for itself. Uses no signals.
 */
#ifndef FETCH_H
#define FETCH_H

#include "base/status.h"

enum { FETCH_SUM = 65, FETCH_NAME = 256 };

/* Told how far it is (total 0: not known); returns whether to go on. Called some ten times a second at least. */
typedef bool fetch_watch(void *user, uint64_t have, uint64_t total);
/* A sentence for people: it is tried again, begun anew. */
typedef void fetch_say(void *user, const char *text);

typedef struct fetch_cfg {
    const char *sha256; /* of the whole file, 64 hexadecimal digits; NULL: not known */
    const char *begins; /* what its first bytes must be, or NULL; another file is left at once */
    const char *agent;  /* what the program calls itself */
    const char *ca;     /* a file of certificates to trust in place of the system's; or NULL */
    uint64_t max;       /* larger files are refused; 0: none is */
    uint64_t size;      /* what it must be; 0: not known */
    unsigned retries;   /* in a row */
    unsigned timeout;   /* seconds without a byte, or without a connection, after which it is tried again; 0: never */
    fetch_watch *watch; /* or NULL */
    fetch_say *say;     /* or NULL */
    void *user;         /* of both */
} fetch_cfg;

/* What the sum of a file was held against. */
typedef enum fetch_checked { FETCH_UNCHECKED, FETCH_BY_SERVER, FETCH_BY_CALLER } fetch_checked;

typedef struct fetch_result {
    uint64_t bytes;
    uint64_t resumed; /* bytes of them that were there when this call began */
    fetch_checked checked;
    char sha256[FETCH_SUM];
} fetch_result;

/* Once per process, before threads begin. KV_ENOMEM. */
kv_status fetch_init(kv_err *err);

/* Make path the whole file of this address, on the disk for good. FILE.from stays for as long as the caller does not call
 * fetch_forget. On failure what was fetched stays for the next call, unless it cannot become the file: a wrong sum after an
 * undisturbed download, or another beginning than cfg->begins.
 * KV_EINVAL: no address of http or https; KV_EIO: network, server, disk; KV_EFORMAT: wrong beginning; KV_EMISMATCH: wrong sum
 * or size; KV_ERANGE: larger than cfg->max; KV_ECANCEL; KV_ENOMEM. */
kv_status fetch_file(const char *url, const char *path, const fetch_cfg *cfg, fetch_result *out, kv_err *err);
/* Remove FILE.from: the file is no longer what is being fetched. */
void fetch_forget(const char *path);

/* The sum of a file; cfg->watch may stop it. Errors of fetch_file. */
kv_status fetch_sum(const char *path, const fetch_cfg *cfg, char sum[FETCH_SUM], kv_err *err);

/* Whether it is an address of http or https, and the last part of its path, decoded: "model.gguf". KV_EINVAL says what is
 * wrong: another scheme, no such part, or one that is no name for a file. */
kv_status fetch_name(const char *url, char name[FETCH_NAME], kv_err *err);

#endif
