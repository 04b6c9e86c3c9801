/* Tile registers of AMX: eight of up to 16 rows of 64 bytes, shaped before use and per thread. */
#ifndef RT_AMX_H
#define RT_AMX_H

#include <immintrin.h>
#include <stdint.h>

/* Shape tile i as rows[i] rows of row_bytes[i] bytes, and clear all; _tile_release when done. */
static inline __attribute__((target("amx-tile"))) void amx_shape(const uint8_t rows[8], const uint16_t row_bytes[8]) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = row_bytes[i];
        c.rows[i] = rows[i];
    }
    __asm__ volatile("" ::"r"(&c) : "memory"); /* gcc 12 believes that only the first eight bytes of it are read */
    _tile_loadconfig(&c);
}

#endif
