/* Randomness: SplitMix64 (Steele, Lea, Flood 2014), one step per token drawn and one per time that XTC has to decide. */
#include "sample/sample_internal.h"

#include <math.h>

double sample_uniform(rt_sampler *s) {
    uint64_t z = s->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

int32_t sample_draw(rt_sampler *s) {
    choice *ch = &s->choice;
    if (!isfinite(choice_top(ch))) {
        choice_best(ch, 1);
        return ch->c[0].id;
    }
    const double sum = choice_weigh(ch);
    double left = sample_uniform(s) * sum;
    for (uint32_t i = 0; i < ch->n; i++) {
        left -= ch->c[i].p;
        if (left < 0)
            return ch->c[i].id;
    }
    choice_best(ch, 1); /* a sum that was rounded up */
    return ch->c[0].id;
}
