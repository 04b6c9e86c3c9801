/* What the chat of kvrun is given: turns from .kv files, keys and pastes of terminals, histories. The first byte says which of
 * them follows. */
#include "fuzz/fuzz.h"

#include "context/context_chat.h"
#include "kvrun/repl_history.h"
#include "kvrun/repl_keys.h"

/* What makes sense can be written, and comes back as it was. */
static void try_turns(const uint8_t *data, size_t size) {
    ctx_chat c, again;
    kv_err err;
    char *text, *twice;
    size_t len, len_twice;
    kv_status st = ctx_chat_parse((const char *)data, size, "f", &c, &err);
    fuzz_said(st, &err, "f");
    if (st) {
        FUZZ_MUST(!c.turns && !c.system && !c.ahead);
        return;
    }
    FUZZ_MUST(c.gone <= c.at && c.keep <= c.at - c.gone && c.removed <= c.gone);
    for (size_t i = 0; i < c.n; i++)
        FUZZ_MUST(c.turns[i].end <= c.at && c.turns[i].ahead <= strlen(c.turns[i].question));
    FUZZ_MUST(!ctx_chat_format(&c, &text, &len, &err) && !ctx_chat_parse(text, len, "f", &again, &err));
    FUZZ_MUST(!ctx_chat_format(&again, &twice, &len_twice, &err) && !strcmp(text, twice));
    ctx_chat_free(&c);
    ctx_chat_free(&again);
    free(text);
    free(twice);
}

/* In pieces of up to 8 bytes, whose sizes the first byte says. */
static void try_keys(const uint8_t *data, size_t size) {
    repl_keys k = {0};
    const size_t step = size ? 1 + *data % 8 : 1;
    size_t at = 0, taken = 0;
    for (;;) {
        uint32_t c = 0;
        char *text = NULL;
        const repl_key key = repl_keys_next(&k, at % 3 == 0, &c, &text);
        if (key == REPL_KEY_END)
            break;
        if (key == REPL_KEY_CHAR)
            FUZZ_MUST(c <= 0x10FFFF);
        else if (key == REPL_KEY_PASTE)
            FUZZ_MUST(text && !strchr(text, '\r') && !strchr(text, '\033'));
        else {
            const size_t n = size - at < step ? size - at : step;
            FUZZ_MUST(at <= size && repl_keys_push(&k, (const char *)data + at, n));
            at += n;
        }
        FUZZ_MUST(taken++ <= 4 * size + 8); /* it comes to an end */
        free(text);
    }
    FUZZ_MUST(at == size);
    repl_keys_free(&k);
}

/* Entries that come of a file are written so that they come back. */
static void try_history(const uint8_t *data, size_t size) {
    char path[64];
    history_entries e;
    kv_err err;
    const int fd = fuzz_file(data, size, path);
    kv_status st = history_file_read(path, &e, &err);
    fuzz_said(st, &err, path);
    for (size_t i = 0; i < e.n; i++)
        FUZZ_MUST(*e.v[i]);
    history_entries_free(&e);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    switch (*data % 3) {
    case 0:
        try_turns(data + 1, size - 1);
        break;
    case 1:
        try_keys(data + 1, size - 1);
        break;
    default:
        try_history(data + 1, size - 1);
    }
    return 0;
}
