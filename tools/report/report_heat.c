/* Maps of a number per layer and head, and bars per layer.
 *
 * Colours go from light to dark in even steps of lightness, so that they also order when printed in grey.
 */
#include "report/report_parts.h"

#include <math.h>

enum { LEFT = 104, RIGHT = 4, NAME = 34, GAP = 26, TICKS = 26, LEGEND = 44, BARS = 150 };
static const double INNER = REPORT_WIDTH - LEFT - RIGHT;
static const double SAME = 5e-3;
static const double MOST_HEIGHT = 420, CELL_HEIGHT = 26, NUMBER_WIDTH = 25, NUMBER_HEIGHT = 16;

/* Lightness falls evenly from 94 to 20. */
static const unsigned char ramp[][3] = {{233, 239, 245}, {190, 214, 233}, {129, 178, 214},
                                        {66, 134, 184},  {24, 88, 144},   {9, 42, 84}};
enum { N_RAMP = sizeof ramp / sizeof *ramp };

static void colour(double share, int rgb[3]) {
    const double at = fmin(fmax(share, 0), 1) * (N_RAMP - 1);
    const int i = at >= N_RAMP - 1 ? N_RAMP - 2 : (int)at;
    for (int c = 0; c < 3; c++)
        rgb[c] = (int)lround(ramp[i][c] + (at - i) * (ramp[i + 1][c] - ramp[i][c]));
}

/* Of the colours; where both ends are as good as equal, the middle colour stands for all. */
typedef struct scale {
    double low, high;
} scale;

static double share_of(scale s, double v) {
    return s.high - s.low >= SAME ? (v - s.low) / (s.high - s.low) : 0.5;
}

static scale range_of(const rep_grid *grids, size_t n) {
    scale s = {INFINITY, -INFINITY};
    for (size_t g = 0; g < n; g++)
        for (size_t i = 0; i < (size_t)grids[g].n_layer * grids[g].n_row; i++)
            if (isfinite(grids[g].v[i])) {
                s.low = fmin(s.low, (double)grids[g].v[i]);
                s.high = fmax(s.high, (double)grids[g].v[i]);
            }
    return s;
}

static double cell_height(const rep_grid *g) {
    return fmin(CELL_HEIGHT, MOST_HEIGHT / g->n_row);
}

/* 1, 2, 5, 10, … so that neighbours are at least `apart` units from each other. */
static uint32_t tick_step(double cell, double apart) {
    static const uint32_t steps[] = {1, 2, 5, 10, 20, 50, 100};
    size_t i = 0;
    while (i + 1 < sizeof steps / sizeof *steps && steps[i] * cell < apart)
        i++;
    return steps[i];
}

static void layer_ticks(FILE *f, uint32_t n_layer, double y) {
    const double w = INNER / n_layer;
    for (uint32_t l = 0, step = tick_step(w, 24); l < n_layer; l += step)
        fprintf(f, "<text class=\"soft small\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%u</text>", LEFT + (l + 0.5) * w,
                y + 17, l);
    fprintf(f, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">layer</text>\n", LEFT - 12, y + 17);
}

static void cell(FILE *f, const rep_grid *g, scale s, uint32_t layer, uint32_t row, double y, const char *unit) {
    const double w = INNER / g->n_layer, h = cell_height(g), x = LEFT + layer * w,
                 v = (double)g->v[(size_t)layer * g->n_row + row];
    const double gap = w >= 6 && h >= 6 ? 1.5 : 0;
    int rgb[3];
    if (!isfinite(v))
        return;
    colour(share_of(s, v), rgb);
    fprintf(f, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"%s fill=\"#%02x%02x%02x\">", x, y, w - gap, h - gap,
            gap > 0 ? " rx=\"2\"" : "", rgb[0], rgb[1], rgb[2]);
    fprintf(f, "<title>layer %u, %s %u: %.3g %s</title></rect>", layer, g->row, row, v, unit);
    if (w >= NUMBER_WIDTH && h >= NUMBER_HEIGHT) {
        bool dark = 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] < 140;
        fprintf(f, "<text style=\"font-size:10.5px;fill:%s\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%.1f</text>",
                dark ? "#fff" : "#1c2127", x + (w - gap) / 2, y + (h - gap) / 2 + 3.8, v);
    }
}

