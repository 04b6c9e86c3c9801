/* Profiles inside GGUF files: everything else stays as it was, and what is broken is refused. */
#include "base/atomic_file.h"
#include "gguf_text.h"
#include "profile/blob.h"
#include "profile/profile_internal.h"
#include "profile_fixture.h"
#include "support.h"

#include <unistd.h>

static const char model[] = HEAD(2, 4) "'general.architecture' 8:4 'llama' "
                                       "'a.strings' 9:4 8:4 3:8 'one' '' 'three' "
                                       "'general.alignment' 4:4 64:4 "
                                       "'unknown.key' 12:4 0xc004000000000000:8 "
                                       "'blk.0.attn_q.weight' 2:4 4:8 2:8 0:4 0:8 "
                                       "'blk.0.attn_k.weight' 1:4 32:8 8:4 64:8 "
                                       "|64 .32 |64 .34";

typedef struct folder {
    char dir[200], in[256], out[256], out2[256];
    gguf *g; /* of `in` */
} folder;

static int setup(void **state) {
    folder *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%s/kv-test-pack-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->in, sizeof f->in, "%s/in.gguf", f->dir);
    snprintf(f->out, sizeof f->out, "%s/out.gguf", f->dir);
    snprintf(f->out2, sizeof f->out2, "%s/out2.gguf", f->dir);
    blob b = assemble(model);
    *state = f;
    return file_write(f->in, b.bytes, b.len, NULL) == KV_OK && gguf_open(f->in, &f->g, NULL) == KV_OK ? 0 : -1;
}

static int teardown(void **state) {
    folder *f = *state;
    gguf_close(f->g);
    unlink(f->in);
    unlink(f->out);
    unlink(f->out2);
    int left = rmdir(f->dir); /* fails where a temporary file was left behind */
    free(f);
    return left;
}

static void must(kv_status st, const kv_err *err) {
    if (st != KV_OK)
        fail_msg("%s", err->msg);
}

static prof *tiny(void) {
    prof *p = fixture_profile(3, 4, 2, 8);
    assert_non_null(p);
    return p;
}

static char *read_all(const char *path, size_t *len) {
    char *bytes;
    kv_err err;
    must(file_read(path, 1 << 20, &bytes, len, &err), &err);
    return bytes;
}

static void assert_same_profile(const prof *a, const prof *b) {
    char *x, *y;
    size_t nx, ny;
    assert_int_equal(prof_format(a, &x, &nx, NULL), KV_OK);
    assert_int_equal(prof_format(b, &y, &ny, NULL), KV_OK);
    assert_int_equal(nx, ny);
    assert_memory_equal(x, y, nx);
    free(x);
    free(y);
}

/* Keys and tensors of the model are the same bytes in the packed file; the profile comes back as it was. */
static void pack_adds_three_keys_and_nothing_else(void **state) {
    folder *f = *state;
    prof *p = tiny(), *back;
    kv_err err;
    gguf *g;
    must(prof_pack(f->g, p, f->out, &err), &err);
    must(gguf_open(f->out, &g, &err), &err);
    assert_int_equal(gguf_n_kv(g), gguf_n_kv(f->g) + 3);
    for (size_t i = 0; i < gguf_n_kv(f->g); i++) {
        const gguf_kv *was = gguf_kv_at(f->g, i), *is = gguf_kv_at(g, i);
        assert_int_equal(was->type, is->type);
        assert_int_equal(was->raw_bytes, is->raw_bytes);
        assert_memory_equal(was->key.s, is->key.s, was->key.len);
        assert_memory_equal(was->raw, is->raw, was->raw_bytes);
    }
    assert_int_equal(gguf_n_tensors(g), gguf_n_tensors(f->g));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *was = gguf_tensor_at(f->g, i), *is = gguf_tensor_at(g, i);
        assert_int_equal(was->nbytes, is->nbytes);
        assert_memory_equal(was->data, is->data, was->nbytes);
    }
    must(prof_from_gguf(g, NULL, &back, &err), &err);
    assert_non_null(back);
    assert_same_profile(p, back);
    gguf_str text;
    must(gguf_get_str(g, "kvcalib.profile", true, &text, &err), &err);
    assert_null(memmem(text.s, text.len, "!!binary", 8));

    char *bytes;
    size_t before, after, added;
    must(prof_pack_bytes(p, &added, &err), &err);
    bytes = read_all(f->in, &before);
    free(bytes);
    bytes = read_all(f->out, &after);
    free(bytes);
    assert_true(after + 64 > before + added && after < before + added + 64);
    gguf_close(g);
    prof_free(p);
    prof_free(back);
}

