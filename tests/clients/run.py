#!/usr/bin/env python3
"""The clients that people use, against kvrun serve: openai, anthropic, ollama, litellm, langchain-openai, langchain-ollama, llm.
Streaming and not, tools, JSON schemas, embeddings, errors.

usage: run.py BIN_DIR [MODEL]      with a Python that has the packages (pip install -r requirements.txt in a venv); those that
                                   are missing are skipped by name, and with none of them the exit code is 77.
                                   Without MODEL: SmolLM2, where scripts/fetch-model puts it
"""
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city.",
                                         "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}
ASK, WANT = "What is 2+2?", "4"
LONG = "word " * 20000
KEY = "a-key"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
COLD = {"temperature": 0}  # the newest clients of Anthropic have no argument of this name
tests = []


def client(package):
    def add(f):
        tests.append((package, f))
        return f
    return add


def is_person(text):
    p = json.loads(text)
    assert set(p) == {"name", "age"} and isinstance(p["age"], int), p


def raises(kind, words, f):
    try:
        f()
    except kind as e:
        assert all(w in str(e) for w in words), (words, str(e))
        return e
    raise AssertionError(f"nothing was raised: {words}")


# ---- openai ----

def oai(base, **more):
    import openai
    return openai.OpenAI(base_url=f"{base}/v1", api_key=more.pop("api_key", KEY), max_retries=0, timeout=60, **more)


@client("openai")
def openai_chat(base):
    c = oai(base)
    r = c.chat.completions.create(model="x", messages=[{"role": "user", "content": ASK}], temperature=0, max_tokens=30, seed=1)
    assert WANT in r.choices[0].message.content and r.choices[0].finish_reason == "stop", r
    assert r.choices[0].message.tool_calls is None and r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    again = c.chat.completions.create(model="x", messages=[{"role": "user", "content": [{"type": "text", "text": ASK}]}], temperature=0, max_tokens=30)
    assert again.choices[0].message.content == r.choices[0].message.content
    assert again.usage.prompt_tokens_details.cached_tokens > 0
    s = list(c.chat.completions.create(model="x", messages=[{"role": "user", "content": ASK}], temperature=0, max_tokens=30, stream=True,
                                       stream_options={"include_usage": True}))
    assert "".join(e.choices[0].delta.content or "" for e in s if e.choices) == r.choices[0].message.content
    assert [e for e in s if not e.choices] == s[-1:] and s[-1].usage.completion_tokens == r.usage.completion_tokens
    assert sum(bool(e.choices and e.choices[0].finish_reason) for e in s) == 1


@client("openai")
def openai_stop_n_logprobs(base):
    c = oai(base)
    r = c.chat.completions.create(model="x", messages=[{"role": "user", "content": "Count: one, two, three"}], temperature=0, max_tokens=40, stop=["Paris", "two"])
    assert "two" not in r.choices[0].message.content and r.choices[0].finish_reason == "stop", r
    r = c.chat.completions.create(model="x", messages=[{"role": "user", "content": ASK}], n=3, max_tokens=8, temperature=1.5, seed=5, logprobs=True, top_logprobs=2)
    assert [x.index for x in r.choices] == [0, 1, 2] and len({x.message.content for x in r.choices}) > 1, r
    for x in r.choices:
        assert "".join(t.token for t in x.logprobs.content).strip().startswith(x.message.content.strip()[:4])
        assert all(t.logprob <= 0 and len(t.top_logprobs) == 2 for t in x.logprobs.content)
    same = c.chat.completions.create(model="x", messages=[{"role": "user", "content": ASK}], n=3, max_tokens=8, temperature=1.5, seed=5)
    assert [x.message.content for x in same.choices] == [x.message.content for x in r.choices]
    never = c.chat.completions.create(model="x", messages=[{"role": "user", "content": ASK}], temperature=0, max_tokens=1)
    said = never.choices[0].message.content
    ids = json.loads(post(base, "/tokenize", {"content": said, "parse_special": False}))["tokens"]
    other = c.chat.completions.create(model="x", messages=[{"role": "user", "content": ASK}], temperature=0, max_tokens=1, logit_bias={str(ids[0]): -100})
    assert other.choices[0].message.content != said


