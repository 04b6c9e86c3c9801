/* kveval tokens and kveval logprobs: JSON in, JSON out, for checking the tokenizer and the forward pass against other engines.
 */
#include "base/text.h"
#include "cli/cli_cache.h"
#include "cli/cli_json.h"
#include "eval/eval.h"
#include "kveval/eval_cmd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { SLICE = 64, DIGITS = 8, MAX_TOP = 1000, MAX_INPUT = 1 << 30 };

/* file: "-" is stdin. *out: caller frees with json_decref. */
static kv_status load_json(const char *file, json_t **out, kv_err *err) {
    json_error_t je;
    if (!file)
        return kv_fail(err, KV_EINVAL, "--in FILE.json is missing ('-' reads stdin)");
    const bool from_stdin = !strcmp(file, "-");
    const char *where = from_stdin ? "stdin" : file;
    char *text;
    size_t len;
    kv_status st =
        from_stdin ? text_read_stream(stdin, where, MAX_INPUT, &text, &len, err) : text_read(file, MAX_INPUT, &text, &len, err);
    if (st)
        return st;
    *out = json_loadb(text, len, JSON_ALLOW_NUL, &je);
    free(text);
    return *out ? KV_OK : kv_fail(err, KV_EFORMAT, "%s:%d:%d: %s", where, je.line, je.column, je.text);
}

/* Takes the reference. */
static kv_status write_json(json_t **j, kv_err *err) {
    json_t *taken = *j;
    *j = NULL;
    return cli_json_print(taken, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS), err);
}

/* ---- tokens ---- */

static kv_status encode_one(const tok *t, const json_t *text, size_t index, unsigned flags, json_t *out, kv_err *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    if (!json_is_string(text))
        return kv_fail(err, KV_EFORMAT, "entry %zu of the list is not a string", index);
    kv_status st = tok_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &n, err);
    if (st)
        return st;
    json_t *list = json_array();
    for (size_t i = 0; i < n && !st; i++)
        if (json_array_append_new(list, json_integer(ids[i])))
            st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    if (json_array_append_new(out, list))
        st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    free(ids);
    return st;
}

int eval_cmd_tokens(int argc, char **argv) {
    static const char tool[] = "kveval tokens";
    const char *model = NULL, *in = NULL;
    bool special = false, parse_special = false;
    const cli_opt opts[] = {
        {"--in", NULL, CLI_IN, "FILE", &in, 0, 0, "a JSON list of strings; '-': stdin"},
        {"--special", NULL, CLI_FLAG, NULL, &special, 0, 0,
         "put BOS first where the model asks for it, and parse special tokens"},
        {"--parse-special", NULL, CLI_FLAG, NULL, &parse_special, 0, 0, CLI_PARSE_SPECIAL},
        {0},
    };
    int code = cli_parse(&(cli_spec){.tool = tool,
                                     .usage = "MODEL --in FILE.json [options]",
                                     .summary = "Token ids of strings: a JSON list of lists on stdout, in the same order.",
                                     .examples = "  echo '[\"Hello world\"]' | kveval tokens model.gguf --in -\n",
                                     .opts = opts,
                                     .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &model}, {0}},
                                     .n_required = 1},
                         argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    json_t *texts = NULL, *out = NULL;
    gguf *g = NULL;
    tok *t = NULL;
    kv_status st = load_json(in, &texts, &err);
    if (!st && !json_is_array(texts))
        st = kv_fail(&err, KV_EFORMAT, "%s: a JSON list of strings is wanted", in);
    if (st || (st = gguf_open(model, &g, &err)) || (st = tok_new(g, &t, &err)))
        goto done;
    cli_note_tok(tool, t);
    out = json_array();
    const unsigned flags = (special ? TOK_BOS : 0u) | (special || parse_special ? TOK_SPECIAL : 0u);
    for (size_t i = 0; i < json_array_size(texts); i++)
        if ((st = encode_one(t, json_array_get(texts, i), i, flags, out, &err)))
            goto done;
    st = write_json(&out, &err);
