/* What clients of the server send, read by its dialects: what each client is known to send, and what is refused by its place.
 */
#include "serve_fixture.h"

/* ---- OpenAI's chat ---- */

static void chat_takes_what_clients_send(void **state) {
    (void)state;
    sv_request q = must_read(
        &sv_chat, "{'model':'gpt-x','messages':[{'role':'developer','content':'Be short.'},"
                  "{'role':'user','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]}],"
                  "'temperature':0.5,'top_p':0.9,'seed':7,'max_tokens':5,'stop':['x','yy'],'n':2,'stream':true,"
                  "'stream_options':{'include_usage':true},'presence_penalty':0.1,'frequency_penalty':0.2,"
                  "'logprobs':true,'top_logprobs':3,'user':'u','store':false,'service_tier':'auto','unknown':{'a':[1]}}");
    assert_string_equal(q.model, "gpt-x");
    same_json(q.messages, "[{'role':'system','content':'Be short.'},{'role':'user','content':'ab'}]");
    assert_true(q.sampling.temp == 0.5 && q.sampling.top_p == 0.9 && q.sampling.presence_penalty == 0.1 &&
                q.sampling.frequency_penalty == 0.2);
    assert_true(q.seeded && q.sampling.seed == 7 && q.n_predict == 5 && q.n == 2);
    assert_true(q.stream && q.usage && q.logprobs && q.top == 3 && q.n_stops == 2);
    assert_string_equal(q.stops[1], "yy");
    request_free(&q);
}

static void chat_takes_null_for_nothing(void **state) {
    (void)state;
    sv_request q =
        must_read(&sv_chat, "{'messages':[{'role':'user','content':'a','tool_call_id':null,'name':null,'tool_calls':null}],"
                            "'temperature':null,'stop':null,'tools':null,'tool_choice':null,'max_tokens':null,"
                            "'stream':null,'stream_options':null,'response_format':null,'logit_bias':null,'seed':null}");
    same_json(q.messages, "[{'role':'user','content':'a'}]"); /* aichat's tool_call_id is gone */
    assert_true(q.n_predict == -1 && !q.stream && !q.seeded && q.sampling.temp == 0.8);
    request_free(&q);
}

static void chat_prefers_max_completion_tokens(void **state) {
    (void)state;
    sv_request q = must_read(&sv_chat, "{'messages':[{'role':'user','content':'a'}],'max_completion_tokens':9,'max_tokens':5}");
    assert_int_equal(q.n_predict, 9);
    request_free(&q);
}

static void chat_keeps_calls_and_their_results(void **state) {
    (void)state;
    sv_request q = must_read(
        &sv_chat, "{'messages':[{'role':'user','content':'a'},{'role':'assistant','content':null,'tool_calls':[{'id':'c1',"
                  "'type':'function','function':{'name':'f','arguments':'{\\'x\\':1}'}}]},"
                  "{'role':'tool','tool_call_id':'c1','content':[{'type':'text','text':'42'}]}],"
                  "'tools':[{'type':'function','function':{'name':'f','parameters':{'type':'object'}}},{'type':'web_search'}],"
                  "'tool_choice':{'type':'function','function':{'name':'f'}}}");
    same_json(json_array_get(q.messages, 2), "{'role':'tool','content':'42','tool_call_id':'c1'}");
    assert_string_equal(text_in(q.messages, "1.tool_calls.0.function.arguments"), "{\"x\":1}");
    assert_string_equal(text_in(q.messages, "1.content"), "");
    same_json(q.tools, "[{'type':'function','function':{'name':'f','parameters':{'type':'object'}}}]");
    assert_true(q.tool_choice == SV_TOOLS_ONE);
    assert_string_equal(q.tool_name, "f");
    request_free(&q);
}

static void chat_may_ask_for_one_call(void **state) {
    (void)state;
    static const char *const cases[] = {"", ",'parallel_tool_calls':true", ",'parallel_tool_calls':null",
                                        ",'parallel_tool_calls':false"};
    char text[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{'messages':[{'role':'user','content':'a'}]%s}", cases[i]);
        sv_request q = must_read(&sv_chat, text);
        assert_true(q.one_call == (i == 3));
        request_free(&q);
    }
    must_refuse(&sv_chat, "{'messages':[{'role':'user','content':'a'}],'parallel_tool_calls':'no'}", "parallel_tool_calls: ");
}

