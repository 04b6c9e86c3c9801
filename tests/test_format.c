#include "base/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static void format_bytes_reads_well(void **state) {
    (void)state;
    char buf[FORMAT_BYTES];
    assert_string_equal(format_bytes(0, buf), "0 bytes");
    assert_string_equal(format_bytes(1023, buf), "1023 bytes");
    assert_string_equal(format_bytes(1536, buf), "1.5 KiB");
    assert_string_equal(format_bytes(17.3 * 1048576, buf), "17.3 MiB");
    assert_string_equal(format_bytes(200.0 * 1073741824, buf), "200 GiB");
    assert_string_equal(format_bytes(-1536, buf), "-1.5 KiB");
}

static void format_dates_are_local(void **state) {
    (void)state;
    char buf[FORMAT_DATE];
    setenv("TZ", "UTC-2", 1);
    tzset();
    assert_string_equal(format_date(1772384700, buf), "2026-03-01 19:05");
    assert_string_equal(format_date(INT64_MAX, buf), "unknown");
}

static void format_bytes_are_read_again(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},          {"4096", 4096},          {"500M", (int64_t)500 << 20}, {"1.5G", (int64_t)3 << 29},
                {"2g", 1LL << 31}, {"2GiB", 1LL << 31},     {"2GB", 1LL << 31},           {"10B", 10},
                {"1k", 1024},      {"1T", (int64_t)1 << 40}};
    static const char *const bad[] = {"",   "M",     "-1",        " 1",   "1 M", "1MM", "1Mi", "0x10", "nan",
                                      "1P", "1GiBs", "99999999T", "1e30", "inf", "one", "1G,", "1@"};
    int64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(parse_bytes(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse_bytes(bad[i], &bytes))
            fail_msg("'%s' became %lld", bad[i], (long long)bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_bytes_reads_well),
        cmocka_unit_test(format_dates_are_local),
        cmocka_unit_test(format_bytes_are_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
