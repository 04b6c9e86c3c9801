/* Rows of a product four at a time, or as many as are left. */
#ifndef RT_BY_ROWS_H
#define RT_BY_ROWS_H

enum { ROWS = 4 };

/* Call f, inlined, with the number of rows to take of n > 0 as its first argument, a constant. A group of heads often has 3
 * or 7. */
#define BY_ROWS(n, f, ...)                                                                                                     \
    do {                                                                                                                       \
        if ((n) >= ROWS)                                                                                                       \
            f(ROWS, __VA_ARGS__);                                                                                              \
        else if ((n) == 3)                                                                                                     \
            f(3, __VA_ARGS__);                                                                                                 \
        else if ((n) == 2)                                                                                                     \
            f(2, __VA_ARGS__);                                                                                                 \
        else                                                                                                                   \
            f(1, __VA_ARGS__);                                                                                                 \
    } while (0)

#endif