@client("openai")
def openai_tools(base):
    c = oai(base)
    ask = [{"role": "user", "content": "What is the weather in Paris?"}]
    r = c.chat.completions.create(model="x", messages=ask, tools=[TOOL], tool_choice="required", temperature=0, max_tokens=80)
    call = r.choices[0].message.tool_calls[0]
    assert r.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather" and "city" in json.loads(call.function.arguments), r
    s = list(c.chat.completions.create(model="x", messages=ask, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}},
                                       temperature=0, max_tokens=80, stream=True))
    deltas = [d for e in s for d in e.choices[0].delta.tool_calls or []]
    assert deltas and all(d.index == 0 for d in deltas) and deltas[0].function.name == "get_weather"
    assert json.loads("".join(d.function.arguments or "" for d in deltas)) == json.loads(call.function.arguments)
    assert s[-1].choices[0].finish_reason == "tool_calls"
    with c.chat.completions.stream(model="x", messages=ask, tools=[TOOL], tool_choice="required", temperature=0, max_tokens=80) as stream:
        done = stream.get_final_completion()
    assert done.choices[0].message.tool_calls[0].function.name == "get_weather"
    back = ask + [r.choices[0].message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}]
    r = c.chat.completions.create(model="x", messages=back, tools=[TOOL], tool_choice="none", temperature=0, max_tokens=40)
    assert r.choices[0].message.content and not r.choices[0].message.tool_calls


@client("openai")
def openai_forms(base):
    c = oai(base)
    ask = [{"role": "user", "content": "Bob is five years old. Who is he?"}]
    r = c.chat.completions.create(model="x", messages=ask, temperature=0, max_tokens=80,
                                  response_format={"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": {**PERSON, "additionalProperties": False}}})
    is_person(r.choices[0].message.content)
    r = c.chat.completions.create(model="x", messages=ask, temperature=0, max_tokens=200, response_format={"type": "json_object"})
    assert r.choices[0].finish_reason == "length" or isinstance(json.loads(r.choices[0].message.content), dict)
    r = c.chat.completions.create(model="x", messages=ask, temperature=0, max_tokens=9, extra_body={"grammar": 'root ::= "yes" | "no"'})
    assert r.choices[0].message.content in ("yes", "no")
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str
        age: int
    r = c.chat.completions.parse(model="x", messages=ask, response_format=Person, temperature=0, max_tokens=80)
    assert isinstance(r.choices[0].message.parsed.age, int)


@client("openai")
def openai_texts(base):
    c = oai(base)
    r = c.completions.create(model="x", prompt=["The capital of France is", "One, two,"], temperature=0, max_tokens=4, logprobs=1)
    assert len(r.choices) == 2 and "Paris" in r.choices[0].text and len(r.choices[0].logprobs.tokens) == 4, r
    s = "".join(e.choices[0].text for e in c.completions.create(model="x", prompt="The capital of France is", temperature=0, max_tokens=4, stream=True))
    assert s == r.choices[0].text
    e = c.embeddings.create(model="x", input=["a cat", "a kitten", "tax law"])
    v = [d.embedding for d in e.data]
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert abs(dot(v[0], v[0]) - 1) < 1e-3 and dot(v[0], v[1]) > dot(v[0], v[2]), [dot(v[0], x) for x in v]
    f = c.embeddings.create(model="x", input="a cat", encoding_format="float").data[0].embedding
    assert max(abs(a - b) for a, b in zip(f, v[0])) < 1e-4
    assert c.models.list().data[0].id == c.models.retrieve(c.models.list().data[0].id).id


@client("openai")
def openai_responses(base):
    c = oai(base)
    r = c.responses.create(model="x", input=ASK, instructions=SYSTEM, temperature=0, max_output_tokens=30)
    assert r.status == "completed" and WANT in r.output_text and r.usage.output_tokens, r
    events = list(c.responses.create(model="x", input=ASK, instructions=SYSTEM, temperature=0, max_output_tokens=30, stream=True))
    assert events[0].type == "response.created" and events[0].response.created_at and events[0].response.model and events[-1].type == "response.completed"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == r.output_text == events[-1].response.output_text
    tool = {"type": "function", **TOOL["function"], "strict": False}
    r = c.responses.create(model="x", input="The weather in Paris?", tools=[tool, {"type": "web_search"}], tool_choice="required", temperature=0, max_output_tokens=80)
    call = [o for o in r.output if o.type == "function_call"][0]
    assert call.name == "get_weather" and "city" in json.loads(call.arguments)
    r = c.responses.create(model="x", input=[{"role": "user", "content": "The weather in Paris?"}, call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}],
                           tools=[tool], tool_choice="none", temperature=0, max_output_tokens=30)
    assert r.output_text
    import openai
    raises(openai.BadRequestError, ["previous_response_id"], lambda: c.responses.create(model="x", input="a", previous_response_id="resp_1"))


