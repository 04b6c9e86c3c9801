/* Again and again until the file is whole, or there is no hope. */
#include "base/clock.h"
#include "fetch/fetch_internal.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_ASKED = 300 }; /* seconds */
static const double first_wait = 0.25, longest_wait = 60;

kv_status fetch_init(kv_err *err) {
    return curl_global_init(CURL_GLOBAL_DEFAULT) ? kv_fail(err, KV_ENOMEM, "libcurl cannot be used here") : KV_OK;
}

__attribute__((format(printf, 2, 3))) static void say(const fetch_cfg *cfg, const char *fmt, ...) {
    kv_err text;
    va_list ap;
    if (!cfg->say)
        return;
    va_start(ap, fmt);
    vsnprintf(text.msg, sizeof text.msg, fmt, ap);
    va_end(ap);
    cfg->say(cfg->user, text.msg);
}

/* False: told to stop. */
static bool sleep_for(const fetch_cfg *cfg, const fetch_part *p, double seconds) {
    const double end = clock_now() + seconds;
    while (clock_now() < end) {
        if (cfg->watch && !cfg->watch(cfg->user, p->have, p->size))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return true;
}

typedef struct patience {
    uint64_t longest; /* that the file ever was */
    unsigned failures;
    bool restarted; /* because of a wrong sum */
} patience;

/* What to do after an end that was not the whole file. KV_OK: try again. */
static kv_status next(fetch_part *p, const fetch_cfg *cfg, fetch_end end, unsigned asked, patience *t, kv_err *err) {
    kv_err why = *err;
    if (end == FETCH_FAILED)
        return err->code;
    if (!fetch_part_can_go_on(p, cfg))
        end = FETCH_ANEW;
    if (p->have > t->longest) {
        t->longest = p->have;
        t->failures = 0;
    }
    if (t->failures++ >= cfg->retries)
        return kv_fail(err, why.code, "%s (%u tries in a row)", why.msg, t->failures);
    kv_status st = end == FETCH_ANEW ? fetch_part_clear(p, err) : KV_OK;
    if (st)
        return st;
    const double doubled = ldexp(first_wait, (int)(t->failures < 16 ? t->failures - 1 : 15));
    double wait = end == FETCH_ANEW && t->failures == 1 ? 0 : fmin(doubled, longest_wait);
    wait = fmax(wait, asked < LONGEST_ASKED ? asked : LONGEST_ASKED);
    say(cfg, "%s; trying again%s", why.msg, end == FETCH_ANEW ? " from the beginning" : "");
    return sleep_for(cfg, p, wait) ? KV_OK : kv_fail(err, KV_ECANCEL, "%.600s: stopped; the same again goes on", p->path);
}

/* The whole file: its sum. *again: it is to be fetched from the beginning. */
static kv_status check(fetch_part *p, const fetch_cfg *cfg, bool pieced, patience *t, fetch_result *out, bool *again,
                       kv_err *err) {
    char said[FETCH_SUM];
    memcpy(said, p->said_sum, sizeof said); /* which goes with the file */
    const char *wanted = cfg->sha256 ? cfg->sha256 : *said ? said : NULL;
    kv_status st = fetch_part_finish(p, out->sha256, err);
    if (st)
        return st;
    if ((cfg->size && p->have != cfg->size) || (cfg->begins && p->have < strlen(cfg->begins)))
        return kv_fail(err, cfg->size ? KV_EMISMATCH : KV_EFORMAT, "%.500s: has %" PRIu64 " bytes", p->path, p->have);
    out->bytes = p->have;
    out->checked = cfg->sha256 ? FETCH_BY_CALLER : wanted ? FETCH_BY_SERVER : FETCH_UNCHECKED;
    if (!wanted || !strcasecmp(wanted, out->sha256))
        return KV_OK;
    if ((st = fetch_part_clear(p, err)))
        return st;
    if (pieced && !t->restarted) { /* pieces of two states of the file, perhaps */
        say(cfg, "%s: the pieces do not have the right sum; fetching it from the beginning", p->path);
        t->restarted = *again = true;
        return KV_OK;
    }
    return kv_fail(err, KV_EMISMATCH, "%.500s: its SHA-256 is %s and not %s; nothing of it was kept", p->path, out->sha256,
                   wanted);
}

kv_status fetch_file(const char *url, const char *path, const fetch_cfg *cfg, fetch_result *out, kv_err *err) {
    char shown[FETCH_PATH], host[FETCH_NAME];
    fetch_part p = {.fd = -1};
    patience t = {0};
    bool again = true;
    *out = (fetch_result){0};
    kv_status st = fetch_shown(url, shown, host, err);
    if (st)
        return st;
    if ((st = fetch_part_open(&p, url, path, cfg, err)))
        goto done;
    out->resumed = t.longest = p.have;
    bool pieced = p.have > 0, first = true;
    while (again && !st) {
        fetch_end end = p.have && p.have == p.size ? FETCH_WHOLE : FETCH_AGAIN;
        unsigned wait = 0;
        if (end != FETCH_WHOLE) {
            const uint64_t had = p.have;
            end = fetch_once(url, &p, cfg, first, &wait, err);
            first = first && p.have <= had;
        }
        if (end == FETCH_WHOLE) {
            again = false;
            st = check(&p, cfg, pieced, &t, out, &again, err);
            pieced = false;
        } else {
            st = next(&p, cfg, end, wait, &t, err);
            pieced = p.have > 0;
        }
        if (p.have < out->resumed)
            out->resumed = 0;
    }
done:
    if (st == KV_EFORMAT || st == KV_EMISMATCH || (st && st != KV_EINVAL && !p.have && p.fd >= 0)) {
        unlink(path); /* it cannot become the file, or there is nothing of it */
        fetch_forget(path);
    }
    fetch_part_close(&p);
    return st;
}
