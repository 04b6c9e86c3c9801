#include "base/format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_bytes_reads_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
