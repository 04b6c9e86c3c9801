/* What the tools share on the command line: one table of options per tool, from which parsing, checking and --help all read; a
 * progress bar with ETA; Ctrl-C; exit codes. Tools print results on stdout and everything else on stderr.
 */
#ifndef CLI_H
#define CLI_H

#include "base/status.h"
#include "cli/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_kind {
    CLI_FLAG,          /* bool *dst: set to true */
    CLI_INT,           /* int64_t *dst, min..max */
    CLI_REAL,          /* double *dst, min..max */
    CLI_STR,           /* const char **dst, borrowed from argv: words, never the name of a file */
    CLI_STRS,          /* cli_strs *dst: may be given several times, each time with one or more values up to the next option */
    CLI_EACH,          /* as CLI_STRS, but with one value each time */
    CLI_IN,            /* as CLI_STR: a file that is read */
    CLI_MODEL,         /* as CLI_STR: a model that is read, a file or one by its name (cli_models.h): then its path */
    CLI_MODEL_OR_ELSE, /* the same, but what is no model stays as it is */
    CLI_INS,           /* as CLI_STRS: files that are read */
    CLI_PROFILE,       /* as CLI_STR: a profile that is read, a file or a ready-made one by its name (cli_profile.h) */
    CLI_OUT,           /* as CLI_STR: a file that is written; "-" is refused */
    CLI_OUT_OR_STDOUT, /* the same; without a value, i.e. last or before another option, it is "-": standard output */
    CLI_CODEC,         /* int *dst: kv_codec_id by name */
    CLI_EVICT,         /* int *dst: kv_evict_id by name */
    CLI_CPU,           /* as CLI_STR: "auto" or an instruction set by name */
    CLI_CHOICE,        /* as CLI_STR: one of the words in `arg`, which has '|' between them */
    CLI_BUDGET,        /* kv_budget *dst: tokens, or percent of the context */
    CLI_SIZE,          /* int64_t *dst: bytes, as format_parse_bytes of base/format.h reads them; or 0 */
    CLI_HEADING,       /* no option: `help` is a heading of the --help page */
    CLI_OLD_NAME       /* what the option `arg` was called once: understood, but shown nowhere */
} cli_kind;

typedef struct cli_strs {
    const char **v;
    size_t n;
} cli_strs;

typedef struct cli_opt {
    const char *name;  /* "--ctx" */
    const char *alias; /* "-c", or NULL; llama.cpp's short names such as "-ctk" are fine */
    cli_kind kind;
    const char *arg; /* "N" in --help, NULL for flags */
    void *dst;       /* holds the default before parsing; --help shows it for numbers that are not negative */
    double min, max; /* CLI_INT and CLI_REAL, inclusive */
    const char *help;
} cli_opt;

/* An argument without an option's name. */
typedef struct cli_arg {
    const char *name; /* "MODEL": how messages call it */
    cli_kind kind;    /* CLI_STR, CLI_IN, CLI_MODEL, CLI_MODEL_OR_ELSE, CLI_PROFILE or CLI_OUT */
    const char **dst; /* stays as it is where the argument is left out */
} cli_arg;

typedef struct cli_spec {
    const char *tool;  /* "kveval ppl" */
    kv_err *err;       /* words that are not the command line's: complaints go here and are not printed; or NULL */
    const char *where; /* begins them: "settings.txt:3"; or NULL */
    const char *usage; /* "MODEL --text FILE [options]" */
    const char *brief; /* what the tool is in a few words, for its manual page; NULL: its row in a table of subcommands says */
    const char *summary;  /* a line or a paragraph */
    const char *examples; /* printed as they are; or NULL */
    const cli_opt *opts;  /* ends with {.name = NULL, .kind != CLI_HEADING}, i.e. {0} */
    const cli_arg *args;  /* filled in order; ends with {0}. NULL: there are none */
    const cli_opt *rest; /* a list (CLI_STRS, CLI_INS) of what words follow the arguments; its name is theirs. NULL: none may */
    size_t n_required;
    const struct cli_command *commands; /* subcommands, of a tool that does something without one, too; or NULL */
    bool llama; /* command lines of llama.cpp are taken: options that mean nothing here are left aside, with one note */
} cli_spec;

/* Whether two rows for the same option have different values in their dst. Lists (CLI_STRS, CLI_EACH, CLI_INS) differ in
 * length. */
bool cli_opt_differs(const cli_opt *a, const cli_opt *b);

/* Parse argv[1..argc-1]. Accepts "--name value" and "--name=value"; "--" ends the options. --help and --version print on
 * stdout (with spec->err they are unknown). An output that is also an input, or another output, is refused (cli_paths.h): what
 * names a file has a kind that says so. A file of an option that cannot be read, or not be written, is an error (CLI_FAIL).
 * Returns -1 to go on, else the exit code to leave with (CLI_OK after --help, CLI_USAGE after a message that names the option
 * and the nearest known one). The list of a CLI_STRS, CLI_EACH or CLI_INS is the caller's to free() or to keep until exit; it
 * is empty unless -1 is returned. */
int cli_parse(const cli_spec *spec, int argc, char **argv);

