/* The rate-distortion chart: true bits per number across, KL divergence upwards on a logarithmic axis.
 *
 * A family of codecs has a colour and a shape of its own, so that the chart also works without colours; colours are those of
 * Okabe and Ito (Color Universal Design, 2008), which the colour-blind can tell apart. Points of a family with the same window
 * are joined.
 */
#include "report/report_parts.h"

#include "profile/codec_id.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum shape { CIRCLE, SQUARE, DIAMOND, UP, DOWN, PENTAGON, STAR, CROSS } shape;

enum { MIXED = KV_FAMILY_COUNT, N_FAMILIES };

static const struct {
    const char *name, *colour;
    shape shape;
} families[N_FAMILIES] = {
    [KV_FAMILY_FLOAT] = {"exact", "#6b7480", CROSS},
    [KV_FAMILY_HADAMARD] = {"Hadamard rotation, then blocks", "#56b4e9", DOWN},
    [KV_FAMILY_BLOCK] = {"plain blocks", "#e69f00", SQUARE},
    [KV_FAMILY_TURBO] = {"TurboQuant", "#cc79a7", UP},
    [KV_FAMILY_POLAR] = {"PolarQuant", "#009e73", PENTAGON},
    [KV_FAMILY_KIVI] = {"KIVI", "#0072b2", DIAMOND},
    [KV_FAMILY_TC] = {"calibrated transform", "#d55e00", CIRCLE},
    [MIXED] = {"mixed", "#8a7a00", STAR},
};

static int family_of(int codec) {
    return codec < 0 ? MIXED : (int)kv_codec_names[codec].family;
}

int rep_family(int codec_k, int codec_v) {
    int k = family_of(codec_k), v = family_of(codec_v);
    return k == v ? k : MIXED;
}

const char *rep_family_name(int family) {
    return families[family].name;
}

/* Corners of a regular shape, or of a star with `inner` < 1. */
static void polygon(FILE *f, int corners, double turn, double inner, double x, double y, double r) {
    const int n = inner < 1 ? 2 * corners : corners;
    fputs("<polygon points=\"", f);
    for (int i = 0; i < n; i++) {
        double a = turn + 2 * M_PI * i / n, radius = inner < 1 && i % 2 ? r * inner : r;
        fprintf(f, "%s%.1f,%.1f", i ? " " : "", x + radius * sin(a), y - radius * cos(a));
    }
    fputs("\"", f);
}

void rep_marker(FILE *f, int family, bool hollow, double x, double y, double size) {
    const char *colour = families[family].colour;
    switch (families[family].shape) {
    case CIRCLE:
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", x, y, 0.92 * size);
        break;
    case SQUARE:
        polygon(f, 4, M_PI / 4, 1, x, y, 1.15 * size);
        break;
    case DIAMOND:
        polygon(f, 4, 0, 1, x, y, 1.15 * size);
        break;
    case UP:
        polygon(f, 3, 0, 1, x, y + 0.15 * size, 1.2 * size);
        break;
    case DOWN:
        polygon(f, 3, M_PI, 1, x, y - 0.15 * size, 1.2 * size);
        break;
    case PENTAGON:
        polygon(f, 5, 0, 1, x, y, 1.08 * size);
        break;
    case STAR:
        polygon(f, 5, 0, 0.45, x, y, 1.3 * size);
        break;
    case CROSS:
        polygon(f, 4, M_PI / 4, 0.4, x, y, 1.4 * size);
        break;
    }
    if (hollow)
        fprintf(f, " style=\"fill:var(--bg);stroke:%s;stroke-width:2\"/>", colour);
    else
        fprintf(f, " style=\"fill:%s;stroke:var(--bg);stroke-width:1\"/>", colour);
}

/* ---- axes ---- */

enum { LEFT = 74, RIGHT = 20, TOP = 40, BOTTOM = 66, HEIGHT = 600 };
static const double FAR_BITS = 10; /* above it nobody looks for compression, and the rest needs the space */

