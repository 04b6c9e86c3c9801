/* The file that a calibration goes on from. Between calibrate.c and calibrate_saved.c. */
#ifndef CALIBRATE_SAVED_H
#define CALIBRATE_SAVED_H

#include "calib.h"
#include "calibrate/calibrate_text.h"

/* What is in the statistics: chunks of text, and then long texts. */
typedef struct calibrate_done {
    uint32_t chunks, texts;
} calibrate_done;

typedef struct calibrate_saved {
    calibrate_keep keep;
    calibrate_done done, all; /* as far as the file that was read is; and the whole */
    char binding[33];         /* what the statistics are of */
    double last, cost;        /* when a file was written last, and the seconds that it took */
} calibrate_saved;

/* Begin: read the file, if that is asked for, into the statistics. losses: NULL where there are none. */
kv_status calibrate_saved_open(calibrate_saved *s, const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                               cal_stats *stats, cal_losses *losses, kv_err *err);
/* After a piece of work: write the file where enough time has passed. */
void calibrate_save(calibrate_saved *s, calibrate_done done, cal_stats *stats, cal_losses *losses);

#endif