static void chat_joins_system_messages_at_the_beginning(void **state) {
    (void)state;
    sv_request q = must_read(&sv_chat, "{'messages':[{'role':'system','content':'a'},{'role':'system','content':'b'},"
                                       "{'role':'user','content':'c'}]}");
    same_json(q.messages, "[{'role':'system','content':'a\\n\\nb'},{'role':'user','content':'c'}]");
    request_free(&q);
}

static void chat_has_forms(void **state) {
    (void)state;
    sv_request q = must_read(&sv_chat, "{'messages':[{'role':'user','content':'a'}],'response_format':{'type':'json_schema',"
                                       "'json_schema':{'name':'n','strict':true,'schema':{'type':'integer'}}}}");
    assert_true(q.rules == SV_RULES_SCHEMA);
    assert_string_equal(q.rules_text, "{\"type\":\"integer\"}");
    request_free(&q);
    q = must_read(&sv_chat, "{'messages':[{'role':'user','content':'a'}],'response_format':{'type':'json_object'}}");
    assert_true(q.rules == SV_RULES_JSON && !q.rules_text);
    request_free(&q);
    q = must_read(&sv_chat,
                  "{'messages':[{'role':'user','content':'a'}],'response_format':{'type':'text'},'grammar':'root ::= [a]'}");
    assert_true(q.rules == SV_RULES_GRAMMAR);
    request_free(&q);
}

static void chat_has_biases(void **state) {
    (void)state;
    sv_request q = must_read(&sv_chat, "{'messages':[{'role':'user','content':'a'}],'logit_bias':{'5':-100,'7':2.5}}");
    assert_int_equal(q.sampling.n_bias, 2);
    for (int i = 0; i < 2; i++) {
        const rt_logit_bias *b = &q.sampling.bias[i];
        assert_true(b->id == 5 ? isinf(b->bias) && b->bias < 0 : b->id == 7 && b->bias == 2.5f);
    }
    request_free(&q);
}

static void chat_refuses_by_place(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "messages: must be"},
        {"{'messages':[]}", "messages: must be"},
        {"{'messages':'hi'}", "messages: must be"},
        {"{'messages':[3]}", "messages[0]: must be"},
        {"{'messages':[{'role':'king','content':'a'}]}", "messages[0].role: 'king'"},
        {"{'messages':[{'role':'user','content':7}]}", "messages[0].content: must be"},
        {"{'messages':[{'role':'user','content':[{'type':'image_url','image_url':{'url':'data:'}}]}]}",
         "messages[0].content[0]: the model reads text only, no images"},
        {"{'messages':[{'role':'user','content':[{'type':'text','text':'a'},{'type':'input_audio'}]}]}",
         "messages[0].content[1]: the model reads text only, no audio"},
        {"{'messages':[{'role':'assistant','tool_calls':[{'function':{}}]}]}", "messages[0].tool_calls[0].function: "},
        {"{'messages':[{'role':'user','content':'a'}],'temperature':'hot'}", "temperature: must be"},
        {"{'messages':[{'role':'user','content':'a'}],'temperature':-1}", "temperature: -1 is not"},
        {"{'messages':[{'role':'user','content':'a'}],'n':0}", "n: 0 is not"},
        {"{'messages':[{'role':'user','content':'a'}],'n':100000}", "n: 100000 is not"},
        {"{'messages':[{'role':'user','content':'a'}],'stop':3}", "stop: must be"},
        {"{'messages':[{'role':'user','content':'a'}],'stream':'yes'}", "stream: must be"},
        {"{'messages':[{'role':'user','content':'a'}],'top_logprobs':3}", "top_logprobs: needs"},
        {"{'messages':[{'role':'user','content':'a'}],'logit_bias':{'x':1}}", "logit_bias: 'x'"},
        {"{'messages':[{'role':'user','content':'a'}],'response_format':{'type':'yaml'}}", "response_format.type: 'yaml'"},
        {"{'messages':[{'role':'user','content':'a'}],'response_format':{'type':'json_schema'}}",
         "response_format.json_schema"},
        {"{'messages':[{'role':'user','content':'a'}],'tool_choice':'required'}", "tool_choice: asks for a call"},
        {"{'messages':[{'role':'user','content':'a'}],'tools':[{'type':'function','function':{'name':''}}]}",
         "tools[0].function.name"},
        {"{'messages':[{'role':'user','content':'a'}],'tools':[{'type':'function','function':{'name':'f'}}],"
         "'tool_choice':{'type':'function','function':{'name':'g'}}}",
         "tool_choice: there is no tool 'g'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_refuse(&sv_chat, cases[i][0], cases[i][1]);
}

