/* The intrinsics of AVX2 and FMA: the processor's own, or what SIMDe makes of them for NEON. */
#ifndef RT_AVX2_H
#define RT_AVX2_H

#if defined(__x86_64__)
#include <immintrin.h>
#else
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/fma.h>
#endif

#endif
