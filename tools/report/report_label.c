/* Labels beside points.
 *
 * Every label has the same places around its point, near ones first. In a few rounds each in turn moves to the place that costs
 * least while all others stay where they are (coordinate descent); cost is what it would cover, what its leader line would
 * cross, and the distance.
 */
#include "report/report_parts.h"

#include <math.h>

enum { DIRECTIONS = 8, RINGS = 6, PLACES = DIRECTIONS * RINGS, ROUNDS = 4, STEPS = 8 };
static const double OUTSIDE = 10, OTHER_LABEL = 4, CROSSING = 60,
                    RING = 20; /* in square units covered; those of a mark count once */

static double overlap(rep_box a, rep_box b) {
    double w = fmin(a.x + a.w, b.x + b.w) - fmax(a.x, b.x), h = fmin(a.y + a.h, b.y + b.h) - fmax(a.y, b.y);
    return w > 0 && h > 0 ? w * h : 0;
}

/* Place number i around the point: eight directions, then the same farther away. */
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

void rep_leader(const rep_label *l, double *x, double *y) {
    *x = fmin(fmax(l->x, l->at.x), l->at.x + l->at.w);
    *y = l->at.y > l->y ? l->at.y + 2 : l->at.y + l->at.h < l->y ? l->at.y + l->at.h - 2 : l->at.y + l->at.h / 2;
}

/* How many steps of a label's leader line, if it has one, are inside the box. */
static int crossed(const rep_label *l, rep_box box) {
    double x, y;
    int n = 0;
    rep_leader(l, &x, &y);
    for (int i = 1; l->far && i < STEPS; i++) {
        double px = l->x + (x - l->x) * i / STEPS, py = l->y + (y - l->y) * i / STEPS;
        n += px > box.x && px < box.x + box.w && py > box.y && py < box.y + box.h;
    }
    return n;
}

/* Of label number `self` of n, if it were as in *l. */
static double cost(const rep_label *l, size_t self, const rep_label *all, size_t n, const rep_box *taken, size_t n_taken,
                   rep_box frame) {
    double sum = OUTSIDE * (l->w * l->h - overlap(l->at, frame));
    for (size_t i = 0; i < n; i++)
        if (i != self)
            sum += OTHER_LABEL * overlap(l->at, all[i].at) + CROSSING * (crossed(l, all[i].at) + crossed(&all[i], l->at));
    for (size_t i = 0; i < n_taken; i++)
        sum += overlap(l->at, taken[i]);
    return sum;
}

void rep_place_labels(rep_label *labels, size_t n, const rep_box *taken, size_t n_taken, rep_box frame) {
    for (size_t l = 0; l < n; l++)
        labels[l].at = (rep_box){0};
    for (int round = 0; round < ROUNDS; round++)
        for (size_t l = 0; l < n; l++) {
            rep_label best = labels[l], try = labels[l];
            double least = INFINITY;
            for (int i = 0; i < PLACES; i++) {
                try.at = place(&labels[l], i);
                try.far = i >= DIRECTIONS;
                /* Of places that cost the same, the first. */
                double c = cost(&try, l, labels, n, taken, n_taken, frame) + i / DIRECTIONS * RING + 0.01 * i;
                if (c < least) {
                    least = c;
                    best = try;
                }
            }
            labels[l] = best;
        }
}