/* A tool with subcommands: run the one that argv[1] names, with its name as argv[0]. The table ends with {0}. Without any, or
 * with --help, lists them. Returns the exit code. */
typedef struct cli_command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} cli_command;
int cli_dispatch(const char *tool, const char *summary, const cli_command *commands, int argc, char **argv);

/* A tool that does something without a subcommand, too: where argv[1] names none, run otherwise() with the whole command line.
 * It is given the table for its cli_spec, whose help, manual page and completions list the subcommands with the options. A file
 * that is called like a subcommand can be given as ./NAME. */
int cli_dispatch_or(const cli_command *commands, int (*otherwise)(const cli_command *commands, int argc, char **argv), int argc,
                    char **argv);

/* What Ctrl-C does, at first: a second one, SIGTERM and SIGHUP remove temporary files and end the process with 130. */
typedef enum cli_interrupt {
    CLI_AT_ONCE, /* the same */
    CLI_SOON,    /* sets a flag that long loops ask for; where none has asked within a moment, the same */
    CLI_PATIENT, /* sets the flag, and waits for who asks: what was done goes on being used */
    CLI_KEEPING  /* the same; the first SIGTERM or SIGHUP does so, too, and says that one is to leave: what was done is kept */
} cli_interrupt;
/* Signals from now on: these; a reader that leaves (SIGPIPE) ends the process as ever, but without temporary files; a file that
 * may not grow further and a model that is cut short are errors like others. */
void cli_catch_signals(cli_interrupt how);
bool cli_interrupted(void);
bool cli_go_on(void *unused, double done); /* the same as a kv_progress: not yet */
void cli_clear_interrupt(void);
bool cli_told_to_leave(void); /* by SIGTERM or SIGHUP: the flag above is not to be cleared any more */
/* However the process ends by a signal, the terminal that is standard input is then as it is now, and pastes are not marked. */
void cli_guard_terminal(void);

/* Progress with ETA on stderr: a bar on a terminal, a line every ten seconds elsewhere, nothing with `quiet`. */
typedef struct cli_progress {
    const char *label;
    double started, last;
    double from; /* what was done already when it began: no sign of how long the rest takes; 0 unless it is set */
    bool tty, quiet, shown;
} cli_progress;
void cli_progress_start(cli_progress *p, const char *label, bool quiet);
void cli_progress_set(cli_progress *p, double done); /* 0..1 */
void cli_progress_end(cli_progress *p);              /* wipes the bar */
bool cli_progress_show(void *bar, double done);      /* a kv_progress: sets the bar, and goes on until Ctrl-C */

/* What the file of a model is taken to say (CLI_KEYS_ROWS of cli_cache.h). */
typedef struct cli_keys {
    const char *set;         /* KEY=TYPE:VALUE,... or NULL */
    double freq_base, scale; /* 0: as the file has it */
    const char *scaling;     /* none, linear or yarn; or NULL */
    int64_t orig_ctx;        /* 0: as the file has it */
} cli_keys;

/* What a tool runs on, as options say it (CLI_MACHINE_ROWS of cli_cache.h). */
typedef struct cli_machine {
    const char *cpu;
    int64_t threads;
    bool no_repack;
    const char *wait; /* auto, spin or sleep; NULL: auto */
    cli_keys keys;
} cli_machine;

struct rt_exec;
kv_status cli_exec(const cli_machine *machine, bool exact, struct rt_exec *out, kv_err *err);

/* Load a model as the options of a machine say; it can be interrupted. */
struct rt_model;
kv_status cli_load(const cli_machine *machine, const char *path, bool exact, struct rt_model **out, kv_err *err);

/* Open the runtime for a tool: exec from its machine, model, and the profile that applies: from --profile NAME or FILE
 * ("none": none at all), else baked into the GGUF; checked against the model. Says on stderr what is odd about the tokenizer,
 * and in one line which profile applies (unless quiet). *out is all NULL on failure. */
struct prof;
typedef struct cli_model {
    struct rt_model *model;
    struct prof *profile; /* or NULL */
} cli_model;
kv_status cli_model_open(const char *tool, const char *path, const char *profile_path, const cli_machine *machine, bool exact,
                         bool quiet, cli_model *out, kv_err *err);
void cli_model_close(cli_model *m);
/* What the tokenizer has to say of odd keys of the file, a line each. */
struct tok;
void cli_note_tok(const char *tool, const struct tok *t);
/* A note that prompts are fed as plain text, and why: there is no chat template, or one that is not known. For models without a
 * chat format (text/chat.h). */
void cli_note_plain(const char *tool, const struct rt_model *m);
/* Of a file of text, which can be read again: a note where it holds pieces that are special tokens of the model and will be
 * read as plain text, which names --parse-special. path NULL, or a pipe: nothing. */
void cli_note_specials(const char *tool, const struct rt_model *m, const char *path, bool parse_special);
/* A note where a window narrower than the profile was calibrated for was asked for (window < 0: none was). Returns that of the
 * profile then, else 0. */
uint32_t cli_note_window(const char *tool, const struct prof *p, int64_t window);

#endif
