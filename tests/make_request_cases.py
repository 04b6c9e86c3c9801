#!/usr/bin/env python3
"""Makes tests/data/request.json: requests as clients send them, and what jinja2 makes of the messages that transformers would be
given.

    pip install jinja2==3.1.6
    python3 tests/make_request_cases.py

The templates are written here in the manner of families; tests/chats tries real ones.
"""
import importlib.machinery
import importlib.util
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def module(name):
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / name))
    out = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(out)
    return out


chats = module("chats")

CALL = "<tool_call>\n{\"name\": \"' + c.function.name + '\", \"arguments\": '"
TEMPLATES = {
    "hermes": "{% if tools %}<|im_start|>system\n{% if messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}# Tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% elif m.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% if m.reasoning_content %}{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls %}{{ '\\n<tool_call>\\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}{{ c.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}"
    "{% elif m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}{{ '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}",
    "thinking": "{% for m in messages %}<|{{ m.role }}|>{% if m.thinking %}<think>{{ m.thinking }}</think>{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}",
    "mistral, nine": "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}"
    "{% for m in rest %}{% if m.role == 'user' %}{% if tools and loop.last or tools and rest[-1].role != 'user' and loop.first %}{{ '[AVAILABLE_TOOLS]' + (tools | map(attribute='function') | list | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}"
    "{{ '[INST]' + ((s + '\\n\\n') if s and loop.first else '') + m.content + '[/INST]' }}{% elif m.tool_calls %}{{ '[TOOL_CALLS][' }}{% for c in m.tool_calls %}{% if c.id is not defined or c.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
    "{{ '{\"name\": \"' + c.function.name + '\", \"arguments\": ' + (c.function.arguments | tojson) + ', \"id\": \"' + c.id + '\"}' }}{{ ', ' if not loop.last else ']' + eos_token }}{% endfor %}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}{% elif m.role == 'tool' %}{% if m.tool_call_id is not defined or m.tool_call_id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
    "{{ '[TOOL_RESULTS]{\"content\": ' + (m.content | tojson) + ', \"call_id\": \"' + m.tool_call_id + '\"}[/TOOL_RESULTS]' }}{% endif %}{% endfor %}",
    "llama, one call": "{{ bos_token }}{% if tools %}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}{% for t in tools %}{{ t | tojson(indent=4) + '\\n\\n' }}{% endfor %}{{ '<|eot_id|>' }}{% endif %}"
    "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}{% set f = m.tool_calls[0].function %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n{\"name\": \"' + f.name + '\", \"parameters\": ' + (f.arguments | tojson) + '}<|eot_id|>' }}"
    "{% elif m.role == 'tool' %}{{ '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + (m.content | tojson) + '<|eot_id|>' }}{% else %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "arguments as text": "{% for t in tools or [] %}{{ '// ' + t.function.name + ': ' + (t.function.parameters.properties | list | join(', ')) + '\\n' }}{% endfor %}{% for m in messages %}<|{{ m.role }}|>{% if m.name %}{{ m.name + ':' }}{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '>>>' + c.function.name + '\\n' + c.function.arguments }}{% endfor %}{{ '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
}

EXTRA = {"hermes": [None, {"enable_thinking": False}]}


def main():
    env = chats.templates.environment()
    cases = []
    for name, source in TEMPLATES.items():
        template = env.from_string(source)
        t = chats.traits(template)
        odd = json.loads(json.dumps(list(chats.requests_of())[5]).replace("call0000", "chatcmpl-tool-0123456789abcde")) if name == "mistral, nine" else None
        long_ids = [("ids of another server", odd[1], list(chats.requests_of())[5][2])] if odd else []
        for what, sent, given in list(chats.requests_of()) + long_ids:
            if "thinking" == name and "call" in json.dumps(sent):
                continue
            given = chats.name_thoughts(source, given)
            given = chats.with_text_arguments(given) if t.texts else given
            given = chats.split_calls(given) if t.one_call else given
            for extra in EXTRA.get(name, [None]):
                tools = None if name == "thinking" else chats.TOOLS
                text = template.render(bos_token="<s>", eos_token="</s>", documents=None, messages=given, tools=tools, add_generation_prompt=True, **(extra or {}))
                cases.append({"template": name, "what": what, "messages": sent, "extra": extra, "tools": tools is not None, "text": text})
    with open(HERE / "data" / "request.json", "w", encoding="utf-8") as f:
        json.dump({"templates": TEMPLATES, "tools": chats.TOOLS, "cases": cases}, f, indent=1)
        f.write("\n")
    print(len(cases), "cases")


main()
