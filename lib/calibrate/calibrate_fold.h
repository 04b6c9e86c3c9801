/* Scales to fold, found by measuring. Between calibrate_fold.c and the other files of this folder. */
#ifndef CALIBRATE_FOLD_H
#define CALIBRATE_FOLD_H

#include "calibrate/calibrate_text.h"

/* What calibration_fold goes by. All borrowed. */
typedef struct calibrate_fold_job {
    const rt_exec *exec;
    const calibrate_text *text;
    const rt_model *fast, *exact; /* the same model, by its products */
    uint32_t wanted;              /* caches, as bits */
} calibrate_fold_job;

/* Errors of rt_fold_check, and KV_EINVAL: keys of the model are set by hand. */
kv_status calibrate_can_fold(const rt_model *m, kv_err *err);
kv_status calibrate_fold(const calibrate_fold_job *job, calibrate_progress progress, prof *p, kv_err *err);

#endif