@client("openai")
def openai_errors(base):
    import openai
    c = oai(base)
    ask = [{"role": "user", "content": ASK}]
    e = raises(openai.BadRequestError, ["n_prompt_tokens", "n_ctx"], lambda: c.chat.completions.create(model="x", messages=[{"role": "user", "content": LONG}]))
    assert e.code == "context_length_exceeded" and e.body["n_prompt_tokens"] > e.body["n_ctx"], e.body
    raises(openai.BadRequestError, ["n_prompt_tokens"], lambda: list(c.chat.completions.create(model="x", messages=[{"role": "user", "content": LONG}], stream=True)))
    e = raises(openai.BadRequestError, ["no images"], lambda: c.chat.completions.create(model="x", messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]))
    assert e.param == "messages[0].content[0]", e.param
    raises(openai.AuthenticationError, ["key"], lambda: oai(base, api_key="wrong").chat.completions.create(model="x", messages=ask))
    raises(openai.NotFoundError, ["nothing"], lambda: c.post("/nothing", cast_to=object))


# ---- anthropic ----

@client("anthropic")
def anthropic_all(base):
    import anthropic
    c = anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0, timeout=60)
    ask = [{"role": "user", "content": ASK}]
    system = [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    r = c.messages.create(model="x", max_tokens=30, extra_body=COLD, system=system, messages=ask)
    assert WANT in r.content[0].text and r.stop_reason == "end_turn" and r.usage.output_tokens, r
    system[0]["text"] = "x-anthropic-billing-header: cch=2;"
    with c.messages.stream(model="x", max_tokens=30, extra_body=COLD, system=system, messages=ask) as s:
        assert "".join(s.text_stream) == r.content[0].text
        done = s.get_final_message()
    assert done.usage.cache_read_input_tokens > 0 and done.stop_reason == "end_turn", done
    n = c.messages.count_tokens(model="x", system=system, messages=ask)
    assert n.input_tokens == r.usage.input_tokens + r.usage.cache_read_input_tokens
    tools = [{"name": "get_weather", "description": "The weather.", "input_schema": TOOL["function"]["parameters"]}]
    ask = [{"role": "user", "content": "What is the weather in Paris?"}]
    r = c.messages.create(model="x", max_tokens=80, extra_body=COLD, messages=ask, tools=tools, tool_choice={"type": "any"})
    use = [b for b in r.content if b.type == "tool_use"][0]
    assert r.stop_reason == "tool_use" and "city" in use.input, r
    with c.messages.stream(model="x", max_tokens=80, extra_body=COLD, messages=ask, tools=tools, tool_choice={"type": "tool", "name": "get_weather"}) as s:
        assert [b for b in s.get_final_message().content if b.type == "tool_use"][0].input == use.input
    r = c.messages.create(model="x", max_tokens=30, extra_body=COLD, tools=tools, messages=ask + [{"role": "assistant", "content": [b.model_dump() for b in r.content]}, {
        "role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Sunny, 21 degrees."}]}], tool_choice={"type": "none"})
    assert r.content[0].text
    r = c.messages.create(model="x", max_tokens=40, extra_body=COLD, messages=[{"role": "user", "content": ASK}], stop_sequences=["classic"])
    assert r.stop_reason == "stop_sequence" and r.stop_sequence == "classic", r
    raises(anthropic.BadRequestError, ["n_prompt_tokens", "n_ctx"], lambda: c.messages.create(model="x", max_tokens=9, messages=[{"role": "user", "content": LONG}]))
    raises(anthropic.AuthenticationError, ["key"], lambda: anthropic.Anthropic(base_url=base, api_key="wrong", max_retries=0).messages.create(model="x", max_tokens=9, messages=ask))
    assert c.models.list().data[0].id


# ---- ollama ----

