/* What repl.c, repl_commands.c, repl_settings.c, repl_documents.c and repl_context.c share. */
#ifndef KVRUN_REPL_INTERNAL_H
#define KVRUN_REPL_INTERNAL_H

#include "kvrun/repl.h"
#include "kvrun/repl_complete.h"

typedef struct repl {
    repl_cfg cfg;
    bool leave;
    char *again;  /* a question that is to be asked once more; or NULL */
    char *saved;  /* the file that the chat is in, or NULL */
    char **words; /* that settings point to */
    size_t n_words;
} repl;

/* ---- commands: repl_commands.c ---- */

typedef enum repl_arg {
    REPL_NOTHING,
    REPL_TEXT,
    REPL_FILE,     /* any */
    REPL_KV,       /* a .kv file */
    REPL_DOCUMENT, /* of the library */
    REPL_SETTING   /* name and value */
} repl_arg;

typedef struct repl_command {
    const char *name, *arg; /* "/save", "[FILE.kv]"; NULL: takes nothing */
    repl_arg kind;
    kv_status (*run)(repl *r, const char *arg, kv_err *err); /* arg: "" where there is none */
    const char *help;                                        /* NULL: another name of the command before it */
} repl_command;

/* Whether a line is meant as a command: a slash, and letters up to a blank or the end. */
bool repl_is_command(const char *line);
/* What it asks for. KV_EINVAL: there is no such command (names the nearest), or it takes no argument, or needs one. */
kv_status repl_do(repl *r, const char *line, kv_err *err);
/* A repl_offering, whose user is a repl. */
void repl_offer_line(void *r, const char *line, size_t len, repl_offers *out);

/* ---- what they do ---- */

kv_status repl_set(repl *r, const char *arg, kv_err *err);  /* repl_settings.c */
kv_status repl_show(repl *r, const char *arg, kv_err *err); /* the same */
void repl_offer_settings(const char *word, repl_offers *out);
kv_status repl_read(repl *r, const char *arg, kv_err *err); /* repl_documents.c */
kv_status repl_docs(repl *r, const char *arg, kv_err *err); /* the same */
void repl_offer_documents(const char *word, repl_offers *out);
kv_status repl_save(repl *r, const char *arg, kv_err *err); /* the same */
kv_status repl_load(repl *r, const char *arg, kv_err *err);
kv_status repl_context(repl *r, const char *arg, kv_err *err); /* repl_context.c */

#endif