static void strip_gives_the_original_back(void **state) {
    folder *f = *state;
    prof *p = tiny();
    kv_err err;
    gguf *g;
    must(prof_pack(f->g, p, f->out, &err), &err);
    must(gguf_open(f->out, &g, &err), &err);
    must(prof_pack(g, NULL, f->out2, &err), &err);
    assert_same_files(f->in, f->out2);
    gguf_close(g);
    prof_free(p);
}

/* Packing over another profile is packing the original. */
static void pack_replaces_the_profile_that_is_there(void **state) {
    folder *f = *state;
    prof *p = tiny(), *q = fixture_profile(3, 4, 2, 16);
    assert_non_null(q);
    kv_err err;
    gguf *g;
    must(prof_pack(f->g, q, f->out, &err), &err);
    must(gguf_open(f->out, &g, &err), &err);
    must(prof_pack(g, p, f->out2, &err), &err);
    must(prof_pack(f->g, p, f->out, &err), &err); /* g stays open: its file is replaced, not changed */
    assert_same_files(f->out, f->out2);
    gguf_close(g);

    prof by_hand = {.default_k = KV_F16, .default_v = KV_F16}; /* has no data: that of the other must go */
    must(gguf_open(f->out, &g, &err), &err);
    must(prof_pack(g, &by_hand, f->out2, &err), &err);
    must(prof_pack(f->g, &by_hand, f->out, &err), &err);
    assert_same_files(f->out, f->out2);
    gguf_close(g);
    prof_free(p);
    prof_free(q);
}

static void pack_without_calibrated_data(void **state) {
    folder *f = *state;
    const char text[] = "version: 1\npolicy: {sinks: 4, window: 128, k: q8_0, v: q4_0}\n";
    prof *p, *back;
    kv_err err;
    gguf *g;
    must(prof_parse(text, strlen(text), "t.yaml", &p, &err), &err);
    must(prof_pack(f->g, p, f->out, &err), &err);
    must(gguf_open(f->out, &g, &err), &err);
    assert_null(gguf_find(g, "kvcalib.data"));
    must(prof_from_gguf(g, NULL, &back, &err), &err);
    assert_int_equal(back->default_v, KV_Q4_0);
    assert_same_profile(p, back);
    gguf_close(g);
    prof_free(p);
    prof_free(back);
}

/* Calibrated and other heads in one layer: only the calibrated ones have data. */
static void pack_keeps_heads_apart(void **state) {
    folder *f = *state;
    prof *p = tiny(), *back;
    kv_err err;
    gguf *g;
    assert_true(fixture_mix(p));
    must(prof_pack(f->g, p, f->out, &err), &err);
    must(gguf_open(f->out, &g, &err), &err);
    must(prof_from_gguf(g, NULL, &back, &err), &err);
    assert_int_equal(prof_head_k(back, 1, 0).codec, KV_TC);
    assert_int_equal(prof_head_k(back, 1, 1).codec, KV_Q8_0);
    assert_same_profile(p, back);
    gguf_close(g);
    prof_free(p);
    prof_free(back);
}

static void pack_refuses_to_overwrite_its_source(void **state) {
    folder *f = *state;
    prof *p = tiny();
    kv_err err;
    assert_int_equal(prof_pack(f->g, p, f->in, &err), KV_EINVAL);
    assert_int_equal(prof_pack(f->g, NULL, f->in, &err), KV_EINVAL);
    blob b = assemble(model);
    size_t len;
    char *bytes = read_all(f->in, &len);
    assert_int_equal(len, b.len);
    assert_memory_equal(bytes, b.bytes, len);
    free(bytes);
    prof_free(p);
}

