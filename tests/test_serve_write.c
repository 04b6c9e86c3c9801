/* What clients of the server get, event by event: what each client is known to need of it. */
#include "serve_fixture.h"

#define CHAT "{'messages':[{'role':'user','content':'a'}]"

/* ---- OpenAI's chat ---- */

static void chat_answers_whole(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_chat, CHAT "}", 1);
    happens(&a, SV_THOUGHT, "hm");
    happens(&a, SV_CONTENT, "Hello");
    happens(&a, SV_CONTENT, ", \303\244");
    end_answer(&a, SV_WHY_STOP, NULL);
    json_t *j = whole_answer(&a);
    assert_string_equal(text_in(j, "object"), "chat.completion");
    assert_string_equal(text_in(j, "model"), "tiny");
    same_json(inside(j, "choices.0.message"),
              "{'role':'assistant','content':'Hello, \303\244','reasoning_content':'hm','refusal':null}");
    assert_string_equal(text_in(j, "choices.0.finish_reason"), "stop");
    same_json(inside(j, "usage"),
              "{'prompt_tokens':10,'completion_tokens':3,'total_tokens':13,'prompt_tokens_details':{'cached_tokens':4}}");
    assert_true(json_number_value(inside(j, "timings.predicted_per_second")) == 3);
    json_decref(j);
    end_of(&a);
}

/* Every piece has its index, arguments are text, there is one finish_reason, and choices are empty in one chunk at most. */
static void chat_streams_calls(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_chat, CHAT ",'stream':true,'stream_options':{'include_usage':true}}", 1);
    happens(&a, SV_CONTENT, "Let me look.");
    for (uint32_t i = 0; i < 2; i++) {
        writer_event(&a.w, &(sv_event){.kind = SV_CALL, .call = i, .text = "look", .len = 4});
        writer_event(&a.w, &(sv_event){.kind = SV_ARGUMENTS, .call = i, .text = "{\"x\":", .len = 5});
        writer_event(&a.w, &(sv_event){.kind = SV_ARGUMENTS, .call = i, .text = "1}", .len = 2});
        writer_event(&a.w, &(sv_event){.kind = SV_CALL_END, .call = i});
    }
    end_answer(&a, SV_WHY_CALLS, NULL);
    json_t *all = stream_events(&a), *e;
    char arguments[2][32] = {"", ""}, ids[2][64] = {"", ""};
    size_t i, finished = 0, empty = 0;
    json_array_foreach(all, i, e) {
        if (json_is_string(e))
            continue;
        assert_string_equal(text_in(e, "object"), "chat.completion.chunk");
        empty += !json_array_size(inside(e, "choices"));
        finished += json_is_string(inside(e, "choices.0.finish_reason"));
        const json_t *calls = inside(e, "choices.0.delta.tool_calls");
        if (!calls)
            continue;
        const json_t *index = inside(calls, "0.index");
        assert_true(json_is_integer(index) && json_integer_value(index) < 2);
        if (text_in(calls, "0.id")) {
            snprintf(ids[json_integer_value(index)], 64, "%s", text_in(calls, "0.id"));
            assert_string_equal(text_in(calls, "0.function.name"), "look");
            assert_string_equal(text_in(calls, "0.type"), "function");
        }
        strcat(arguments[json_integer_value(index)], text_in(calls, "0.function.arguments"));
    }
    assert_string_equal(arguments[0], "{\"x\":1}");
    assert_string_equal(arguments[1], "{\"x\":1}");
    assert_true(*ids[0] && *ids[1] && strcmp(ids[0], ids[1]));
    assert_true(finished == 1 && empty == 1);
    const size_t n = json_array_size(all);
    assert_string_equal(json_string_value(json_array_get(all, n - 1)), "[DONE]");
    assert_int_equal(json_integer_value(inside(json_array_get(all, n - 2), "usage.total_tokens")), 13);
    assert_string_equal(text_in(json_array_get(all, n - 3), "choices.0.finish_reason"), "tool_calls");
    assert_string_equal(text_in(json_array_get(all, 0), "choices.0.delta.role"), "assistant");
    json_decref(all);
    end_of(&a);
}

