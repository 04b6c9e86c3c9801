/* From a model and text to a measured profile: what kvcalib does between its command line and its output file. */
#ifndef CALIBRATE_H
#define CALIBRATE_H

#include "model.h"

typedef struct calibrate_cfg {
    const char *const *texts; /* files, joined in this order; or NULL: the text built in */
    size_t n_texts;
    uint32_t ctx;    /* tokens of a chunk, as many as the context that statistics see */
    uint32_t chunks; /* for fitting; 0: enough for CALIBRATE_TOKENS */
    uint64_t seed;   /* which chunks, where the text has more than are wanted */
    double bits;     /* average true bits per element of K and V, gains included */
    uint32_t window, sinks;
} calibrate_cfg;

enum {
    CALIBRATE_TOKENS = 6144,  /* fitted on, where the text has so many */
    CALIBRATE_MEASURED = 3072 /* held-out tokens measured on, one chunk at least */
};

typedef struct calibrate_text calibrate_text; /* calibrate_text.h */

/* Run text->fit through m, gather statistics, solve: a profile without measurements, the same for any number of threads. m may
 * have fast matrix products: what they round away is far below what statistics show. progress: as in calib.h.
 * *out: caller frees with prof_free. KV_EINVAL: ctx or sinks do not fit the model; KV_ERANGE: NaN; KV_ECANCEL. */
kv_status calibrate_fit(const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                        bool (*progress)(void *user, double done), void *user, prof **out, kv_err *err);

/* Measure p on text->held and write the results into p->measured: with the window and sinks asked for and, where that is
 * another case, without window. m must have exact matrix products, else their noise is in the figures. */
kv_status calibrate_measure(const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                            bool (*progress)(void *user, double done), void *user, prof *p, kv_err *err);

#endif
