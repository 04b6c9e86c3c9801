/* A profile for a model that was never calibrated. */
#ifndef CALIBRATED_H
#define CALIBRATED_H

#include "cache_fixture.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* As calibration might have made it for the model. */
static inline prof *calibrated(const rt_model *m) {
    const rt_hparams *hp = rt_model_hparams(m);
    prof *p;
    kv_err err = {0};
    if (prof_new(hp->n_layer, hp->n_head, hp->n_kv_head, hp->head_dim, &p, &err))
        fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < 2 * hp->n_layer * hp->n_kv_head; i++) {
        prof_layer *l = &p->layers[i / 2 / hp->n_kv_head];
        prof_tc *to = &(i % 2 ? &l->v : &l->k)->heads[i / 2 % hp->n_kv_head], *from = tc_make(hp->head_dim, 3, !(i % 2), i);
        if (prof_tc_alloc(to, hp->head_dim, &err))
            fail_msg("%s", err.msg);
        memcpy(to->bits, from->bits, to->dim);
        memcpy(to->mean, from->mean, to->dim * sizeof *to->mean);
        memcpy(to->basis, from->basis, (size_t)to->dim * to->dim * sizeof *to->basis);
        memcpy(to->sigma, from->sigma, to->dim * sizeof *to->sigma);
        memcpy(to->step, from->step, (PROF_MAX_BITS + 1) * sizeof *to->step);
        memcpy(to->levels, from->levels, TRELLIS_LEVELS);
        tc_drop(from);
    }
    p->frame = 64;
    return p;
}

#endif
