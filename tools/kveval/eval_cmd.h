/* The subcommands of kveval: each parses its own options, runs, prints, and returns the exit code. */
#ifndef EVAL_CMD_H
#define EVAL_CMD_H

int eval_cmd_ppl(int argc, char **argv);
int eval_cmd_kld(int argc, char **argv);
int eval_cmd_sweep(int argc, char **argv);
int eval_cmd_tokens(int argc, char **argv);
int eval_cmd_logprobs(int argc, char **argv);
int eval_cmd_niah(int argc, char **argv);
int eval_cmd_qa(int argc, char **argv);
int eval_cmd_list(int argc, char **argv);
int eval_cmd_facts(int argc, char **argv);
int eval_cmd_speed(int argc, char **argv);
int eval_cmd_endless(int argc, char **argv);

#endif
