/* Profiles for several windows: which is taken for which cache, there and back as text and inside a GGUF, and what is refused.
 */
#include "base/atomic_file.h"
#include "gguf_text.h"
#include "profile/blob.h"
#include "profile/profile_internal.h"
#include "profile_fixture.h"

#include <unistd.h>

static const char model[] = HEAD(1, 1) "'general.architecture' 8:4 'llama' 'blk.0.attn_k.weight' 1:4 32:8 0:4 0:8 |32 .128";

static void must(kv_status st, const kv_err *err) {
    if (st != KV_OK)
        fail_msg("%s", err->msg);
}

/* For these windows, each with other numbers. */
static prof *made_for(const uint32_t *windows, size_t n) {
    prof *first = NULL, **at = &first;
    for (size_t i = 0; i < n; i++, at = &(*at)->narrower) {
        assert_non_null(*at = fixture_profile(3, 4, 2, 8));
        (*at)->window = windows[i];
        (*at)->frame = windows[i] ? 1024 : 256;
        (*at)->measured[0].kld = 0.001 * (double)(i + 1);
        (*at)->layers[0].k.heads[0].sigma[0] = (float)(i + 1);
    }
    return first;
}

static char *format(const prof *p, size_t *len) {
    char *text;
    kv_err err;
    must(prof_format(p, &text, len, &err), &err);
    return text;
}

