/* How far a long piece of work is, and the way to stop it: kv_progress of <kv/status.h>, the same everywhere.
 *
 * Whoever works calls it now and then, never from two threads at once, with the share that is done. Whoever asked for the work
 * shows that, and answers false (after Ctrl-C, say) when it is to stop; the work then returns KV_ECANCEL.
 */
#ifndef KV_PROGRESS_H
#define KV_PROGRESS_H

#include <kv/status.h>

/* A part of a longer piece of work: give kv_progress_of_part as the callback and the part as its user to what does that part,
 * and `whole` hears of it as of from..to of its own work. */
typedef struct kv_progress_part {
    kv_progress whole; /* or NULL */
    void *user;        /* of whole */
    double from, to;
} kv_progress_part;

static inline bool kv_progress_of_part(void *part, double done) {
    const kv_progress_part *p = (const kv_progress_part *)part;
    return !p->whole || p->whole(p->user, p->from + (p->to - p->from) * done);
}

#endif
