/* What kvrun does: each parses its own options, runs, prints, and returns the exit code. */
#ifndef KVRUN_CMD_H
#define KVRUN_CMD_H

#include "cli/cli.h"

/* Chat, or one answer: without a subcommand. others: the subcommands, which its help lists. */
int cmd_chat(const cli_command *others, int argc, char **argv);
int cmd_text(int argc, char **argv);
int cmd_read(int argc, char **argv);
int cmd_ask(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_contexts(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_rm(int argc, char **argv);
/* cmd_list.c: what there is to begin with, for who has said nothing: models that are here, those that are known, and how. */
int cmd_nothing(void);
int cmd_docs(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_client(int argc, char **argv);

#endif
