/* chat MODEL: a conversation with a model in the terminal; what the last turn has read is not read again. */
#include <kv/kv.h>
#include <stdio.h>
#include <string.h>

static bool show(void *user, const kv_token *token) {
    (void)user;
    return fputs(token->text, stdout) >= 0 && !fflush(stdout);
}

int main(int argc, char **argv) {
    static char lines[64][1024];
    kv_message turns[128];
    kv_model *model = NULL;
    kv_session *session = NULL;
    kv_sampler *sampler = NULL;
    kv_err err = {KV_EINVAL, "usage: chat MODEL"};
    kv_status st = argc == 2 ? KV_OK : KV_EINVAL;
    if (!st && !(st = kv_model_load(argv[1], NULL, &model, &err)) && !(st = kv_session_new(model, NULL, &session, &err)))
        st = kv_sampler_new(model, NULL, &sampler, &err);
    size_t n = 0, n_ids;
    for (int i = 0; !st && i < 64 && printf("> ") > 0 && fgets(lines[i], sizeof lines[i], stdin); i++) {
        char *text = NULL, *answer = NULL;
        int32_t *ids = NULL;
        lines[i][strcspn(lines[i], "\n")] = '\0';
        turns[n++] = (kv_message){"user", lines[i]};
        if ((st = kv_text_chat(model, turns, n, true, &text, &err)) == KV_OK &&
            (st = kv_text_tokenize(model, text, strlen(text), KV_TEXT_BOS | KV_TEXT_SPECIAL, &ids, &n_ids, &err)) == KV_OK &&
            (st = kv_session_prompt(session, ids, n_ids, NULL, NULL, NULL, &err)) == KV_OK &&
            (st = kv_session_decode(session, sampler, -1, show, NULL, NULL, &err)) == KV_OK)
            st = kv_text_detokenize(model, kv_session_ids(session) + n_ids, kv_session_len(session) - n_ids, 0, &answer, NULL,
                                    &err);
        turns[n++] = (kv_message){"assistant", answer}; /* kept until the end */
        kv_free(text);
        kv_free(ids);
        puts("");
    }
    for (size_t i = 1; i < n; i += 2)
        kv_free((char *)turns[i].text);
    kv_sampler_free(sampler);
    kv_session_free(session);
    kv_model_free(model);
    if (st)
        fprintf(stderr, "chat: %s\n", err.msg);
    return st != KV_OK;
}
