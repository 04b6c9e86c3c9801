/* The probe's loops. Every set of instructions gives three functions; operands pass through an empty asm statement, so that the
 * compiler can neither hoist a product out of its loop nor see that nobody wants the sum.
 */
#include "measure/probe.h"

#include "base/clock.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    READ_LEAST = 256 << 20, /* bytes to read; more where the last cache is larger than a quarter of that */
    READ_MOST = 1 << 30,
    READ_ROUNDS = 4,
    HUGE_PAGE = 2 << 20,
    MATH_ROUNDS = 8,
    MOST_THREADS = 1024,
    CHAINS = 12, /* sums side by side, to hide the latency of one */
};
static const double math_seconds = 0.006; /* of one round, on every thread */

/* A loop does `n` rounds and says how many multiply-adds that were. */
typedef size_t math_fn(size_t n);
/* Reads n bytes, a multiple of 4 KiB; the sum keeps the reads alive. */
typedef uint64_t read_fn(const uint8_t *p, size_t n);

typedef struct loops {
    read_fn *read;
    math_fn *i8, *f32;
    math_fn *tiles; /* NULL: the ISA has no matrix unit */
} loops;

#define KEEP(x) __asm__ volatile("" : "+" REGISTER(x))

/* ---- plain C: what the scalar kernels are made of ---- */

static uint64_t read_plain(const uint8_t *p, size_t n) {
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < n; i += sizeof sum)
        for (size_t j = 0; j < 8; j++) {
            uint64_t x;
            memcpy(&x, p + i + 8 * j, sizeof x);
            sum[j] += x;
        }
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static size_t i8_plain(size_t n) {
    enum { LEN = 256 };
    uint8_t a[LEN];
    int8_t b[LEN];
    memset(a, 3, sizeof a);
    memset(b, 5, sizeof b);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *x = a;
        const int8_t *y = b;
        int sum = 0;
        __asm__ volatile("" : "+r"(x), "+r"(y)::"memory");
        for (int j = 0; j < LEN; j++)
            sum += x[j] * y[j];
        __asm__ volatile("" ::"r"(sum));
    }
    return n * LEN;
}

static size_t f32_plain(size_t n) {
    float acc[CHAINS] = {0}, x = 0.5f;
    for (size_t i = 0; i < n; i++) {
        __asm__ volatile("" ::"r"(&x) : "memory");
        for (int j = 0; j < CHAINS; j++)
            acc[j] = fmaf(x, x, acc[j]);
    }
    __asm__ volatile("" ::"r"(acc) : "memory");
    return n * CHAINS;
}

/* ---- one body for all vector sets ----
 * vi, vf: vectors of bytes and of floats, VBYTES wide; REGISTER: their constraint in asm. */

#define VECTOR_LOOPS(set, target, VBYTES, vi, vf, zero_i, load_i, add_i, dot, zero_f, set_f, fma)                              \
    target static uint64_t read_##set(const uint8_t *p, size_t n) {                                                            \
        vi sum[8];                                                                                                             \
        for (int j = 0; j < 8; j++)                                                                                            \
            sum[j] = zero_i;                                                                                                   \
        for (size_t i = 0; i < n; i += 8 * (VBYTES))                                                                           \
            for (int j = 0; j < 8; j++)                                                                                        \
                sum[j] = add_i(sum[j], load_i(p + i + (size_t)j * (VBYTES)));                                                  \
        uint64_t out[8][(VBYTES) / 8], all = 0;                                                                                \
        memcpy(out, sum, sizeof out);                                                                                          \
        for (int j = 0; j < 8; j++)                                                                                            \
            for (int k = 0; k < (VBYTES) / 8; k++)                                                                             \
                all += out[j][k];                                                                                              \
        return all;                                                                                                            \
    }                                                                                                                          \
    target static size_t i8_##set(size_t n) {                                                                                  \
        uint8_t one[VBYTES];                                                                                                   \
        memset(one, 1, sizeof one);                                                                                            \
        vi acc[CHAINS], a = load_i(one), b = a;                                                                                \
        for (int j = 0; j < CHAINS; j++)                                                                                       \
            acc[j] = zero_i;                                                                                                   \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++) {                                                        \
                KEEP(a);                                                                                                       \
                acc[j] = dot(acc[j], a, b);                                                                                    \
            }                                                                                                                  \
        }                                                                                                                      \
        for (int j = 0; j < CHAINS; j++)                                                                                       \
            KEEP(acc[j]);                                                                                                      \
        return n * CHAINS * (VBYTES);                                                                                          \
    }                                                                                                                          \
    target static size_t f32_##set(size_t n) {                                                                                 \
        vf acc[CHAINS], a = set_f(0.5f);                                                                                       \
        for (int j = 0; j < CHAINS; j++)                                                                                       \
            acc[j] = zero_f;                                                                                                   \
        for (size_t i = 0; i < n; i++) {                                                                                       \
            _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++) {                                                        \
                KEEP(a);                                                                                                       \
                acc[j] = fma(acc[j], a);                                                                                       \
            }                                                                                                                  \
        }                                                                                                                      \
        for (int j = 0; j < CHAINS; j++)                                                                                       \
            KEEP(acc[j]);                                                                                                      \
        return n * CHAINS * (VBYTES) / 4;                                                                                      \
    }