typedef struct plot {
    double x0, x1, y0, y1; /* bits; log10 of KLD */
} plot;

static double at_x(const plot *p, double bits) {
    return LEFT + (bits - p->x0) / (p->x1 - p->x0) * (REPORT_WIDTH - LEFT - RIGHT);
}

static double at_y(const plot *p, double kld) {
    double y = (log10(kld) - p->y0) / (p->y1 - p->y0);
    return HEIGHT - BOTTOM - (y < 0 ? 0 : y > 1 ? 1 : y) * (HEIGHT - BOTTOM - TOP);
}

static bool drawable(const rep_point *p) {
    return p->kld > 0 && isfinite(p->kld) && isfinite(p->bits) && p->bits <= FAR_BITS;
}

/* Thirds of a decade, which are close to 1, 2, 5; at least a decade. */
static plot fit(const rep_point *points, size_t n) {
    plot p = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (size_t i = 0; i < n; i++) {
        if (!drawable(&points[i]))
            continue;
        p.x0 = fmin(p.x0, points[i].bits);
        p.x1 = fmax(p.x1, points[i].bits);
        p.y0 = fmin(p.y0, log10(points[i].kld));
        p.y1 = fmax(p.y1, log10(points[i].kld));
    }
    p.x0 = floor(p.x0 - 0.2);
    p.x1 = ceil(p.x1 + 0.5);
    p.y0 = floor(3 * p.y0 - 0.4) / 3;
    p.y1 = ceil(3 * p.y1 + 0.4) / 3;
    if (p.y1 - p.y0 < 1)
        p.y0 = p.y1 - 1;
    return p;
}

static void axes(FILE *f, const plot *p) {
    static const int marks[] = {1, 2, 5};
    const double right = REPORT_WIDTH - RIGHT, bottom = HEIGHT - BOTTOM;
    const bool close = p->y1 - p->y0 > 4;
    for (int decade = (int)floor(p->y0); decade <= (int)ceil(p->y1); decade++)
        for (int m = 0; m < (close ? 1 : 3); m++) {
            double v = marks[m] * pow(10, decade), y = at_y(p, v);
            if (log10(v) < p->y0 - 1e-9 || log10(v) > p->y1 + 1e-9)
                continue;
            fprintf(f, "<path class=\"grid\" d=\"M%d %.1fH%.0f\"%s/>", LEFT, y, right, m ? " stroke-dasharray=\"1 4\"" : "");
            fprintf(f, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", LEFT - 10, y + 4.5);
            fprintf(f, decade < -5 ? "%.*e</text>\n" : "%.*f</text>\n", decade < -5 || decade > 0 ? 0 : -decade, v);
        }
    for (double b = p->x0, gap = p->x1 - p->x0 > 3 ? 1 : 0.5; b <= p->x1 + 1e-9; b += gap) {
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %dV%.0f\"/>", at_x(p, b), TOP, bottom);
        fprintf(f, "<text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.0f\">%g</text>\n", at_x(p, b), bottom + 22, b);
    }
    fprintf(f, "<path class=\"axis\" d=\"M%d %dV%.0fH%.0f\"/>\n", LEFT, TOP, bottom, right);
    fprintf(f, "<text class=\"strong\" x=\"0\" y=\"16\">KL divergence, nats per token (log scale)</text>\n");
    fprintf(f,
            "<text class=\"strong\" text-anchor=\"end\" x=\"%.0f\" y=\"%.0f\">true bits per cached number, mean of K and V, "
            "metadata "
            "included</text>\n",
            right, bottom + 46);
    fprintf(f, "<text class=\"soft small\" x=\"%d\" y=\"%.0f\">↙ better</text>\n", LEFT + 8, bottom - 8);
}

/* ---- points ---- */

typedef struct dot {
    rep_point p;
    double x, y, low, high; /* low, high: ends of the error bar */
    int before;             /* the dot that a line joins this one to, or -1 */
} dot;

