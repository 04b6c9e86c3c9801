/* Parts of a longer piece of work report as shares of the whole, and pass on the wish to stop. */
#include "base/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool stop_past_half(void *user, double done) {
    *(double *)user = done;
    return done <= 0.5;
}

static void progress_parts_are_shares_of_the_whole(void **state) {
    (void)state;
    double seen = -1;
    kv_progress_part half = {stop_past_half, &seen, 0, 0.5};
    kv_progress_part last_of_half = {kv_progress_of_part, &half, 0.75, 1};
    assert_true(kv_progress_of_part(&half, 0.25));
    assert_true(seen == 0.125);
    assert_true(kv_progress_of_part(&last_of_half, 0.5));
    assert_true(seen == 0.4375);
}

static void progress_parts_pass_on_the_wish_to_stop(void **state) {
    (void)state;
    double seen = -1;
    kv_progress_part rest = {stop_past_half, &seen, 0.5, 1};
    assert_true(kv_progress_of_part(&rest, 0));
    assert_false(kv_progress_of_part(&rest, 0.25));
}

static void progress_nobody_wants_to_know(void **state) {
    (void)state;
    kv_progress_part alone = {.to = 1};
    assert_true(kv_progress_of_part(&alone, 0.5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_parts_are_shares_of_the_whole),
        cmocka_unit_test(progress_parts_pass_on_the_wish_to_stop),
        cmocka_unit_test(progress_nobody_wants_to_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