#if defined(__x86_64__)
#include "kernels/amx.h"
#include <immintrin.h>
#define TARGET_AVX2    __attribute__((target("avx2,fma")))
#define TARGET_AVXVNNI __attribute__((target("avx2,fma,avxvnni")))
#define TARGET_AVX512  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#define TARGET_VNNI    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#define TARGET_AMX     __attribute__((target("amx-tile,amx-int8")))

#define REGISTER     "x"
#define AVX2_LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
/* Sums of two products stay in 16 bits, as in mat_avx2.c, which widens them once for several products. */
#define AVX2_DOT(acc, a, b) _mm256_add_epi16(acc, _mm256_maddubs_epi16(a, b))
#define AVX2_FMA(acc, a)    _mm256_fmadd_ps(a, a, acc)
VECTOR_LOOPS(avx2, TARGET_AVX2, 32, __m256i, __m256, _mm256_setzero_si256(), AVX2_LOAD, _mm256_add_epi64, AVX2_DOT,
             _mm256_setzero_ps(), _mm256_set1_ps, AVX2_FMA)
VECTOR_LOOPS(avxvnni, TARGET_AVXVNNI, 32, __m256i, __m256, _mm256_setzero_si256(), AVX2_LOAD, _mm256_add_epi64,
             _mm256_dpbusd_avx_epi32, _mm256_setzero_ps(), _mm256_set1_ps, AVX2_FMA)
#undef REGISTER

#define REGISTER              "v"
#define AVX512_DOT(acc, a, b) _mm512_add_epi16(acc, _mm512_maddubs_epi16(a, b))
#define AVX512_FMA(acc, a)    _mm512_fmadd_ps(a, a, acc)
VECTOR_LOOPS(avx512, TARGET_AVX512, 64, __m512i, __m512, _mm512_setzero_si512(), _mm512_loadu_si512, _mm512_add_epi64,
             AVX512_DOT, _mm512_setzero_ps(), _mm512_set1_ps, AVX512_FMA)
VECTOR_LOOPS(vnni, TARGET_VNNI, 64, __m512i, __m512, _mm512_setzero_si512(), _mm512_loadu_si512, _mm512_add_epi64,
             _mm512_dpbusd_epi32, _mm512_setzero_ps(), _mm512_set1_ps, AVX512_FMA)
#undef REGISTER

/* Six sums of 16 x 16 side by side, each of 64 products at a time. */
TARGET_AMX static size_t tiles_amx(size_t n) {
    enum { SUMS = 6, ROWS = 16, BYTES = 64 };
    static const uint8_t rows[8] = {ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS};
    static const uint16_t bytes[8] = {BYTES, BYTES, BYTES, BYTES, BYTES, BYTES, BYTES, BYTES};
    amx_shape(rows, bytes);
    for (size_t i = 0; i < n; i++) {
        _tile_dpbusd(0, 6, 7);
        _tile_dpbusd(1, 6, 7);
        _tile_dpbusd(2, 6, 7);
        _tile_dpbusd(3, 6, 7);
        _tile_dpbusd(4, 6, 7);
        _tile_dpbusd(5, 6, 7);
    }
    _tile_release();
    return n * SUMS * ROWS * (BYTES / 4) * BYTES;
}
#endif

#if defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#define TARGET_NEON
#define TARGET_NEON_DOT __attribute__((target("arch=armv8.2-a+dotprod")))

#define REGISTER              "w"
#define NEON_ADD(a, b)        vreinterpretq_u8_u64(vaddq_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)))
#define NEON_FMA(acc, a)      vfmaq_f32(acc, a, a)
#define NEON_SIGNED(a)        vreinterpretq_s8_u8(a)
#define NEON_WIDEN(a, b)      vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)))
#define NEON_WIDEN_HIGH(a, b) vpaddlq_s16(vmull_high_s8(a, b))
#define NEON_PAIRS(a, b)      vpaddq_s32(NEON_WIDEN(a, b), NEON_WIDEN_HIGH(a, b))
#define NEON_SUM(acc, s)      vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(acc), s))
#define NEON_MULL(acc, a, b)  NEON_SUM(acc, NEON_PAIRS(NEON_SIGNED(a), NEON_SIGNED(b)))
#define NEON_DOT(acc, a, b)   vreinterpretq_u8_s32(vdotq_s32(vreinterpretq_s32_u8(acc), NEON_SIGNED(a), NEON_SIGNED(b)))
VECTOR_LOOPS(neon, TARGET_NEON, 16, uint8x16_t, float32x4_t, vdupq_n_u8(0), vld1q_u8, NEON_ADD, NEON_MULL, vdupq_n_f32(0),
             vdupq_n_f32, NEON_FMA)
VECTOR_LOOPS(neon_dot, TARGET_NEON_DOT, 16, uint8x16_t, float32x4_t, vdupq_n_u8(0), vld1q_u8, NEON_ADD, NEON_DOT,
             vdupq_n_f32(0), vdupq_n_f32, NEON_FMA)