done:
    json_decref(texts);
    json_decref(out);
    tok_free(t);
    gguf_close(g);
    return st ? cli_report(tool, &err) : CLI_OK;
}

/* ---- logprobs ---- */

typedef struct job {
    const char *path; /* of the chunks */
    const rt_model *m;
    rt_ctx *ctx;
    size_t top;
    float *logits; /* (SLICE, n_vocab) */
    int32_t *best; /* (SLICE, top) ids, most likely first */
    double *lse;   /* (SLICE) */
    cli_progress bar;
    size_t done, total; /* tokens */
} job;

/* The `top` best ids by insertion: top is small beside the vocabulary, and most logits fail the first comparison. */
static void find_best(const float *x, size_t n, size_t top, int32_t *best) {
    size_t held = 0;
    for (size_t i = 0; i < n; i++) {
        if (held == top && !(x[i] > x[best[top - 1]]))
            continue;
        size_t at = held < top ? held++ : top - 1;
        for (; at > 0 && x[i] > x[best[at - 1]]; at--)
            best[at] = best[at - 1];
        best[at] = (int32_t)i;
    }
}

static kv_status read_ids(const char *path, const json_t *chunk, size_t index, size_t n_vocab, int32_t **out, size_t *n,
                          kv_err *err) {
    const json_t *tokens = json_object_get(chunk, "tokens");
    *n = json_array_size(tokens);
    if (!*n)
        return kv_fail(err, KV_EFORMAT, "%s: chunk %zu has no \"tokens\", a list of ids", path, index);
    int32_t *ids = malloc(*n * sizeof *ids);
    if (!ids)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens", *n);
    for (size_t i = 0; i < *n; i++) {
        const json_t *id = json_array_get(tokens, i);
        json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v >= (json_int_t)n_vocab) {
            free(ids);
            return kv_fail(err, KV_EFORMAT, "%s: chunk %zu, token %zu: not an id in 0..%zu", path, index, i, n_vocab - 1);
        }
        ids[i] = (int32_t)v;
    }
    *out = ids;
    return KV_OK;
}

