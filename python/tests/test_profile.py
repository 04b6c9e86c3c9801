"""Profiles: shipped, loaded, saved, packed, made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY

import libkv


def test_shipped_profiles_are_found() -> None:
    names = libkv.Profile.names()
    assert names == sorted(p.stem for p in (ROOT / "profiles").glob("*.yaml"))
    with libkv.Profile.find("small") as p:
        assert p.model_hash == "" and p.shape == (0, 0, 0, 0)
        assert 2 < p.bits < 4 and p.bits == (p.bits_k + p.bits_v) / 2
        assert p.kld is None and p.kld_se is None and p.top1 is None and p.perplexity is None
        assert p.budget is None and p.evict == "none"
        assert p.layer_bits(0) == (p.bits_k, p.bits_v)
    with pytest.raises(libkv.InvalidArgument, match=r"there are: .*lossless"):
        libkv.Profile.find("smal")


def test_own_folders_and_files(tmp_path: Path) -> None:
    with libkv.Profile.find("q8_0") as p:
        p.save(tmp_path / "mine.yaml")
    assert libkv.Profile.names(tmp_path) == ["mine"]
    with libkv.Profile.load(tmp_path / "mine.yaml") as again, libkv.Profile.find("mine", tmp_path) as found:
        assert again.bits == found.bits == 8.5
    (tmp_path / "bad.yaml").write_text("kvcalib: 3\nno such key: 1\n")
    with pytest.raises(libkv.FormatError, match=r"bad\.yaml"):
        libkv.Profile.load(tmp_path / "bad.yaml")
    with pytest.raises(libkv.FileError):
        p2 = libkv.Profile.find("q8_0")
        p2.save(tmp_path / "no" / "such" / "folder.yaml")


def test_profile_of_a_real_model(tiny: libkv.Model) -> None:
    with libkv.Profile.load(ROOT / "profiles" / "models" / "SmolLM2-135M-Instruct.Q4_1.yaml") as p:
        assert p.arch == "llama" and p.shape == (30, 9, 3, 64) and len(p.model_hash) == 32
        assert p.bits == pytest.approx(3.75, abs=0.01) and p.window == 128 and p.sinks == 4
        assert p.kld is not None and p.kld_se is not None and 0 < p.kld_se < p.kld < 0.01
        assert p.top1 is not None and p.top1 > 95 and p.measured_tokens > 1000
        assert "KLD" in repr(p)
        bits = [p.layer_bits(i) for i in range(30)]
        assert sum(k for k, _ in bits) / 30 == pytest.approx(p.bits_k)
        with pytest.raises(libkv.OutOfRange, match="layer 30"):
            p.layer_bits(30)
        assert not p.fits(tiny)
        with pytest.raises(libkv.Mismatch, match="Smol"):
            p.check(tiny)
        with pytest.raises(libkv.Mismatch):
            tiny.session(profile=p)
        with pytest.raises(libkv.Mismatch):
            p.pack(TINY / "qwen2.gguf", "never.gguf")
    assert libkv.Profile.for_model(tiny) is None and tiny.profile is None


def test_packed_profile_applies_by_itself(tmp_path: Path) -> None:
    packed, again = tmp_path / "packed.gguf", tmp_path / "again.gguf"
    with libkv.Profile.find("small") as p:
        p.pack(TINY / "qwen2.gguf", packed)
        bits = p.bits_k
    with libkv.Model(packed) as model:
        assert model.profile is not None and model.profile.bits_k == bits
        model.profile.close()
        assert model.profile is not None and not model.profile.closed
        with model.session() as s, model.session(profile=None) as f16, model.session(profile="q8_0") as q8:
            assert (s.facts.has_profile, f16.facts.has_profile) == (True, False)
            assert s.facts.bits_k < 5 and (f16.facts.bits_k, q8.facts.bits_k) == (16, 8.5)
    libkv.Profile.strip(packed, again)
    assert again.read_bytes() == (TINY / "qwen2.gguf").read_bytes()
    with pytest.raises(libkv.FormatError):
        libkv.Profile.strip(again, packed)


def test_calibrating(tiny: libkv.Model, tmp_path: Path) -> None:
    text = "".join(f"Day {i}: {i * 7 % 31} crates of pears came, {i * 13 % 17} letters went.\n" for i in range(300))
    how: dict[str, Any] = {"text": text, "chunks": 2, "ctx": 256, "window": 16}
    told: list[float] = []
    with libkv.Profile.calibrate(tiny, bits=3.5, **how, progress=told.append) as p:
        assert told and told == sorted(told)
        assert p.fits(tiny) and p.model_hash == tiny.hash and abs(p.bits - 3.5) < 0.3 and p.kld is not None
        with tiny.session(profile=p) as s:
            assert s.facts.bits_k == pytest.approx(p.bits_k, abs=0.01)
        p.save(tmp_path / "a.yaml")
    (tmp_path / "text").write_text(text)
    files: dict[str, Any] = {**how, "text": None, "files": [tmp_path / "text"]}
    with libkv.Profile.calibrate(tiny, bits=3.5, measure=False, **files) as p:
        assert p.kld is None
    with pytest.raises(libkv.Cancelled):
        libkv.Profile.calibrate(tiny, **how, progress=lambda done: False)
    with pytest.raises(libkv.InvalidArgument):
        libkv.Profile.calibrate(tiny, bits=3, kld=0.1, **how)
    with pytest.raises(libkv.OutOfRange):
        libkv.Profile.calibrate(tiny, text="too short")
