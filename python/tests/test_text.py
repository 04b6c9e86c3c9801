"""Models, and text to tokens and back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT, TINY

import libkv


def test_version_is_the_projects() -> None:
    header = (ROOT / "include" / "kv" / "version.h").read_text()
    assert libkv.__version__ == ".".join(re.findall(r"KV_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)\n", header))


def test_model_says_what_it_is(tiny: libkv.Model) -> None:
    assert tiny.arch == "qwen2"
    assert tiny.n_layer > 0 and tiny.n_vocab > 100 and tiny.n_head % tiny.n_kv_head == 0
    assert tiny.threads == 2
    assert re.fullmatch("[0-9a-f]{32}", tiny.hash)
    assert tiny.is_end(tiny.eos if tiny.eos is not None else -1)
    assert tiny.path.endswith("qwen2.gguf")
    assert "qwen2" in repr(tiny)


@pytest.mark.parametrize("text", ["", "Hello world", "Grüße, 世界 🦆", "a\0b", "  spaces\n\tand tabs  "])
def test_tokens_say_what_was_read(tiny: libkv.Model, text: str) -> None:
    ids = tiny.tokenize(text)
    assert all(isinstance(i, int) and 0 <= i < tiny.n_vocab for i in ids)
    assert tiny.detokenize(ids) == text
    assert b"".join(tiny.token_bytes(i) for i in ids) == text.encode()


def test_special_tokens_only_where_asked_for(tiny: libkv.Model) -> None:
    assert len(tiny.tokenize("<|im_start|>", special=True)) == 1
    assert len(tiny.tokenize("<|im_start|>")) > 1
    ids = tiny.tokenize("<|im_start|>", special=True)
    assert tiny.detokenize(ids) == "" and tiny.detokenize(ids, special=True) == "<|im_start|>"


def test_chats_as_the_template_writes_them(tiny: libkv.Model) -> None:
    messages: list[dict[str, str] | tuple[str, str]] = [
        {"role": "user", "content": "Say <|im_end|>"},
        ("assistant", "no"),
        ("user", "why"),
    ]
    text = tiny.chat_text(messages)
    assert "Say <|im_end|>" in text and text.index("Say") < text.index("why")
    ids = tiny.chat_ids(messages)
    assert tiny.detokenize(ids, special=True) == text
    (end,) = tiny.tokenize("<|im_end|>", special=True)
    assert ids.count(end) == text.count("<|im_end|>") - 1  # what a message says is no special token
    assert len(tiny.chat_ids(messages, answer=False)) < len(ids)


def test_models_of_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kvcalib" / "models"
    monkeypatch.delenv("KV_MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(libkv.ModelNotFound, match="there are: none"):
        libkv.Model.from_pretrained("llama")
    folder.mkdir(parents=True)
    for name in ("llama.gguf", "llama-iq.gguf", "qwen2.gguf"):
        (folder / name).symlink_to(TINY / name)
    (folder / "notes.txt").touch()
    (folder / "big-00001-of-00002.gguf").touch()
    (folder / "big-00002-of-00002.gguf").touch()
    assert libkv.model_names() == ["big-00001-of-00002.gguf", "llama-iq.gguf", "llama.gguf", "qwen2.gguf"]
    for name, file in [("llama.gguf", "llama"), ("llama", "llama"), ("llama-i", "llama-iq"), ("QWEN", "qwen2")]:
        with libkv.Model.from_pretrained(name, threads=1) as model:
            assert model.path == str(folder / f"{file}.gguf")
    for name, says in [("lla", "llama-iq.gguf, llama.gguf"), ("", "there are: .*qwen2.gguf"), ("gemma", "llama-iq.gguf")]:
        with pytest.raises(libkv.ModelNotFound, match=says):
            libkv.Model.from_pretrained(name)


def test_catalogue_is_where_models_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_MODEL_DIR", "/somewhere")
    assert libkv.model_folder() == Path("/somewhere")
    monkeypatch.delenv("KV_MODEL_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert libkv.model_folder() == Path("/caches/kvcalib/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert libkv.model_folder() == Path("/home/someone/.cache/kvcalib/models")


def test_options_reach_the_model() -> None:
    with libkv.Model(TINY / "qwen2.gguf", cpu="scalar", threads=1, wait="sleep", in_place=True) as plain:
        assert plain.threads == 1
        with libkv.Model(TINY / "qwen2.gguf") as usual:
            assert bytes(plain.logprobs("The ferry")) == bytes(usual.logprobs("The ferry"))
    with libkv.Model(TINY / "qwen2.gguf", overrides={".context_length": "int:77"}) as model:
        assert model.n_ctx_train == 77