static void from_gguf_without_profile_is_none(void **state) {
    folder *f = *state;
    prof *p = (prof *)f;
    assert_int_equal(prof_from_gguf(f->g, NULL, &p, NULL), KV_OK);
    assert_null(p);
}

/* Every way in which the keys can be wrong. */
static void from_gguf_refuses_broken_profiles(void **state) {
    folder *f = *state;
    prof *p = tiny(), *back;
    kv_err err;
    char *text, *whole;
    uint8_t *frame;
    size_t text_len, whole_len, frame_len;
    must(prof_format_parts(p, false, &text, &text_len, &err), &err);
    must(prof_format(p, &whole, &whole_len, &err), &err);
    must(prof_blob_encode(p, &frame, &frame_len, &err), &err);
    const uint32_t one = 1, newest = PROF_VERSION + 1;
    const gguf_set version = {"kvcalib.version", GGUF_U32, &one, 4}, newer = {"kvcalib.version", GGUF_U32, &newest, 4},
                   yaml = {"kvcalib.profile", GGUF_STRING, text, text_len},
                   full = {"kvcalib.profile", GGUF_STRING, whole, whole_len},
                   cut = {"kvcalib.profile", GGUF_STRING, text, text_len / 2},
                   bytes = {"kvcalib.profile", GGUF_ARRAY, text, text_len},
                   data = {"kvcalib.data", GGUF_ARRAY, frame, frame_len},
                   short_data = {"kvcalib.data", GGUF_ARRAY, frame, frame_len - 1},
                   no_data = {"kvcalib.data", GGUF_ARRAY, frame, 0},
                   string_data = {"kvcalib.data", GGUF_STRING, frame, frame_len};
    const struct {
        gguf_set sets[3];
        size_t n;
        kv_status status;
        const char *message;
    } cases[] = {
        {{version, yaml, data}, 3, KV_OK, ""},
        {{version, full}, 2, KV_OK, ""}, /* data inside the text is fine, too */
        {{version}, 1, KV_EFORMAT, "kvcalib.profile"},
        {{yaml, data}, 2, KV_EFORMAT, "kvcalib.version"},
        {{newer, yaml, data}, 3, KV_EUNSUPP, "kvcalib.version: 7, this tool reads versions 1 to 6"},
        {{version, bytes, data}, 3, KV_EFORMAT, "kvcalib.profile"},
        {{version, cut, data}, 3, KV_EFORMAT, "out.gguf: kvcalib.profile:"},
        {{version, yaml}, 2, KV_EFORMAT, "data: missing"},
        {{version, full, data}, 3, KV_EFORMAT, "must not be here too"},
        {{version, yaml, short_data}, 3, KV_EFORMAT, "data: is not one whole zstd frame"},
        {{version, yaml, no_data}, 3, KV_EFORMAT, "data: is not one whole zstd frame"},
        {{version, yaml, string_data}, 3, KV_EFORMAT, "kvcalib.data"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf *g;
        err.msg[0] = '\0';
        must(gguf_copy(f->g, f->out, NULL, cases[i].sets, cases[i].n, &err), &err);
        must(gguf_open(f->out, &g, &err), &err);
        kv_status st = prof_from_gguf(g, NULL, &back, &err);
        if (st != cases[i].status || !strstr(err.msg, cases[i].message))
            fail_msg("case %zu: wanted %d %s\ngot %d %s", i, cases[i].status, cases[i].message, st, err.msg);
        if (st == KV_OK)
            assert_same_profile(p, back);
        else
            assert_null(back);
        prof_free(back);
        gguf_close(g);
    }
    free(text);
    free(whole);
    free(frame);
    prof_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pack_adds_three_keys_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(strip_gives_the_original_back, setup, teardown),
        cmocka_unit_test_setup_teardown(pack_replaces_the_profile_that_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(pack_without_calibrated_data, setup, teardown),
        cmocka_unit_test_setup_teardown(pack_keeps_heads_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(pack_refuses_to_overwrite_its_source, setup, teardown),
        cmocka_unit_test_setup_teardown(from_gguf_without_profile_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(from_gguf_refuses_broken_profiles, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