static double grid(FILE *f, const rep_grid *g, scale s, double y, const char *unit) {
    const double h = cell_height(g);
    if (g->name)
        fprintf(f, "<text class=\"strong\" x=\"0\" y=\"%.1f\">%s</text>\n", y - 9, g->name);
    for (uint32_t r = 0, step = tick_step(h, 13); r < g->n_row; r += step)
        fprintf(f, "<text class=\"soft small\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%s%u</text>", LEFT - 12,
                y + (r + 0.5) * h + 3.5, r == 0 ? g->row : "", r);
    fputs("\n", f);
    for (uint32_t l = 0; l < g->n_layer; l++) {
        for (uint32_t r = 0; r < g->n_row; r++)
            cell(f, g, s, l, r, y + r * h, unit);
        fputs("\n", f);
    }
    return y + g->n_row * h;
}

/* The colours with their values, on the right above the map. */
static void key(FILE *f, scale s, const char *unit) {
    enum { STEPS = 40, WIDTH = 220, THICK = 10, X = REPORT_WIDTH - RIGHT - WIDTH, Y = 4 };
    static const char *const anchors[] = {"start", "middle", "end"};
    const bool one = s.high - s.low < SAME; /* the same everywhere: a single patch */
    const int from = one ? STEPS - 4 : 0;
    fputs("<g shape-rendering=\"crispEdges\">", f);
    for (int i = from; i < STEPS; i++) {
        int rgb[3];
        colour(one ? share_of(s, s.low) : (double)i / (STEPS - 1), rgb);
        fprintf(f, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#%02x%02x%02x\"/>",
                X + (double)i * WIDTH / STEPS, Y, (double)WIDTH / STEPS, THICK, rgb[0], rgb[1], rgb[2]);
    }
    fputs("</g>", f);
    for (int i = one ? 2 : 0; i < 3; i++)
        fprintf(f, "<text class=\"soft small\" text-anchor=\"%s\" x=\"%.1f\" y=\"%d\">%.2f</text>", anchors[i],
                X + i * WIDTH / 2.0, Y + THICK + 15, s.low + i * (s.high - s.low) / 2);
    fprintf(f, "<text class=\"soft\" text-anchor=\"end\" x=\"%.1f\" y=\"%d\">%s</text>\n",
            X + (double)from * WIDTH / STEPS - 12, Y + THICK, unit);
}

void rep_heat_map(FILE *f, const rep_grid *grids, size_t n, const char *unit, const char *label) {
    const scale s = range_of(grids, n);
    double height = LEGEND + TICKS - GAP;
    for (size_t g = 0; g < n; g++)
        height += (grids[g].name ? NAME - GAP : 0) + GAP + grids[g].n_row * cell_height(&grids[g]);
    rep_svg_begin(f, height, label);
    if (s.low <= s.high)
        key(f, s, unit);
    double y = LEGEND;
    for (size_t g = 0; g < n; g++) {
        y = grid(f, &grids[g], s, y + (g ? GAP : 0) + (grids[g].name ? NAME - GAP : 0), unit);
    }
    if (n)
        layer_ticks(f, grids[0].n_layer, y);
    fputs("</svg>\n", f);
}

void rep_bars(FILE *f, const float *v, uint32_t n_layer, const char *unit, const char *label) {
    const double w = INNER / n_layer, gap = w >= 6 ? 0.22 * w : 0;
    double most = 0;
    for (uint32_t l = 0; l < n_layer; l++)
        most = fmax(most, (double)v[l]);
    most = most > 0 ? most : 1;
    rep_svg_begin(f, 20 + BARS + TICKS, label);
    for (int i = 0; i <= 2; i++) {
        double y = 20 + BARS * (2 - i) / 2.0;
        fprintf(f,
                "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"soft small\" text-anchor=\"end\" x=\"%d\" "
                "y=\"%.1f\">%.0f</text>",
                LEFT, y, REPORT_WIDTH - RIGHT, LEFT - 12, y + 4, most * i / 2);
    }
    fprintf(f, "<text class=\"soft\" x=\"0\" y=\"10\">%s</text>\n", unit);
    for (uint32_t l = 0; l < n_layer; l++) {
        double h = BARS * (double)v[l] / most;
        fprintf(f,
                "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" style=\"fill:var(--accent)\"><title>layer %u: %.0f "
                "%s</title></rect>\n",
                LEFT + l * w + gap / 2, 20 + BARS - h, w - gap, h, l, (double)v[l], unit);
    }
    fprintf(f, "<path class=\"axis\" d=\"M%d %dH%d\"/>", LEFT, 20 + BARS, REPORT_WIDTH - RIGHT);
    layer_ticks(f, n_layer, 20 + BARS);
    fputs("</svg>\n", f);
}
