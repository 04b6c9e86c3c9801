/* Lines of a terminal, one turn or command at a time: edited by libedit, with the history of repl_history.h, pastes of many
 * lines as one text, and texts of many lines between lines of three quotes. Where standard error is no terminal, or the
 * terminal can move no cursor, lines are read as they come. Prompts are on standard error.
 */
#ifndef KVRUN_REPL_INPUT_H
#define KVRUN_REPL_INPUT_H

#include "base/status.h"
#include "kvrun/repl_complete.h"

typedef struct repl_input repl_input;

/* What may be at the end of line (its first `len` bytes). */
typedef void (*repl_offering)(void *user, const char *line, size_t len, repl_offers *out);

/* history: the path of a file, copied; NULL: nothing is remembered. offer: or NULL. *out: caller frees with repl_input_free. */
kv_status repl_input_new(const char *tool, const char *history, repl_offering offer, void *user, repl_input **out, kv_err *err);
void repl_input_free(repl_input *in);

typedef enum repl_got {
    REPL_GOT_TEXT,
    REPL_GOT_NOTHING, /* Ctrl-C, after something was typed: that is gone */
    REPL_GOT_STOP,    /* Ctrl-C at an empty prompt */
    REPL_GOT_END,     /* Ctrl-D, or the terminal is gone */
} repl_got;

/* The next text: borrowed until the next call. *one_line: it may be a command. */
repl_got repl_input_read(repl_input *in, const char **text, bool *one_line);

#endif
