/* Functions of FTS5 that SQL calls for a document that was found: how well it fits, and the place to show of it.
 *
 * FTS5 has both, bm25() and snippet(), for larger collections than this one. Its BM25 has weights that are 0 or below for words
 * that half of the documents have, and with two or three documents that is every word: here they are those of Lucene, ln(1 + (N
 * - n + 0.5) / (n + 0.5)), which are never (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, for all else).
 * Its snippets take time by the square of how often words occur, which for a book is minutes.
 */
#include "library/library_internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { TITLE, TEXT }; /* columns of the index */

/* ---- rank ---- */

static const double k1 = 1.2, b = 0.75, title_counts = 4;

/* What is the same for all documents of a query, and room for one. */
typedef struct query {
    double length; /* mean, in words */
    int n;         /* phrases: words that are looked for, and runs of CJK characters */
    struct {
        double weight, count;
    } phrase[];
} query;

static int count_row(const Fts5ExtensionApi *api, Fts5Context *fts, void *user) {
    (void)api, (void)fts;
    ++*(sqlite3_int64 *)user;
    return SQLITE_OK;
}

static int make_query(const Fts5ExtensionApi *api, Fts5Context *fts, query **out) {
    const int n = api->xPhraseCount(fts);
    sqlite3_int64 rows = 0, words = 0;
    query *q = calloc(1, sizeof *q + (size_t)n * sizeof q->phrase[0]);
    if (!q)
        return SQLITE_NOMEM;
    q->n = n;
    int rc = api->xRowCount(fts, &rows);
    if (!rc)
        rc = api->xColumnTotalSize(fts, -1, &words);
    q->length = rows && words ? (double)words / (double)rows : 1;
    for (int i = 0; i < n && !rc; i++) {
        sqlite3_int64 with = 0;
        rc = api->xQueryPhrase(fts, i, &with, count_row);
        q->phrase[i].weight = log(1 + ((double)rows - (double)with + 0.5) / ((double)with + 0.5));
    }
    if (rc)
        free(q);
    else
        rc = api->xSetAuxdata(fts, *out = q, free); /* frees it where it fails */
    return rc;
}

static int score(const Fts5ExtensionApi *api, Fts5Context *fts, query *q, double *out) {
    int n = 0, size = 0, phrase, column, at;
    int rc = api->xInstCount(fts, &n);
    if (!rc)
        rc = api->xColumnSize(fts, -1, &size);
    for (int i = 0; i < q->n; i++)
        q->phrase[i].count = 0;
    for (int i = 0; i < n && !rc; i++)
        if (!(rc = api->xInst(fts, i, &phrase, &column, &at)))
            q->phrase[phrase].count += column == TITLE ? title_counts : 1;
    *out = 0;
    for (int i = 0; i < q->n; i++) {
        const double count = q->phrase[i].count;
        *out += q->phrase[i].weight * count * (k1 + 1) / (count + k1 * (1 - b + b * size / q->length));
    }
    return rc;
}

static void rank(const Fts5ExtensionApi *api, Fts5Context *fts, sqlite3_context *result, int n, sqlite3_value **args) {
    (void)n, (void)args;
    double value = 0;
    query *q = api->xGetAuxdata(fts, 0);
    int rc = q ? SQLITE_OK : make_query(api, fts, &q);
    if (!rc)
        rc = score(api, fts, q, &value);
    if (rc)
        sqlite3_result_error_code(result, rc);
    else
        sqlite3_result_double(result, value);
}

/* ---- snippet ---- */

enum { WINDOW = 24, BEFORE = 4, MOST = 480 }; /* words shown, words before the first found; bytes */

typedef struct found {
    int at, n, phrase; /* words */
} found;

typedef struct places {
    found *v;
    int n;
} places;

/* Where the text has what is looked for, in order. */
static int find_places(const Fts5ExtensionApi *api, Fts5Context *fts, places *out) {
    int n = 0, column, rc = api->xInstCount(fts, &n);
    if (rc || !n)
        return rc;
    if (!(out->v = malloc((size_t)n * sizeof *out->v)))
        return SQLITE_NOMEM;
    for (int i = 0; i < n && !rc; i++) {
        found *f = &out->v[out->n];
        if (!(rc = api->xInst(fts, i, &f->phrase, &column, &f->at)) && column == TEXT) {
            f->n = api->xPhraseSize(fts, f->phrase);
            out->n++;
        }
    }
    return rc;
}

/* The word to begin with: that of the window in which there are most different phrases, and of those most places; a little
 * before the first of them, or the beginning of the text where they are near it. -1: no memory. */
