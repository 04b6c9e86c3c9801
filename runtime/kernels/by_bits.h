/* Code of its own for every number of bits that codec tc has. */
#ifndef RT_BY_BITS_H
#define RT_BY_BITS_H

/* call, a macro, with the number of bits b as its argument, a constant. */
#define BY_BITS(b, call)                                                                                                       \
    switch (b) {                                                                                                               \
    case 1:                                                                                                                    \
        call(1);                                                                                                               \
        break;                                                                                                                 \
    case 2:                                                                                                                    \
        call(2);                                                                                                               \
        break;                                                                                                                 \
    case 3:                                                                                                                    \
        call(3);                                                                                                               \
        break;                                                                                                                 \
    case 4:                                                                                                                    \
        call(4);                                                                                                               \
        break;                                                                                                                 \
    case 5:                                                                                                                    \
        call(5);                                                                                                               \
        break;                                                                                                                 \
    default:                                                                                                                   \
        call(6);                                                                                                               \
    }

#endif
