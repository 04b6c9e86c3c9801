/* The .inc files are lists of byte values that embed.cmake makes from the texts at build time. Bytes, not string literals:
 * C11 promises only 4095 characters in one literal. */
#include "corpus.h"

#include <string.h>

/* clang-format off */
static const unsigned char fit[] = {
#include "corpus_fit.inc"
    0};
static const unsigned char heldout[] = {
#include "corpus_heldout.inc"
    0};
static const unsigned char recall[] = {
#include "corpus_recall.inc"
    0};
/* clang-format on */

static const char *text(const unsigned char *bytes, size_t size, size_t *len) {
    if (len)
        *len = size - 1;
    return (const char *)bytes;
}

const char *cal_corpus_fit(size_t *len) {
    return text(fit, sizeof fit, len);
}

const char *cal_corpus_heldout(size_t *len) {
    return text(heldout, sizeof heldout, len);
}

const char *cal_corpus_recall(size_t i) {
    const char *at = (const char *)recall, *end = at + sizeof recall;
    for (; at < end && i > 0; i--)
        at += strlen(at) + 1;
    return at < end ? at : NULL;
}
