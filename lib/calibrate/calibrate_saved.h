/* The file that a calibration goes on from. Between calibrate.c and calibrate_saved.c. */
#ifndef CALIBRATE_SAVED_H
#define CALIBRATE_SAVED_H

#include "calib.h"
#include "calibrate/calibrate_text.h"

/* What is in the statistics: chunks of text, and then long texts. */
typedef struct calibrate_done {
    uint32_t chunks, texts;
} calibrate_done;

/* What is gathered: statistics for every window, NULL behind the last; and where budgets are made by loss, losses, else NULL.
 */
typedef struct calibrate_sums {
    cal_stats *stats[PROF_MAX_WINDOWS];
    cal_losses *losses;
} calibrate_sums;

typedef struct calibrate_saved {
    calibrate_keep keep;
    calibrate_done done, all; /* as far as the file that was read is; and the whole */
    char binding[33];         /* what the statistics are of */
    double last, cost;        /* when a file was written last, and the seconds that it took */
} calibrate_saved;

/* Begin: read the file, if that is asked for, into the statistics. */
kv_status calibrate_saved_open(calibrate_saved *s, const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                               const calibrate_sums *sums, kv_err *err);
/* Whether to write the file, so many seconds after the last time, which took `cost`: when that is less than 2 % of the time, or
 * after 15 seconds less than 5 %. */
bool calibrate_save_due(double passed, double cost);
/* After a piece of work: write the file where enough time has passed. */
void calibrate_save(calibrate_saved *s, calibrate_done done, const calibrate_sums *sums);

#endif