static void chat_streams_no_usage_unasked(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_chat, CHAT ",'stream':true}", 1);
    happens(&a, SV_CONTENT, "x");
    end_answer(&a, SV_WHY_LENGTH, NULL);
    json_t *all = stream_events(&a), *e;
    size_t i;
    json_array_foreach(all, i, e) {
        assert_null(json_object_get(e, "usage"));
        assert_true(json_is_string(e) || json_array_size(inside(e, "choices")) == 1);
    }
    assert_string_equal(text_in(json_array_get(all, i - 2), "choices.0.finish_reason"), "length");
    json_decref(all);
    end_of(&a);
}

static void chat_has_no_empty_list_of_calls(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_chat, CHAT "}", 1);
    end_answer(&a, SV_WHY_STOP, NULL);
    json_t *j = whole_answer(&a);
    assert_null(inside(j, "choices.0.message.tool_calls"));
    assert_string_equal(text_in(j, "choices.0.message.content"), ""); /* not null: there are no calls */
    json_decref(j);
    end_of(&a);
    begin_answer(&a, &sv_chat, CHAT "}", 1);
    writer_event(&a.w, &(sv_event){.kind = SV_CALL, .text = "f", .len = 1});
    happens(&a, SV_ARGUMENTS, "{}");
    end_answer(&a, SV_WHY_CALLS, NULL);
    j = whole_answer(&a);
    assert_true(json_is_null(inside(j, "choices.0.message.content")));
    assert_string_equal(text_in(j, "choices.0.message.tool_calls.0.function.arguments"), "{}");
    json_decref(j);
    end_of(&a);
}

static void chat_tells_logprobs_and_progress(void **state) {
    (void)state;
    answering a;
    const sv_logprob top[] = {{"\303", 1, -0.5f}, {"x", 1, -1.5f}};
    const sv_token t = {{"\303", 1, -0.5f}, top, 2};
    const sv_usage u = {.prompt = 10, .cached = 4, .read = 6};
    begin_answer(&a, &sv_chat, CHAT ",'stream':true,'logprobs':true,'top_logprobs':2}", 1);
    writer_event(&a.w, &(sv_event){.kind = SV_PROGRESS, .usage = &u});
    writer_event(&a.w, &(sv_event){.kind = SV_CONTENT, .text = "", .len = 0, .tokens = &t, .n_tokens = 1});
    json_t *all = stream_events(&a);
    const json_t *progress = inside(json_array_get(all, 1), "prompt_progress"),
                 *l = inside(json_array_get(all, 2), "choices.0.logprobs");
    assert_int_equal(json_integer_value(inside(progress, "processed")), 6);
    assert_int_equal(json_integer_value(inside(progress, "total")), 10);
    assert_string_equal(text_in(l, "content.0.token"), "\357\277\275"); /* half a character: the bytes say which */
    same_json(inside(l, "content.0.bytes"), "[195]");
    assert_int_equal(json_array_size(inside(l, "content.0.top_logprobs")), 2);
    json_decref(all);
    end_of(&a);
}

static void chat_ends_a_stream_with_an_error(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_chat, CHAT ",'stream':true}", 1);
    writer_event(&a.w, &(sv_event){.kind = SV_ERROR, .text = "no", .len = 2, .status = KV_ENOMEM});
    happens(&a, SV_CONTENT, "late");
    json_t *all = stream_events(&a);
    assert_int_equal(json_array_size(all), 2);
    assert_string_equal(text_in(all, "1.error.message"), "no");
    json_decref(all);
    end_of(&a);
}

static void errors_have_their_dialects_shape(void **state) {
    (void)state;
    json_t *j = openai_error(400, KV_ERANGE, "the prompt does not fit: n_prompt_tokens = 5000, n_ctx = 4096");
    assert_string_equal(text_in(j, "error.type"), "exceed_context_size_error");
    assert_string_equal(text_in(j, "error.code"), "context_length_exceeded");
    assert_int_equal(json_integer_value(inside(j, "error.n_prompt_tokens")), 5000);
    assert_int_equal(json_integer_value(inside(j, "error.n_ctx")), 4096);
    json_decref(j);
    j = openai_error(400, KV_EINVAL, "messages[2].content: must be");
    same_json(j,
              "{'error':{'message':'messages[2].content: must be','type':'invalid_request_error','param':'messages[2].content',"
              "'code':null}}");
    json_decref(j);
    j = anthropic_error(429, KV_EBUSY, "later");
    same_json(j, "{'type':'error','error':{'type':'rate_limit_error','message':'later'}}");
    json_decref(j);
    j = ollama_error(404, KV_EINVAL, "no");
    same_json(j, "{'error':'no'}");
    json_decref(j);
}

