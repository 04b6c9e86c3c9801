/* What the processor at hand has beyond the NEON of every 64-bit ARM. */
#ifndef RT_NEON_H
#define RT_NEON_H

#include <stdbool.h>
#include <sys/auxv.h>

/* FEAT_DotProd (HWCAP_ASIMDDP): SDOT. */
static inline bool neon_has_dot(void) {
    return getauxval(AT_HWCAP) & 1ul << 20;
}

#endif