static void assert_same(const prof *a, const prof *b) {
    size_t na, nb;
    char *x = format(a, &na), *y = format(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

static const uint32_t three[] = {128, 32, 0};

static void window_decides_which_is_taken(void **state) {
    (void)state;
    static const struct {
        int64_t asked;
        uint32_t got;
    } cases[] = {{-1, 128}, {1000, 128}, {128, 128}, {127, 32}, {32, 32}, {31, 0}, {0, 0}};
    prof *p = made_for(three, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(prof_for_window(p, cases[i].asked)->window, cases[i].got);
    assert_null(prof_for_window(NULL, 0));
    prof_free(p);
    p = made_for(three, 2); /* less than all were made for: the least */
    assert_int_equal(prof_for_window(p, 5)->window, 32);
    prof_free(p);
}

static void window_profiles_come_back_from_text(void **state) {
    (void)state;
    prof *p = made_for(three, 3), *back;
    kv_err err;
    size_t len;
    assert_int_equal(prof_version(p), 5);
    char *text = format(p, &len);
    must(prof_parse(text, len, "t.yaml", &back, &err), &err);
    const prof *q = back;
    for (size_t i = 0; i < 3; i++, q = q->narrower) {
        assert_int_equal(q->window, three[i]);
        assert_int_equal(q->frame, three[i] ? 1024 : 256);
        assert_float_equal(q->measured[0].kld, 0.001 * (double)(i + 1), 1e-9);
        assert_float_equal(q->layers[0].k.heads[0].sigma[0], i + 1, 0);
    }
    assert_null(q);
    assert_same(p, back);
    prof_free(back);
    for (size_t n = len; n-- > len - 200;) { /* cut short within the last part */
        back = NULL;
        if (prof_parse(text, n, "t.yaml", &back, &err) == KV_OK)
            assert_same(p, back); /* what ends the file is no more than a newline */
        prof_free(back);
    }
    free(text);
    prof_free(p);
}

static void window_profiles_come_back_from_a_model(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    char dir[200], in[256], out[256];
    prof *p = made_for(three, 3), *back;
    kv_err err;
    gguf *g, *packed;
    size_t bytes, before, after;
    char *file;
    snprintf(dir, sizeof dir, "%s/kv-test-window-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(dir));
    snprintf(in, sizeof in, "%s/in.gguf", dir);
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    const blob b = assemble(model);
    must(file_write(in, b.bytes, b.len, &err), &err);
    must(gguf_open(in, &g, &err), &err);
    must(prof_pack(g, p, out, &err), &err);
    must(prof_pack_bytes(p, &bytes, &err), &err);
    must(gguf_open(out, &packed, &err), &err);
    must(prof_from_gguf(packed, NULL, &back, &err), &err);
    assert_same(p, back);
    must(file_read(in, 1 << 20, &file, &before, &err), &err);
    free(file);
    must(file_read(out, 1 << 20, &file, &after, &err), &err);
    free(file);
    assert_in_range(after - before, bytes - 31, bytes + 31); /* but for padding */
    prof_free(back);
    prof_free(p);
    gguf_close(packed);
    gguf_close(g);
    unlink(in);
    unlink(out);
    assert_int_equal(rmdir(dir), 0);
}

/* Frames that are missing, too many, or damaged. */
static void window_profiles_need_all_their_data(void **state) {
    (void)state;
    prof *p = made_for(three, 2), *back;
    kv_err err;
    char *text;
    size_t len, n[2];
    uint8_t *frame[2], *both;
    must(prof_format_parts(p, false, &text, &len, &err), &err);
    must(prof_blob_encode(p, &frame[0], &n[0], &err), &err);
    must(prof_blob_encode(p->narrower, &frame[1], &n[1], &err), &err);
    assert_non_null(both = calloc(1, n[0] + n[1] + 1));
    memcpy(both, frame[0], n[0]);
    memcpy(both + n[0], frame[1], n[1]);
    prof_source from = {.text = text, .len = len, .frame = both, .frame_len = n[0] + n[1], .where = "t"};
    must(prof_parse_parts(&from, &back, &err), &err);
    assert_same(p, back);
    prof_free(back);
    for (int wrong = 0; wrong < 3; wrong++) {
        from.frame_len = wrong == 0 ? n[0] : wrong == 1 ? n[0] + n[1] + 1 : n[0] - 1;
        assert_int_equal(prof_parse_parts(&from, &back, &err), KV_EFORMAT);
        assert_null(back);
        assert_non_null(strstr(err.msg, "t: data: "));
    }
    free(frame[0]);
    free(frame[1]);
    free(both);
    free(text);
    prof_free(p);
}

static void refused(prof *p, const char *said) {
    kv_err err = {0};
    assert_int_equal(prof_check(p, "t.yaml", &err), KV_ERANGE);
    if (!strstr(err.msg, said))
        fail_msg("'%s' is not in '%s'", said, err.msg);
    prof_free(p);
}

static void window_profiles_must_belong_together(void **state) {
    (void)state;
    static const uint32_t rising[] = {0, 128}, same[] = {64, 64}, five[] = {5, 4, 3, 2, 1};
    refused(made_for(rising, 2), "t.yaml: policy.window: 128 comes behind 0");
    refused(made_for(same, 2), "t.yaml: policy.window: 64 comes behind 64");
    refused(made_for(five, 5), "for more than 4 windows");
    prof *p = made_for(three, 2);
    p->narrower->model_hash[0] = '1';
    refused(p, "that for window 32 is of another model than that for window 128");
    p = made_for(three, 2);
    p->narrower->sinks = 5;
    refused(p, "policy.sinks: 5 for window 32, but 4 for window 128");
    p = made_for(three, 1);
    assert_non_null(p->narrower = calloc(1, sizeof *p));
    strcpy(p->narrower->model_hash, p->model_hash);
    p->narrower->sinks = p->sinks;
    p->narrower->evict = PROF_EVICT_DEFAULT;
    refused(p, "is of another model");
}

static void window_profiles_of_text_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"version: 3\npolicy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n---\nversion: 5\n",
         "t.yaml:3: a second document starts here, which version 5 alone has"},
        {"policy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n---\nversion: 5\n", "t.yaml:2: a second document starts here"},
        {"version: 5\npolicy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n---\nversion: 5\n", "t.yaml:3: policy: missing"},
        {"version: 5\npolicy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n"
         "---\nversion: 5\npolicy: {sinks: 4, window: 8, k: q8_0, v: q4_0}\n",
         "only calibrated profiles"},
        {"version: 5\npolicy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n---\n---\n---\n---\n", "more than 4 documents"},
        {"version: 5\npolicy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n---\n*a\n", "t.yaml:4: anchors"},
        {"version: 7\npolicy: {sinks: 4, window: 9, k: q8_0, v: q4_0}\n", "7 is outside 1..6"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_err err = {0};
        prof *p;
        assert_int_not_equal(prof_parse(cases[i].text, strlen(cases[i].text), "t.yaml", &p, &err), KV_OK);
        assert_null(p);
        if (!strstr(err.msg, cases[i].said))
            fail_msg("'%s' is not in '%s'", cases[i].said, err.msg);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_decides_which_is_taken),          cmocka_unit_test(window_profiles_come_back_from_text),
        cmocka_unit_test(window_profiles_come_back_from_a_model), cmocka_unit_test(window_profiles_need_all_their_data),
        cmocka_unit_test(window_profiles_must_belong_together),   cmocka_unit_test(window_profiles_of_text_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