/* ---- completions and embeddings ---- */

static void completions_have_four_lists(void **state) {
    (void)state;
    answering a;
    const sv_logprob top[] = {{"He", 2, -0.5f}};
    const sv_token t[] = {{{"He", 2, -0.5f}, top, 1},
                          {{
                               "y",
                               1,
                               -1,
                           },
                           NULL,
                           0}};
    begin_answer(&a, &sv_completions, "{'prompt':'P','logprobs':1}", 1);
    writer_event(&a.w, &(sv_event){.kind = SV_CONTENT, .text = "He", .len = 2, .tokens = &t[0], .n_tokens = 1});
    writer_event(&a.w, &(sv_event){.kind = SV_CONTENT, .text = "y", .len = 1, .tokens = &t[1], .n_tokens = 1});
    end_answer(&a, SV_WHY_LENGTH, NULL);
    json_t *j = whole_answer(&a);
    assert_string_equal(text_in(j, "choices.0.text"), "Hey");
    same_json(inside(j, "choices.0.logprobs"),
              "{'tokens':['He','y'],'token_logprobs':[-0.5,-1.0],'top_logprobs':[{'He':-0.5},{}],"
              "'text_offset':[0,2]}");
    json_decref(j);
    end_of(&a);
    begin_answer(&a, &sv_completions, "{'prompt':'P','echo':true}", 1);
    happens(&a, SV_CONTENT, "x");
    end_answer(&a, SV_WHY_STOP, NULL);
    j = whole_answer(&a);
    assert_string_equal(text_in(j, "choices.0.text"), "Px");
    json_decref(j);
    end_of(&a);
}

static void embeddings_are_lists_or_base64(void **state) {
    (void)state;
    const float v[] = {1, -2};
    for (int packed = 0; packed < 2; packed++) {
        answering a;
        begin_answer(&a, &sv_embeddings, packed ? "{'input':'a','encoding_format':'base64'}" : "{'input':['a']}", 1);
        writer_event(&a.w, &(sv_event){.kind = SV_VECTOR, .vector = v, .n_vector = 2});
        end_answer(&a, SV_WHY_LENGTH, NULL);
        json_t *j = whole_answer(&a);
        if (packed) /* 00 00 80 3f 00 00 00 c0, as Python's base64 has it */
            assert_string_equal(text_in(j, "data.0.embedding"), "AACAPwAAAMA=");
        else
            same_json(inside(j, "data"), "[{'object':'embedding','index':0,'embedding':[1.0,-2.0]}]");
        same_json(inside(j, "usage"), "{'prompt_tokens':10,'total_tokens':10}");
        json_decref(j);
        end_of(&a);
    }
}

/* ---- Responses ---- */

static void responses_stream_items(void **state) {
    (void)state;
    static const char *const wanted[] = {"response.created",
                                         "response.in_progress",
                                         "response.output_item.added",
                                         "response.reasoning_text.delta",
                                         "response.reasoning_text.done",
                                         "response.output_item.done",
                                         "response.output_item.added",
                                         "response.content_part.added",
                                         "response.output_text.delta",
                                         "response.output_text.delta",
                                         "response.output_text.done",
                                         "response.content_part.done",
                                         "response.output_item.done",
                                         "response.output_item.added",
                                         "response.function_call_arguments.delta",
                                         "response.function_call_arguments.done",
                                         "response.output_item.done",
                                         "response.completed"};
    answering a;
    begin_answer(&a, &sv_responses, "{'input':'a','stream':true,'parallel_tool_calls':false}", 1);
    happens(&a, SV_THOUGHT, "hm");
    happens(&a, SV_CONTENT, "He");
    happens(&a, SV_CONTENT, "y");
    happens(&a, SV_CALL, "f");
    happens(&a, SV_ARGUMENTS, "{}");
    happens(&a, SV_CALL_END, "");
    end_answer(&a, SV_WHY_CALLS, NULL);
    json_t *all = stream_events(&a);
    assert_int_equal(json_array_size(all), sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *e = json_array_get(all, i);
        assert_string_equal(text_in(e, "type"), wanted[i]);
        assert_int_equal(json_integer_value(inside(e, "sequence_number")), i);
    }
    assert_int_equal(json_integer_value(inside(all, "0.response.created_at")), 1700000000);
    assert_string_equal(text_in(all, "0.response.model"), "tiny");
    assert_true(json_is_false(inside(all, "0.response.parallel_tool_calls"))); /* as it was asked for */
    assert_string_equal(text_in(all, "10.text"), "Hey");
    assert_int_equal(json_integer_value(inside(all, "13.output_index")), 2);
    const json_t *done = inside(all, "17.response");
    assert_string_equal(text_in(done, "status"), "completed");
    assert_int_equal(json_array_size(inside(done, "output")), 3);
    assert_string_equal(text_in(done, "output.1.content.0.text"), "Hey");
    assert_string_equal(text_in(done, "output.2.name"), "f");
    assert_string_equal(text_in(done, "output.2.arguments"), "{}");
    assert_string_equal(text_in(done, "output.2.call_id"), text_in(all, "13.item.call_id"));
    assert_int_equal(json_integer_value(inside(done, "usage.input_tokens_details.cached_tokens")), 4);
    json_decref(all);
    end_of(&a);
}