#undef REGISTER
enum { HAS_DOT = 1 << 20 }; /* HWCAP_ASIMDDP */
#endif

static loops loops_for(rt_cpu isa) {
    switch (isa) {
#if defined(__x86_64__)
    case RT_CPU_AMX:
        return (loops){read_vnni, i8_vnni, f32_vnni, tiles_amx};
    case RT_CPU_AVX512VNNI:
        return (loops){read_vnni, i8_vnni, f32_vnni, NULL};
    case RT_CPU_AVX512:
        return (loops){read_avx512, i8_avx512, f32_avx512, NULL};
    case RT_CPU_AVXVNNI:
        return (loops){read_avxvnni, i8_avxvnni, f32_avxvnni, NULL};
    case RT_CPU_AVX2:
        return (loops){read_avx2, i8_avx2, f32_avx2, NULL};
#elif defined(__aarch64__)
    case RT_CPU_NEON:
        return getauxval(AT_HWCAP) & HAS_DOT ? (loops){read_neon_dot, i8_neon_dot, f32_neon_dot, NULL}
                                             : (loops){read_neon, i8_neon, f32_neon, NULL};
#endif
    default:
        return (loops){read_plain, i8_plain, f32_plain, NULL};
    }
}

/* ---- rounds ---- */

/* One piece for each thread: they are far too long for any to take two. */
typedef struct round_job {
    math_fn *math;
    read_fn *read;
    const uint8_t *p;
    size_t part; /* bytes of a piece */
    double *speed;
    uint64_t *sum;
} round_job;

static void math_piece(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const round_job *j = arg;
    for (size_t i = first; i < end; i++) {
        const double started = clock_now();
        double seconds = 0;
        size_t done = 0;
        while (seconds < math_seconds) {
            done += j->math(1000);
            seconds = clock_now() - started;
        }
        j->speed[i] = (double)done / seconds;
    }
}

static void read_piece(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const round_job *j = arg;
    for (size_t i = first; i < end; i++)
        j->sum[i] = j->read(j->p + i * j->part, j->part);
}

/* Multiply-adds a second of all threads together: each counts its own, for the same time. */
static double best_math(const rt_exec *e, math_fn *loop) {
    double best = 0, speed[MOST_THREADS];
    for (int round = 0; round < MATH_ROUNDS; round++) {
        double sum = 0;
        rt_for(e, (size_t)e->n_threads, 1, math_piece, &(round_job){.math = loop, .speed = speed});
        for (int i = 0; i < e->n_threads; i++)
            sum += speed[i];
        best = fmax(best, sum);
    }
    return best;
}

/* Threads read a part each; the slowest one counts. */
static double best_read(const rt_exec *e, read_fn *loop, const uint8_t *p, size_t bytes) {
    const size_t n = (size_t)e->n_threads, part = bytes / n / 4096 * 4096;
    double best = 0;
    uint64_t sum[MOST_THREADS];
    for (int round = 0; round < READ_ROUNDS; round++) {
        const double started = clock_now();
        rt_for(e, n, 1, read_piece, &(round_job){.read = loop, .p = p, .part = part, .sum = sum});
        best = fmax(best, (double)(part * n) / (clock_now() - started));
    }
    __asm__ volatile("" ::"r"(sum) : "memory");
    return best;
}

/* Well beyond the last cache, which may be larger than it looks: other programs use it, too. */
static size_t read_bytes(void) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), wanted = l3 > 0 ? 4 * l3 : 0;
    return (size_t)(wanted < READ_LEAST ? READ_LEAST : wanted > READ_MOST ? READ_MOST : wanted) / HUGE_PAGE * HUGE_PAGE;
}

kv_status probe_run(const rt_exec *exec, probe *out, kv_err *err) {
    const loops l = loops_for(exec->k->isa);
    const size_t bytes = read_bytes();
    rt_exec e, some = *exec;
    kv_status st = KV_OK;
    some.n_threads = some.n_threads < MOST_THREADS ? some.n_threads : MOST_THREADS;
    uint8_t *p = aligned_alloc(HUGE_PAGE, bytes);
    if (!p)
        return kv_fail(err, KV_ENOMEM, "out of memory for measuring the machine (%zu MiB)", bytes >> 20);
    madvise(p, bytes, MADV_HUGEPAGE); /* fewer page walks where there are such pages; all right where not */
    if ((st = rt_exec_start(&some, &e, err)))
        goto done;
    memset(p, 1, bytes);
    out->read = best_read(&e, l.read, p, bytes);
    out->i8 = best_math(&e, l.i8);
    out->f32 = best_math(&e, l.f32);
    out->tiles = l.tiles ? best_math(&e, l.tiles) : 0;
    rt_exec_stop(&e);
done:
    free(p);
    return st;
}

probe probe_best(probe a, probe b) {
    return (probe){fmax(a.read, b.read), fmax(a.i8, b.i8), fmax(a.f32, b.f32), fmax(a.tiles, b.tiles)};
}
