/* A load for servers that speak OpenAI's /v1/completions: bench_load URL [CLIENTS] [REQUESTS] [WORDS] [TOKENS] [SEED]
 *
 * CLIENTS (4) ask at the same time, each again as soon as it has its answer, until REQUESTS (16) were asked: a prompt of WORDS
 * (200) random words, of which no two have a beginning in common, and TOKENS (64) streamed tokens to answer with. Prints one
 * object of JSON: requests that failed, tokens as the server counts them, seconds from the first request to the last answer,
 * and the percentiles of the time to the first token and of the mean time between tokens.
 */
#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_CLIENTS = 1024, LINE = 1 << 16 };

static void stop(const char *why) {
    fprintf(stderr, "bench_load: %s\n", why);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct load {
    char url[1024];
    uint32_t clients, requests, words, tokens;
    uint64_t seed;
    struct curl_slist *headers;
    uint32_t begun, done, failed;
    uint64_t prompt_tokens, said_tokens;
    double *first, *between; /* (requests) of those that were answered */
    char why[512];           /* what the last failure was */
} load;

typedef struct client {
    load *all;
    CURL *curl;
    char *body;
    char line[LINE]; /* of the stream, as far as it has come */
    size_t len;
    double since, first, last;
    uint32_t pieces;
    int64_t prompt_tokens, said_tokens; /* -1: the server has not said so yet */
} client;

static uint64_t draw(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

/* Words that any vocabulary of English has as one token each, or nearly so. */
static char *prompt_of(const load *all, uint32_t number) {
    static const char *const words[] = {"house", "river", "small",  "green", "after",  "people", "world", "great",
                                        "under", "never", "water",  "light", "other",  "place",  "right", "three",
                                        "study", "point", "school", "night", "system", "story",  "large", "music"};
    uint64_t state = (all->seed + number + 1) * 0x9E3779B97F4A7C15u;
    char *text = malloc((size_t)all->words * 8 + 1), *at = text;
    if (!text)
        stop("out of memory");
    for (uint32_t i = 0; i < all->words; i++)
        at += sprintf(at, " %s", words[draw(&state) % (sizeof words / sizeof *words)]);
    return text;
}

static char *body_of(const load *all, uint32_t number) {
    char *prompt = prompt_of(all, number);
    json_t *o =
        json_pack("{s:s, s:s, s:i, s:i, s:b, s:b, s:{s:b}}", "model", "any", "prompt", prompt, "max_tokens", (int)all->tokens,
                  "temperature", 0, "ignore_eos", 1, "stream", 1, "stream_options", "include_usage", 1);
    char *body = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (!body)
        stop("out of memory");
    json_decref(o);
    free(prompt);
    return body;
}

/* One event: whether it has text, and what it says of usage. */
static void take_event(client *c, const char *data) {
    json_t *o = json_loads(data, 0, NULL);
    const json_t *usage = json_object_get(o, "usage"), *choice = json_array_get(json_object_get(o, "choices"), 0);
    if (json_is_object(usage)) {
        c->prompt_tokens = json_integer_value(json_object_get(usage, "prompt_tokens"));
        c->said_tokens = json_integer_value(json_object_get(usage, "completion_tokens"));
    }
    if (json_string_length(json_object_get(choice, "text"))) {
        c->last = now();
        if (!c->pieces++)
            c->first = c->last;
    }
    json_decref(o);
}

static size_t take(char *data, size_t one, size_t n, void *user) {
    client *c = user;
    for (size_t i = 0; i < n; i++) {
        if (data[i] != '\n' && c->len + 1 < LINE) {
            c->line[c->len++] = data[i];
            continue;
        }
        c->line[c->len] = '\0';
        c->len = 0;
        if (!strncmp(c->line, "data: {", 7))
            take_event(c, c->line + 6);
    }
    return one * n;
}

static void begin(CURLM *multi, client *c) {
    load *all = c->all;
    free(c->body);
    c->body = body_of(all, all->begun++);
    c->len = 0;
    c->pieces = 0;
    c->prompt_tokens = c->said_tokens = -1;
    curl_easy_setopt(c->curl, CURLOPT_URL, all->url);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, all->headers);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, c->body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_PRIVATE, c);
    c->since = now();
    if (curl_multi_add_handle(multi, c->curl))
        stop("libcurl does not take a request");
}

