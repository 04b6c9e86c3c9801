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

static void format_parses_sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {{"4096", 4096},
                 {"1.5K", 1536},
                 {"512M", 512u << 20},
                 {"2GiB", (uint64_t)2 << 30},
                 {"1T", (uint64_t)1 << 40},
                 {"", 0},
                 {"M", 0},
                 {"0", 0},
                 {"-1G", 0},
                 {"1Gi", 0},
                 {"1 G", 0},
                 {"2X", 0},
                 {"9999T", 0},
                 {"nan", 0},
                 {"1GG", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (format_parse_bytes(cases[i].text) != cases[i].bytes)
            fail_msg("'%s'", cases[i].text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_bytes_reads_well),
        cmocka_unit_test(format_dates_are_local),
        cmocka_unit_test(format_parses_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
