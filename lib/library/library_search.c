/* Looking for words. What people write is taken apart into words here, and each is a quoted string of the query: no mark that
 * FTS5 knows gets there. */
#include "library/library_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

/* Words that any question has, in English; of other languages, words that many documents have weigh little anyway. */
static const char *const stop_words[] = {
    "a",     "about", "an",    "and",   "any",   "are",    "as",   "at",   "be",    "been", "but",  "by",   "can",
    "could", "did",   "do",    "does",  "for",   "from",   "had",  "has",  "have",  "he",   "her",  "his",  "how",
    "i",     "if",    "in",    "into",  "is",    "it",     "its",  "many", "me",    "much", "my",   "no",   "not",
    "of",    "on",    "or",    "our",   "she",   "should", "so",   "some", "tell",  "than", "that", "the",  "their",
    "them",  "then",  "there", "these", "they",  "this",   "to",   "us",   "was",   "we",   "were", "what", "when",
    "where", "which", "who",   "whom",  "whose", "why",    "will", "with", "would", "you",  "your",
};

typedef struct word {
    const char *s; /* borrowed */
    size_t len;
    bool stop;
} word;

typedef struct words {
    word v[LIBRARY_WORDS];
    size_t n, stops;
} words;

static bool same(const word *w, const char *s, size_t len) {
    return w->len == len && !strncasecmp(w->s, s, len);
}

static void add(words *w, const char *s, size_t len) {
    word it = {s, len, false};
    if (!len || w->n == LIBRARY_WORDS)
        return;
    for (size_t i = 0; i < w->n; i++)
        if (same(&w->v[i], s, len))
            return;
    for (size_t i = 0; i < sizeof stop_words / sizeof *stop_words; i++)
        it.stop |= same(&it, stop_words[i], strlen(stop_words[i]));
    w->stops += it.stop;
    w->v[w->n++] = it;
}

typedef enum kind { NO_WORD, LETTER, CJK } kind;

/* As tokenizer unicode61 has it: letters, digits, characters for private use, and marks on them. */
static kind kind_of(utf8proc_int32_t c) {
    const utf8proc_category_t g = utf8proc_category(c);
    if (library_is_cjk(c))
        return CJK;
    return (g >= UTF8PROC_CATEGORY_LU && g <= UTF8PROC_CATEGORY_NO) || g == UTF8PROC_CATEGORY_CO ? LETTER : NO_WORD;
}

/* The next word from s on, before end, with what it is made of: letters, or CJK characters. *s: behind it. */
static kind next_word(const char **s, const char *end, const char **first, size_t *len) {
    kind is = NO_WORD;
    *len = 0;
    while (*s < end) {
        utf8proc_int32_t c = 0;
        const utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)*s, end - *s, &c);
        const kind k = took > 0 ? kind_of(c) : NO_WORD;
        if (is != NO_WORD && k != is)
            break;
        if (is == NO_WORD)
            *first = *s;
        is = k;
        *s += took > 0 ? took : 1;
        *len = (size_t)(*s - *first);
    }
    return is;
}

/* Of a question in a language that does not part words, each two characters that follow each other may be one. */
static void add_pairs(words *w, const char *s, size_t len) {
    const char *end = s + len, *before = NULL;
    for (size_t n; s < end; before = s, s += n) {
        n = (size_t)utf8proc_utf8class[(unsigned char)*s];
        if (before)
            add(w, before, (size_t)(s - before) + n);
    }
}

static void take_words(const char *text, bool question, words *w) {
    const char *s = text, *end = text + strlen(text), *first = text;
    size_t len;
    while (s < end) {
        const kind k = next_word(&s, end, &first, &len);
        if (k == CJK && question && len > (size_t)utf8proc_utf8class[(unsigned char)*first])
            add_pairs(w, first, len);
        else if (k != NO_WORD)
            add(w, first, len);
    }
}

