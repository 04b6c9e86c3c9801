/* What this machine can do at most: the roof that `kveval speed` holds achieved speeds against.
 *
 * Three loops that do nothing else, on all threads of a runtime, each the best of a few rounds of some tens of milliseconds: a
 * sum over a buffer far larger than the caches; int8 dot products on operands in registers; f32 multiply-adds likewise. They
 * use the instructions that the ISA's own kernels use (AVX-512 VNNI, AVX2, NEON, plain C), so the roof of a forced `--cpu` is
 * that ISA's. A fourth one runs where the ISA has a matrix unit (AMX). bf16 is not probed.
 */
#ifndef PROBE_H
#define PROBE_H

#include "kernels/exec.h"

typedef struct probe {
    double read;    /* bytes a second */
    double i8, f32; /* multiply-adds a second, by vector instructions: i8 is VNNI where the ISA has it */
    double tiles;   /* int8 multiply-adds a second of the matrix unit; 0 where the ISA has none */
} probe;

/* About a third of a second. KV_ENOMEM. */
kv_status probe_run(const rt_exec *e, probe *out, kv_err *err);
/* The best of both, figure by figure. */
probe probe_best(probe a, probe b);

#endif
