/* Labels beside points: one after the other takes the first of its places, near ones first, that covers nothing; or the one
 * that covers least. */
#include "report_internal.h"

#include <math.h>

static double overlap(rep_box a, rep_box b) {
    double w = fmin(a.x + a.w, b.x + b.w) - fmax(a.x, b.x), h = fmin(a.y + a.h, b.y + b.h) - fmax(a.y, b.y);
    return w > 0 && h > 0 ? w * h : 0;
}

/* How much of the box is outside the frame. */
static double outside(rep_box a, rep_box frame) {
    return a.w * a.h - overlap(a, frame);
}

/* Place number i around the point: eight directions, then the same farther away. */
enum { DIRECTIONS = 8, RINGS = 5, PLACES = DIRECTIONS * RINGS };
static rep_box place(const rep_label *l, int i) {
    static const struct {
        double x, y;
    } way[DIRECTIONS] = {{1, 0}, {-1, 0}, {1, -1}, {1, 1}, {-1, -1}, {-1, 1}, {0, -1}, {0, 1}};
    const double r = 12 + 13.0 * (i / DIRECTIONS), x = way[i % DIRECTIONS].x, y = way[i % DIRECTIONS].y;
    const double reach = x != 0 && y != 0 ? 0.75 * r : r;
    return (rep_box){l->x + x * reach +
                         (x < 0    ? -l->w
                          : x == 0 ? -l->w / 2
                                   : 0),
                     l->y + y * reach +
                         (y < 0    ? -l->h
                          : y == 0 ? -l->h / 2
                                   : 0),
                     l->w, l->h};
}

static double cost(rep_box at, const rep_label *placed, size_t n_placed, const rep_box *taken, size_t n_taken, rep_box frame) {
    double sum = 10 * outside(at, frame);
    for (size_t i = 0; i < n_placed; i++)
        sum += 4 * overlap(at, placed[i].at);
    for (size_t i = 0; i < n_taken; i++)
        sum += overlap(at, taken[i]);
    return sum;
}

void rep_place_labels(rep_label *labels, size_t n, const rep_box *taken, size_t n_taken, rep_box frame) {
    for (size_t l = 0; l < n; l++) {
        double best = INFINITY;
        for (int i = 0; i < PLACES && best > 0; i++) {
            rep_box at = place(&labels[l], i);
            double c = cost(at, labels, l, taken, n_taken, frame);
            if (c < best) {
                best = c;
                labels[l].at = at;
                labels[l].far = i >= DIRECTIONS;
            }
        }
    }
}