/* "fox" OR "den". Caller frees with sqlite3_free; NULL: no memory. */
static char *query_of(const words *w, const char *between, bool with_stops) {
    sqlite3_str *q = sqlite3_str_new(NULL);
    for (size_t i = 0; i < w->n; i++)
        if (with_stops || !w->v[i].stop)
            sqlite3_str_appendf(q, "%s\"%.*s\"", sqlite3_str_length(q) ? between : "", (int)w->v[i].len, w->v[i].s);
    return sqlite3_str_finish(q);
}

/* ---- asking ---- */

static void take_rank(library_document *d, sqlite3_stmt *s) {
    d->rank = sqlite3_column_double(s, 10);
}

static kv_status ask(library *l, const char *query, const char *model_hash, size_t n, library_list *out, kv_err *err) {
    sqlite3_stmt *s = NULL;
    kv_status st = library_prepare(l,
                                   "SELECT " LIBRARY_COLUMNS ", kv_rank(words) AS fits FROM words "
                                   "JOIN document d ON d.id = words.rowid "
                                   "WHERE words MATCH ?1 AND (?2 IS NULL OR d.model_hash = ?2) "
                                   "ORDER BY fits DESC, d.used DESC LIMIT ?3",
                                   &s, err);
    st = st ? st : library_bind(l, s, 1, query, err);
    st = st ? st : library_bind(l, s, 2, model_hash, err);
    if (!st) {
        sqlite3_bind_int64(s, 3, n < INT32_MAX ? (int64_t)n : INT32_MAX);
        st = library_rows(l, s, take_rank, out, err);
    }
    sqlite3_finalize(s);
    return st;
}

/* Only of those that are shown: it takes reading the text. */
static kv_status add_snippet(library *l, const char *query, library_document *d, kv_err *err) {
    sqlite3_stmt *s = NULL;
    bool row = false;
    kv_status st = library_prepare(l, "SELECT kv_snippet(words) FROM words WHERE words MATCH ?1 AND rowid = ?2", &s, err);
    st = st ? st : library_bind(l, s, 1, query, err);
    if (!st) {
        sqlite3_bind_int64(s, 2, d->id);
        st = library_step(l, s, &row, err);
    }
    if (row) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        free(d->snippet);
        if (!(d->snippet = strdup(text ? text : "")))
            st = library_memory(err);
    }
    sqlite3_finalize(s);
    return st;
}

static kv_status find_words(library *l, const words *w, const char *between, bool with_stops, const char *model_hash, size_t n,
                            bool snippets, library_list *out, kv_err *err) {
    char *query = query_of(w, between, with_stops);
    *out = (library_list){0};
    kv_status st = query ? ask(l, query, model_hash, n, out, err) : library_memory(err);
    for (size_t i = 0; i < out->n && !st && snippets; i++)
        st = add_snippet(l, query, &out->v[i], err);
    if (st)
        library_list_free(out);
    sqlite3_free(query);
    return st;
}

static kv_status no_words(const char *text, kv_err *err) {
    return kv_fail(err, KV_EINVAL, "'%.200s': there is no word to look for in it (letters and digits make words)", text);
}

kv_status library_search(library *l, const char *text, const char *model_hash, size_t n, library_list *out, kv_err *err) {
    words w = {0};
    take_words(text, false, &w);
    if (!w.n)
        return no_words(text, err);
    kv_status st = find_words(l, &w, " AND ", true, model_hash, n, true, out, err);
    return st || out->n || w.n == 1 ? st : find_words(l, &w, " OR ", w.stops == w.n, model_hash, n, true, out, err);
}

kv_status library_pick(library *l, const char *question, const char *model_hash, size_t n, library_list *out, kv_err *err) {
    words w = {0};
    take_words(question, true, &w);
    if (!w.n)
        return no_words(question, err);
    return find_words(l, &w, " OR ", w.stops == w.n, model_hash, n, false, out, err);
}
