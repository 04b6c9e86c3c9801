/* Texts that are read: one set of rules for every file, for standard input, and for words of the command line.
 *
 * A text is UTF-8. A byte order mark in front is no part of it, and a line ends with "\n" whatever system it comes from: "\r\n"
 * is read as that. What is UTF-16 or UTF-32 is refused by its name, a NUL byte with the place where it is, instead of being cut
 * there. Bytes that are not UTF-8 otherwise stay: tokenizers know what to do with them.
 */
#ifndef KV_TEXT_H
#define KV_TEXT_H

#include "base/status.h"

#include <stdio.h>

/* Apply the rules to text[0..*len) in place, with a NUL at text[*len]; it never grows. where: what messages call it, a path or
 * "stdin, line 3". KV_EFORMAT: names where, offset and encoding. */
kv_status text_clean(const char *where, char *text, size_t *len, kv_err *err);

/* A whole file, or what is left of a stream, by these rules. *out: caller frees; NUL-terminated. KV_ERANGE: more than max
 * bytes. Errors of file_read, and of text_clean. */
kv_status text_read(const char *path, size_t max, char **out, size_t *len, kv_err *err);
kv_status text_read_stream(FILE *f, const char *where, size_t max, char **out, size_t *len, kv_err *err);

/* Replace \n \r \t \\ \' \" and \xHH as llama.cpp does in its prompts, in place: any other backslash stays. KV_EINVAL: \x00,
 * which no text can hold. */
kv_status text_unescape(const char *where, char *text, kv_err *err);

/* All len bytes, those of value 0 included, and a 0 behind them. Caller frees; NULL: no memory. */
char *text_copy(const char *s, size_t len);

#endif
