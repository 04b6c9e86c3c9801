/* What the Tab key offers: words of a list, and paths. */
#ifndef KVRUN_REPL_COMPLETE_H
#define KVRUN_REPL_COMPLETE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct repl_offers {
    char **v; /* what the word may become, sorted */
    size_t n, cap;
    size_t from; /* where in the line the word begins */
} repl_offers;   /* starts as {0}; free with repl_offers_free */
void repl_offers_free(repl_offers *o);

/* One more, if it begins as `word` does; "word" + "more" where more is not empty. False: no memory. */
bool repl_offer(repl_offers *o, const char *word, const char *offer, const char *more);
/* Files and folders whose path begins so; "~/" is the home folder. Hidden ones only where the word names the beginning. ends:
 * only files whose name ends so, and folders; NULL: all. */
bool repl_offer_paths(repl_offers *o, const char *word, const char *ends);
void repl_offers_sort(repl_offers *o);
/* Bytes that all of them have in common, whole characters. */
size_t repl_offers_common(const repl_offers *o);

/* A path as it is opened: "~/" is the home folder. Caller frees; NULL: no memory. */
char *repl_path(const char *path);

#endif