static json_t *position(const float *logits, double lse, const int32_t *best, size_t top) {
    json_t *list = json_array();
    for (size_t i = 0; i < top; i++) {
        const double lp = logits[best[i]] - lse;
        json_t *value = isfinite(lp) ? json_real(lp) : json_null();
        if (json_array_append_new(list, json_pack("[i, o]", best[i], value))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static void look_at(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const size_t n_vocab = rt_model_hparams(j->m)->n_vocab;
    for (size_t i = first; i < end; i++) {
        const float *x = j->logits + i * n_vocab;
        find_best(x, n_vocab, j->top, j->best + i * j->top);
        j->lse[i] = eval_log_sum_exp(x, n_vocab);
    }
}

static kv_status run_slice(job *j, const int32_t *ids, uint32_t n, json_t *out, kv_err *err) {
    const size_t n_vocab = rt_model_hparams(j->m)->n_vocab;
    kv_status st = rt_forward(j->ctx, ids, n, n, j->logits, err);
    if (st)
        return st;
    rt_for(rt_ctx_exec(j->ctx), n, 1, look_at, j);
    for (uint32_t i = 0; i < n; i++)
        if (json_array_append_new(out, position(j->logits + i * n_vocab, j->lse[i], j->best + i * j->top, j->top)))
            return kv_fail(err, KV_ENOMEM, "out of memory for the result");
    cli_progress_set(&j->bar, (double)(j->done += n) / (double)j->total);
    return cli_interrupted() ? kv_fail(err, KV_ECANCEL, "stopped") : KV_OK;
}

static kv_status run_chunk(job *j, const json_t *chunk, size_t index, json_t *out, kv_err *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    kv_status st = read_ids(j->path, chunk, index, rt_model_hparams(j->m)->n_vocab, &ids, &n, err);
    if (st)
        return st;
    const tok *t = rt_model_tok(j->m);
    if (tok_add_bos(t) && tok_bos(t) >= 0)
        ids[0] = tok_bos(t);
    json_t *list = json_array();
    rt_ctx_clear(j->ctx);
    for (size_t at = 0; at < n && !st; at += SLICE)
        st = run_slice(j, ids + at, n - at < SLICE ? (uint32_t)(n - at) : SLICE, list, err);
    free(ids);
    if (json_array_append_new(out, list) && !st)
        st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    return st;
}

static size_t longest_chunk(const json_t *chunks, size_t *total) {
    size_t longest = 1;
    *total = 0;
    for (size_t i = 0; i < json_array_size(chunks); i++) {
        size_t n = json_array_size(json_object_get(json_array_get(chunks, i), "tokens"));
        longest = n > longest ? n : longest;
        *total += n;
    }
    return longest;
}

static kv_status open_job(job *j, const json_t *chunks, const cli_model *m, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(m->model);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    size_t longest = longest_chunk(chunks, &j->total);
    if (longest > UINT32_MAX)
        return kv_fail(err, KV_ERANGE, "a chunk of %zu tokens is too long", longest);
    cfg.n_ctx = (uint32_t)longest;
    cfg.n_batch = SLICE;
    cfg.profile = m->profile;
    j->m = m->model;
    j->top = j->top < hp->n_vocab ? j->top : hp->n_vocab;
    kv_status st = rt_ctx_new(m->model, &cfg, &j->ctx, err);
    if (st)
        return st;
    j->logits = malloc((size_t)SLICE * hp->n_vocab * sizeof *j->logits);
    j->best = malloc(SLICE * j->top * sizeof *j->best);
    j->lse = malloc(SLICE * sizeof *j->lse);
    return j->logits && j->best && j->lse ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for logits");
}

static void close_job(job *j) {
    rt_ctx_free(j->ctx);
    free(j->logits);
    free(j->best);
    free(j->lse);
}

int eval_cmd_logprobs(int argc, char **argv) {
    static const char tool[] = "kveval logprobs";
    const char *model = NULL, *in = NULL;
    int64_t top = 10;
    cli_machine machine = {0};
    bool fast = false;
    const cli_opt opts[] = {
        {"--in", NULL, CLI_IN, "FILE", &in, 0, 0, "{\"chunks\": [{\"tokens\": [id, ...]}, ...]}; '-': stdin"},
        {"--top", NULL, CLI_INT, "N", &top, 1, MAX_TOP, "how many tokens per position"},
        CLI_MACHINE_ROWS(&machine),
        {"--fast", NULL, CLI_FLAG, NULL, &fast, 0, 0, "int8 matrix products, as kvrun has them, instead of exact ones"},
        {0},
    };
    int code = cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "MODEL --in FILE.json [--top N]",
                    .summary =
                        "The most likely next tokens after every token, each chunk with an empty cache: per chunk a "
                        "list, per position a list of [id, log-probability], natural logarithm, best first. BOS takes the "
                        "place of a chunk's first token where the model adds one, as in llama.cpp's perplexity.",
                    .examples = "  echo '{\"chunks\": [{\"tokens\": [1, 2, 3]}]}' | kveval logprobs model.gguf --in -\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &model}, {0}},
                    .n_required = 1},
        argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    cli_model m = {0};
    job j = {.path = in, .top = (size_t)top};
    json_t *input = NULL, *out = NULL;
    kv_status st = load_json(in, &input, &err);
    const json_t *chunks = json_object_get(input, "chunks");
    if (!st && !json_is_array(chunks))
        st = kv_fail(&err, KV_EFORMAT, "%s: an object with a list \"chunks\" is wanted", in);
    if (st || (st = cli_model_open(tool, model, NULL, &machine, !fast, false, &m, &err)) ||
        (st = open_job(&j, chunks, &m, &err)))
        goto done;
    out = json_array();
    cli_progress_start(&j.bar, "reading", false);
    for (size_t i = 0; i < json_array_size(chunks) && !st; i++)
        st = run_chunk(&j, json_array_get(chunks, i), i, out, &err);
    cli_progress_end(&j.bar);
    if (!st)
        st = write_json(&out, &err);
done:
    json_decref(input);
    json_decref(out);
    close_job(&j);
    cli_model_close(&m);
    return st ? cli_report(tool, &err) : CLI_OK;
}