/* ---- completions and embeddings ---- */

static void completions_take_texts_and_ids(void **state) {
    (void)state;
    sv_request q = must_read(&sv_completions, "{'prompt':'a','logprobs':2,'echo':false}");
    same_json(q.prompts, "['a']");
    assert_true(q.logprobs && q.top == 2 && q.single);
    request_free(&q);
    q = must_read(&sv_completions, "{'prompt':[1,2]}");
    same_json(q.prompts, "[[1,2]]");
    assert_false(q.logprobs);
    request_free(&q);
    q = must_read(&sv_completions, "{'prompt':['a',[1]],'logprobs':null}");
    same_json(q.prompts, "['a',[1]]");
    request_free(&q);
    must_refuse(&sv_completions, "{}", "prompt: is missing");
    must_refuse(&sv_completions, "{'prompt':[]}", "prompt: must be");
    must_refuse(&sv_completions, "{'prompt':['a',-1]}", "prompt[1]: is neither");
    must_refuse(&sv_completions, "{'prompt':'a','suffix':'b'}", "suffix: ");
    must_refuse(&sv_completions, "{'prompt':'a','echo':true,'logprobs':1}", "echo: ");
}

static void embeddings_take_lists(void **state) {
    (void)state;
    sv_request q = must_read(&sv_embeddings, "{'input':['a','b'],'encoding_format':'base64','pooling':'last'}");
    assert_true(q.base64 && q.last_token && q.n_predict == 0 && json_array_size(q.prompts) == 2);
    request_free(&q);
    must_refuse(&sv_embeddings, "{'input':'a','dimensions':4}", "dimensions: ");
    must_refuse(&sv_embeddings, "{'input':'a','encoding_format':'hex'}", "encoding_format: ");
}

/* ---- bodies ---- */

static void bodies_must_be_objects(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"", "the request has no body"},
                                           {"{", "the request is no JSON: "},
                                           {"[]", "the request must be a JSON object"},
                                           {"\"\\u0000\"", "the request"},
                                           {"{\"a\":\"\xff\"}", "the request is no JSON: "},
                                           {"{\"a\\u0000b\":1}", "the request is no JSON: "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_err err = {0};
        json_t *j;
        assert_int_equal(body_read(cases[i][0], strlen(cases[i][0]), &j, &err), KV_EINVAL);
        assert_null(j);
        if (strncmp(err.msg, cases[i][1], strlen(cases[i][1])))
            fail_msg("'%s' does not begin with '%s'", err.msg, cases[i][1]);
    }
}

