"""What a model sees of chats and documents, as token ids.

A document and the question about it are one turn of the user: head (start of the turn, what this is, the document) and tail
(the question, start of the assistant's turn), as ``kvrun ask`` and ``kveval qa`` feed them. Text from outside never becomes a
special token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import _native as native
from ._kv import ffi, lib
from .errors import FileError, FormatError, InvalidArgument, Unsupported, check

if TYPE_CHECKING:
    from .model import Model

Message = Union[Mapping[str, Any], "tuple[str, str]"]

_PLACE = "\x1a"  # of the user's text in a turn: a control character that no template holds
_INTRO = "Read the text below. A question about it follows after it.\n\n"
_SHORT = 256  # characters of a text that may have been meant as the name of a file
_OTHERS = (b"%PDF", b"PK\3\4")  # how PDF, docx and EPUB begin
_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\0\0\xfe\xff", "UTF-32"))


# ---- chats ----


def pairs(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """Messages as (role, text)."""
    if isinstance(messages, (str, bytes, Mapping)):
        raise TypeError("messages are a list of {'role': ..., 'content': ...} or (role, text)")
    out: list[tuple[str, str]] = []
    for i, message in enumerate(messages):
        try:
            role, text = (message["role"], message["content"]) if isinstance(message, Mapping) else message
        except KeyError as missing:
            raise InvalidArgument(f"message {i} has no {missing}") from None
        except ValueError:
            raise InvalidArgument(f"message {i} is not (role, text)") from None
        out.append((role, text))
    return out


def _c_messages(messages: Iterable[Message]) -> tuple[object, int, object]:
    """The array, how many, and what must outlive its use."""
    kept = [(native.c_text("role", role), native.c_text("message", text)) for role, text in pairs(messages)]
    return ffi.new("kv_message[]", kept), len(kept), kept


def chat_ids(model: Model, messages: Iterable[Message], answer: bool = True) -> list[int]:
    """The tokens of messages as the model's template writes them, and the beginning of the assistant's turn."""
    array, n, kept = _c_messages(messages)
    ids, n_ids, err = ffi.new("int32_t **"), ffi.new("size_t *"), ffi.new("kv_err *")
    try:
        check(lib.kv_text_chat_tokenize(model._use().pointer, array, n, answer, ids, n_ids, err), err)
        return list(ffi.unpack(ids[0], n_ids[0])) if n_ids[0] else []
    finally:
        lib.kv_free(ids[0])
        del kept


def chat_text(model: Model, messages: Iterable[Message], answer: bool = True) -> str:
    """The same as a text, for people to read."""
    array, n, kept = _c_messages(messages)
    text = native.create("char", lib.kv_free, lib.kv_text_chat, model._use().pointer, array, n, answer)
    try:
        return native.text_of(text)
    finally:
        lib.kv_free(text)
        del kept


# ---- chats with tools ----


def request(messages: Iterable[Message], tools: Iterable[Mapping[str, Any]], template: Mapping[str, Any] | None) -> bytes:
    """A request as OpenAI's clients send it."""
    if isinstance(messages, (str, bytes, Mapping)):
        raise TypeError("messages are a list of {'role': ..., 'content': ...} or (role, text)")
    sent = [dict(m) if isinstance(m, Mapping) else dict(zip(("role", "content"), m)) for m in messages]
    whole: dict[str, Any] = {"messages": sent, "tools": [dict(t) for t in tools]}
    if template is not None:
        whole["chat_template_kwargs"] = dict(template)
    try:
        return json.dumps(whole, ensure_ascii=False).encode()
    except (TypeError, ValueError) as why:
        raise InvalidArgument(f"messages, tools and values of the template are what JSON can hold: {why}") from None


def request_ids(model: Model, asked: bytes) -> list[int]:
    """The tokens of a request."""
    ids, n_ids, err = ffi.new("int32_t **"), ffi.new("size_t *"), ffi.new("kv_err *")
    try:
        check(lib.kv_text_request(model._use().pointer, asked, len(asked), ffi.NULL, ids, n_ids, err), err)
        return list(ffi.unpack(ids[0], n_ids[0])) if n_ids[0] else []
    finally:
        lib.kv_free(ids[0])


def request_reply(model: Model, asked: bytes, ids: list[int]) -> dict[str, Any]:
    """What was answered to it, as a message."""
    said = ffi.new("int32_t[]", ids or [0])
    text = native.create("char", lib.kv_free, lib.kv_text_reply, model._use().pointer, asked, len(asked), said, len(ids))
    try:
        message: dict[str, Any] = json.loads(native.text_of(text))
        return message
    finally:
        lib.kv_free(text)


# ---- documents ----


def _frame(model: Model, system: str | None) -> tuple[str, str]:
    """What stands before and after the user's text."""
    first = [] if system is None else [("system", system)]
    before, place, after = chat_text(model, [*first, ("user", _PLACE)]).rpartition(_PLACE)
    if not place:
        raise Unsupported("the model's chat template loses the text of a turn")
    return before, after


def _text(source: str | os.PathLike[str]) -> bytes:
    """The UTF-8 of a document."""
    data = _read(source)
    if not data.strip():
        raise InvalidArgument("there is no text in the document")
    return data


def _read(source: str | os.PathLike[str]) -> bytes:
    if isinstance(source, str):
        if len(source) < _SHORT and "\n" not in source and "\0" not in source and os.path.isfile(source):
            raise InvalidArgument(f"{source!r} is the name of a file: pathlib.Path({source!r}) reads it")
        return native.encode("document", source)
    try:
        data = Path(source).read_bytes()
    except OSError as why:
        raise FileError(f"{os.fspath(source)}: {why.strerror}") from why
    name = os.fspath(source)
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            raise FormatError(f"{name}: the text is {encoding}; save it as UTF-8")
    if data.startswith(_OTHERS):
        raise FormatError(f"{name}: this is not a text; kvrun text makes one of PDF, docx, EPUB and HTML")
    if b"\0" in data:
        raise FormatError(f"{name}: byte {data.index(0)} is NUL: this is not a text in UTF-8")
    try:
        data.decode()
    except UnicodeDecodeError as why:
        raise FormatError(f"{name}: byte 0x{data[why.start]:02X} at offset {why.start} is not UTF-8") from None
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")


def title(source: str | os.PathLike[str]) -> str | None:
    """The name of a file; a text has none."""
    return None if isinstance(source, str) else Path(source).name


def head(model: Model, source: str | os.PathLike[str], system: str | None) -> list[int]:
    """The tokens of a document, up to where the question begins. source: a text (str), or a file."""
    text = _text(source)
    before, _ = _frame(model, system)
    return [*model.tokenize(before, bos=True, special=True), *model.tokenize(_INTRO), *model.tokenize(text)]


def tail(model: Model, question: str) -> list[int]:
    """The tokens of a question about it, and the beginning of the assistant's turn."""
    _, after = _frame(model, None)
    return [*model.tokenize("\n\n"), *model.tokenize(question), *model.tokenize(after, special=True)]
