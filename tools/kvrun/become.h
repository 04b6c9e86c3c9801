/* Parts of kvrun that are programs of their own, which kvrun becomes: libraries for networks bring dozens of others along, and
 * who only runs a model need not load them. */
#ifndef KVRUN_BECOME_H
#define KVRUN_BECOME_H

/* The program is beside kvrun, where both were built, or where it was installed, seen from there. Its words are those of argv,
 * with `tool` as the first. Returns only where it cannot be run, with the exit code, after saying so. */
int become(const char *tool, const char *program, char **argv);

#endif