static int by_family_then_bits(const void *a, const void *b) {
    const rep_point *x = &((const dot *)a)->p, *y = &((const dot *)b)->p;
    if (x->family != y->family)
        return x->family - y->family;
    if (x->window != y->window)
        return x->window < y->window ? -1 : 1;
    return (x->bits > y->bits) - (x->bits < y->bits);
}

/* Sort, place, and join what belongs together: same family, same window, and better than what is smaller. */
static void arrange(const plot *p, dot *d, size_t n) {
    qsort(d, n, sizeof *d, by_family_then_bits);
    int last = -1;
    for (size_t i = 0; i < n; i++) {
        const rep_point *s = &d[i].p;
        d[i].x = at_x(p, s->bits);
        d[i].y = at_y(p, s->kld);
        d[i].high = s->kld_se > 0 ? at_y(p, s->kld + s->kld_se) : d[i].y;
        d[i].low = !(s->kld_se > 0) ? d[i].y : s->kld > s->kld_se ? at_y(p, s->kld - s->kld_se) : HEIGHT - BOTTOM;
        d[i].before = -1;
        if (last < 0 || d[last].p.family != s->family || d[last].p.window != s->window)
            last = (int)i;
        else if (s->kld < d[last].p.kld) {
            d[i].before = s->family == MIXED ? -1 : last;
            last = (int)i;
        }
    }
}

static void line(FILE *f, const dot *d, const dot *before) {
    fprintf(f, "<path d=\"M%.1f %.1fL%.1f %.1f\" style=\"stroke:%s;stroke-width:%s;stroke-opacity:.55;fill:none%s\"/>\n",
            before->x, before->y, d->x, d->y, families[d->p.family].colour, d->p.family == family_of(KV_TC) ? "3" : "1.5",
            d->p.window ? ";stroke-dasharray:6 4" : "");
}

static void mark(FILE *f, const dot *d) {
    fputs("<g><title>", f);
    rep_text(f, d->p.name);
    fprintf(f, ": %.3f bits, KLD %.6f ± %.6f</title>", d->p.bits, d->p.kld, d->p.kld_se);
    if (d->p.kld_se > 0)
        fprintf(f, "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\" style=\"stroke:%s;stroke-width:1.5;fill:none\"/>", d->x,
                d->low, d->high, d->x - 4, d->low, d->x - 4, d->high, families[d->p.family].colour);
    rep_marker(f, d->p.family, d->p.window, d->x, d->y, 6.5);
    fputs("</g>\n", f);
}

/* ---- labels ---- */

enum { MOST_CHARS = 26 };
static const double CHAR_WIDTH = 6.7, LINE = 17;

/* Bytes of the first MOST_CHARS characters; *chars: how many characters there are, at most that. */
static size_t shown(const char *s, size_t *chars) {
    size_t bytes = 0;
    for (*chars = 0; s[bytes] && *chars < MOST_CHARS; (*chars)++)
        do
            bytes++;
        while (((unsigned char)s[bytes] & 0xc0) == 0x80);
    return bytes;
}

static void write_label(FILE *f, const rep_label *l, const char *name) {
    size_t chars, bytes = shown(name, &chars);
    char cut[4 * MOST_CHARS + 1];
    snprintf(cut, sizeof cut, "%.*s", (int)bytes, name);
    const double middle = l->at.y + l->at.h / 2, left = l->at.x, right = l->at.x + l->at.w;
    if (l->far) {
        double x, y;
        rep_leader(l, &x, &y);
        const double start = 9 / fmax(hypot(x - l->x, y - l->y), 9); /* outside the marker */
        fprintf(f, "<path class=\"grid\" style=\"stroke:var(--soft)\" d=\"M%.1f %.1fL%.1f %.1f\"/>", l->x + start * (x - l->x),
                l->y + start * (y - l->y), x, y);
    }
    /* Anchored on the side of the point, so that the guess of the width does not matter. */
    const char *anchor = left >= l->x ? "start" : right <= l->x ? "end" : "middle";
    fprintf(f, "<text class=\"halo\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", anchor,
            left >= l->x    ? left
            : right <= l->x ? right
                            : (left + right) / 2,
            middle + 4.5);
    rep_text(f, cut);
    fputs(name[bytes] ? "…</text>\n" : "</text>\n", f);
}

