/* What a KV head loses that reads only a share of its context, and the budgets at which all heads together lose least.
 * docs/budgets.md.
 */
#ifndef KV_LOSS_CURVE_H
#define KV_LOSS_CURVE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { KV_CUTS = 6 };
extern const float kv_cuts[KV_CUTS]; /* shares of the context that losses are known of, rising; of the whole it is 0 */

/* tokens (n): budgets of n heads for which the sum of losses is least, `total` of them in all. loss (n, KV_CUTS): of a head
 * that reads kv_cuts of ctx tokens; linear in between. No head gets more than ctx, nor fewer than `least` and kv_cuts[0] of
 * ctx; a total that is too small for that is shared evenly. KV_ENOMEM. */
kv_status kv_share_out(const float *loss, size_t n, uint32_t ctx, uint32_t least, double total, double *tokens, kv_err *err);

#endif
