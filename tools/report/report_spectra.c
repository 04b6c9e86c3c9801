/* Importance spectra: how the variance of a head's coefficients falls, and how many bits each gets. A panel for keys, one for
 * values; a thin line per head, the median of all heads bold; below it the mean of the bits, the range over heads as a band.
 */
#include "report/report_parts.h"

#include <math.h>
#include <stdlib.h>

enum { PANEL = 440, LEFT = 48, TOP = 46, SPECTRUM = 250, GAP = 44, BITS = 110, BOTTOM = 48 };
enum {
    MOST_LINES = 96,   /* heads drawn, evenly spaced; the median is that of all */
    MOST_POINTS = 128, /* of a line */
    HIDDEN = 5         /* one in so many heads may leave the panel at its bottom */
};
static const double LOWEST = 1e-7; /* of the largest variance */

typedef struct panel {
    double x0, floor; /* left edge; log10 of the least variance shown */
    uint32_t dim, most_bits;
} panel;

static double at_x(const panel *p, uint32_t i) {
    return p->x0 + LEFT + (double)i / (p->dim > 1 ? p->dim - 1 : 1) * (PANEL - LEFT);
}

static double at_y(const panel *p, double v) {
    double y = v > 0 ? log10(v) / p->floor : 1;
    return TOP + SPECTRUM * fmin(fmax(y, 0), 1);
}

static double bits_y(const panel *p, double bits) {
    return TOP + SPECTRUM + GAP + BITS * (1 - bits / p->most_bits);
}

/* A path through at most MOST_POINTS of the values, which ends where they leave the panel. */
static void line(FILE *f, const panel *p, const float *v) {
    uint32_t n = p->dim < MOST_POINTS ? p->dim : MOST_POINTS;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = n > 1 ? (uint32_t)((uint64_t)k * (p->dim - 1) / (n - 1)) : 0;
        fprintf(f, "%s%.1f %.1f", k ? "L" : "M", at_x(p, i), at_y(p, (double)v[i]));
        if (!(log10((double)v[i]) >= p->floor))
            break;
    }
}