/* A NUL is text like other characters where texts are carried with their lengths; elsewhere something would end at it. */
static void bodies_may_have_nul_in_what_was_said(void **state) {
    (void)state;
    static const struct {
        const char *text, *bad; /* NULL: it is taken */
    } cases[] = {
        {"{'messages':[{'role':'user','content':'a\\u0000b'}]}", NULL},
        {"{'messages':[{'content':[{'type':'text','text':'\\u0000'},'\\u0000']}]}", NULL},
        {"{'messages':[{'content':[{'type':'tool_use','input':{'any':['\\u0000']}}]}]}", NULL},
        {"{'messages':[{'tool_calls':[{'function':{'arguments':{'x':{'y':'\\u0000'}}}}]}]}", NULL},
        {"{'input':['\\u0000','a'],'prompt':'\\u0000','system':'\\u0000','instructions':'\\u0000'}", NULL},
        {"{'model':'a\\u0000b'}", "model: "},
        {"{'messages':[{'role':'user\\u0000','content':''}]}", "role: "},
        {"{'messages':[{'content':[{'type':'text\\u0000','text':''}]}]}", "type: "},
        {"{'input':[{'role':'user\\u0000','content':''}]}", "role: "},
        {"{'messages':[{'tool_calls':[{'function':{'name':'\\u0000'}}]}]}", "name: "},
        {"{'stop':['a','\\u0000']}", "stop: "},
        {"{'grammar':'root ::= \\u0000'}", "grammar: "},
        {"{'kv_context':'a\\u0000'}", "kv_context: "},
        {"{'tools':[{'function':{'parameters':{'properties':{'text':{'enum':['\\u0000']}}}}}]}", "enum: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *given = json_of(cases[i].text), *j;
        char *text = json_dumps(given, 0);
        kv_err err = {0};
        const kv_status st = body_read(text, strlen(text), &j, &err);
        if (!cases[i].bad != !st)
            fail_msg("%s: %s", cases[i].text, st ? err.msg : "taken");
        if (st && strncmp(err.msg, cases[i].bad, strlen(cases[i].bad)))
            fail_msg("%s: %s", cases[i].text, err.msg);
        assert_true(st || json_equal(given, j));
        json_decref(given);
        json_decref(j);
        free(text);
    }
    sv_request q = must_read(&sv_chat, "{'messages':[{'role':'system','content':'\\u0000'},{'role':'system','content':'s'},"
                                       "{'role':'user','content':['a\\u0000','b']}]}");
    same_json(q.messages, "[{'role':'system','content':'\\u0000\\n\\ns'},{'role':'user','content':'a\\u0000b'}]");
    request_free(&q);
    q = must_read(&sv_responses,
                  "{'input':[{'role':'user','content':'a'},{'type':'function_call','name':'f','arguments':'\\u0000}'}]}");
    assert_int_equal(json_string_length(inside(q.messages, "1.tool_calls.0.function.arguments")), 2);
    request_free(&q);
}

/* ---- Responses ---- */

static void responses_take_what_codex_sends(void **state) {
    (void)state;
    sv_request q = must_read(
        &sv_responses,
        "{'model':'m','instructions':'You are Codex.','store':false,'stream':true,'parallel_tool_calls':false,'include':[],"
        "'reasoning':{'effort':'medium','summary':'auto'},'prompt_cache_key':'k','text':{'verbosity':'low'},'tool_choice':'"
        "auto',"
        "'input':[{'type':'message','role':'developer','content':[{'type':'input_text','text':'Rules.'}]},"
        "{'type':'message','role':'user','content':[{'type':'input_text','text':'List files.'}]},"
        "{'type':'reasoning','summary':[],'encrypted_content':null},"
        "{'type':'function_call','name':'shell','arguments':'{\\'cmd\\':\\'ls\\'}','call_id':'c1'},"
        "{'type':'function_call_output','call_id':'c1','output':'a.txt'}],"
        "'tools':[{'type':'function','name':'shell','description':'d','strict':false,'parameters':{'type':'object'}},"
        "{'type':'web_search'},{'type':'custom','name':'apply_patch','format':{'type':'grammar'}},{'type':'local_shell'}]}");
    same_json(q.messages,
              "[{'role':'system','content':'You are Codex.\\n\\nRules.'},{'role':'user','content':'List files.'},"
              "{'role':'assistant','content':'','tool_calls':[{'type':'function','id':'c1','function':{'name':'shell',"
              "'arguments':'{\\'cmd\\':\\'ls\\'}'}}]},{'role':'tool','content':'a.txt','tool_call_id':'c1'}]");
    same_json(q.tools, "[{'type':'function','function':{'name':'shell','description':'d','parameters':{'type':'object'}}}]");
    assert_true(q.stream && q.one_call);
    request_free(&q);
}

static void responses_join_calls_to_their_message(void **state) {
    (void)state;
    sv_request q = must_read(&sv_responses, "{'input':[{'role':'user','content':'a'},{'role':'assistant','content':[{'type':"
                                            "'output_text','text':'b'}]},{'type':'function_call','name':'f','call_id':'1'},"
                                            "{'type':'function_call','name':'g','call_id':'2'}]}");
    assert_int_equal(json_array_size(q.messages), 2);
    assert_int_equal(json_array_size(inside(q.messages, "1.tool_calls")), 2);
    assert_string_equal(text_in(q.messages, "1.content"), "b");
    request_free(&q);
}

static void responses_refuse_what_is_not_stored(void **state) {
    (void)state;
    must_refuse(&sv_responses, "{'input':'a','previous_response_id':'resp_1'}", "previous_response_id: ");
    must_refuse(&sv_responses, "{'input':'a','conversation':'c'}", "conversation: ");
    must_refuse(&sv_responses, "{'input':[]}", "input: ");
    must_refuse(&sv_responses, "{'input':[{'type':'reasoning'}]}", "input: there is no message");
    sv_request q = must_read(&sv_responses, "{'input':'a','text':{'format':{'type':'json_schema','name':'n','schema':{}}}}");
    assert_true(q.rules == SV_RULES_SCHEMA);
    request_free(&q);
}

/* ---- Anthropic ---- */

static void messages_take_what_claude_code_sends(void **state) {
    (void)state;
    sv_request q = must_read(
        &sv_messages,
        "{'model':'claude','max_tokens':100,'stream':true,'metadata':{'user_id':'u'},'thinking':{'type':'enabled','budget_"
        "tokens':9},"
        "'system':[{'type':'text','text':'x-anthropic-billing-header: cc_version=2.1; cch=abc12;'},"
        "{'type':'text','text':'You are Claude Code.','cache_control':{'type':'ephemeral'}},{'type':'text','text':'Rules.'}],"
        "'messages':[{'role':'user','content':[{'type':'text','text':'Read it.','cache_control':{'type':'ephemeral'}}]},"
        "{'role':'assistant','content':[{'type':'thinking','thinking':'hm','signature':'s'},{'type':'text','text':'I read.'},"
        "{'type':'tool_use','id':'t1','name':'Read','input':{'path':'a'}}]},"
        "{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1','content':[{'type':'text','text':'text of a'}]},"
        "{'type':'text','text':'And?'}]}],"
        "'tools':[{'name':'Read','description':'d','input_schema':{'type':'object'}},{'type':'web_search_20250305','name':'web_"
        "search'}],"
        "'stop_sequences':['END'],'tool_choice':{'type':'auto','disable_parallel_tool_use':true}}");
    same_json(q.messages,
              "[{'role':'system','content':'You are Claude Code.\\n\\nRules.'},{'role':'user','content':'Read it.'},"
              "{'role':'assistant','content':'I read.','reasoning_content':'hm','tool_calls':[{'id':'t1','type':'function',"
              "'function':{'name':'Read','arguments':{'path':'a'}}}]},"
              "{'role':'tool','tool_call_id':'t1','content':'text of a'},{'role':'user','content':'And?'}]");
    same_json(q.tools, "[{'type':'function','function':{'name':'Read','description':'d','parameters':{'type':'object'}}}]");
    same_json(q.extra, "{'enable_thinking':true}");
    assert_true(q.n_predict == 100 && q.stream && q.n_stops == 1 && q.one_call && q.tool_choice == SV_TOOLS_AUTO);
    request_free(&q);
}

static void messages_may_ask_for_one_call(void **state) {
    (void)state;
    static const struct {
        const char *choice;
        bool one;
    } cases[] = {{"{'type':'auto'}", false},
                 {"{'type':'any','disable_parallel_tool_use':false}", false},
                 {"{'type':'any','disable_parallel_tool_use':null}", false},
                 {"{'type':'any','disable_parallel_tool_use':true}", true},
                 {"{'type':'tool','name':'f','disable_parallel_tool_use':true}", true}};
    static const char request[] =
        "{'max_tokens':9,'messages':[{'role':'user','content':'a'}],'tools':[{'name':'f'}],'tool_choice':%s}";
    char text[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, request, cases[i].choice);
        sv_request q = must_read(&sv_messages, text);
        assert_true(q.one_call == cases[i].one);
        request_free(&q);
    }
    snprintf(text, sizeof text, request, "{'type':'auto','disable_parallel_tool_use':'yes'}");
    must_refuse(&sv_messages, text, "tool_choice.disable_parallel_tool_use: ");
}

