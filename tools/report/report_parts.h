/* The parts that report pages are made of. Every function writes to a stream; whether that worked shows when the file is
 * committed. The whole page is well-formed XML, too.
 */
#ifndef REPORT_PARTS_H
#define REPORT_PARTS_H

#include "report/report.h"

#include <stdbool.h>
#include <stdio.h>

enum { REPORT_DATE = 32, REPORT_WIDTH = 960 }; /* units across an SVG */

/* ---- page (report_page.c) ---- */

/* Text with <, >, &, quotes and what is not UTF-8 or not printable made harmless: for content and attributes alike. */
void rep_text(FILE *f, const char *s);
void rep_page_begin(FILE *f, const char *title, const char *lead);
/* p: whose hashes and origin the foot names; or NULL. */
void rep_page_end(FILE *f, const report_origin *o, const prof *p);
/* A heading and a sentence on what to see; both are trusted HTML. Ends with rep_section_end. */
void rep_section_begin(FILE *f, const char *title, const char *caption);
void rep_section_end(FILE *f);
/* An SVG of REPORT_WIDTH x height, `label` for those who cannot see it (trusted). Ends with </svg>. */
void rep_svg_begin(FILE *f, double height, const char *label);
/* The same as a file of its own, with margins, the page's colours and `title` (escaped here), which is not drawn. Ends with
 * </svg>. */
void rep_picture_begin(FILE *f, double height, const char *title);

char *report_date(char buf[REPORT_DATE]); /* now, UTC; or SOURCE_DATE_EPOCH (reproducible-builds.org) */
/* The command line, quoted for a shell. NULL when out of memory; caller frees. */
char *report_command(const report_origin *o);

/* ---- rate and distortion (report_rate.c) ---- */

typedef struct rep_point {
    const char *name;
    double bits, kld, kld_se;
    int family;
    uint32_t window;
} rep_point;

enum { REP_MIXED = -1 }; /* in place of a codec: several */
/* Codecs that work alike have one colour and one shape. */
int rep_family(int codec_k, int codec_v);
const char *rep_family_name(int family);
/* Filled; hollow where a window keeps tokens exact. */
void rep_marker(FILE *f, int family, bool hollow, double x, double y, double size);
/* A chart of all points that a logarithmic axis can hold; those that it cannot are named below it. */
kv_status rep_rate_chart(FILE *f, const rep_point *points, size_t n, kv_err *err);
/* The same chart as an SVG file, under a title and a line on what was measured (both escaped here). */
kv_status rep_rate_picture(FILE *f, const char *title, const char *lead, const rep_point *points, size_t n, kv_err *err);

/* Places of labels beside points, none over another if that can be helped (report_label.c). */
typedef struct rep_box {
    double x, y, w, h;
} rep_box;
typedef struct rep_label {
    double x, y; /* the point */
    double w, h; /* of the text */
    rep_box at;  /* out: where the text goes */
    bool far;    /* out: so far away that a line should lead there */
} rep_label;
/* Avoid each other, the boxes in `taken`, and leave `frame` only when nothing else is left. */
void rep_place_labels(rep_label *labels, size_t n, const rep_box *taken, size_t n_taken, rep_box frame);
/* Where the leader line of a placed label ends. */
void rep_leader(const rep_label *l, double *x, double *y);

/* ---- per layer and head (report_heat.c) ---- */

typedef struct rep_grid {
    const char *name; /* "keys" */
    const char *row;  /* "KV head" */
    uint32_t n_layer, n_row;
    const float *v; /* (n_layer, n_row); NaN: unknown */
} rep_grid;
/* Grids below each other, layers across, in one scale of colours that ends at the least and the greatest value. */
void rep_heat_map(FILE *f, const rep_grid *grids, size_t n, const char *unit, const char *label);
/* One bar per layer. */
void rep_bars(FILE *f, const float *v, uint32_t n_layer, const char *unit, const char *label);

/* ---- shares (report_share.c) ---- */

typedef struct rep_share {
    uint32_t n, hits; /* n 0: an empty cell */
    double lo, hi;    /* confidence interval, 0..1 */
} rep_share;
typedef struct rep_share_map {
    const char *name;   /* escaped here */
    const char *note;   /* on the right of it; trusted */
    const rep_share *v; /* (n_row + 1, n_column + 1), the last of both being for all together */
} rep_share_map;
typedef struct rep_share_axes { /* labels are trusted */
    const char *const *column, *const *row;
    size_t n_column, n_row;
} rep_share_axes;
/* Maps below or beside each other, all from none found to all found. */
void rep_share_maps(FILE *f, const rep_share_map *maps, size_t n, const rep_share_axes *a, const char *label);
/* A small chart for a cell of a table: the share as a dot, its interval as a bar, between 0 and 100 %. */
void rep_interval(FILE *f, rep_share s);

/* ---- spectra (report_spectra.c) ---- */

typedef struct rep_spectra {
    const char *name, *colour; /* "keys" */
    uint32_t n, dim;           /* n heads */
    const float *variance;     /* (n, dim) falling, the first being 1 */
    const float *bits;         /* (n, dim), in the same order */
} rep_spectra;
/* Two panels side by side. Either may have n = 0. */
kv_status rep_spectra_chart(FILE *f, const rep_spectra side[2], kv_err *err);

/* ---- a profile (report_profile.c) ---- */

/* Bits per number that one KV head of a layer costs, metadata included; side 0: keys, 1: values. */
float head_bits(const prof *p, uint32_t layer, uint32_t head, int side);
/* All sections about a profile, each only where the profile holds what it shows. `name`: of the profile in titles, or NULL. */
kv_status rep_profile_sections(FILE *f, const prof *p, kv_err *err);
/* Token budgets of heads or layers (report_budget.c). */
kv_status rep_budget_section(FILE *f, const prof *p, kv_err *err);
/* The map of bits alone. */
kv_status rep_bits_section(FILE *f, const prof *p, const char *name, kv_err *err);

#endif
