/* Bytes on their way to a client: put in at one end, taken out at the other. Where memory runs out, `failed` is set and stays,
 * and what follows is left out. */
#ifndef SERVE_OUT_H
#define SERVE_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct sv_out {
    char *s;
    size_t len, cap; /* of s */
    size_t at;       /* taken already */
    bool failed;
} sv_out; /* starts as {0} */

void out_free(sv_out *o);
void out_add(sv_out *o, const char *s, size_t len);
void out_text(sv_out *o, const char *s);
/* All of these take the reference; NULL counts as memory that ran out. */
void out_json(sv_out *o, json_t *j);                   /* in one line, without its end */
void out_line(sv_out *o, json_t *j);                   /* and the end of the line: NDJSON */
void out_sse(sv_out *o, const char *event, json_t *j); /* an event of a stream (SSE); event: its name, or NULL */
size_t out_take(sv_out *o, char *to, size_t most);     /* returns how many bytes there were */
static inline size_t out_waiting(const sv_out *o) {
    return o->len - o->at;
}

/* A string of any bytes; what is not UTF-8 becomes U+FFFD. NULL: memory ran out. */
json_t *out_string(const char *s, size_t len);

#endif