enum { STEPS = 24 }; /* boxes that stand for a line in the way of a label */

/* What labels must not cover: marker, error bar and line of every dot. Returns how many boxes. */
static size_t obstacles(const dot *d, size_t n, rep_box *taken) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        taken[at++] = (rep_box){d[i].x - 9, d[i].y - 9, 18, 18};
        taken[at++] = (rep_box){d[i].x - 4, d[i].high, 8, d[i].low - d[i].high};
        for (int k = 1; d[i].before >= 0 && k < STEPS; k++) {
            const dot *b = &d[d[i].before];
            double share = (double)k / STEPS;
            taken[at++] = (rep_box){b->x + share * (d[i].x - b->x) - 2, b->y + share * (d[i].y - b->y) - 2, 4, 4};
        }
    }
    return at;
}

static kv_status labels(FILE *f, const dot *d, size_t n, kv_err *err) {
    const rep_box frame = {LEFT + 2, TOP, REPORT_WIDTH - LEFT - RIGHT + 16, HEIGHT - TOP - BOTTOM - 2};
    rep_label *l = calloc(n, sizeof *l);
    rep_box *taken = calloc(n * (2 + STEPS), sizeof *taken);
    kv_status st = l && taken ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a chart of %zu points", n);
    if (st)
        goto done;
    for (size_t i = 0; i < n; i++) {
        size_t chars, bytes = shown(d[i].p.name, &chars);
        l[i] =
            (rep_label){.x = d[i].x, .y = d[i].y, .w = CHAR_WIDTH * (double)(chars + (d[i].p.name[bytes] != '\0')), .h = LINE};
    }
    rep_place_labels(l, n, taken, obstacles(d, n, taken), frame);
    for (size_t i = 0; i < n; i++)
        write_label(f, &l[i], d[i].p.name);
done:
    free(l);
    free(taken);
    return st;
}

/* ---- legend ---- */

static const char window_note[] = "hollow, dashed: the newest tokens stay f16 (window)";

/* Families that appear, in order, and last, as N_FAMILIES, the window where one does. Returns how many. */
static size_t legend_of(const rep_point *points, size_t n, int entries[N_FAMILIES + 1]) {
    bool seen[N_FAMILIES + 1] = {false};
    size_t many = 0;
    for (size_t i = 0; i < n; i++)
        if (drawable(&points[i])) {
            seen[points[i].family] = true;
            seen[N_FAMILIES] |= points[i].window > 0;
        }
    for (int e = 0; e <= N_FAMILIES; e++)
        if (seen[e])
            entries[many++] = e;
    return many;
}

static const char *entry_name(int entry) {
    return entry < N_FAMILIES ? families[entry].name : window_note;
}

static void entry_marker(FILE *f, int entry, double x, double y) {
    rep_marker(f, entry < N_FAMILIES ? entry : family_of(KV_TC), entry == N_FAMILIES, x, y, 6.5);
}

/* As a list of the page, which wraps by itself. */
static void page_legend(FILE *f, const rep_point *points, size_t n) {
    int entries[N_FAMILIES + 1];
    const size_t many = legend_of(points, n, entries);
    fputs("<ul class=\"legend\">", f);
    for (size_t i = 0; i < many; i++) {
        fputs("<li><svg viewBox=\"0 0 18 18\">", f);
        entry_marker(f, entries[i], 9, 9);
        fprintf(f, "</svg>%s</li>", entry_name(entries[i]));
    }
    fputs("</ul>\n", f);
}

