/* Syntax trees of templates. One kind of node for all: what its fields hold depends on the kind. */
#ifndef RT_TPL_TREE_H
#define RT_TPL_TREE_H

#include "template/tpl_internal.h"

typedef enum tpl_node_kind {
    /* statements */
    N_BODY,         /* list */
    N_DATA,         /* value: text of the template */
    N_PRINT,        /* a */
    N_IF,           /* list: condition, body, condition, body, ...; a: else, or NULL */
    N_FOR,          /* a: target; b: what is gone over; c: condition or NULL; d: body; list[0]: else; flag: recursive */
    N_SET,          /* a: target; b: value */
    N_SET_BLOCK,    /* a: target; b: filters or NULL, whose innermost has no operand; d: body */
    N_MACRO,        /* name; list: parameters; more: defaults of the last of them; d: body; uses */
    N_CALL_BLOCK,   /* a: the call; b: an N_MACRO, the caller */
    N_FILTER_BLOCK, /* b: filters; d: body */
    N_WITH,         /* list: target, value, target, value, ...; d: body */
    N_SCOPE,        /* d: body */
    N_BREAK,
    N_CONTINUE,
    /* expressions */
    N_CONST,   /* value */
    N_NAME,    /* name, id */
    N_SPACE,   /* name, id: a namespace; value: the name of its attribute */
    N_LIST,    /* list */
    N_TUPLE,   /* list */
    N_DICT,    /* list: key, value, key, value, ... */
    N_ATTR,    /* a.name */
    N_ITEM,    /* a[b] */
    N_SLICE,   /* a[b:c:d] */
    N_CALL,    /* a(...) */
    N_FILTER,  /* a | name(...) */
    N_TEST,    /* a is name(...) */
    N_NOT,     /* a */
    N_SIGN,    /* op a */
    N_OP,      /* a op b */
    N_AND,     /* a, b */
    N_OR,      /* a, b */
    N_CONCAT,  /* list */
    N_COMPARE, /* a; list: operands, each with its op */
    N_OPERAND, /* op a */
    N_COND,    /* a if b else c; c: NULL */
} tpl_node_kind;

/* Operators: the character, or two of them. */
#define TPL_OP(a, b) ((a) | (b) << 8)
enum { TPL_OP_IN = 1, TPL_OP_NOT_IN = 2 };

/* Names that a macro gets only where it uses them. */
enum { TPL_USES_CALLER = 1, TPL_USES_KWARGS = 2, TPL_USES_VARARGS = 4 };

typedef struct tpl_node tpl_node;
typedef struct tpl_nodes {
    tpl_node **v;
    size_t n, cap;
} tpl_nodes;

/* What stands between the parentheses of a call. */
typedef struct tpl_args {
    tpl_nodes list, named; /* named: N_OPERAND with a name */
    tpl_node *many, *dict; /* *many, **dict; or NULL */
} tpl_args;

struct tpl_node {
    uint8_t kind; /* tpl_node_kind */
    uint8_t uses;
    bool flag;
    int op;
    uint32_t line, id;
    uint32_t height; /* of the tree under it */
    const tpl_str *name;
    tpl_value value;
    tpl_node *a, *b, *c, *d;
    tpl_nodes list, more;
    tpl_args *args; /* or NULL */
};

/* Names that the engine itself sets, whose ids come first. */
enum { TPL_ID_LOOP, TPL_ID_CALLER, TPL_ID_KWARGS, TPL_ID_VARARGS, TPL_IDS };

struct tpl {
    tpl_arena arena;
    const tpl_node *body;
    const tpl_str **name; /* (n_names) by id */
    size_t n_names, cap_names;
};

/* ---- tokens (lex.c) ---- */

typedef enum tpl_token_kind {
    T_END,
    T_DATA,
    T_PRINT,
    T_PRINT_END,
    T_BLOCK,
    T_BLOCK_END,
    T_NAME,
    T_STR,
    T_INT,
    T_FLOAT,
    T_OP
} tpl_token_kind;

typedef struct tpl_token {
    uint8_t kind;
    uint32_t line;
    int op;
    tpl_str text; /* of data, names and texts */
    tpl_value value;
} tpl_token;

/* A run without a template stands for parsing: it has arena, status and line. *out: ends with T_END. */
tpl_token *tpl_lex(tpl_run *r, const char *text, size_t len);

/* ---- parsing ---- */

typedef struct tpl_parser {
    tpl_run *r;
    tpl *t;
    const tpl_token *at;
    unsigned loops;      /* that a break could leave */
    unsigned depth;      /* of recursion */
    tpl_node *macro[16]; /* that are open, which names may belong to */
    unsigned n_macros;
} tpl_parser;

tpl_node *tpl_parse(tpl_parser *p); /* NULL: failed */

/* nodes.c and parse_expr.c; all give NULL in a run that has failed. */
tpl_node *tpl_node_new(tpl_parser *p, tpl_node_kind kind);
void tpl_node_add(tpl_parser *p, tpl_node *to, tpl_nodes *list, tpl_node *kid);
tpl_node *tpl_node_a(tpl_parser *p, tpl_node *n, tpl_node *a); /* n->a = a, and so on for the height */
void tpl_node_over(tpl_parser *p, tpl_node *n, const tpl_node *kid);
uint32_t tpl_name_id(tpl_parser *p, const tpl_str *name);
tpl_node *tpl_syntax(tpl_parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool tpl_is_op(const tpl_parser *p, int op);
bool tpl_is_word(const tpl_parser *p, const char *word);
bool tpl_skip_op(tpl_parser *p, int op);
bool tpl_skip_word(tpl_parser *p, const char *word);
bool tpl_want_op(tpl_parser *p, int op);
tpl_node *tpl_parse_expr(tpl_parser *p);
/* Expressions with commas between them. simple: names and literals only; cond: `a if b` may stand there; end: a word that ends
 * it, or NULL. */
tpl_node *tpl_parse_tuple(tpl_parser *p, bool simple, bool cond, bool empty, const char *end);
tpl_node *tpl_parse_target(tpl_parser *p, bool spaces, const char *end);
tpl_node *tpl_parse_param(tpl_parser *p); /* a name */
tpl_node *tpl_parse_filters(tpl_parser *p, tpl_node *a, bool first);
const char *tpl_token_text(const tpl_token *t, char buf[40]);

/* ---- running ---- */

struct tpl_macro {
    const tpl_node *node;
    tpl_scope *scope; /* where it was defined */
};

tpl_value tpl_eval(tpl_run *r, const tpl_node *n);
void tpl_exec(tpl_run *r, const tpl_node *n);
/* Variables (scope.c). */
tpl_scope *tpl_scope_new(tpl_run *r, tpl_scope *outer); /* NULL: fails */
tpl_value tpl_lookup(tpl_run *r, uint32_t id);
void tpl_assign(tpl_run *r, uint32_t id, tpl_value v);             /* in the scope that is open */
void tpl_bind(tpl_run *r, tpl_scope *s, uint32_t id, tpl_value v); /* s NULL: outside of all */

/* Filters without an operand, on v. */
tpl_value tpl_eval_filters(tpl_run *r, const tpl_node *n, tpl_value v);
bool tpl_eval_args(tpl_run *r, const tpl_args *args, tpl_call *out);

#endif
