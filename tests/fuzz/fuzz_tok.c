/* Tokenizers. Three bytes say which kind (BPE, SPM, over characters), which pre-tokenizer and which flags; then come lines:
 *
 *   T<digit><text>   a token of that type        M<left right>   a merge        S<byte>   the score of the last token
 *   X<text>          what is to be encoded, up to the end
 *
 * All of that becomes a GGUF file, so that what is changed in the input stays a vocabulary.
 */
#include "fuzz/fuzz.h"

#include "gguf_image.h"
#include "text/tok.h"
#include "text/tok_internal.h"

enum { HEAD = 3, MOST = 4096 /* tokens, or merges */ };

typedef struct lines {
    gguf_str token[MOST], merge[MOST];
    int32_t type[MOST];
    float score[MOST];
    size_t n, n_merges;
    const char *text;
    size_t len;
} lines;

static void take_line(lines *l, const char *s, size_t n) {
    if (n >= 2 && s[0] == 'T' && l->n < MOST) {
        l->token[l->n] = (gguf_str){s + 2, n - 2};
        l->score[l->n] = -(float)l->n;
        l->type[l->n++] = s[1] - '0';
    } else if (n >= 1 && s[0] == 'M' && l->n_merges < MOST) {
        l->merge[l->n_merges++] = (gguf_str){s + 1, n - 1};
    } else if (n >= 2 && s[0] == 'S' && l->n) {
        l->score[l->n - 1] = (float)s[1];
    }
}

static void take_lines(lines *l, const char *s, const char *end) {
    l->n = l->n_merges = l->len = 0;
    l->text = "";
    while (s < end && *s != 'X') {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        take_line(l, s, (size_t)((stop ? stop : end) - s));
        s = stop ? stop + 1 : end;
    }
    if (s < end) {
        l->text = s + 1;
        l->len = (size_t)(end - s - 1);
    }
}

static void put_strings(file_image *f, const char *key, const gguf_str *s, size_t n) {
    put_array(f, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_text(f, s[i].s, s[i].len);
}

static file_image vocabulary(const lines *l, const uint8_t *head) {
    static const char *const kinds[] = {"gpt2", "llama", "gemma4"};
    const char *kind = kinds[head[0] % 3];
    size_t row = head[1];
    char name[64];
    file_image f = {0};
    while (!tok_pre_names(row))
        row--;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(tok_pre_names(row), " "), tok_pre_names(row));
    put_str(&f, "tokenizer.ggml.model", kind);
    put_str(&f, "tokenizer.ggml.pre", head[1] == 255 ? "" : name);
    put_str(&f, "general.name", head[2] & 8 ? "phi-3" : "x");
    put_strings(&f, "tokenizer.ggml.tokens", l->token, l->n);
    put_array(&f, "tokenizer.ggml.token_type", GGUF_I32, l->n);
    put(&f, l->type, l->n * sizeof *l->type);
    put_array(&f, "tokenizer.ggml.scores", GGUF_F32, l->n);
    put(&f, l->score, l->n * sizeof *l->score);
    put_strings(&f, "tokenizer.ggml.merges", l->merge, l->n_merges);
    if (head[2] & 1)
        put_bool(&f, "tokenizer.ggml.add_bos_token", true);
    if (head[2] & 2)
        put_bool(&f, "tokenizer.ggml.add_eos_token", true);
    if (head[2] & 4)
        put_bool(&f, "tokenizer.ggml.add_space_prefix", !(head[2] & 16));
    put_id(&f, "tokenizer.ggml.bos_token_id", 0);
    put_id(&f, "tokenizer.ggml.unknown_token_id", 0);
    return f;
}

static void encode(const tok *t, const lines *l) {
    for (unsigned flags = 0; flags < 4; flags++) {
        int32_t *ids;
        size_t n, len;
        kv_err err;
        tok_writer w = {0};
        const char *text;
        if (tok_encode(t, l->text, l->len, flags, &ids, &n, &err)) {
            FUZZ_MUST(*err.msg);
            continue;
        }
        FUZZ_MUST(n <= 6 * l->len + 8);
        for (size_t i = 0; i < n; i++) {
            FUZZ_MUST(ids[i] >= 0 && (uint32_t)ids[i] < tok_n_vocab(t));
            const char *piece = tok_piece(t, ids[i], flags & TOK_SPECIAL, &len);
            FUZZ_MUST(!tok_writer_push(&w, piece, len, &text, NULL, &err));
        }
        FUZZ_MUST(!tok_writer_end(&w, &text, NULL, &err));
        tok_writer_free(&w);
        free(ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lines l;
    gguf *g;
    tok *t;
    kv_err err;
    if (size < HEAD)
        return 0;
    take_lines(&l, (const char *)data + HEAD, (const char *)data + size);
    file_image f = vocabulary(&l, data);
    FUZZ_MUST(!open_image(&f, &g, &err));
    const kv_status st = tok_new(g, &t, &err);
    fuzz_said(st, &err, gguf_path(g));
    gguf_close(g);
    if (!st) {
        encode(t, &l);
        tok_free(t);
    }
    return 0;
}
