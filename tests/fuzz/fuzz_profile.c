/* Profiles as YAML. One that is read is written, and read again: the same text. */
#include "fuzz/fuzz.h"

#include "profile/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    prof *p, *q;
    kv_err err;
    char *text, *again;
    size_t len, len_again;
    kv_status st = prof_parse((const char *)data, size, "p.yaml", &p, &err);
    fuzz_said(st, &err, "p.yaml");
    FUZZ_MUST(!st == !!p);
    if (st)
        return 0;
    FUZZ_MUST(!prof_format(p, &text, &len, &err));
    st = prof_parse(text, len, "again.yaml", &q, &err);
    if (st)
        fprintf(stderr, "%s\n%s", err.msg, text);
    FUZZ_MUST(!st);
    FUZZ_MUST(!prof_format(q, &again, &len_again, &err));
    FUZZ_MUST(len == len_again && !memcmp(text, again, len));
    free(text);
    free(again);
    prof_free(p);
    prof_free(q);
    return 0;
}
