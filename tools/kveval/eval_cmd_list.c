/* kveval list: what settings can be made of. */
#include "cli/cli.h"
#include "cli/cli_json.h"
#include "kveval/eval_cmd.h"
#include "profile/codec_id.h"
#include "profile/evict_id.h"

#include <stdio.h>

static json_t *codecs_json(void) {
    json_t *list = json_array();
    for (int i = 0; i < KV_CODEC_COUNT; i++) {
        const kv_codec_name *c = &kv_codec_names[i];
        cli_json_add(&list, json_pack("{s:s, s:s, s:b}", "name", c->name, "help", c->summary, "calibrated", c->calibrated));
    }
    return list;
}

static json_t *policies_json(void) {
    json_t *list = json_array();
    for (int i = 0; i < KV_EVICT_COUNT; i++) {
        const kv_evict_name *p = &kv_evict_names[i];
        cli_json_add(&list, json_pack("{s:s, s:s, s:b}", "name", p->name, "help", p->summary, "calibrated", p->calibrated));
    }
    return list;
}

static void print_lists(void) {
    printf("Cache types (-ctk, -ctv):\n");
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        printf("  %-10s %s\n", kv_codec_names[i].name, kv_codec_names[i].summary);
    printf("Eviction policies (--evict, with --budget):\n");
    for (int i = 0; i < KV_EVICT_COUNT; i++)
        printf("  %-10s %s%s\n", kv_evict_names[i].name, kv_evict_names[i].summary,
               kv_evict_names[i].calibrated ? " (from a profile)" : "");
}

int eval_cmd_list(int argc, char **argv) {
    static const char tool[] = "kveval list";
    bool json = false;
    const cli_opt opts[] = {
        {"--json", NULL, CLI_FLAG, NULL, &json, 0, 0, "one JSON object on stdout"},
        {0},
    };
    int code =
        cli_parse(&(cli_spec){.tool = tool,
                              .usage = "[--json]",
                              .summary = "All cache types and eviction policies that options, settings and profiles can name.",
                              .opts = opts,
                              .args = (const cli_arg[]){{0}}},
                  argc, argv);
    kv_err err = {0};
    kv_status st = KV_OK;
    if (code >= 0)
        return code;
    if (json)
        st =
            cli_json_print(json_pack("{s:o, s:o}", "codecs", codecs_json(), "policies", policies_json()), JSON_INDENT(1), &err);
    else
        print_lists();
    return st ? cli_report(tool, &err) : CLI_OK;
}