/* What changes in every request is no part of the prefix: all else is the same. */
static void messages_have_a_prefix_that_stays(void **state) {
    (void)state;
    sv_request q[2];
    for (int i = 0; i < 2; i++) {
        char text[512];
        snprintf(
            text, sizeof text,
            "{'max_tokens':1,'system':[{'type':'text','text':'x-anthropic-billing-header: cch=%d'},{'type':'text','text':'S'}],"
            "'messages':[{'role':'user','content':'a'}]}",
            i);
        q[i] = must_read(&sv_messages, text);
    }
    assert_true(json_equal(q[0].messages, q[1].messages));
    request_free(&q[0]);
    request_free(&q[1]);
}

static void messages_refuse_by_place(void **state) {
    (void)state;
    must_refuse(&sv_messages, "{'messages':[{'role':'user','content':'a'}]}", "max_tokens: is missing");
    must_refuse(&sv_messages, "{'max_tokens':1,'messages':[{'role':'tool','content':'a'}]}", "messages[0].role: ");
    must_refuse(&sv_messages, "{'max_tokens':1,'messages':[{'role':'user','content':[{'type':'image'}]}]}",
                "messages[0].content[0]: the model reads text only");
    must_refuse(&sv_messages, "{'max_tokens':1,'messages':[{'role':'user','content':[{'type':'tool_result'}]}]}",
                "messages[0].content[0]: a tool_result needs");
    must_refuse(&sv_messages, "{'max_tokens':1,'messages':[{'role':'user','content':'a'}],'tool_choice':'auto'}",
                "tool_choice: ");
    sv_request q = must_read(&sv_count, "{'messages':[{'role':'user','content':'a'}]}"); /* needs no max_tokens */
    request_free(&q);
}

