/* Text from files and command lines on its way to a terminal: nothing in it may move the cursor, change colours or the order of
 * what is read, or pretend to be another line. */
#ifndef KV_PRINTABLE_H
#define KV_PRINTABLE_H

#include <stddef.h>

enum { PRINTABLE_GROWTH = 4 }; /* bytes that one byte becomes at most */

/* s[0..len) with control characters (C0, DEL, C1, line and paragraph separators, marks of writing direction) and what is not
 * UTF-8 as escapes: \n, \r, \t, else \xHH for each byte. keep: control characters below 0x80 that stay as they are ("\n\t"), or
 * NULL. out: `size` bytes, size > 0; what has no room is left out, whole characters at a time. Returns the length; a NUL
 * follows. */
size_t printable(const char *s, size_t len, const char *keep, char *out, size_t size);

#endif
