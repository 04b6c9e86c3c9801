/* /context: what the cache of a chat holds, in which state, and what it takes. */
#include "kvrun/repl_internal.h"

#include "base/format.h"

#include <stdio.h>
#include <unistd.h>

static bool alike(const kv_layer_info *a, const kv_layer_info *b) {
    return a->stores == b->stores && a->slides == b->slides && a->bytes == b->bytes && a->bytes_f16 == b->bytes_f16;
}

/* Mean over the layers that have all there is: those of full attention, or if there are none, all that store anything. */
static kv_layer_info mean_of(const kv_cache *c, uint32_t n_layer) {
    kv_layer_info sum = {.exact = true};
    uint32_t n = 0;
    for (int sliding = 0; sliding < 2 && !n; sliding++)
        for (uint32_t i = 0; i < n_layer; i++) {
            const kv_layer_info l = kv_cache_get_layer(c, i);
            if (!l.stores || l.slides != sliding)
                continue;
            n++;
            sum.exact &= l.exact;
            sum.sinks += l.sinks;
            sum.window += l.window;
            sum.body += l.body;
            sum.past += l.past;
            sum.evicted += l.evicted;
        }
    n += !n;
    sum.sinks /= n;
    sum.window /= n;
    sum.body /= n;
    sum.past /= n;
    sum.evicted /= n;
    return sum;
}

static void say_state(const char *what, double tokens, bool always) {
    if (always || tokens > 0)
        fprintf(stderr, "  %8.0f  %s\n", tokens, what);
}

enum { FEW = 8, CELL = 26 };

static void name_layers(uint32_t from, uint32_t end, char out[2 * CELL]) {
    if (end - from > 1)
        snprintf(out, 2 * (size_t)CELL, "layers %u to %u, each", from, end - 1);
    else
        snprintf(out, 2 * (size_t)CELL, "layer %u", from);
}

/* Layers that are alike together. */
static uint32_t end_of(const kv_cache *c, uint32_t n_layer, uint32_t from) {
    const kv_layer_info l = kv_cache_get_layer(c, from);
    uint32_t end = from + 1;
    for (; end < n_layer; end++) {
        const kv_layer_info next = kv_cache_get_layer(c, end);
        if (!alike(&l, &next))
            break;
    }
    return end;
}

/* A line for each kind of layer. */
static void list_layers(const kv_cache *c, uint32_t n_layer) {
    char now[FORMAT_BYTES], f16[FORMAT_BYTES], which[2 * CELL];
    for (uint32_t i = 0, end; i < n_layer; i = end) {
        const kv_layer_info l = kv_cache_get_layer(c, i);
        name_layers(i, end = end_of(c, n_layer, i), which);
        if (l.stores)
            fprintf(stderr, "  %-*s %10s   f16: %10s%s\n", CELL, which, format_bytes((double)l.bytes, now),
                    format_bytes((double)l.bytes_f16, f16), l.slides ? ", sliding" : "");
        else
            fprintf(stderr, "  %-*s stores nothing of its own\n", CELL, which);
    }
}

/* Where each has a size of its own: in columns. */
static void tabulate_layers(const kv_cache *c, uint32_t n_layer) {
    const size_t width = cli_width(STDERR_FILENO), columns = width / CELL ? width / CELL : 1;
    char now[FORMAT_BYTES], cell[CELL + FORMAT_BYTES];
    size_t least = SIZE_MAX, most = 0;
    for (uint32_t i = 0; i < n_layer; i++) {
        const kv_layer_info l = kv_cache_get_layer(c, i);
        least = l.stores && l.bytes_f16 < least ? l.bytes_f16 : least;
        most = l.bytes_f16 > most ? l.bytes_f16 : most;
        snprintf(cell, sizeof cell, "  layer %3u %10s", i, l.stores ? format_bytes((double)l.bytes, now) : "-");
        const bool last = i + 1 == n_layer || (i + 1) % columns == 0;
        fprintf(stderr, "%-*s%s", last ? 0 : CELL, cell, last ? "\n" : "");
    }
    if (least == most)
        fprintf(stderr, "  each as f16: %s\n", format_bytes((double)most, now));
}

static void say_layers(const kv_cache *c, uint32_t n_layer) {
    uint32_t kinds = 0;
    for (uint32_t i = 0; i < n_layer; i = end_of(c, n_layer, i))
        kinds++;
    (kinds > FEW ? tabulate_layers : list_layers)(c, n_layer);
}

kv_status repl_context(repl *r, const char *arg, kv_err *err) {
    gen *g = r->cfg.g;
    const kv_cache *c = rt_ctx_cache(gen_ctx(g));
    const uint32_t n_layer = rt_model_hparams(r->cfg.e->model)->n_layer, n_ctx = rt_ctx_n_ctx(gen_ctx(g));
    const uint32_t read = rt_ctx_len(gen_ctx(g));
    const kv_cache_info info = kv_cache_get_info(c);
    const kv_layer_info l = mean_of(c, n_layer);
    char now[FORMAT_BYTES], f16[FORMAT_BYTES];
    uint32_t at_once;
    (void)arg, (void)err;
    fprintf(stderr, "%zu of %u tokens; turns: %zu. As a KV head has them:\n", gen_len(g), n_ctx, conversation_turns(r->cfg.c));
    say_state("sinks, in f16", l.sinks, !l.exact);
    say_state("in the window, in f16", l.window, !l.exact);
    say_state(l.exact ? "stored exactly" : "encoded", l.body, true);
    say_state("behind the model's own sliding window", l.past, false);
    say_state("evicted, by the budget", l.evicted, info.most < n_ctx);
    say_state("forgotten, the oldest", (double)gen_forgotten(g, &at_once), at_once != 0);
    say_state("not read yet", gen_len(g) > read ? (double)(gen_len(g) - read) : 0, false);
    fprintf(stderr, "Memory for %u tokens:\n", n_ctx);
    say_layers(c, n_layer);
    fprintf(stderr, "  %-*s %10s   f16: %10s, %.1fx\n", CELL, "all, with what is shared", format_bytes((double)info.bytes, now),
            format_bytes((double)info.bytes_f16, f16), info.bytes ? (double)info.bytes_f16 / (double)info.bytes : 0);
    fprintf(stderr, "  %-*s %10s\n", CELL, "places to go back to",
            format_bytes((double)rt_seq_checkpoint_bytes(rt_ctx_seq(gen_ctx(g))), now));
    return KV_OK;
}