static void end(client *c, CURLcode code) {
    load *all = c->all;
    long status = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code || status != 200 || !c->pieces || c->said_tokens < 0) {
        snprintf(all->why, sizeof all->why, "status %ld, %s, %u pieces: %.300s", status, curl_easy_strerror(code), c->pieces,
                 c->line);
        all->failed++;
        return;
    }
    const uint32_t i = all->done++;
    all->prompt_tokens += (uint64_t)c->prompt_tokens;
    all->said_tokens += (uint64_t)c->said_tokens;
    all->first[i] = c->first - c->since;
    all->between[i] = c->said_tokens > 1 ? (c->last - c->first) / (double)(c->said_tokens - 1) : 0;
}

static void run(load *all, client *clients) {
    CURLM *multi = curl_multi_init();
    int running = 0;
    if (!multi)
        stop("libcurl does not start");
    for (uint32_t i = 0; i < all->clients && all->begun < all->requests; i++)
        begin(multi, &clients[i]);
    do {
        int left;
        if (curl_multi_perform(multi, &running) || curl_multi_poll(multi, NULL, 0, 1000, NULL))
            stop("libcurl fails");
        for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));) {
            client *c;
            const CURLcode code = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
            end(c, code);
            curl_multi_remove_handle(multi, c->curl);
            if (all->begun < all->requests) {
                begin(multi, c);
                running++;
            }
        }
    } while (running);
    curl_multi_cleanup(multi);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *percentiles(double *v, uint32_t n) {
    qsort(v, n, sizeof *v, by_size);
    return n ? json_pack("{s:f, s:f}", "p50", v[(n - 1) / 2], "p99", v[(uint32_t)ceil(0.99 * n) - 1]) : json_null();
}

static uint32_t number(int argc, char **argv, int i, uint32_t otherwise) {
    return i < argc ? (uint32_t)strtoul(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    load all = {.clients = number(argc, argv, 2, 4),
                .requests = number(argc, argv, 3, 16),
                .words = number(argc, argv, 4, 200),
                .tokens = number(argc, argv, 5, 64),
                .seed = number(argc, argv, 6, 1)};
    if (argc < 2 || !all.clients || all.clients > MOST_CLIENTS || !all.requests || !all.tokens)
        stop("usage: bench_load URL [CLIENTS] [REQUESTS] [WORDS] [TOKENS] [SEED]");
    snprintf(all.url, sizeof all.url, "%s/v1/completions", argv[1]);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    all.headers = curl_slist_append(NULL, "Content-Type: application/json");
    client *clients = calloc(all.clients, sizeof *clients);
    all.first = calloc(all.requests, sizeof *all.first);
    all.between = calloc(all.requests, sizeof *all.between);
    if (!clients || !all.first || !all.between)
        stop("out of memory");
    for (uint32_t i = 0; i < all.clients; i++) {
        clients[i].all = &all;
        if (!(clients[i].curl = curl_easy_init()))
            stop("libcurl does not start");
    }
    const double since = now();
    run(&all, clients);
    const double seconds = now() - since;
    json_t *o = json_pack("{s:i, s:i, s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:s}", "answered", (int)all.done, "failed",
                          (int)all.failed, "prompt_tokens", (json_int_t)all.prompt_tokens, "said_tokens",
                          (json_int_t)all.said_tokens, "seconds", seconds, "said_per_second", (double)all.said_tokens / seconds,
                          "all_per_second", (double)(all.prompt_tokens + all.said_tokens) / seconds, "first_token_s",
                          percentiles(all.first, all.done), "between_s", percentiles(all.between, all.done), "why", all.why);
    if (!o || json_dumpf(o, stdout, JSON_INDENT(2)))
        stop("out of memory");
    printf("\n");
    json_decref(o);
    for (uint32_t i = 0; i < all.clients; i++) {
        curl_easy_cleanup(clients[i].curl);
        free(clients[i].body);
    }
    curl_slist_free_all(all.headers);
    curl_global_cleanup();
    free(clients);
    free(all.first);
    free(all.between);
    return all.failed ? 1 : 0;
}