static void responses_say_when_they_are_cut_or_fail(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_responses, "{'input':'a'}", 1);
    happens(&a, SV_CONTENT, "x");
    end_answer(&a, SV_WHY_LENGTH, NULL);
    json_t *j = whole_answer(&a);
    assert_string_equal(text_in(j, "status"), "incomplete");
    assert_string_equal(text_in(j, "incomplete_details.reason"), "max_output_tokens");
    json_decref(j);
    end_of(&a);
    begin_answer(&a, &sv_responses, "{'input':'a','stream':true}", 1);
    writer_event(&a.w, &(sv_event){.kind = SV_ERROR, .text = "no", .len = 2, .status = KV_ENOMEM});
    j = stream_events(&a);
    assert_string_equal(text_in(j, "2.type"), "response.failed");
    assert_string_equal(text_in(j, "2.response.error.message"), "no");
    json_decref(j);
    end_of(&a);
}

/* ---- Anthropic ---- */

static void messages_stream_blocks(void **state) {
    (void)state;
    static const char *const wanted[] = {"message_start",       "ping",
                                         "content_block_start", "content_block_delta",
                                         "content_block_stop",  "content_block_start",
                                         "content_block_delta", "content_block_stop",
                                         "content_block_start", "content_block_delta",
                                         "content_block_stop",  "message_delta",
                                         "message_stop"};
    answering a;
    begin_answer(&a, &sv_messages, "{'max_tokens':9,'stream':true,'messages':[{'role':'user','content':'a'}]}", 1);
    happens(&a, SV_THOUGHT, "hm");
    happens(&a, SV_CONTENT, "Hey");
    happens(&a, SV_CALL, "f");
    happens(&a, SV_ARGUMENTS, "{\"x\":1}");
    happens(&a, SV_CALL_END, "");
    end_answer(&a, SV_WHY_CALLS, NULL);
    json_t *all = stream_events(&a);
    assert_int_equal(json_array_size(all), sizeof wanted / sizeof *wanted);
    for (size_t i = 0; i < json_array_size(all); i++)
        assert_string_equal(text_in(json_array_get(all, i), "type"), wanted[i]);
    same_json(inside(all, "0.message.usage"), "{'input_tokens':10,'cache_creation_input_tokens':0,'cache_read_input_tokens':0,"
                                              "'output_tokens':0}");
    same_json(inside(all, "3.delta"), "{'type':'thinking_delta','thinking':'hm'}");
    same_json(inside(all, "6.delta"), "{'type':'text_delta','text':'Hey'}");
    same_json(inside(all, "8.content_block.input"), "{}");
    same_json(inside(all, "9.delta"), "{'type':'input_json_delta','partial_json':'{\\'x\\':1}'}");
    assert_int_equal(json_integer_value(inside(all, "9.index")), 2);
    same_json(inside(all, "11.delta"), "{'stop_reason':'tool_use','stop_sequence':null}");
    same_json(inside(all, "11.usage"),
              "{'input_tokens':6,'cache_creation_input_tokens':0,'cache_read_input_tokens':4,'output_tokens':3}");
    json_decref(all);
    end_of(&a);
}

