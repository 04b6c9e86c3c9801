/* What this machine can do at most: the roof that `kveval speed` holds achieved speeds against.
 *
 * Three loops that do nothing else, on all threads of a runtime, each the best of a few rounds of some tens of milliseconds: a
 * sum over a buffer far larger than the caches; int8 dot products on operands in registers; f32 multiply-adds likewise. They
 * use the instructions that the level's own kernels use (AVX-512 VNNI, AVX2, NEON, plain C), so the roof of a forced `--cpu`
 * level is that level's. bf16 and matrix units (AMX) are not probed: code that uses them may exceed 1 in a share of f32 or
 * int8.
 */
#ifndef PROBE_H
#define PROBE_H

#include "exec.h"

typedef struct probe {
    double read;    /* bytes a second */
    double i8, f32; /* multiply-adds a second */
} probe;

/* About a third of a second. KV_ENOMEM. */
kv_status probe_run(const rt_exec *e, probe *out, kv_err *err);
/* The best of both, figure by figure. */
probe probe_best(probe a, probe b);

#endif
