/* A file that grows, and what it is a part of. FILE.from is JSON; what of it cannot be understood says nothing, and the file
 * begins anew. */
#include "base/atomic_file.h"
#include "base/format.h"
#include "fetch/fetch_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, MAX_FROM = 1 << 16, SPARE = 16 << 20 };

static kv_status failed(const fetch_part *p, const char *what, kv_err *err) {
    return kv_fail(err, KV_EIO, "%.600s: cannot %s: %s", p->path, what, strerror(errno));
}

static kv_status no_sum(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for a sum");
}

static void to_hex(const unsigned char *from, char out[FETCH_SUM]) {
    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", from[i]);
}

static bool from_path(const char *path, char out[FETCH_PATH]) {
    const int n = snprintf(out, FETCH_PATH, "%s.from", path);
    return n > 0 && n < FETCH_PATH;
}

void fetch_forget(const char *path) {
    char from[FETCH_PATH];
    if (from_path(path, from))
        unlink(from);
}

/* ---- FILE.from ---- */

static bool take_text(const json_t *j, const char *key, char *out, size_t room) {
    const char *s = json_string_value(json_object_get(j, key));
    if (!s || strlen(s) >= room)
        return false;
    strcpy(out, s);
    return true;
}

/* Whether what lies beside the file says that it is a part of this address. A mark goes into a header: no line ends in it. */
static bool read_from(fetch_part *p) {
    char path[FETCH_PATH], *text = NULL, url[FETCH_SUM];
    size_t len;
    if (!from_path(p->path, path) || file_read(path, MAX_FROM, &text, &len, NULL))
        return false;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const json_int_t size = json_integer_value(json_object_get(j, "size"));
    const bool good = take_text(j, "url", url, sizeof url) && take_text(j, "mark", p->mark, sizeof p->mark) &&
                      take_text(j, "sha256", p->said_sum, sizeof p->said_sum) && size >= 0 && !strcmp(url, p->url_sum) &&
                      !strpbrk(p->mark, "\r\n");
    p->size = good ? (uint64_t)size : 0;
    json_decref(j);
    free(text);
    return good;
}

kv_status fetch_part_promise(fetch_part *p, kv_err *err) {
    char path[FETCH_PATH];
    if (!from_path(p->path, path))
        return kv_fail(err, KV_EINVAL, "%.600s: this path is too long", p->path);
    json_t *j = json_pack("{s:s, s:s, s:s, s:I}", "url", p->url_sum, "mark", p->mark, "sha256", p->said_sum, "size",
                          (json_int_t)p->size);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    kv_status st = text ? file_write(path, text, strlen(text), err) : kv_fail(err, KV_ENOMEM, "%.600s: out of memory", path);
    free(text);
    json_decref(j);
    return st;
}

/* ---- the file ---- */

static kv_status sum_begin(fetch_part *p, kv_err *err) {
    return EVP_DigestInit_ex(p->sum, EVP_sha256(), NULL) ? KV_OK : no_sum(err);
}

kv_status fetch_part_clear(fetch_part *p, kv_err *err) {
    if (ftruncate(p->fd, 0))
        return failed(p, "begin it anew", err);
    fetch_forget(p->path);
    p->have = p->size = 0;
    *p->mark = *p->said_sum = '\0';
    return sum_begin(p, err);
}

