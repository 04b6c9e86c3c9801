/* attention_tap MODEL TEXT: how widely every head attends, as the mean entropy of its attention over the tokens of a text. */
#include <kv/kv.h>
#include <stdio.h>
#include <string.h>

typedef struct sums {
    double entropy[256];
    uint32_t n_head, n;
} sums;

static bool look(void *user, const kv_tap_view *view) {
    sums *s = user;
    s->n_head = view->n_head < 256 ? view->n_head : 256;
    s->n += view->n;
    for (uint32_t t = 0; t < view->n; t++)
        for (uint32_t h = 0; h < s->n_head; h++)
            s->entropy[h] += (double)view->entropy[t * view->n_head + h];
    return true;
}

int main(int argc, char **argv) {
    kv_err err = {KV_EINVAL, "usage: attention_tap MODEL TEXT"};
    kv_model *model = NULL;
    kv_session *session = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    kv_model_facts facts = KV_MODEL_FACTS_INIT;
    kv_status st = argc == 3 ? kv_model_load(argv[1], NULL, &model, &err) : KV_EINVAL;
    if (st || (st = kv_model_get_facts(model, &facts, &err)) || (st = kv_session_new(model, NULL, &session, &err)) ||
        (st = kv_text_tokenize(model, argv[2], strlen(argv[2]), KV_TEXT_BOS, &ids, &n, &err)))
        goto done;
    for (uint32_t layer = 0; layer < facts.n_layer; layer++) { /* -1 in place of a layer would show all in one go */
        sums s = {{0}, 0, 0};
        kv_session_clear(session);
        if ((st = kv_session_set_tap(session, (int32_t)layer, look, &s, &err)) ||
            (st = kv_session_prefill(session, ids, n, NULL, NULL, &err)))
            goto done;
        printf("layer %2u:", layer);
        for (uint32_t h = 0; h < s.n_head; h++)
            printf(" %.2f", s.n ? s.entropy[h] / s.n : 0);
        printf(" nats\n");
    }
done:
    kv_free(ids);
    kv_session_free(session);
    kv_model_free(model);
    if (st)
        fprintf(stderr, "attention_tap: %s\n", err.msg);
    return st != KV_OK;
}