static int best_window(const places *p, int phrases) {
    int best = 0, best_value = -1, different = 0, end = 0;
    int *held = calloc((size_t)phrases + 1, sizeof *held);
    if (!held)
        return -1;
    for (int i = 0; i < p->n; i++) {
        for (; end < p->n && p->v[end].at + p->v[end].n <= p->v[i].at + WINDOW - BEFORE; end++)
            different += !held[p->v[end].phrase]++;
        const int value = different * 2 * WINDOW + end - i;
        if (value > best_value) {
            const found *last = &p->v[end > i ? end - 1 : i];
            best = last->at + last->n <= WINDOW || p->v[i].at < BEFORE ? 0 : p->v[i].at - BEFORE;
            best_value = value;
        }
        if (end > i)
            different -= !--held[p->v[i].phrase];
        else
            end = i + 1; /* a phrase longer than the window */
    }
    free(held);
    return best;
}

typedef struct writing {
    sqlite3_str *out;
    const char *text;
    const places *p;
    int first, word, next; /* word to begin with; words seen; the place that comes next */
    int from;              /* bytes of the text that are written or passed over; -1: nothing is yet */
    int open;              /* word behind which a bracket closes; -1: none is open */
    bool done;
} writing;

/* One line, and whole characters of it. */
static void put(sqlite3_str *out, const char *s, int n) {
    for (int i = 0, len; i < n && sqlite3_str_length(out) < MOST; i += len) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)s + i, n - i, &c);
        len = took > 0 ? (int)took : 1;
        const bool blank = took == 1 && c <= ' ',
                   had = sqlite3_str_length(out) && sqlite3_str_value(out)[sqlite3_str_length(out) - 1] == ' ';
        if (blank && !had)
            sqlite3_str_appendchar(out, 1, ' ');
        else if (!blank)
            sqlite3_str_append(out, s + i, len);
    }
}

static int write_word(void *user, int flags, const char *token, int n, int start, int end) {
    (void)token, (void)n;
    writing *w = user;
    if (w->done || flags & FTS5_TOKEN_COLOCATED)
        return w->done ? SQLITE_DONE : SQLITE_OK;
    const int word = w->word++;
    if (word < w->first)
        return SQLITE_OK;
    if (word >= w->first + WINDOW || sqlite3_str_length(w->out) >= MOST) {
        sqlite3_str_appendall(w->out, " …");
        w->done = true;
        return SQLITE_DONE;
    }
    if (w->from >= 0)
        put(w->out, w->text + w->from, start - w->from);
    else if (word)
        sqlite3_str_appendall(w->out, "… ");
    while (w->next < w->p->n && w->p->v[w->next].at < word)
        w->next++;
    if (w->open < 0 && w->next < w->p->n && w->p->v[w->next].at == word) {
        sqlite3_str_appendchar(w->out, 1, '[');
        w->open = word + w->p->v[w->next].n - 1;
    }
    put(w->out, w->text + start, end - start);
    if (w->open == word) {
        sqlite3_str_appendchar(w->out, 1, ']');
        w->open = -1;
    }
    w->from = end;
    return SQLITE_OK;
}

static void snippet(const Fts5ExtensionApi *api, Fts5Context *fts, sqlite3_context *result, int n, sqlite3_value **args) {
    (void)n, (void)args;
    places p = {0};
    const char *text = NULL;
    int len = 0, first = 0, rc = find_places(api, fts, &p);
    sqlite3_str *out = sqlite3_str_new(NULL);
    if (!rc && (first = best_window(&p, api->xPhraseCount(fts))) < 0)
        rc = SQLITE_NOMEM;
    if (!rc)
        rc = api->xColumnText(fts, TEXT, &text, &len);
    writing w = {.out = out, .text = text, .p = &p, .first = first, .from = -1, .open = -1};
    if (!rc)
        rc = api->xTokenize(fts, text, len, &w, write_word);
    if (!rc)
        rc = sqlite3_str_errcode(out);
    if (!rc && w.open >= 0)
        sqlite3_str_appendchar(out, 1, ']');
    char *said = sqlite3_str_finish(out);
    if (rc)
        sqlite3_result_error_code(result, rc);
    else
        sqlite3_result_text(result, said ? said : "", -1, SQLITE_TRANSIENT);
    sqlite3_free(said);
    free(p.v);
}

int library_add_functions(fts5_api *api) {
    const int rc = api->xCreateFunction(api, "kv_rank", NULL, rank, NULL);
    return rc ? rc : api->xCreateFunction(api, "kv_snippet", NULL, snippet, NULL);
}
