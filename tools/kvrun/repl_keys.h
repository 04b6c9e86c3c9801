/* From the bytes of a terminal to characters and pastes.
 *
 * What a terminal sends between ESC [200~ and ESC [201~ was pasted (xterm's bracketed paste): it is a text, whatever is in it,
 * and no newline in it ends anything. Bytes that are no UTF-8 become U+FFFD.
 */
#ifndef KVRUN_REPL_KEYS_H
#define KVRUN_REPL_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct repl_keys {
    char *bytes; /* that came and were not taken: from at to n */
    size_t at, n, cap;
    bool over; /* no more will come */
} repl_keys;   /* starts as {0}; free with repl_keys_free */
void repl_keys_free(repl_keys *k);

/* More bytes came; n 0: the end. False: no memory. */
bool repl_keys_push(repl_keys *k, const char *bytes, size_t n);

typedef enum repl_key {
    REPL_KEY_NONE,  /* more bytes are needed */
    REPL_KEY_BEGUN, /* the same, and those that are there may be a key of their own, if no more come soon */
    REPL_KEY_CHAR,
    REPL_KEY_PASTE,
    REPL_KEY_END
} repl_key;

/* The next of them. late: no more came soon. *c: the character. *text: what was pasted, with "\n" as its ends of lines and
 * without other control characters than tabs; the caller frees it. NULL: no memory. */
repl_key repl_keys_next(repl_keys *k, bool late, uint32_t *c, char **text);

#endif
