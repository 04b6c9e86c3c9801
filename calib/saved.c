/* Statistics as bytes and back: one walk over all that they are made of, for both ways. Sums go as they are, so that who reads
 * them goes on with the same bits. */
#include "calib_internal.h"

static bool pass_head(const cal_shape *sh, cal_head *h, cal_bytes *pass, void *user) {
    const size_t row = sh->head_dim * sizeof(float);
    if (!pass(user, &h->n, sizeof h->n) || !pass(user, &h->gk_power, sizeof h->gk_power) ||
        !pass(user, &h->gv_power, sizeof h->gv_power))
        return false;
    h->n_samp = cal_n_kept(sh, h->n);
    return pass(user, h->k_samp, h->n_samp * row) && pass(user, h->v_samp, h->n_samp * row);
}

bool cal_stats_pass(cal_stats *s, cal_bytes *pass, void *user) {
    const cal_shape *sh = &s->shape;
    const size_t n = (size_t)sh->n_layer * sh->n_kv_head, per_head = cal_head_doubles(s);
    uint8_t has_queries = s->has_queries;
    bool good = pass(user, s->doubles, n * per_head * sizeof *s->doubles) &&
                pass(user, s->floats, n * s->pad * sizeof *s->floats) &&
                pass(user, s->asked, n * CAL_ASKED * sh->head_dim * sizeof *s->asked) &&
                pass(user, s->entropy, (size_t)sh->n_layer * sh->n_head * sizeof *s->entropy) &&
                pass(user, s->n_entropy, sh->n_layer * sizeof *s->n_entropy) && pass(user, &has_queries, sizeof has_queries);
    s->has_queries = has_queries;
    for (size_t i = 0; i < n && good; i++)
        good = pass_head(sh, &s->heads[i], pass, user);
    return good;
}
