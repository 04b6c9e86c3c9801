/* What kvpack --show prints: the sizes follow from the profile, and the JSON holds what the profile holds. */
#include "pack_show.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

typedef kv_status (*show)(const prof *p, const pack_shape *shape, const char *where, kv_err *err);

/* What `how` writes to stdout. Caller frees. */
static char *shown(show how, const prof *p, const pack_shape *shape) {
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(saved >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    kv_err err = {0};
    kv_status st = how(p, shape, "packed.gguf", &err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    if (st != KV_OK)
        fail_msg("%s", err.msg);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    rewind(file);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

static void pack_show_adds_up_layers(void **state) {
    (void)state;
    prof *p = fixture_profile(3, 4, 2, 8);
    assert_non_null(p);
    const pack_shape shape = {.n_layer = 3, .n_kv_head = 2, .head_dim = 8};
    /* keys 3 x 4.0625, values 2 x 3.99999 and 8.5 bits, of 16 numbers */
    assert_true(fabs(pack_token_bytes(p, &shape, false) - (3 * 4.0625 + 2 * 3.99999 + 8.5) * 16 / 8) < 1e-5);
    assert_true(pack_token_bytes(p, &shape, true) == 3 * 2 * 16 * 2);
    prof_free(p);
    prof by_hand = {.default_k = KV_Q8_0, .default_v = KV_Q4_0};
    assert_true(pack_token_bytes(&by_hand, &shape, false) == 3 * (8.5 + 4.5) * 16 / 8);
}

static void pack_show_writes_json(void **state) {
    (void)state;
    prof *p = fixture_profile(3, 4, 2, 8);
    assert_non_null(p);
    const pack_shape shape = {.n_layer = 3, .n_kv_head = 2, .head_dim = 8};
    char *text = shown(pack_show_json, p, &shape);
    json_t *all = json_loads(text, 0, NULL), *kv, *entropy;
    assert_non_null(all);
    assert_string_equal(json_string_value(json_object_get(json_object_get(all, "model"), "name")), p->model_name);
    json_t *layers = json_object_get(all, "layers");
    assert_int_equal(json_array_size(layers), 3);
    kv = json_object_get(json_array_get(layers, 2), "v");
    assert_string_equal(json_string_value(json_object_get(kv, "codec")), "q8_0");
    assert_true(json_number_value(json_object_get(kv, "bits")) == 8.5);
    entropy = json_object_get(json_array_get(layers, 1), "entropy");
    assert_int_equal(json_array_size(entropy), 4);
    assert_true(fabs(json_number_value(json_array_get(entropy, 3)) - (double)p->layers[1].entropy[3]) < 1e-6);
    json_t *sizes = json_object_get(all, "cache");
    assert_int_equal(json_array_size(sizes), 6);
    json_t *last = json_array_get(sizes, 5);
    double now = pack_token_bytes(p, &shape, false);
    assert_int_equal(json_integer_value(json_object_get(last, "tokens")), 131072);
    assert_true(json_number_value(json_object_get(last, "f16_bytes")) == 131072.0 * 192);
    assert_true(fabs(json_number_value(json_object_get(last, "bytes")) - (132 * 192 + (131072 - 132) * now)) < 1);
    json_decref(all);
    free(text);
    prof_free(p);
}

static void pack_show_prints_a_row_per_layer(void **state) {
    (void)state;
    prof *p = fixture_profile(3, 4, 2, 8);
    assert_non_null(p);
    char *text = shown(pack_show_text, p, &(pack_shape){.n_layer = 3, .n_kv_head = 2, .head_dim = 8});
    static const char *const wanted[] = {"hash 00112233445566778899aabbccddeeff",
                                         "the first 4 and the newest 128 tokens",
                                         "KLD 0.00001",
                                         "    0  tc    4.06  tc    4.00",
                                         "    2  tc    4.06  q8_0  8.50",
                                         "980",
                                         "128K     24.0 MiB"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!strstr(text, wanted[i]))
            fail_msg("no '%s' in\n%s", wanted[i], text);
    free(text);
    prof_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_show_adds_up_layers),
        cmocka_unit_test(pack_show_writes_json),
        cmocka_unit_test(pack_show_prints_a_row_per_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
