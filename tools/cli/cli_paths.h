/* An output may never be an input, nor another output: what is written in the end would take the place of what was read.
 *
 * Paths are the same when they name the same file: the one that is there, by device and inode, symbolic links followed as
 * atomic_file_open follows them, hard links included; or else the one that would be made, by its folder's device and inode and
 * its name. Two names that differ in case alone are told apart where neither file exists yet, although a folder that ignores
 * case (ext4 casefold, vfat) will make one file of them. Pipes, terminals and devices are never the same as anything. An input
 * that is called like a part of a split model stands for all parts.
 *
 * cli_parse checks all that a command line names; what a tool finds out later (a profile that a settings file names), it checks
 * itself, before any work.
 */
#ifndef CLI_PATHS_H
#define CLI_PATHS_H

#include "cli/cli.h"

typedef struct cli_path {
    cli_kind kind;    /* CLI_IN, CLI_PROFILE, CLI_OUT or CLI_OUT_OR_STDOUT, where "-" is standard output */
    const char *what; /* how the message calls it: "--out", "MODEL" */
    const char *path; /* or name of a profile; NULL: was not given */
} cli_path;

/* KV_EINVAL: two of these, an output at least one of them, are the same; the message names both. What does not exist where it
 * should is left for the tool to complain about. */
kv_status cli_paths_check(const cli_path *paths, size_t n, kv_err *err);

#endif
