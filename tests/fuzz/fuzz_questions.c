/* Files of questions (kveval qa). */
#include "fuzz/fuzz.h"

#include "measure/qa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    const int fd = fuzz_file(data, size, path);
    qa_list l;
    kv_err err;
    const kv_status st = qa_list_load(path, &l, &err);
    fuzz_said(st, &err, path);
    for (size_t i = 0; !st && i < l.n; i++) {
        bool right;
        FUZZ_MUST(*l.v[i].text && *l.v[i].wanted && l.v[i].line);
        FUZZ_MUST(!ask_is_right(l.v[i].wanted, l.v[i].wanted, &right, &err));
        if (!strchr(l.v[i].wanted, '|'))
            FUZZ_MUST(right); /* an answer is what was wanted where it is the same */
    }
    if (!st)
        qa_list_free(&l);
    close(fd);
    return 0;
}
