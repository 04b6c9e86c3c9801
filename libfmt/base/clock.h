/* The time that passes, for measuring how long things take. */
#ifndef KV_CLOCK_H
#define KV_CLOCK_H

double clock_now(void); /* seconds since some moment; never goes back */

#endif