static void messages_answer_whole(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_messages, "{'max_tokens':9,'messages':[{'role':'user','content':'a'}]}", 1);
    happens(&a, SV_CONTENT, "Hey");
    writer_event(&a.w, &(sv_event){.kind = SV_CALL, .text = "f", .len = 1});
    happens(&a, SV_ARGUMENTS, "{\"x\":1}");
    end_answer(&a, SV_WHY_CALLS, NULL);
    json_t *j = whole_answer(&a);
    same_json(inside(j, "content.0"), "{'type':'text','text':'Hey'}");
    same_json(inside(j, "content.1.input"), "{'x':1}");
    assert_string_equal(text_in(j, "stop_reason"), "tool_use");
    json_decref(j);
    end_of(&a);
    begin_answer(&a, &sv_messages, "{'max_tokens':9,'messages':[{'role':'user','content':'a'}],'stop_sequences':['END']}", 1);
    end_answer(&a, SV_WHY_STOP, "END");
    j = whole_answer(&a);
    assert_string_equal(text_in(j, "stop_reason"), "stop_sequence");
    assert_string_equal(text_in(j, "stop_sequence"), "END");
    json_decref(j);
    end_of(&a);
}

/* ---- Ollama ---- */

static void ollama_streams_lines(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_ollama_chat, "{'messages':[{'role':'user','content':'a'}]}", 1);
    happens(&a, SV_THOUGHT, "hm");
    happens(&a, SV_CONTENT, "Hey");
    happens(&a, SV_CALL, "f");
    happens(&a, SV_ARGUMENTS, "{\"x\":");
    happens(&a, SV_ARGUMENTS, "1}");
    happens(&a, SV_CALL_END, "");
    end_answer(&a, SV_WHY_CALLS, NULL);
    json_t *all = stream_events(&a);
    assert_int_equal(json_array_size(all), 4);
    assert_string_equal(text_in(all, "0.created_at"), "2023-11-14T22:13:20.000000Z");
    same_json(inside(all, "0.message"), "{'role':'assistant','content':'','thinking':'hm'}");
    same_json(inside(all, "1.message"), "{'role':'assistant','content':'Hey'}"); /* no tool_calls where there are none */
    same_json(inside(all, "2.message.tool_calls.0.function.arguments"), "{'x':1}");
    assert_true(json_is_true(inside(all, "3.done")) && json_is_false(inside(all, "2.done")));
    assert_string_equal(text_in(all, "3.done_reason"), "stop");
    assert_int_equal(json_integer_value(inside(all, "3.prompt_eval_count")), 10);
    assert_int_equal(json_integer_value(inside(all, "3.eval_duration")), 1000000000);
    json_decref(all);
    end_of(&a);
}

static void ollama_answers_whole(void **state) {
    (void)state;
    answering a;
    begin_answer(&a, &sv_ollama_generate, "{'prompt':'a','stream':false}", 1);
    happens(&a, SV_CONTENT, "Hey");
    end_answer(&a, SV_WHY_LENGTH, NULL);
    json_t *j = whole_answer(&a);
    assert_string_equal(text_in(j, "response"), "Hey");
    assert_string_equal(text_in(j, "done_reason"), "length");
    json_decref(j);
    end_of(&a);
    begin_answer(&a, &sv_ollama_chat, "{'messages':[],'stream':false}", 1);
    end_answer(&a, SV_WHY_STOP, NULL);
    j = whole_answer(&a);
    assert_string_equal(text_in(j, "done_reason"), "load");
    assert_null(inside(j, "message.tool_calls"));
    json_decref(j);
    end_of(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_answers_whole),
        cmocka_unit_test(chat_streams_calls),
        cmocka_unit_test(chat_streams_no_usage_unasked),
        cmocka_unit_test(chat_has_no_empty_list_of_calls),
        cmocka_unit_test(chat_tells_logprobs_and_progress),
        cmocka_unit_test(chat_ends_a_stream_with_an_error),
        cmocka_unit_test(errors_have_their_dialects_shape),
        cmocka_unit_test(completions_have_four_lists),
        cmocka_unit_test(embeddings_are_lists_or_base64),
        cmocka_unit_test(responses_stream_items),
        cmocka_unit_test(responses_say_when_they_are_cut_or_fail),
        cmocka_unit_test(messages_stream_blocks),
        cmocka_unit_test(messages_answer_whole),
        cmocka_unit_test(ollama_streams_lines),
        cmocka_unit_test(ollama_answers_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
