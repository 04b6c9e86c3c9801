/* HTML reports that need nothing but themselves: inline SVG and CSS, no scripts, no network. One page for a calibration; a
 * sweep of cache settings writes its own with the same parts (sweep.h). Everything that comes from outside is escaped.
 */
#ifndef REPORT_H
#define REPORT_H

#include "profile/profile.h"

/* What the foot of a page says about where it comes from. Strings are borrowed; NULL where there is none. */
typedef struct report_origin {
    const char *tool;       /* "kvcalib", "kveval sweep" */
    int argc;               /* of main */
    char **argv;            /* argv[0] is not shown, tool is */
    const char *model_path; /* as given */
    const char *model_name;
    const char *model_hash;       /* gguf_model_hash */
    const char *text, *text_hash; /* what was measured on: path, XXH3-128 */
} report_origin;

/* Write the page of a calibration: measured results, attention entropy, bits per layer and head, spectra, budgets; as much of
 * it as the profile holds. Appears whole or not at all. */
kv_status report_profile(const prof *p, const report_origin *o, const char *path, kv_err *err);

#endif
