#include "session/lookup.h"

#include "base/clock.h"

enum {
    LEAST = 3,       /* tokens that must match */
    FIRST_WIDTH = 4, /* guesses to begin with */
    LONGEST_MATCH = 16,
    LONGEST_BAN = 64,
    FAR = 1 << 16 /* tokens that are looked through */
};

uint32_t rt_lookup(const int32_t *ids, size_t n, uint32_t least, uint32_t most, int32_t *out) {
    size_t best = 0;
    uint32_t longest = least - 1;
    if (n < least + 1)
        return 0;
    const int32_t last = ids[n - 1];
    const size_t end = n > FAR ? n - FAR : 0;
    for (size_t i = n - 1; i-- > end && longest < LONGEST_MATCH;) {
        uint32_t same = 0;
        if (ids[i] != last)
            continue;
        while (same < LONGEST_MATCH && same <= i && ids[i - same] == ids[n - 1 - same])
            same++;
        if (same > longest) {
            longest = same;
            best = i + 1;
        }
    }
    uint32_t found = 0;
    for (size_t i = best; best && i < n && found < most; i++)
        out[found++] = ids[i];
    return found;
}

static void note_plain(rt_guesser *g, double seconds) {
    g->plain = g->plain > 0 ? 0.8 * g->plain + 0.2 * seconds : seconds;
}

kv_status rt_session_read_ahead(rt_session *s, rt_guesser *g, kv_err *err) {
    int32_t guess[RT_GUESSES];
    const double started = clock_now();
    uint32_t n = 0;
    g->made = 0;
    if (rt_session_is_read(s))
        return KV_OK;
    if (g->rest)
        g->rest--;
    else if (g->plain > 0)
        n = rt_lookup(rt_session_ids(s), rt_session_len(s), LEAST, g->width ? g->width : FIRST_WIDTH, guess);
    kv_status st = rt_session_guess(s, guess, &n, err);
    const double seconds = clock_now() - started;
    if (st)
        return st;
    g->made = n;
    g->guessed += n;
    if (n)
        g->balance = 0.9 * g->balance - seconds;
    else
        note_plain(g, seconds);
    return KV_OK;
}

void rt_guesser_learn(rt_guesser *g, uint32_t right) {
    if (!g->made)
        return;
    g->right += right;
    g->balance += (right + 1) * g->plain;
    g->width = right < g->made ? right + 1 : 2 * g->made < RT_GUESSES ? 2 * g->made : RT_GUESSES;
    if (g->width < 2)
        g->width = 2;
    if (g->balance >= 0) {
        g->ban = 0;
    } else {
        g->ban = g->ban < LONGEST_BAN / 2 ? 2 * g->ban + 1 : LONGEST_BAN;
        g->rest = g->ban;
        g->balance /= 2;
    }
    g->made = 0;
}