@client("ollama")
def ollama_all(base):
    import ollama
    c = ollama.Client(host=base, headers={"Authorization": f"Bearer {KEY}"})
    how = {"temperature": 0, "num_predict": 30}
    name = c.list().models[0].model
    r = c.chat(model=name, messages=[{"role": "user", "content": ASK}], options=how)
    assert WANT in r.message.content and r.done and r.done_reason == "stop" and r.eval_count and not r.message.tool_calls, r
    s = list(c.chat(model=name, messages=[{"role": "user", "content": ASK}], options=how, stream=True))
    assert "".join(e.message.content for e in s) == r.message.content and s[-1].done and not any(e.done for e in s[:-1])
    assert c.generate(model=name, prompt="The capital of France is", options=how, raw=True).response
    assert "".join(e.response for e in c.generate(model=name, prompt=ASK, options=how, stream=True)) == r.message.content
    r = c.chat(model=name, messages=[{"role": "user", "content": "Bob is five years old."}], format=PERSON, options={"temperature": 0, "num_predict": 80})
    is_person(r.message.content)
    r = c.chat(model=name, messages=[{"role": "user", "content": "Weather in Paris?"}], tools=[TOOL], options=how)
    for call in r.message.tool_calls or []:
        assert isinstance(call.function.arguments, dict) or hasattr(call.function.arguments, "keys")
    v = c.embed(model=name, input=["a cat", "a dog"])
    assert len(v.embeddings) == 2 and abs(sum(x * x for x in v.embeddings[0]) - 1) < 1e-3
    assert len(c.embeddings(model=name, prompt="a cat").embedding) == len(v.embeddings[0])
    assert "completion" in c.show(name).capabilities and "tools" in c.show(name).capabilities
    assert c.ps().models[0].model == name
    raises(ollama.ResponseError, ["n_prompt_tokens"], lambda: c.chat(model=name, messages=[{"role": "user", "content": LONG}]))
    raises(ollama.ResponseError, ["n_prompt_tokens"], lambda: list(c.chat(model=name, messages=[{"role": "user", "content": LONG}], stream=True)))


# ---- those that are built on them ----

@client("litellm")
def litellm_all(base):
    import litellm
    litellm.suppress_debug_info = True
    ask = [{"role": "user", "content": ASK}]
    for model, where in (("openai/x", f"{base}/v1"), ("anthropic/x", base)):
        common = dict(model=model, api_base=where, api_key=KEY, temperature=0, max_tokens=30)
        r = litellm.completion(messages=ask, **common)
        assert WANT in r.choices[0].message.content, r
        s = list(litellm.completion(messages=ask, stream=True, stream_options={"include_usage": True}, **common))
        assert "".join(e.choices[0].delta.content or "" for e in s if e.choices) == r.choices[0].message.content
        r = litellm.completion(messages=[{"role": "user", "content": "Weather in Paris?"}], tools=[TOOL], tool_choice="required", **{**common, "max_tokens": 80})
        assert r.choices[0].message.tool_calls[0].function.name == "get_weather", r
        s = list(litellm.completion(messages=[{"role": "user", "content": "Weather in Paris?"}], tools=[TOOL], tool_choice="required", stream=True, **{**common, "max_tokens": 80}))
        whole = litellm.stream_chunk_builder(s)
        assert "city" in json.loads(whole.choices[0].message.tool_calls[0].function.arguments), whole
        raises(litellm.BadRequestError, ["n_prompt_tokens"], lambda: litellm.completion(messages=[{"role": "user", "content": LONG}], **common))
    assert len(litellm.embedding(model="openai/x", api_base=f"{base}/v1", api_key=KEY, input=["a"]).data[0]["embedding"]) > 8


@client("langchain_openai")
def langchain_openai_all(base):
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    m = ChatOpenAI(base_url=f"{base}/v1", api_key=KEY, model="x", temperature=0, max_tokens=60, max_retries=0)
    r = m.invoke(ASK)
    assert WANT in r.content and r.usage_metadata["output_tokens"] and not r.tool_calls, r
    assert "".join(e.content for e in m.stream(ASK)) == r.content
    bound = m.bind_tools([TOOL], tool_choice="required")
    assert bound.invoke("Weather in Paris?").tool_calls[0]["name"] == "get_weather"
    whole = None
    for e in bound.stream("Weather in Paris?"):
        whole = e if whole is None else whole + e
    assert whole.tool_calls[0]["args"].get("city"), whole
    person = m.with_structured_output({"title": "Person", "description": "d", **PERSON, "additionalProperties": False}, method="json_schema").invoke("Bob is five years old.")
    assert isinstance(person["age"], int), person
    assert len(OpenAIEmbeddings(base_url=f"{base}/v1", api_key=KEY, model="x", check_embedding_ctx_length=False).embed_query("a")) > 8
    assert len(OpenAIEmbeddings(base_url=f"{base}/v1", api_key=KEY, model="x", tiktoken_enabled=False, check_embedding_ctx_length=False).embed_documents(["a", "b"])) == 2


