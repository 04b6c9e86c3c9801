#include "base/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The character at s, of at most len bytes: how many it takes; 0: it is not UTF-8 (Unicode 15.0, table 3-7). */
static size_t decode(const char *s, size_t len, uint32_t *c) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char b = (unsigned char)*s;
    const size_t n = b < 0x80 ? 1 : b < 0xC0 ? 0 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : b < 0xF8 ? 4 : 0;
    if (!n || n > len)
        return 0;
    *c = n == 1 ? b : b & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xC0) != 0x80)
            return 0;
        *c = *c << 6 | ((unsigned char)s[i] & 0x3F);
    }
    return *c < least[n] || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) ? 0 : n;
}

/* Ranges of characters that do something instead of showing something. */
static bool acts(uint32_t c) {
    static const uint32_t ranges[][2] = {{0, 0x1F},        {0x7F, 0x9F},     {0x61C, 0x61C},  {0x200E, 0x200F},
                                         {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFFF9, 0xFFFB}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

size_t printable(const char *s, size_t len, const char *keep, char *out, size_t size) {
    static const char letters[] = "nrt", meant[] = "\n\r\t";
    size_t at = 0;
    for (size_t i = 0, n; i < len; i += n) {
        char piece[PRINTABLE_GROWTH * 4 + 1];
        uint32_t c = 0;
        const size_t valid = decode(s + i, len - i, &c);
        const bool stays = valid && (!acts(c) || (keep && c && c < 0x80 && strchr(keep, (int)c)));
        const char *letter = valid == 1 && c ? strchr(meant, (int)c) : NULL;
        size_t took = 0;
        n = valid ? valid : 1;
        if (stays)
            memcpy(piece, s + i, took = n);
        else if (letter)
            took = (size_t)sprintf(piece, "\\%c", letters[letter - meant]);
        else
            for (size_t k = 0; k < n; k++)
                took += (size_t)sprintf(piece + took, "\\x%02x", (unsigned char)s[i + k]);
        if (at + took >= size)
            break;
        memcpy(out + at, piece, took);
        at += took;
    }
    out[at] = '\0';
    return at;
}
