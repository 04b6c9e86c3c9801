/* Two settings that answered the same questions: how far apart their shares of right answers are. */
#ifndef PAIRED_H
#define PAIRED_H

#include <stdint.h>

typedef struct paired {
    uint32_t n;    /* questions */
    uint32_t lost; /* right with the first setting only */
    uint32_t won;  /* right with the second one only */
} paired;

/* Share of the second minus share of the first, -1..1; NaN for none. */
double paired_difference(paired p);
/* 95 % confidence interval of the difference; -1..1 for none. Tango's score interval (Equivalence test and confidence interval
 * for the difference in proportions for the paired-sample design, Statistics in Medicine 17, 1998), which Fagerland, Lydersen
 * and Laake recommend (Recommended tests and confidence intervals for paired binomial proportions, ibid. 33, 2014); at a
 * difference of 0 its statistic is McNemar's. */
void paired_interval(paired p, double *lo, double *hi);
/* McNemar's exact test, two-sided: the chance of discordant pairs as uneven as these if both were equally good; 1 for none. */
double paired_p(paired p);

#endif
