/* As much of cmocka as the tests of the kernels use, for programs that run under an emulator where there is no cmocka: a test
 * that fails ends the program.
 */
#ifndef NEON_CMOCKA_H
#define NEON_CMOCKA_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(f)                                                                                                    \
    { #f, f }

#define fail_msg(...)                                                                                                          \
    (printf("%s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), printf("\n[  FAILED  ]\n"), fflush(stdout), exit(1))
#define assert_true(x)                ((x) ? (void)0 : fail_msg("not true: %s", #x))
#define assert_int_equal(a, b)        assert_true((a) == (b))
#define assert_non_null(p)            assert_true((p) != NULL)
#define assert_memory_equal(a, b, n)  assert_true(memcmp(a, b, n) == 0)
#define assert_float_equal(a, b, eps) assert_true(fabs((double)(a) - (double)(b)) <= (double)(eps))

#define cmocka_run_group_tests(tests, setup, teardown)                                                                         \
    (run_tests(tests, sizeof tests / sizeof *(tests)), (void)(setup), (void)(teardown), 0)

static inline void run_tests(const struct CMUnitTest *tests, size_t n) {
    for (size_t i = 0; i < n; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        tests[i].run(NULL);
        printf("[       OK ] %s\n", tests[i].name);
    }
}

#endif
