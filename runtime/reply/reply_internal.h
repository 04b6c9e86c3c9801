/* Inside the room: the table of formats, and the parts of the parser.
 *
 * The parser takes one byte after the other, so that nothing depends on how a text is cut. It is always in one state
 * (reply.c); what may still turn out to be markup is held as it came, and let go of as content where it does not.
 */
#ifndef RT_REPLY_INTERNAL_H
#define RT_REPLY_INTERNAL_H

#include "reply/reply.h"

/* ---- formats (reply_format.c) ---- */

enum { N_MARKS = 6 };

typedef enum reply_shape {
    SHAPE_JSON,   /* {"name": ..., "arguments": {...}}, or a list of these */
    SHAPE_SHORT,  /* {"name of the function": {arguments}}, or a list of these */
    SHAPE_NAMED,  /* the name, a mark, and the arguments as JSON */
    SHAPE_TAGS,   /* the name, and each argument between marks */
    SHAPE_PYTHON, /* name(key=value, ...), or a list of these */
} reply_shape;

/* Strings that are NULL are not there; lists end with NULL. */
struct reply_format {
    const char *name;
    const char *sign[N_MARKS];    /* a template that has all of these in its text is this format's */
    const char *section[N_MARKS]; /* may stand before calls */
    const char *open[N_MARKS];    /* begins a call, or a list of them */
    const char *close[N_MARKS];   /* may stand behind a call */
    reply_shape shape;
    bool bare; /* a JSON object alone is a call, if it is one of a tool that is there */
    /* SHAPE_NAMED, SHAPE_TAGS */
    const char *name_end[N_MARKS]; /* one that is a brace or a mark of arguments belongs to these */
    const char *prefix[N_MARKS];   /* in front of names, no part of them */
    const char *cut;               /* a name ends before any of these characters */
    const char *skip;              /* may stand between name and arguments */
    /* SHAPE_TAGS */
    const char *key, *key_end, *value, *value_end, *end;
    /* How a call is written, for grammars: before the name, between name and arguments, behind them. */
    const char *say_before, *say_between, *say_after;
    const char *say_key, *say_value, *say_value_end; /* SHAPE_TAGS: an argument is key, value */
};

/* ---- JSON, byte by byte (reply_json.c) ---- */

enum { SCAN_DEPTH = 256 };

typedef struct json_scan {
    unsigned char state;
    bool in_key; /* the string that is read is a key */
    unsigned depth;
    unsigned left;    /* of a \u escape, or of a word */
    const char *word; /* rest of true, false, null */
    unsigned char is_array[SCAN_DEPTH / 8];
} json_scan; /* starts as {0}: a value comes */

/* Takes a byte. false: no JSON. Control characters in strings are taken: models write them. */
bool json_scan_take(json_scan *s, unsigned char c);
bool json_scan_end(json_scan *s);             /* nothing more comes: is it a whole value? */
bool json_scan_done(const json_scan *s);      /* the value is whole; numbers are so only behind what follows them */
bool json_scan_in_string(const json_scan *s); /* the next byte belongs to a string */
bool json_scan_wants_value(const json_scan *s);
bool json_scan_behind_value(const json_scan *s); /* a comma or the end comes next */
bool json_scan_behind_key(const json_scan *s);

/* ---- memory ---- */

typedef struct reply_buf {
    char *s;
    size_t n, cap;
} reply_buf;

bool reply_buf_add(reply_buf *b, const char *s, size_t n);
bool reply_buf_reserve(reply_buf *b, size_t n); /* room for n more bytes, and a NUL */

/* ---- values in tags (reply_tags.c) ---- */

/* Is that argument a text, by the schema? -1: the schema does not say. */
int reply_is_text(const json_t *tools, const char *function, const char *key);
const json_t *reply_find_tool(const json_t *tools, const char *name); /* its "function"; NULL: none */
/* What stood between tags as JSON, unless it is to be a text. Caller frees; NULL: no memory. */
char *reply_value_json(const char *text, size_t len, int is_text);
/* The same of a value that Python printed (reply_python.c); *out NULL: it is none. Caller frees. False: no memory. */
bool reply_python_json(const char *s, size_t len, char **out);
/* The same of arguments, key=value, ..., as an object. */
bool reply_python_arguments(const char *s, size_t len, char **out);

#endif