static int rising(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The median over heads of each coefficient; column: room for n. */
static void medians(const rep_spectra *s, float *column, float *out) {
    for (uint32_t i = 0; i < s->dim; i++) {
        for (uint32_t h = 0; h < s->n; h++)
            column[h] = s->variance[(size_t)h * s->dim + i];
        qsort(column, s->n, sizeof *column, rising);
        out[i] = 0.5f * (column[(s->n - 1) / 2] + column[s->n / 2]);
    }
}

static void spectrum_axes(FILE *f, const panel *p, const char *name) {
    fprintf(f, "<text class=\"strong\" style=\"font-size:15px\" x=\"%.0f\" y=\"14\">%s</text>", p->x0, name);
    fprintf(f, "<text class=\"soft\" x=\"%.0f\" y=\"34\">variance, relative to the largest</text>\n", p->x0);
    for (int d = 0; d >= (int)p->floor; d--) {
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", p->x0 + LEFT, at_y(p, pow(10, d)), p->x0 + PANEL);
        fprintf(f, "<text class=\"soft small\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s", p->x0 + LEFT - 8,
                at_y(p, pow(10, d)) + 4, d ? "10" : "1");
        if (d)
            fprintf(f, "<tspan dy=\"-5\" style=\"font-size:9px\">−%d</tspan>", -d);
        fputs("</text>\n", f);
    }
}

static void bits_axes(FILE *f, const panel *p) {
    const double bottom = bits_y(p, 0);
    fprintf(f, "<text class=\"soft\" x=\"%.0f\" y=\"%.1f\">bits of each coefficient</text>\n", p->x0,
            bits_y(p, p->most_bits) - 13);
    for (uint32_t b = 0; b <= p->most_bits; b += p->most_bits > 4 ? 2 : 1)
        fprintf(f,
                "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"soft small\" text-anchor=\"end\" x=\"%.1f\" "
                "y=\"%.1f\">%u</text>\n",
                p->x0 + LEFT, bits_y(p, b), p->x0 + PANEL, p->x0 + LEFT - 8, bits_y(p, b) + 4, b);
    fprintf(f, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>", p->x0 + LEFT, bottom, p->x0 + PANEL);
    uint32_t step = p->dim > 256 ? 64 : p->dim > 96 ? 32 : p->dim > 40 ? 16 : 8;
    for (uint32_t i = 0; i < p->dim; i += step)
        fprintf(f, "<text class=\"soft small\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%u</text>", at_x(p, i), bottom + 17,
                i);
    fprintf(f, "<text class=\"soft\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">coefficient, in falling order</text>\n",
            p->x0 + PANEL, bottom + 38);
}

static void bits_lines(FILE *f, const panel *p, const rep_spectra *s, float *least, float *most, float *mean) {
    for (uint32_t i = 0; i < s->dim; i++) {
        double sum = 0;
        least[i] = INFINITY, most[i] = 0;
        for (uint32_t h = 0; h < s->n; h++) {
            float b = s->bits[(size_t)h * s->dim + i];
            least[i] = fminf(least[i], b);
            most[i] = fmaxf(most[i], b);
            sum += (double)b;
        }
        mean[i] = (float)(sum / s->n);
    }
    fprintf(f, "<path style=\"fill:%s;fill-opacity:.17\" d=\"", s->colour);
    for (uint32_t i = 0; i < s->dim; i++)
        fprintf(f, "%s%.1f %.1f", i ? "L" : "M", at_x(p, i), bits_y(p, (double)most[i]));
    for (uint32_t i = s->dim; i-- > 0;)
        fprintf(f, "L%.1f %.1f", at_x(p, i), bits_y(p, (double)least[i]));
    fprintf(f, "Z\"/>\n<path style=\"fill:none;stroke:%s;stroke-width:2.5\" d=\"", s->colour);
    for (uint32_t i = 0; i < s->dim; i++)
        fprintf(f, "%s%.1f %.1f", i ? "L" : "M", at_x(p, i), bits_y(p, (double)mean[i]));
    fputs("\"/>\n", f);
}

/* Lower *least to the least variance to show, as a power of ten. */
static kv_status find_floor(const rep_spectra *s, double *least, kv_err *err) {
    float *last = malloc(s->n * sizeof *last);
    if (!last)
        return kv_fail(err, KV_ENOMEM, "out of memory for the spectra of %u heads", s->n);
    for (uint32_t h = 0; h < s->n; h++)
        last[h] = s->variance[(size_t)(h + 1) * s->dim - 1];
    qsort(last, s->n, sizeof *last, rising);
    *least = fmin(*least, floor(log10(fmax((double)last[s->n / HIDDEN], LOWEST))));
    free(last);
    return KV_OK;
}

static kv_status draw(FILE *f, panel p, const rep_spectra *s, kv_err *err) {
    float *room = malloc((s->n + 3 * (size_t)s->dim) * sizeof *room);
    if (!room)
        return kv_fail(err, KV_ENOMEM, "out of memory for the spectra of %u heads", s->n);
    const uint32_t shown = s->n < MOST_LINES ? s->n : MOST_LINES;
    spectrum_axes(f, &p, s->name);
    fprintf(f, "<g style=\"fill:none;stroke:%s\">\n<g style=\"stroke-width:1;stroke-opacity:%.2f\">\n", s->colour,
            shown > 24 ? 0.22 : 0.4);
    for (uint32_t k = 0; k < shown; k++) {
        fputs("<path d=\"", f);
        line(f, &p, s->variance + (size_t)((uint64_t)k * s->n / shown) * s->dim);
        fputs("\"/>\n", f);
    }
    fputs("</g>\n<path style=\"stroke-width:3.5\" d=\"", f);
    medians(s, room, room + s->n);
    line(f, &p, room + s->n);
    fputs("\"/></g>\n", f);
    bits_axes(f, &p);
    bits_lines(f, &p, s, room + s->n, room + s->n + s->dim, room + s->n + 2 * (size_t)s->dim);
    free(room);
    return KV_OK;
}

kv_status rep_spectra_chart(FILE *f, const rep_spectra side[2], kv_err *err) {
    kv_status st = KV_OK;
    panel p = {.most_bits = 1, .floor = -2};
    rep_svg_begin(f, TOP + SPECTRUM + GAP + BITS + BOTTOM,
                  "Spectra of keys and values: variance and bits of every coefficient, a line per head, the median bold");
    for (int i = 0; i < 2; i++)
        if (side[i].n) {
            st = st ? st : find_floor(&side[i], &p.floor, err);
            for (size_t k = 0; k < (size_t)side[i].n * side[i].dim; k++)
                p.most_bits = (float)p.most_bits < side[i].bits[k] ? (uint32_t)ceilf(side[i].bits[k]) : p.most_bits;
        }
    for (int i = 0, drawn = 0; i < 2 && !st; i++)
        if (side[i].n) {
            p.x0 = drawn++ ? REPORT_WIDTH - PANEL : 0;
            p.dim = side[i].dim;
            st = draw(f, p, &side[i], err);
        }
    fputs("</svg>\n", f);
    return st;
}
