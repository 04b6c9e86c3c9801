/* Answers of models: a byte for the format, one for what is asked of it and how it is cut, then the text. However it is cut,
 * the same comes out; calls come in order, and those that are whole have arguments that are a JSON object. */
#include "fuzz/fuzz.h"

#include "reply/reply_internal.h"

typedef struct said {
    char *events;
    size_t n;
    FILE *o;
    char last;
    uint32_t calls;
    bool open, may_break;
    json_scan scan;
} said;

static void event(said *s, char kind, const char *text, size_t len) {
    if (s->last != kind || kind == 'N' || kind == 'E')
        fprintf(s->o, "\1%c", kind);
    s->last = kind;
    fwrite(text, 1, len, s->o);
}

static void content(void *user, const char *text, size_t len) {
    FUZZ_MUST(len && !((said *)user)->open);
    event(user, 'C', text, len);
}

static void thought(void *user, const char *text, size_t len) {
    FUZZ_MUST(len && !((said *)user)->open);
    event(user, 'T', text, len);
}

static void call(void *user, uint32_t index, const char *name) {
    said *s = user;
    FUZZ_MUST(!s->open && index == s->calls++ && *name);
    s->open = true;
    s->scan = (json_scan){0};
    event(s, 'N', name, strlen(name));
}

static void arguments(void *user, uint32_t index, const char *text, size_t len) {
    said *s = user;
    FUZZ_MUST(s->open && len && index + 1 == s->calls);
    for (size_t i = 0; i < len; i++)
        FUZZ_MUST(json_scan_take(&s->scan, (unsigned char)text[i]) && (s->scan.depth || json_scan_done(&s->scan)));
    event(s, 'A', text, len);
}

static void call_end(void *user, uint32_t index, bool whole) {
    said *s = user;
    FUZZ_MUST(s->open && index + 1 == s->calls && (whole || s->may_break));
    FUZZ_MUST(!whole || json_scan_done(&s->scan));
    s->open = false;
    event(s, 'E', whole ? "" : "!", !whole);
}

/* Pieces of up to `step` bytes, of all lengths. Caller frees. */
static char *run(const reply_cfg *cfg, const char *text, size_t len, size_t step) {
    said s = {.may_break = !cfg->whole};
    reply_cfg c = *cfg;
    reply *r;
    kv_err err;
    c.user = &s;
    s.o = open_memstream(&s.events, &s.n);
    FUZZ_MUST(s.o && !reply_new(&c, &r, &err));
    for (size_t i = 0, n, k = 0; i < len; i += n, k++) {
        n = 1 + k * 7 % step;
        n = n < len - i ? n : len - i;
        FUZZ_MUST(!reply_push(r, text + i, n, &err));
    }
    FUZZ_MUST(!reply_end(r, &err) && !s.open && reply_calls(r) == s.calls);
    reply_free(r);
    fclose(s.o);
    return s.events;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char tools[] =
        "[{\"function\": {\"name\": \"f\", \"parameters\": {\"properties\": {\"s\": {\"type\": \"string\"}, \"n\": {\"type\": "
        "\"number\"}}}}}, {\"name\": \"get_weather\"}, {\"name\": \"add\"}]";
    size_t n = 0;
    if (size < 2)
        return 0;
    while (reply_format_at(n))
        n++;
    json_t *known = data[1] & 1 ? NULL : json_loads(tools, 0, NULL);
    const reply_cfg cfg = {.format = reply_format_at(data[0] % n),
                           .tools = known,
                           .thinking = data[1] & 2,
                           .whole = data[1] & 4,
                           .events = {content, data[1] & 8 ? NULL : thought, call, arguments, call_end}};
    const char *text = (const char *)data + 2;
    char *whole = run(&cfg, text, size - 2, SIZE_MAX), *bytes = run(&cfg, text, size - 2, 1),
         *pieces = run(&cfg, text, size - 2, 3 + (data[1] >> 4));
    FUZZ_MUST(!strcmp(whole, bytes) && !strcmp(whole, pieces));
    free(whole);
    free(bytes);
    free(pieces);
    json_decref(known);
    return 0;
}
