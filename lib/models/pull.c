#include "models/pull.h"

#include "base/folder.h"
#include "gguf/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

typedef struct pull {
    const pull_cfg *cfg;
    pull_result *out;
    kv_err *err;
    const char *name; /* of the (first) file */
    int lock;         /* the folder */
    char folder[STORE_PATH];
} pull;

bool pull_part_address(const char *url, const char *name, uint32_t no, char *out) {
    const char *at = NULL;
    for (const char *next = url; (next = strstr(next, name)); next++)
        at = next;
    const size_t before = at ? (size_t)(at - url) : 0, len = strlen(name);
    if (!at || strlen(url) >= CATALOGUE_ADDRESS || gguf_split_count(name) < 2)
        return false;
    memcpy(out, url, before);
    gguf_split_path(name, no, out + before);
    strcpy(out + before + len, at + len);
    return true;
}

/* FOLDER/NAME; room for a number stays. */
static kv_status in_folder(const pull *p, const char *name, char out[STORE_PATH]) {
    const int n = snprintf(out, STORE_PATH, "%s/%s", p->folder, name);
    return n > 0 && n < STORE_PATH - 16 ? KV_OK : kv_fail(p->err, KV_EINVAL, "%.600s: this path is too long", p->folder);
}

/* Where file no (from 0) is while it is fetched. */
static kv_status path_of(const pull *p, uint32_t no, char out[STORE_PATH]) {
    char piece[32];
    snprintf(piece, sizeof piece, "piece-%u", no + 1);
    kv_status st = in_folder(p, p->cfg->join ? piece : p->name, out);
    if (!st && !p->cfg->join && p->cfg->n_urls > 1)
        gguf_split_path(out, no + 1, out);
    return st;
}

