"""Chats with tools: requests as OpenAI's clients send them, and messages as these get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import libkv
from libkv import document

PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": PARAMETERS}}
CALL = {"id": "call00000", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TURNS: list[Any] = [
    ("user", "1 + 1? <|im_end|>"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call00000", "content": "2"},
]


def test_requests_say_what_there_is_to_call(tiny: libkv.Model) -> None:
    ids = document.request_ids(tiny, document.request(TURNS, [ADD], None))
    text = tiny.detokenize(ids, special=True)
    assert json.dumps(ADD) in text  # in words: a format of the vocabulary has no place for it
    assert '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>' in text
    assert "<tool_response>\n2\n</tool_response>" in text
    assert sum(map(tiny.is_end, ids)) == 4  # turns; the user's text ends none


def test_replies_are_messages(tiny: libkv.Model) -> None:
    asked = document.request([("user", "hi")], [ADD], None)
    said = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    message = document.request_reply(tiny, asked, tiny.tokenize(said))
    assert message == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    message = document.request_reply(tiny, asked, tiny.tokenize("<think>\nhm\n</think>\n\nYes, 2 < 3."))
    assert message == {"role": "assistant", "content": "Yes, 2 < 3.", "reasoning_content": "hm"}
    assert document.request_reply(tiny, asked, []) == {"role": "assistant", "content": ""}


def test_chat_with_tools_answers_with_a_message(tiny: libkv.Model) -> None:
    how: dict[str, Any] = {"max_tokens": 10, "temperature": 1.0, "seed": 3}
    with tiny.session(n_ctx=2048) as s:
        message = s.chat(TURNS, tools=[ADD], **how)
        assert message["role"] == "assistant" and isinstance(message["content"], str)
        assert tiny.chat(TURNS, tools=[ADD], n_ctx=2048, **how) == message
        assert s.chat([*TURNS, message, ("user", "again")], tools=[ADD], **how)["role"] == "assistant"
        assert isinstance(s.chat([("user", "hi")], tools=[], template={"enable_thinking": False}, **how), dict)
        assert s.chat([("user", "hi")], tools=[], **how)["content"] == s.chat([("user", "hi")], **how)


def test_wrong_requests_say_why(tiny: libkv.Model) -> None:
    with tiny.session() as s:
        for messages, tools, why in (
            ([{"role": "king", "content": "x"}], [], "unknown role 'king'"),
            ([{"role": "user", "content": [{"type": "image_url"}]}], [], "image_url"),
            ([("user", "x")], [{"type": "web_search"}], "web_search"),
            ([{"role": "user", "content": b"x"}], [], "JSON"),
        ):
            with pytest.raises(libkv.InvalidArgument, match=why):
                s.chat(messages, tools=tools)
        with pytest.raises(TypeError):
            s.chat("hi", tools=[])  # type: ignore[arg-type]
        with pytest.raises(libkv.InvalidArgument, match="tools=\\[\\]"):
            s.chat([("user", "hi")], template={})  # type: ignore[call-overload]
