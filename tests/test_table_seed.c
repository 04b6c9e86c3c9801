/* Tables that files fill: names that meet in one slot under a hash without seed do not meet in any of them. */
#include "base/splitmix64.h"
#include "base/table_seed.h"
#include "gguf/gguf_internal.h"
#include "text/tok_internal.h"
#include "tok_support.h"

#include <xxhash.h>

enum { NAMES = 1000, SLOTS = 4096, LONGEST = 200 /* slots in a row that are taken; names at random make some 40 */ };

/* Names whose hashes without seed all end in the same bits. */
static void colliding(char names[NAMES][16]) {
    uint64_t i = 0;
    for (size_t n = 0; n < NAMES; i++) {
        snprintf(names[n], sizeof names[n], "n%llu", (unsigned long long)i);
        n += XXH3_64bits(names[n], strlen(names[n])) % SLOTS == 7;
    }
}

/* The most slots in a row that are taken: used[i * stride] is not `empty`. */
static size_t longest_run(const uint32_t *used, size_t stride, size_t n, uint32_t empty) {
    size_t most = 0, run = 0;
    for (size_t i = 0; i < n; i++) {
        run = used[i * stride] != empty ? run + 1 : 0;
        most = run > most ? run : most;
    }
    return most;
}

static void seeds_differ(void **state) {
    (void)state;
    assert_int_not_equal(table_seed(), table_seed());
}

static void keys_that_collide_are_strewn(void **state) {
    static char names[NAMES][16];
    (void)state;
    file_image f = {0};
    gguf *g;
    kv_err err;
    colliding(names);
    for (size_t i = 0; i < NAMES; i++)
        put_id(&f, names[i], (uint32_t)i);
    if (open_image(&f, &g, &err))
        fail_msg("%s", err.msg);
    assert_true(longest_run(g->by_key.slots, 1, g->by_key.mask + 1, 0) < LONGEST);
    for (size_t i = 0; i < NAMES; i++)
        assert_ptr_equal(gguf_find(g, names[i]), gguf_kv_at(g, i));
    gguf_close(g);
}

static file_image flooded(char names[NAMES][16]) {
    file_image f = {0};
    put_str(&f, "tokenizer.ggml.model", "gpt2");
    put_str(&f, "tokenizer.ggml.pre", "default");
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STRING, NAMES);
    for (size_t i = 0; i < NAMES; i++)
        put_text(&f, names[i], strlen(names[i]));
    put_array(&f, "tokenizer.ggml.merges", GGUF_STRING, 0);
    return f;
}

static void tokens_that_collide_are_strewn(void **state) {
    static char names[NAMES][16];
    (void)state;
    colliding(names);
    file_image f = flooded(names), again = flooded(names);
    tok *a = open_tok(&f), *b = open_tok(&again);
    assert_int_not_equal(a->seed, b->seed);
    assert_true(longest_run(a->slot, 1, a->slot_mask + (size_t)1, 0) < LONGEST);
    for (int32_t i = 0; i < NAMES; i++) {
        assert_int_equal(tok_find(a, names[i], strlen(names[i])), i);
        assert_int_equal(tok_find(b, names[i], strlen(names[i])), i);
    }
    tok_free(a);
    tok_free(b);
}

enum { LETTERS = 32, PAIRS = LETTERS * LETTERS, MERGES = 500, MERGE_SLOTS = 1024 };

/* Merges of words of two letters whose pairs of ids, LETTERS + l and LETTERS + r, collide without a seed. */
static void colliding_merges(unsigned l[MERGES], unsigned r[MERGES]) {
    size_t n = 0;
    for (unsigned i = 0; i < PAIRS * PAIRS && n < MERGES; i++) {
        uint64_t key = (uint64_t)(LETTERS + i / PAIRS) << 32 | (LETTERS + i % PAIRS);
        l[n] = i / PAIRS;
        r[n] = i % PAIRS;
        n += splitmix64(&key) % MERGE_SLOTS == 3;
    }
    assert_int_equal(n, MERGES);
}

static void merges_that_collide_are_strewn(void **state) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEF";
    unsigned l[MERGES], r[MERGES];
    char pair[PAIRS][3], text[8];
    (void)state;
    colliding_merges(l, r);
    file_image f = {0};
    put_str(&f, "tokenizer.ggml.model", "gpt2");
    put_str(&f, "tokenizer.ggml.pre", "default");
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STRING, LETTERS + PAIRS + MERGES);
    for (size_t i = 0; i < LETTERS; i++)
        put_text(&f, &letters[i], 1);
    for (size_t i = 0; i < PAIRS; i++) {
        snprintf(pair[i], sizeof pair[i], "%c%c", letters[i / LETTERS], letters[i % LETTERS]);
        put_text(&f, pair[i], 2);
    }
    for (size_t i = 0; i < MERGES; i++) {
        snprintf(text, sizeof text, "%s%s", pair[l[i]], pair[r[i]]);
        put_text(&f, text, 4);
    }
    put_array(&f, "tokenizer.ggml.merges", GGUF_STRING, MERGES);
    for (size_t i = 0; i < MERGES; i++) {
        snprintf(text, sizeof text, "%s %s", pair[l[i]], pair[r[i]]);
        put_text(&f, text, 5);
    }
    tok *t = open_tok(&f);
    assert_int_equal(t->pair_mask + 1, MERGE_SLOTS);
    assert_true(longest_run(&t->pair[0].rank, sizeof *t->pair / sizeof(uint32_t), MERGE_SLOTS, UINT32_MAX) < LONGEST);
    tok_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(keys_that_collide_are_strewn),
        cmocka_unit_test(tokens_that_collide_are_strewn),
        cmocka_unit_test(merges_that_collide_are_strewn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
