/* Scales to fold, found by measuring. Between calibrate.c and calibrate_fold.c. */
#ifndef CALIBRATE_FOLD_H
#define CALIBRATE_FOLD_H

#include "calib.h"
#include "calibrate/calibrate_text.h"

/* calibration_fold, of these statistics, for the caches `wanted`. */
kv_status calibrate_fold(const cal_stats *stats, cal_team team, uint32_t wanted, const calibrate_text *text,
                         const rt_model *exact, calibrate_progress progress, prof *p, kv_err *err);

#endif