/* As rows of an SVG, from y on; f NULL: only measured. Returns where the next thing goes. */
static double drawn_legend(FILE *f, double y, const rep_point *points, size_t n) {
    int entries[N_FAMILIES + 1];
    const size_t many = legend_of(points, n, entries);
    double x = 0;
    for (size_t i = 0; i < many; i++) {
        const double width = 18 + CHAR_WIDTH * (double)strlen(entry_name(entries[i]));
        if (x + width > REPORT_WIDTH) {
            x = 0;
            y += 1.4 * LINE;
        }
        if (f) {
            entry_marker(f, entries[i], x + 7, y);
            fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 20, y + 4.5, entry_name(entries[i]));
        }
        x += width + 24;
    }
    return y + 1.4 * LINE;
}

/* Names those that the axes cannot hold, if there are any, between `open` and `close`. */
static void not_drawn(FILE *f, const char *open, const char *close, const rep_point *points, size_t n) {
    size_t many = 0;
    for (size_t i = 0; i < n; i++)
        if (!drawable(&points[i])) {
            fputs(many++ ? ", " : open, f);
            rep_text(f, points[i].name);
            fprintf(f, " (%.4g bits, KLD %.3g)", points[i].bits, points[i].kld);
        }
    if (many)
        fputs(close, f);
}

/* ---- the chart ---- */

/* What is inside the SVG. Draws nothing where there is nothing to draw. */
static kv_status draw(FILE *f, const rep_point *points, size_t n, kv_err *err) {
    dot *d = calloc(n, sizeof *d);
    size_t drawn = 0;
    kv_status st = KV_OK;
    if (!d)
        return kv_fail(err, KV_ENOMEM, "out of memory for a chart of %zu points", n);
    for (size_t i = 0; i < n; i++)
        if (drawable(&points[i]))
            d[drawn++].p = points[i];
    if (drawn) {
        const plot p = fit(points, n);
        arrange(&p, d, drawn);
        axes(f, &p);
        for (size_t i = 0; i < drawn; i++)
            if (d[i].before >= 0)
                line(f, &d[i], &d[d[i].before]);
        for (size_t i = 0; i < drawn; i++)
            mark(f, &d[i]);
        st = labels(f, d, drawn, err);
    }
    free(d);
    return st;
}

static bool any_drawable(const rep_point *points, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (drawable(&points[i]))
            return true;
    return false;
}

kv_status rep_rate_chart(FILE *f, const rep_point *points, size_t n, kv_err *err) {
    kv_status st = KV_OK;
    if (any_drawable(points, n)) {
        page_legend(f, points, n);
        rep_svg_begin(f, HEIGHT, "Rate-distortion chart: KL divergence over bits per number, one point per cache setting");
        st = draw(f, points, n, err);
        fputs("</svg>\n", f);
    }
    not_drawn(f, "<p class=\"note\">Not in the chart: ", ".</p>\n", points, n);
    return st;
}

kv_status rep_rate_picture(FILE *f, const char *title, const char *lead, const rep_point *points, size_t n, kv_err *err) {
    enum { LEAD = 42, LEGEND = 74 };
    const double top = drawn_legend(NULL, LEGEND, points, n);
    rep_picture_begin(f, top + HEIGHT, title);
    fputs("<text class=\"title\" x=\"0\" y=\"16\">", f);
    rep_text(f, title);
    fprintf(f, "</text>\n<text class=\"soft\" x=\"0\" y=\"%d\">", LEAD);
    rep_text(f, lead);
    fputs("</text>\n", f);
    drawn_legend(f, LEGEND, points, n);
    fprintf(f, "<g transform=\"translate(0 %.1f)\">\n", top);
    kv_status st = draw(f, points, n, err);
    fputs("</g>\n", f);
    char note[96];
    snprintf(note, sizeof note, "<text class=\"soft small\" x=\"0\" y=\"%.1f\">Not in the chart: ", top + HEIGHT);
    not_drawn(f, note, ".</text>\n", points, n);
    fputs("</svg>\n", f);
    return st;
}