@client("langchain_ollama")
def langchain_ollama_all(base):
    from langchain_ollama import ChatOllama, OllamaEmbeddings
    auth = {"headers": {"Authorization": f"Bearer {KEY}"}}
    m = ChatOllama(base_url=base, model="x", temperature=0, num_predict=40, client_kwargs=auth)
    r = m.invoke(ASK)
    assert WANT in r.content and not r.tool_calls and r.usage_metadata["output_tokens"], r
    assert "".join(e.content for e in m.stream(ASK)) == r.content
    m.bind_tools([TOOL]).invoke("Weather in Paris?")
    person = m.with_structured_output({"title": "Person", "description": "d", **PERSON}, method="json_schema").invoke("Bob is five years old.")
    assert isinstance(person["age"], int), person
    assert len(OllamaEmbeddings(base_url=base, model="x", client_kwargs=auth).embed_query("a")) > 8


@client("llm")
def llm_all(base):
    with tempfile.TemporaryDirectory() as d:
        pathlib.Path(d, "extra-openai-models.yaml").write_text(
            f"- model_id: here\n  model_name: x\n  api_base: {base}/v1\n  api_key_name: here\n  supports_tools: true\n  supports_schema: true\n")
        pathlib.Path(d, "keys.json").write_text(json.dumps({"here": KEY}))
        env = {**os.environ, "LLM_USER_PATH": d}
        llm = lambda *args, **more: subprocess.run([sys.executable, "-m", "llm", *args], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL, **more)
        for stream in ([], ["--no-stream"]):
            r = llm("prompt", "-m", "here", "-o", "temperature", "0", "-o", "max_tokens", "30", *stream, ASK)
            assert r.returncode == 0 and WANT in r.stdout, (r.stdout, r.stderr)
        r = llm("prompt", "-m", "here", "-o", "temperature", "0", "--schema", json.dumps(PERSON), "Bob is five years old.")
        assert r.returncode == 0, r.stderr
        is_person(r.stdout)
        r = llm("prompt", "-m", "here", LONG)
        assert r.returncode and "n_prompt_tokens" in r.stderr, r.stderr
        usage = json.loads(llm("logs", "-n", "1", "--json", "-m", "here").stdout)
        assert usage and usage[0]["input_tokens"], usage


# ---- the server ----

def post(base, path, body):
    ask = urllib.request.Request(base + path, json.dumps(body).encode(), {"Authorization": f"Bearer {KEY}"})
    return urllib.request.urlopen(ask, timeout=60).read()


def start(bin_dir, model, folder):
    log = open(pathlib.Path(folder, "log"), "w+")
    p = subprocess.Popen([pathlib.Path(bin_dir, "kvrun"), "serve", model, "--port", "0", "--api-key", KEY, "--contexts", pathlib.Path(folder, "contexts")],
                         stderr=log, stdout=log)
    for _ in range(600):
        said = pathlib.Path(folder, "log").read_text()
        found = re.search(r"at (http://\S+?),", said)
        if found:
            return p, found[1]
        if p.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"the server does not start: {said}")


def smollm2():
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("KV_MODEL_DIR") or pathlib.Path(cache, "kvcalib/models"), "SmolLM2-135M-Instruct.Q4_1.gguf")


def main():
    model = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else smollm2()
    here = [(p, f) for p, f in tests if importlib.util.find_spec(p)]
    for p in sorted({p for p, _ in tests} - {p for p, _ in here}):
        print(f"skipped: {p} is not installed")
    if not model.exists():
        print(f"skipped: no {model} (scripts/fetch-model gets it)")
        return 77
    if not here:
        return 77
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        server, base = start(sys.argv[1], model, folder)
        try:
            for package, f in here:
                began = time.time()
                try:
                    f(base)
                    print(f"passed: {f.__name__} ({time.time() - began:.1f} s)", flush=True)
                except Exception as e:  # noqa: BLE001: whatever a client makes of an answer
                    failed += 1
                    print(f"FAILED: {f.__name__}: {type(e).__name__}: {str(e)[:600]}", flush=True)
                assert server.poll() is None, "the server has ended"
        finally:
            server.terminate()
            code = server.wait(60)
    assert code == 0, code
    return int(failed > 0)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main())