/* ---- Ollama ---- */

static void ollama_takes_what_clients_send(void **state) {
    (void)state;
    sv_request q = must_read(
        &sv_ollama_chat,
        "{'model':'m:latest','messages':[{'role':'user','content':'a','images':null},{'role':'assistant','content':'',"
        "'tool_calls':[{'function':{'name':'f','arguments':{'x':1}}}]},{'role':'tool','tool_name':'f','content':'2'}],"
        "'options':{'temperature':0,'num_predict':4,'num_ctx':2048,'stop':['x'],'repeat_penalty':1.1,'seed':3},"
        "'keep_alive':'5m','format':'json','think':false,'tools':[{'type':'function','function':{'name':'f'}}]}");
    assert_true(q.stream); /* unless it says otherwise */
    assert_true(q.n_predict == 4 && q.sampling.temp == 0 && q.sampling.repeat_penalty == 1.1 && q.rules == SV_RULES_JSON);
    same_json(inside(q.messages, "1.tool_calls.0.function"), "{'name':'f','arguments':{'x':1}}");
    same_json(q.extra, "{'enable_thinking':false}");
    request_free(&q);
    q = must_read(&sv_ollama_chat, "{'model':'m','messages':[],'stream':false}");
    assert_true(q.load_only && !q.stream);
    request_free(&q);
    q = must_read(&sv_ollama_generate, "{'model':'m','prompt':'a','system':'S','format':{'type':'integer'},'context':[1,2]}");
    same_json(q.messages, "[{'role':'system','content':'S'},{'role':'user','content':'a'}]");
    assert_true(q.rules == SV_RULES_SCHEMA);
    request_free(&q);
    q = must_read(&sv_ollama_generate, "{'model':'m','prompt':'a','raw':true,'format':''}");
    assert_true(q.prompts && !q.messages && q.rules == SV_RULES_NONE);
    request_free(&q);
    must_refuse(&sv_ollama_chat, "{'messages':[{'role':'user','content':'a','images':['aa']}]}", "messages[0].images: ");
    must_refuse(&sv_ollama_generate, "{'prompt':'a','images':['aa']}", "images: ");
    must_refuse(&sv_ollama_generate, "{'prompt':'a','format':'yaml'}", "format: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_takes_what_clients_send),
        cmocka_unit_test(chat_takes_null_for_nothing),
        cmocka_unit_test(chat_prefers_max_completion_tokens),
        cmocka_unit_test(chat_keeps_calls_and_their_results),
        cmocka_unit_test(chat_may_ask_for_one_call),
        cmocka_unit_test(chat_joins_system_messages_at_the_beginning),
        cmocka_unit_test(chat_has_forms),
        cmocka_unit_test(chat_has_biases),
        cmocka_unit_test(chat_refuses_by_place),
        cmocka_unit_test(completions_take_texts_and_ids),
        cmocka_unit_test(embeddings_take_lists),
        cmocka_unit_test(bodies_must_be_objects),
        cmocka_unit_test(bodies_may_have_nul_in_what_was_said),
        cmocka_unit_test(responses_take_what_codex_sends),
        cmocka_unit_test(responses_join_calls_to_their_message),
        cmocka_unit_test(responses_refuse_what_is_not_stored),
        cmocka_unit_test(messages_take_what_claude_code_sends),
        cmocka_unit_test(messages_may_ask_for_one_call),
        cmocka_unit_test(messages_have_a_prefix_that_stays),
        cmocka_unit_test(messages_refuse_by_place),
        cmocka_unit_test(ollama_takes_what_clients_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