/* The folder, ours alone for as long as this process lives. */
static kv_status begin(pull *p) {
    const char *slash = strrchr(p->cfg->target, '/');
    p->name = slash ? slash + 1 : p->cfg->target;
    kv_status st = store_part_folder(p->cfg->target, p->folder, p->err);
    if (st)
        return st;
    if (mkdir(p->folder, 0700) && errno != EEXIST)
        return kv_fail(p->err, KV_EIO, "%.600s: cannot make this folder: %s", p->folder, strerror(errno));
    if ((p->lock = open(p->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return kv_fail(p->err, KV_EIO, "%.600s: cannot be opened: %s", p->folder, strerror(errno));
    if (flock(p->lock, LOCK_EX | LOCK_NB))
        return kv_fail(p->err, KV_EIO, "%.600s: %s", p->folder,
                       errno == EWOULDBLOCK ? "another process is fetching this model" : strerror(errno));
    return KV_OK;
}

static kv_status fetch_all(pull *p) {
    const pull_cfg *c = p->cfg;
    kv_status st = KV_OK;
    for (uint32_t no = 0; no < c->n_urls && !st; no++) {
        char path[STORE_PATH];
        fetch_result r;
        fetch_cfg f = c->fetch;
        f.sha256 = !c->join && c->n_sums ? c->sums[no] : NULL;
        f.size = c->n_urls == 1 ? c->size : 0;
        f.begins = c->join && no ? NULL : "GGUF";
        if ((st = path_of(p, no, path)))
            break;
        if (c->file)
            c->file(f.user, no, c->n_urls, c->join ? p->name : strrchr(path, '/') + 1);
        if ((st = fetch_file(c->urls[no], path, &f, &r, p->err)))
            break;
        p->out->bytes += r.bytes;
        p->out->resumed += r.resumed;
        if (!no || r.checked < p->out->checked)
            p->out->checked = r.checked;
        if (!c->join) {
            memcpy(p->out->sums[no], r.sha256, FETCH_SUM);
            p->out->n_sums = no + 1;
        }
    }
    return st;
}

/* ---- pieces ---- */

static kv_status append(FILE *to, const char *from, const fetch_cfg *f, kv_err *err) {
    char *chunk = malloc(CHUNK);
    FILE *in = fopen(from, "rbe");
    size_t n = 0;
    kv_status st = chunk && in ? KV_OK : kv_fail(err, KV_EIO, "%.600s: cannot be opened: %s", from, strerror(errno));
    while (!st && (n = fread(chunk, 1, CHUNK, in))) {
        if (fwrite(chunk, 1, n, to) != n)
            st = kv_fail(err, KV_EIO, "%.600s: cannot be joined with the others: %s", from, strerror(errno));
        else if (f->watch && !f->watch(f->user, 0, 0))
            st = kv_fail(err, KV_ECANCEL, "%.600s: stopped; the same again goes on", from);
    }
    if (!st && ferror(in))
        st = kv_fail(err, KV_EIO, "%.600s: cannot be read: %s", from, strerror(errno));
    if (in)
        fclose(in);
    free(chunk);
    return st;
}

/* One file of the pieces, anew whenever one is not sure that it is whole. */
static kv_status join(pull *p) {
    char path[STORE_PATH], piece[STORE_PATH];
    kv_status st = in_folder(p, p->name, path);
    if (st)
        return st;
    FILE *to = fopen(path, "wbe");
    if (!to)
        return kv_fail(p->err, KV_EIO, "%.600s: cannot be made: %s", path, strerror(errno));
    for (uint32_t no = 0; no < p->cfg->n_urls && !st; no++)
        if (!(st = path_of(p, no, piece)))
            st = append(to, piece, &p->cfg->fetch, p->err);
    if ((fflush(to) || fsync(fileno(to))) && !st)
        st = kv_fail(p->err, KV_EIO, "%.600s: cannot be written: %s", path, strerror(errno));
    fclose(to);
    return st ? st : fetch_sum(path, &p->cfg->fetch, p->out->sums[0], p->err);
}

static kv_status join_and_check(pull *p) {
    const pull_cfg *c = p->cfg;
    kv_status st = join(p);
    if (st)
        return st;
    p->out->n_sums = 1;
    p->out->checked = c->n_sums ? FETCH_BY_CALLER : FETCH_UNCHECKED;
    if (c->n_sums && strcasecmp(c->sums[0], p->out->sums[0]))
        return kv_fail(p->err, KV_EMISMATCH,
                       "%.500s: the SHA-256 of the joined pieces is %s and not %s; nothing of it was kept", c->target,
                       p->out->sums[0], c->sums[0]);
    return KV_OK;
}

/* ---- the end ---- */

/* That it is a model, from where it is now. */
static kv_status check(pull *p) {
    char path[STORE_PATH];
    gguf *g = NULL;
    kv_status st = in_folder(p, p->name, path);
    if (!st)
        st = gguf_open(path, &g, p->err);
    if (!st && p->cfg->size && gguf_file_bytes(g) != p->cfg->size)
        st = kv_fail(p->err, KV_EMISMATCH, "%.600s: has %llu bytes, and not the %llu that are expected", p->cfg->target,
                     (unsigned long long)gguf_file_bytes(g), (unsigned long long)p->cfg->size);
    gguf_close(g);
    return st;
}

static kv_status sync_folder(const char *path, kv_err *err) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool good = fd >= 0 && !fsync(fd);
    const int why = errno;
    if (fd >= 0)
        close(fd);
    return good || why == EINVAL ? KV_OK : kv_fail(err, KV_EIO, "%.600s: cannot be written: %s", path, strerror(why));
}

/* Into place, the first file last: a model is there when that is. */
static kv_status publish(pull *p) {
    const uint32_t files = p->cfg->join ? 1 : p->cfg->n_urls;
    char from[STORE_PATH], to[STORE_PATH], folder[STORE_PATH] = ".";
    const size_t before = (size_t)(p->name - p->cfg->target);
    kv_status st = in_folder(p, p->name, from);
    if (st)
        return st;
    strcpy(to, p->cfg->target); /* no longer than from */
    if (before)
        snprintf(folder, sizeof folder, "%.*s", (int)before, to);
    for (uint32_t no = files; no >= 1; no--) {
        if (files > 1) {
            gguf_split_path(from, no, from);
            gguf_split_path(to, no, to);
        }
        if (no == 1 && files > 1 && (st = sync_folder(folder, p->err)))
            return st;
        if (rename(from, to))
            return kv_fail(p->err, KV_EIO, "%.400s: cannot be moved to %.400s: %s", from, to, strerror(errno));
    }
    return sync_folder(folder, p->err);
}

/* What is left of it goes: for a model that is in place, or one that can never be. */
static void clear(pull *p) {
    close(p->lock); /* it is taken to remove what is there */
    p->lock = -1;
    store_remove(&(store_row){.path = (char *)p->cfg->target, .partial = true}, NULL);
}

kv_status pull_model(const pull_cfg *cfg, pull_result *out, kv_err *err) {
    kv_err own = {0};
    pull p = {.cfg = cfg, .out = out, .err = err ? err : &own, .lock = -1};
    *out = (pull_result){0};
    kv_status st = begin(&p);
    if (st)
        goto done;
    if ((st = fetch_all(&p))) { /* other files than the one that failed are as good as before */
        rmdir(p.folder);        /* if nothing is in it */
        goto done;
    }
    if ((!cfg->join || !(st = join_and_check(&p))) && !(st = check(&p)))
        st = publish(&p);
    if (st == KV_OK || st == KV_EFORMAT || st == KV_EUNSUPP || st == KV_EMISMATCH)
        clear(&p);
done:
    if (p.lock >= 0)
        close(p.lock);
    return st;
}
