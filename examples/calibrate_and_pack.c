/* calibrate_and_pack MODEL OUT [TEXT]...: find out how the model's KV cache is best compressed, and write a copy of the model
 * that says so. */
#include <kv/kv.h>
#include <stdio.h>

static bool progress(void *user, double done) {
    (void)user;
    fprintf(stderr, "\r%3.0f %%", 100 * done);
    return true; /* false would stop it */
}

int main(int argc, char **argv) {
    kv_model *model = NULL;
    kv_profile *profile = NULL;
    kv_err err = {KV_EINVAL, "usage: calibrate_and_pack MODEL OUT [TEXT]..."};
    kv_calibrate_options options = KV_CALIBRATE_OPTIONS_INIT;
    kv_profile_facts facts = KV_PROFILE_FACTS_INIT;
    kv_status st = argc > 2 ? kv_model_load(argv[1], NULL, &model, &err) : KV_EINVAL;
    if (st)
        goto done;
    options.bits = 3.75;
    options.files = (const char *const *)argv + 3;
    options.n_files = (size_t)argc - 3;
    st = kv_calibrate(model, &options, progress, NULL, &profile, &err);
    fputc('\n', stderr);
    if (st || (st = kv_profile_pack(profile, argv[1], argv[2], &err)) || (st = kv_profile_get_facts(profile, &facts, &err)))
        goto done;
    printf("K %.2f, V %.2f bits per number; on text held out it loses %.4f nats (+- %.4f)\n", facts.bits_k, facts.bits_v,
           facts.kld, facts.kld_se);
    for (uint32_t layer = 0; layer < facts.n_layer; layer++) {
        double k, v;
        if (kv_profile_layer_bits(profile, layer, &k, &v, &err) == KV_OK)
            printf("layer %2u: K %.2f, V %.2f\n", layer, k, v);
    }
done:
    kv_profile_free(profile);
    kv_model_free(model);
    if (st)
        fprintf(stderr, "calibrate_and_pack: %s\n", err.msg);
    return st != KV_OK;
}