/* The sum of what is there. */
static kv_status sum_up(fetch_part *p, const fetch_cfg *cfg, kv_err *err) {
    unsigned char *chunk = malloc(CHUNK);
    kv_status st = chunk ? KV_OK : kv_fail(err, KV_ENOMEM, "%.600s: out of memory", p->path);
    while (!st) {
        const ssize_t n = pread(p->fd, chunk, CHUNK, (off_t)p->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            st = failed(p, "read", err);
        if (n <= 0)
            break;
        if (!EVP_DigestUpdate(p->sum, chunk, (size_t)n))
            st = no_sum(err);
        p->have += (uint64_t)n;
        if (cfg->watch && !cfg->watch(cfg->user, 0, 0))
            st = kv_fail(err, KV_ECANCEL, "%.600s: stopped while its beginning was looked at", p->path);
    }
    free(chunk);
    return st;
}

bool fetch_part_can_go_on(const fetch_part *p, const fetch_cfg *cfg) {
    return *p->mark || cfg->sha256 || *p->said_sum;
}

kv_status fetch_part_open(fetch_part *p, const char *url, const char *path, const fetch_cfg *cfg, kv_err *err) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    struct stat st;
    *p = (fetch_part){.path = path, .fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)};
    if (p->fd < 0)
        return failed(p, "open", err);
    if (flock(p->fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? kv_fail(err, KV_EIO, "%.600s: another process is fetching it", path)
                                    : failed(p, "lock", err);
    if (fstat(p->fd, &st) || !S_ISREG(st.st_mode) || !st.st_nlink)
        return kv_fail(err, KV_EIO, "%.600s: is no file, or another process has just taken it away", path);
    if (!(p->sum = EVP_MD_CTX_new()) || !EVP_Digest(url, strlen(url), sum, NULL, EVP_sha256(), NULL))
        return no_sum(err);
    to_hex(sum, p->url_sum);
    if (!read_from(p) || (p->size && (uint64_t)st.st_size > p->size) || !fetch_part_can_go_on(p, cfg))
        return fetch_part_clear(p, err);
    kv_status s = sum_begin(p, err);
    return s ? s : sum_up(p, cfg, err);
}

void fetch_part_close(fetch_part *p) {
    EVP_MD_CTX_free(p->sum);
    if (p->fd >= 0)
        close(p->fd);
    *p = (fetch_part){.fd = -1};
}

kv_status fetch_part_add(fetch_part *p, const void *data, size_t n, kv_err *err) {
    const char *from = data;
    if (!EVP_DigestUpdate(p->sum, data, n))
        return no_sum(err);
    while (n) {
        const ssize_t put = pwrite(p->fd, from, n, (off_t)p->have);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return failed(p, "write", err);
        from += put;
        n -= (size_t)put;
        p->have += (uint64_t)put;
    }
    return KV_OK;
}

kv_status fetch_part_room(const fetch_part *p, kv_err *err) {
    struct statvfs fs;
    char want[FORMAT_BYTES], free_[FORMAT_BYTES];
    if (!p->size || fstatvfs(p->fd, &fs))
        return KV_OK; /* who cannot know sees it when the disk is full */
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, rest = p->size - p->have;
    if (rest && (room < SPARE || room - SPARE < rest))
        return kv_fail(err, KV_EIO, "%.600s: %s are still to come, and the disk has room for %s", p->path,
                       format_bytes((double)rest, want), format_bytes((double)room, free_));
    return KV_OK;
}

kv_status fetch_part_finish(fetch_part *p, char sum[FETCH_SUM], kv_err *err) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    if (fsync(p->fd))
        return failed(p, "write", err);
    if (!EVP_DigestFinal_ex(p->sum, bytes, NULL))
        return no_sum(err);
    to_hex(bytes, sum);
    return KV_OK;
}

kv_status fetch_sum(const char *path, const fetch_cfg *cfg, char sum[FETCH_SUM], kv_err *err) {
    fetch_part p = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC), .sum = EVP_MD_CTX_new()};
    unsigned char bytes[EVP_MAX_MD_SIZE];
    kv_status st = p.fd < 0 ? failed(&p, "open", err) : p.sum ? sum_begin(&p, err) : no_sum(err);
    if (!st && !(st = sum_up(&p, cfg, err)) && !EVP_DigestFinal_ex(p.sum, bytes, NULL))
        st = no_sum(err);
    if (!st)
        to_hex(bytes, sum);
    fetch_part_close(&p);
    return st;
}
