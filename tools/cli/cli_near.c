#include "cli/cli_near.h"

#include <string.h>

/* Edit distance with neighbours swapped counting as one (optimal string alignment); long words are simply far apart. */
static size_t distance(const char *a, const char *b) {
    enum { MAX = 40 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MAX || m >= MAX)
        return MAX;
    size_t d[MAX][MAX];
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

void cli_consider(const char *given, const char *candidate, const char **best, size_t *best_distance) {
    if (!candidate)
        return;
    size_t limit = strlen(given) / 3 + 1;
    size_t dist = distance(given, candidate);
    /* "--context" for "--context-shift": a beginning is a good guess too, though a worse one than a typing error. */
    if (strlen(given) > 3 && !strncmp(given, candidate, strlen(given)) && dist > limit)
        dist = limit;
    if (dist <= limit && dist < *best_distance) {
        *best = candidate;
        *best_distance = dist;
    }
}
