/* The parser's state, and what its files share. Each takes a byte at a time: what to do with it is said by the state that the
 * parser is in (reply.c), what comes of it goes through reply_out.c.
 */
#ifndef RT_REPLY_PARSER_H
#define RT_REPLY_PARSER_H

#include "reply/reply_internal.h"
#include "text/thought.h"

enum {
    SPACES = 1 << 12, /* white space that is held back, for a mark may follow */
    NAME = 256,       /* bytes of names and keys */
    MARK = 64,        /* bytes of marks */
};

typedef enum state {
    TEXT,       /* content */
    THOUGHT,    /* inside a thought */
    ITEM,       /* behind a mark: a call comes */
    NAMING,     /* its name, by itself */
    BEFORE,     /* behind the name: arguments come */
    OBJECT,     /* inside the object that is the call */
    ARGUMENTS,  /* inside arguments that stand by themselves */
    TAGS,       /* between tags: an argument comes, or the end */
    KEY,        /* inside the tag of a key */
    VALUE_MARK, /* behind it: the mark of a value comes */
    VALUE,      /* inside a value between tags */
    CALLING,    /* between the brackets of a call in Python */
    AFTER,      /* behind a call */
} state;

typedef enum field { NO_FIELD, F_NAME, F_ARGUMENTS, F_WRAPPER, F_OTHER } field;
typedef enum kind { CONTENT, THINKING, ARGUMENT } kind;

struct reply {
    reply_cfg cfg;
    const reply_format *f;
    const thought_marks *thought; /* that is open; NULL: any of them */
    bool tools;                   /* calls are looked for */
    state at;
    bool said;      /* content that is not white space came */
    bool drops;     /* white space is markup's until something else comes */
    bool begins;    /* the thought, with the prompt */
    bool around;    /* the answer is between marks of its own */
    reply_buf held; /* as it came: white space, and what may be markup */
    size_t mark;    /* bytes at its end that may begin a mark */
    /* what comes out at the end of the push, or earlier */
    kind kind;
    reply_buf out;
    /* the call */
    bool marked;   /* a mark said that it is one, */
    bool closed;   /* and one that it is over; or else */
    bool in_list;  /* it is in a list */
    bool started;  /* it was told of */
    bool at_brace; /* nothing but its first brace came */
    bool doubled;  /* it has two braces around it */
    bool got_name, got_arguments, in_value;
    bool direct;      /* arguments are an object, not a text */
    uint32_t n_calls; /* that began */
    json_scan scan;
    unsigned base; /* depth of the object that has its name */
    field field;
    reply_buf name, key, args, value; /* args: while it is not told of */
    /* calls in Python */
    unsigned brackets; /* that are open */
    char quote;        /* of the text that is read; 0: none */
    bool escaped;      /* behind its backslash */
    /* values between tags */
    int is_text;
    bool value_begun, newline; /* a newline at its end may be markup's */
    char tail[MARK];           /* may begin the mark that ends it */
    size_t n_tail;
    void (*step)(reply *r, char c); /* a byte, by the state: what is looked at again goes there */
    kv_status st;
};

typedef enum match { NO, PART, FULL } match;

/* ---- what comes out, marks, and calls: reply_out.c ---- */

bool reply_is_space(char c);
void reply_add(reply *r, reply_buf *b, const char *s, size_t n); /* without memory: r->st */
void reply_clear(reply *r, reply_buf *b);                        /* leaves an empty text behind */
void reply_flush(reply *r);                                      /* what waits in out is told */
void reply_emit(reply *r, kind k, const char *s, size_t n);
void reply_hold(reply *r, char c);    /* never fails: there is room (reply.c, step) */
void reply_release(reply *r, kind k); /* what was held is what it looks like */
match reply_match_one(const char *mark, const char *s, size_t n);
match reply_match_any(const char *const *marks, const char *s, size_t n); /* FULL, if any is */
match reply_best_of(match a, match b);
void reply_retry(reply *r, kind k); /* what could be a mark was none: its first byte is text, the rest is looked at again */

void reply_forget_call(reply *r);
bool reply_is_name(const char *s, size_t n);
bool reply_set_name(reply *r); /* it is r->name; false: nothing is called so */
void reply_put_args(reply *r, const char *s, size_t n);
void reply_put_arg(reply *r, char c, bool in_string); /* control characters in texts are spelled as JSON wants them */
void reply_end_call(reply *r);
void reply_give_up(reply *r);            /* what was told stands, anything else is content */
void reply_give_up_at(reply *r, char c); /* and c, which did not fit, is looked at again */

/* ---- the object that is a call, and arguments by themselves: reply_object.c ---- */

void reply_in_object(reply *r, char c);
void reply_in_arguments(reply *r, char c);

/* ---- names and arguments between marks: reply_named.c ---- */

void reply_before_arguments(reply *r, char c);
void reply_in_name(reply *r, char c);
void reply_between_tags(reply *r, char c);
void reply_in_key(reply *r, char c);
void reply_before_value(reply *r, char c);
void reply_in_value(reply *r, char c);
void reply_in_call(reply *r, char c);

#endif
