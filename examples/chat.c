/* chat MODEL: a conversation in the terminal, with a model that has a chat format; any other goes on with each line as it
 * stands. What was read is not read again. */
#include <kv/kv.h>
#include <stdio.h>
#include <string.h>

enum { TURNS = 64, LINE = 1024, MOST = 512 /* tokens of an answer */ };

static bool show(void *user, const kv_token *token) {
    (void)user;
    return fputs(token->text, stdout) >= 0 && !fflush(stdout);
}

static kv_status answer(const kv_model *model, kv_session *session, kv_message *turns, size_t n, char **said, kv_err *err) {
    const char *last = turns[n - 1].text;
    int32_t *ids = NULL;
    size_t n_ids;
    kv_status st = kv_text_chat_tokenize(model, turns, n, true, &ids, &n_ids, err);
    if (st == KV_EUNSUPP) /* no template: the model goes on with what is said */
        st = kv_text_tokenize(model, last, strlen(last), KV_TEXT_BOS, &ids, &n_ids, err);
    if (!st && !(st = kv_session_prompt(session, ids, n_ids, NULL, NULL, NULL, err)) &&
        !(st = kv_session_decode(session, NULL, MOST, show, NULL, NULL, err)))
        st = kv_text_detokenize(model, kv_session_ids(session) + n_ids, kv_session_len(session) - n_ids, 0, said, NULL, err);
    kv_free(ids);
    return st;
}

int main(int argc, char **argv) {
    static char lines[TURNS][LINE], *said[TURNS + 1];
    kv_message turns[2 * TURNS];
    kv_model *model = NULL;
    kv_session *session = NULL;
    kv_err err = {KV_EINVAL, "usage: chat MODEL"};
    kv_status st = argc == 2 ? kv_model_load(argv[1], NULL, &model, &err) : KV_EINVAL;
    if (!st)
        st = kv_session_new(model, NULL, &session, &err);
    for (size_t i = 0; !st && i < TURNS && printf("\n> ") > 0 && fgets(lines[i], LINE, stdin); i++) {
        lines[i][strcspn(lines[i], "\n")] = '\0';
        turns[2 * i] = (kv_message){"user", lines[i]};
        st = answer(model, session, turns, 2 * i + 1, &said[i], &err);
        turns[2 * i + 1] = (kv_message){"assistant", said[i]};
    }
    for (size_t i = 0; said[i]; i++)
        kv_free(said[i]);
    kv_session_free(session);
    kv_model_free(model);
    if (st)
        fprintf(stderr, "chat: %s\n", err.msg);
    return st != KV_OK;
}
