/* Maps of shares: how many of the facts at a length (across) and depth (down) were found.
 *
 * Everything found is light; what is lost gets dark and warm. Lightness falls evenly, so that the map also reads in grey and to
 * the colour-blind, and every cell says its number.
 */
#include "report/report_parts.h"

#include <math.h>

enum { DEPTH = 58, HEAD = 52, TICKS = 24, CELL = 32, ALL = 10, BETWEEN = 44, BELOW = 34, LONG_NAME = 36, NARROW = 34 };

/* From all found to none. */
static const unsigned char ramp[][3] = {{226, 237, 245}, {250, 226, 188}, {247, 186, 120},
                                        {229, 133, 60},  {190, 84, 18},   {122, 46, 8}};
enum { N_RAMP = sizeof ramp / sizeof *ramp };

static void colour(double found, int rgb[3]) {
    const double at = (1 - fmin(fmax(found, 0), 1)) * (N_RAMP - 1);
    const int i = at >= N_RAMP - 1 ? N_RAMP - 2 : (int)at;
    for (int c = 0; c < 3; c++)
        rgb[c] = (int)lround(ramp[i][c] + (at - i) * (ramp[i + 1][c] - ramp[i][c]));
}

static bool is_dark(const int rgb[3]) {
    return 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] < 140;
}

static void cell(FILE *f, rep_share s, double x, double y, double w, const char *column, const char *row) {
    int rgb[3];
    if (!s.n)
        return;
    colour((double)s.hits / s.n, rgb);
    fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\" fill=\"#%02x%02x%02x\">", x, y, w - 2,
            CELL - 2, rgb[0], rgb[1], rgb[2]);
    fprintf(f, "<title>%s, depth %s: %u of %u, 95 %% confidence %.0f to %.0f %%</title></rect>", column, row, s.hits, s.n,
            100 * s.lo, 100 * s.hi);
    fprintf(f, "<text style=\"font-size:%s;fill:%s\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%.0f</text>\n",
            w < NARROW ? "10.5px" : "13px", is_dark(rgb) ? "#fff" : "#1c2127", x + (w - 2) / 2, y + CELL / 2.0 + 3.5,
            100.0 * s.hits / s.n);
}

/* The place of a column or row: the last one, which is for all of them together, stands apart. */
static double offset(size_t i, size_t n, double size) {
    return (double)i * size + (i == n ? ALL : 0);
}

static void panel(FILE *f, const rep_share_map *m, const rep_share_axes *a, double x, double y, double width) {
    const double w = (width - DEPTH - ALL) / (double)(a->n_column + 1);
    fprintf(f, "<text class=\"strong\" style=\"font-size:15px\" x=\"%.1f\" y=\"%.1f\">", x, y + 16);
    rep_text(f, m->name);
    fprintf(f, "</text><text class=\"soft\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + width - 2, y + 16,
            m->note);
    y += HEAD;
    for (size_t c = 0; c <= a->n_column; c++)
        fprintf(f, "<text class=\"soft small\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%s</text>",
                x + DEPTH + offset(c, a->n_column, w) + (w - 2) / 2, y - 8, c < a->n_column ? a->column[c] : "all");
    for (size_t r = 0; r <= a->n_row; r++) {
        const double at = y + offset(r, a->n_row, CELL);
        const char *row = r < a->n_row ? a->row[r] : "all";
        fprintf(f, "<text class=\"soft small\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + DEPTH - 10,
                at + CELL / 2.0 + 3, row);
        for (size_t c = 0; c <= a->n_column; c++)
            cell(f, m->v[r * (a->n_column + 1) + c], x + DEPTH + offset(c, a->n_column, w), at, w,
                 c < a->n_column ? a->column[c] : "all lengths", row);
    }
}

/* The colours with their values. */
static void key(FILE *f) {
    enum { STEPS = 40, WIDTH = 220, THICK = 10, X = REPORT_WIDTH - WIDTH - 2, Y = 4 };
    static const char *const anchors[] = {"start", "middle", "end"};
    fputs("<g shape-rendering=\"crispEdges\">", f);
    for (int i = 0; i < STEPS; i++) {
        int rgb[3];
        colour((double)i / (STEPS - 1), rgb);
        fprintf(f, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#%02x%02x%02x\"/>",
                X + (double)i * WIDTH / STEPS, Y, (double)WIDTH / STEPS, THICK, rgb[0], rgb[1], rgb[2]);
    }
    fputs("</g>", f);
    for (int i = 0; i < 3; i++)
        fprintf(f, "<text class=\"soft small\" text-anchor=\"%s\" x=\"%.1f\" y=\"%d\">%d</text>", anchors[i],
                X + i * WIDTH / 2.0, Y + THICK + 15, 50 * i);
    fprintf(f, "<text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%d\">percent found</text>\n", X - 12, Y + THICK);
    fprintf(f, "<text class=\"soft\" x=\"0\" y=\"%d\">tokens of context across, depth down</text>\n", Y + THICK);
}

void rep_share_maps(FILE *f, const rep_share_map *maps, size_t n, const rep_share_axes *a, const char *label) {
    enum { TOP = 40 };
    bool two = n > 1 && a->n_column <= 8;
    for (size_t i = 0; i < n; i++) {
        size_t length = 0;
        for (const char *s = maps[i].name; *s; s++)
            length += ((unsigned char)*s & 0xC0) != 0x80;
        two = two && length <= LONG_NAME;
    }
    const double width = two ? (REPORT_WIDTH - BETWEEN) / 2.0 : a->n_column > 4 || n > 1 ? REPORT_WIDTH : 640;
    const double height = HEAD + CELL * (double)(a->n_row + 1) + ALL + BELOW;
    rep_svg_begin(f, TOP + height * (double)(two ? (n + 1) / 2 : n) - BELOW, label);
    key(f);
    for (size_t i = 0; i < n; i++)
        panel(f, &maps[i], a, two && i % 2 ? width + BETWEEN : 0, TOP + height * (double)(two ? i / 2 : i), width);
    fputs("</svg>\n", f);
}

void rep_interval(FILE *f, rep_share s) {
    enum { WIDTH = 132, HEIGHT = 16 };
    static const double scale = WIDTH - 12;
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" style=\"width:%dpx;height:%dpx;margin:0\">", WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(f, "<path class=\"grid\" d=\"M6 3V13M%.1f 3V13M%.1f 3V13\"/>", 6 + scale / 2, 6 + scale);
    fprintf(f, "<path d=\"M%.1f 8H%.1f\" style=\"stroke:var(--accent);stroke-width:2.5;opacity:.55\"/>", 6 + scale * s.lo,
            6 + scale * s.hi);
    if (s.n)
        fprintf(f, "<circle cx=\"%.1f\" cy=\"8\" r=\"4.2\" style=\"fill:var(--accent)\"/>", 6 + scale * s.hits / s.n);
    fputs("</svg>", f);
}
