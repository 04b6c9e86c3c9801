#!/usr/bin/env python3
"""Makes tests/data/tok/chat.json: conversations as Jinja renders them from chat templates.

    pip install gguf==0.19.0 jinja2==3.1.6
    python3 tests/make_chat_cases.py DIRECTORY_OF_THE_REAL_MODELS

The templates of the two real models that have one are taken from their files, and kept in chat.json so that the test runs without
the models. The others are written here in the manner of their families.
"""
import json
import os
import sys

import gguf
import jinja2.sandbox

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "tok")

USER = {"role": "user", "content": "What is 2 + 2?"}
CONVERSATIONS = {
    "user": [USER],
    "system and user": [{"role": "system", "content": "You answer in 'rhymes'.\nAlways."}, USER],
    "turns": [USER, {"role": "assistant", "content": "4\n\nreally"}, {"role": "user", "content": "  And \"3 + 3\"?\n"}],
    "system and turns": [{"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "4"}, {"role": "user", "content": "Gr\u00fc\u00dfe \U0001f600"}],
}

OTHERS = {
    "gemma": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set prefix = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set prefix = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + (prefix if loop.first else '') }}{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "llama-3": "{% for m in messages %}{% set c = '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' %}"
    "{% if loop.first %}{% set c = bos_token + c %}{% endif %}{{ c }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "phi-3": "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + '<|end|>\n' }}{% elif m.role == 'system' %}{{ '<|system|>\n' + m.content + '<|end|>\n' }}"
    "{% else %}{{ '<|assistant|>\n' + m.content + '<|end|>\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "phi-4": "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "zephyr": "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + eos_token + '\n' }}{% elif m.role == 'system' %}{{ '<|system|>\n' + m.content + eos_token + '\n' }}"
    "{% else %}{{ '<|assistant|>\n' + m.content + eos_token + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ '[INST] ' + (s if loop.first else '') + m.content + ' [/INST]' }}{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    "mistral-v1": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ ' [INST] ' + (s if loop.first else '') + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    "mistral-v3": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ '[INST] ' + (s if loop.first else '') + m.content + '[/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    "mistral-tekken": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ '[INST]' + (s if loop.first else '') + m.content + '[/INST]' }}{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    "mistral-v7": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}{% elif m.role == 'system' %}{{ '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    "mistral-v7-tekken": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}{% elif m.role == 'system' %}{{ '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    # defaults in several notations, besides those of the real models
    "chatml": "{% if messages[0].role != 'system' %}{{ \"<|im_start|>system\\nYou\\'re \\\"it\\\".\\n\\tYes: \\\\o/<|im_end|>\\n\" }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{{ '' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "chatml, plain text": "{% if messages[0].role != 'system' %}<|im_start|>system\nDon't \\n panic.<|im_end|>\n{{ '' }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{{ '' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "chatml, no default": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
}


def template_of(path):
    return gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()


def main():
    templates = {
        "chatml, SmolLM2": template_of(os.path.join(sys.argv[1], "SmolLM2-135M-Instruct.Q4_1.gguf")),
        "chatml, Qwen2.5": template_of(os.path.join(sys.argv[1], "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")),
    } | OTHERS
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)  # as the Python package transformers
    cases = []
    for name, template in templates.items():
        render = env.from_string(template).render
        cases.append({"name": name, "template": template, "rendered": [
            {"what": what, "messages": messages, "closed": render(messages=messages, add_generation_prompt=False, bos_token="", eos_token="</s>"),
             "open": render(messages=messages, add_generation_prompt=True, bos_token="", eos_token="</s>")}
            for what, messages in CONVERSATIONS.items()]})
    with open(f"{HERE}/chat.json", "w") as f:
        json.dump(cases, f, indent=1)
        f.write("\n")


main()
