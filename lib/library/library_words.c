/* Tokenizer `kvcalib` of FTS5: what a word is. CJK characters are words of their own; all between them goes to the tokenizers
 * `porter` (English endings off: Porter, An algorithm for suffix stripping, 1980) over `unicode61` (letters and digits, without
 * case and diacritics). A run of CJK characters in a query becomes a phrase by that, and is found wherever it is. */
#include "library/library_internal.h"

#include <stdlib.h>

#include <utf8proc.h>

bool library_is_cjk(int32_t c) {
    static const int32_t ranges[][2] = {{0x3005, 0x3007},  {0x3041, 0x3096}, {0x30A1, 0x30FA}, {0x30FC, 0x30FF},
                                        {0x3105, 0x312F},  {0x3131, 0x318E}, {0x31F0, 0x31FF}, {0x3400, 0x4DBF},
                                        {0x4E00, 0x9FFF},  {0xAC00, 0xD7A3}, {0xF900, 0xFAFF}, {0xFF66, 0xFF9F},
                                        {0x20000, 0x3FFFD}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

/* ---- the tokenizer ---- */

typedef struct words {
    fts5_tokenizer between; /* of what is not CJK */
    Fts5Tokenizer *it;
} words;

static void words_delete(Fts5Tokenizer *t) {
    words *w = (words *)t;
    w->between.xDelete(w->it);
    free(w);
}

static int words_create(void *api_ptr, const char **args, int n_args, Fts5Tokenizer **out) {
    (void)args, (void)n_args;
    fts5_api *api = api_ptr;
    const char *under[] = {"unicode61", "remove_diacritics", "2"};
    void *user;
    words *w = malloc(sizeof *w);
    if (!w)
        return SQLITE_NOMEM;
    int rc = api->xFindTokenizer(api, "porter", &user, &w->between);
    if (!rc)
        rc = w->between.xCreate(user, under, sizeof under / sizeof *under, &w->it);
    if (rc)
        free(w);
    else
        *out = (Fts5Tokenizer *)w;
    return rc;
}

/* Whoever asked, and where what is looked at begins in the text. */
typedef int on_token(void *user, int flags, const char *token, int n, int start, int end);
typedef struct asker {
    on_token *tell;
    void *user;
    int at;
} asker;

static int tell_between(void *user, int flags, const char *token, int n, int start, int end) {
    const asker *a = user;
    return a->tell(a->user, flags, token, n, a->at + start, a->at + end);
}

/* The next CJK character in text[at..n), or n; *len: its bytes. */
static int next_cjk(const char *text, int at, int n, int *len) {
    utf8proc_int32_t c;
    while (at < n) {
        const utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)text + at, n - at, &c);
        *len = took > 0 ? (int)took : 1;
        if (took > 0 && library_is_cjk(c))
            return at;
        at += *len;
    }
    return n;
}

static int words_tokenize(Fts5Tokenizer *t, void *user, int flags, const char *text, int n, on_token *tell) {
    const words *w = (words *)t;
    int rc = SQLITE_OK, len = 0;
    for (int at = 0; at < n && !rc;) {
        const int cjk = next_cjk(text, at, n, &len);
        if (cjk > at)
            rc = w->between.xTokenize(w->it, &(asker){tell, user, at}, flags, text + at, cjk - at, tell_between);
        if (cjk < n && !rc)
            rc = tell(user, 0, text + cjk, len, cjk, cjk + len);
        at = cjk + len;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc; /* who asked has seen enough */
}

int library_add_tokenizer(fts5_api *api) {
    fts5_tokenizer ours = {words_create, words_delete, words_tokenize};
    return api->xCreateTokenizer(api, "kvcalib", api, &ours, NULL);
}
