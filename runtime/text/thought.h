/* What stands around a thought, by the habits of the models that think. */
#ifndef RT_THOUGHT_H
#define RT_THOUGHT_H

typedef struct thought_marks {
    const char *open, *close;
} thought_marks;

extern const thought_marks thought_marks_all[]; /* ends with a row of NULL */

#endif
