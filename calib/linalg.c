#include "linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* LAPACK, Fortran calling convention: everything by pointer, the lengths of character arguments at the end. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w, double *work,
                    const int *lwork, int *iwork, const int *liwork, int *info, size_t jobz_len, size_t uplo_len);
/* Present where LAPACK is OpenBLAS, absent elsewhere. */
extern void openblas_set_num_threads(int n) __attribute__((weak));

void la_single_thread(void) {
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
}

/* Reverse the order of pairs (LAPACK's eigenvalues rise) and fix the signs. */
static void order(uint32_t n, double *a, double *w) {
    for (uint32_t i = 0; i < n / 2; i++) {
        double *x = a + (size_t)i * n, *y = a + (size_t)(n - 1 - i) * n, t = w[i];
        w[i] = w[n - 1 - i], w[n - 1 - i] = t;
        for (uint32_t j = 0; j < n; j++)
            t = x[j], x[j] = y[j], y[j] = t;
    }
    for (uint32_t i = 0; i < n; i++) {
        double *x = a + (size_t)i * n, top = 0;
        for (uint32_t j = 0; j < n; j++)
            if (fabs(x[j]) > fabs(top))
                top = x[j];
        for (uint32_t j = 0; top < 0 && j < n; j++)
            x[j] = -x[j];
    }
}

kv_status la_eigh(uint32_t n, double *a, double *w, kv_err *err) {
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i; j < n; j++)
            if (!isfinite(a[(size_t)i * n + j]))
                return kv_fail(err, KV_ERANGE, "matrix element (%u, %u) is not finite", i, j);
    /* Row-major upper is column-major lower; eigenvectors come back as columns, that is as our rows. */
    int m = (int)n, info = 0, lwork = 1 + 6 * m + 2 * m * m, liwork = 3 + 5 * m;
    double *work = malloc((size_t)lwork * sizeof *work);
    int *iwork = malloc((size_t)liwork * sizeof *iwork);
    kv_status st = KV_OK;
    if (!work || !iwork) {
        st = kv_fail(err, KV_ENOMEM, "no memory for the eigenvalues of a %u x %u matrix", n, n);
        goto done;
    }
    dsyevd_("V", "L", &m, a, &m, w, work, &lwork, iwork, &liwork, &info, 1, 1);
    if (info)
        st = kv_fail(err, KV_ERANGE, "eigenvalues of a %u x %u matrix did not converge (LAPACK dsyevd: %d)", n, n, info);
    else
        order(n, a, w);
done:
    free(iwork);
    free(work);
    return st;
}

void la_mul(uint32_t n, const double *a, const double *b, double *c) {
    memset(c, 0, (size_t)n * n * sizeof *c);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < n; j++)
                c[i * n + j] += a[i * n + k] * b[k * n + j];
}

void la_mul_t(uint32_t n, const double *a, const double *b, double *c) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += a[i * n + k] * b[j * n + k];
            c[i * n + j] = sum;
        }
}
