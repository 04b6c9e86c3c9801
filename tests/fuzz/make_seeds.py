#!/usr/bin/env python3
"""What fuzzing starts from: small inputs of every target, right ones and nearly right ones. Same bytes every time.

usage: make_seeds.py        writes tests/fuzz/corpus/TARGET/seed-*; what fuzzing found lies beside them and stays
"""
import json
import pathlib
import struct
import sys

LEVELS = 1008  # TRELLIS_LEVELS
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import gguf_make as gg  # noqa: E402


def seed(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(data if isinstance(data, bytes) else data.encode())


def grammars():
    for name, rules, text in (
            ("words", 'root ::= "yes" | "no" [a-c]{1,3} # end\n', "noab"), ("left", 'root ::= root "+" [0-9]+ | "(" root ")" | ""', "(+1)+2"),
            ("classes", 'root ::= ([^a-z\\n] | . "\\u00e9"?)*', "A\u00e9"), ("twice", 'root ::= a a\na ::= root? | "x"', "xx")):
        seed("grammar", name, f"{rules}\0{text}")
    for name, schema, text in (
            ("object", {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"$ref": "#"}}, "required": ["a"], "additionalProperties": True},
             '{"a":5}'), ("array", {"type": "array", "prefixItems": [{"enum": ["x", 1]}], "items": {"type": ["null", "boolean"]}, "maxItems": 3}, '["x",null]'),
            ("string", {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 9}, {"type": "string", "format": "date-time"}, {"const": {"k": [1.5]}}]}, '"abc"'),
            ("one", {"oneOf": [{"type": "number"}, {"type": "object", "properties": {}}]}, "1.5e3")):
        seed("grammar", f"schema-{name}", json.dumps(schema) + "\0" + text)


def requests():
    """Bodies as clients send them; the byte before says which dialect: sv_dialects() has the order."""
    user = [{"role": "user", "content": "a"}]
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    for name, which, body in (
            ("chat", 0, {"model": "m", "messages": [{"role": "system", "content": "s"}, *user, call, {"role": "tool", "tool_call_id": "c", "content": "2"}], "tools": [tool],
                         "tool_choice": {"type": "function", "function": {"name": "f"}}, "temperature": 0.5, "stop": ["x"], "n": 2, "stream": True, "logprobs": True,
                         "top_logprobs": 2, "stream_options": {"include_usage": True}, "logit_bias": {"5": -100}, "seed": 1, "max_completion_tokens": 4}),
            ("parts", 0, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]}]}),
            ("schema", 0, {"messages": user, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}}),
            ("text", 1, {"prompt": ["a", [1, 2]], "logprobs": 2, "n": 2, "kv_context": "x", "grammar": "root ::= [a]"}),
            ("echo", 1, {"prompt": "a", "echo": True, "stream": True}),
            ("embed", 2, {"input": ["a", "b"], "encoding_format": "base64", "pooling": "last"}),
            ("codex", 3, {"instructions": "i", "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]}, *user,
                          {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}, {"type": "function_call_output", "call_id": "c", "output": "o"},
                          {"type": "reasoning"}], "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}], "stream": True,
                          "text": {"format": {"type": "json_object"}}}),
            ("stored", 3, {"input": "a", "previous_response_id": "r"}),
            ("claude", 4, {"max_tokens": 9, "system": [{"type": "text", "text": "x-anthropic-a: 1"}, {"type": "text", "text": "s"}], "messages": [*user,
                           {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "b"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                           {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}], "tools": [{"name": "f", "input_schema": {"type": "object"}}],
                           "tool_choice": {"type": "any"}, "stream": True, "stop_sequences": ["E"], "thinking": {"type": "enabled"}}),
            ("count", 5, {"system": "s", "messages": user}),
            ("ollama", 6, {"model": "m", "messages": [*user, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}], "tools": [tool],
                           "options": {"temperature": 0, "num_predict": 3, "stop": "x", "mirostat": 2}, "format": "json", "think": True}),
            ("load", 6, {"messages": []}), ("generate", 7, {"prompt": "a", "system": "s", "format": {"type": "object"}, "stream": False}),
            ("raw", 7, {"prompt": "a", "raw": True}), ("ollama-embed", 8, {"input": "a"}), ("ollama-embeddings", 9, {"prompt": "a"})):
        seed("serve", name, bytes([which]) + json.dumps(body).encode())


def models():
    for kind in ("Q8_0", "Q4_0", "F32", "F16", "BF16", "Q5_1", "IQ4_NL", "MXFP4"):
        seed("gguf", kind.lower(), gg.small(kind=kind, embd=32).bytes())
    for arch in ("qwen3", "gemma3", "qwen2"):
        seed("gguf", arch, gg.small(arch, kind="Q4_0").bytes())
    f = gg.small(kind="Q4_0", layers=2)
    f.set("llama.rope.scaling.type", gg.STR, "yarn").set("llama.rope.scaling.factor", gg.F32, 4)
    f.set("tokenizer.chat_template", gg.STR, "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}")
    seed("gguf", "yarn", f.bytes())
    f = gg.small(kind="Q4_0")
    f.set("kvcalib.version", gg.U32, 3).set("kvcalib.profile", gg.STR, "version: 3\npolicy: {sinks: 0, window: 0, k: q8_0, v: q4_0}\n")
    seed("gguf", "packed", f.bytes())
    f = gg.small(kind="Q4_0")
    f.set("split.no", gg.U16, 0).set("split.count", gg.U16, 1).set("split.tensors.count", gg.I32, len(f.tensors))
    seed("gguf", "split", f.bytes())
    f = gg.File()
    for name, kind, v in (("a", gg.U8, 1), ("b", gg.I16, -1), ("c", gg.F64, 0.5), ("d", gg.BOOL, 1), ("e", gg.STR, "x"), ("f", gg.U64, 1 << 63)):
        f.set(name, kind, v)
    for name, elem, vs in (("g", gg.U8, [1, 2]), ("h", gg.F32, [1, -1]), ("i", gg.STR, ["", "x"]), ("j", gg.BOOL, [0, 1]), ("k", gg.I64, [])):
        f.set(name, gg.ARR, gg.array(elem, vs))
    seed("gguf", "keys", f.bytes())


def dequant():
    for name, (number, elems, _) in gg.QT.items():
        seed("dequant", name.lower(), bytes([number]) + gg.weights(name, 2 * elems, name))
        seed("dequant", name.lower() + "-ones", bytes([number]) + b"\xff" * len(gg.weights(name, elems, name)))


POLICY = "policy: {sinks: 4, window: 128, k: f16, v: q8_0"
PROFILES = {
    "policy": "version: 3\n" + POLICY + "}\naim: {bits: 3.25}\n",
    "overrides": "version: 2\n" + POLICY + ", overrides: [{layers: \"0,2-3,11-\", k: f16}, {heads: \"1\", v: q8_0}]}\n",
    "evict": "version: 3\n" + POLICY + ", evict: {policy: snapkv, budget: 50%, recent: 32, near: 0.5, observe: 32, pool: 7}}\n",
    "layers": "version: 3\nmodel: {name: x, hash: '00112233445566778899aabbccddeeff', arch: llama, layers: 2, heads: 4, kv_heads: 2, head_dim: 32}\n"
              "made: {tokens: 10, ctx: 4, entropy_sinks: 4, seed: 1, target_bits: 3}\npolicy: {sinks: 0, window: 0, frame: 64}\n"
              "layers:\n- {layer: 0, k: {codec: q8_0}, v: {codec: [q4_0, f16], heads: [{codec: q4_0}, {codec: f16}]}, budget: [3, 4], entropy: [1, 2, 3, 4.5]}\n"
              "- {layer: 1, k: {codec: f16}, v: {codec: f16}, importance: [0.5, 0.25]}\n",
    "measured": "version: 3\n" + POLICY + "}\nmeasured:\n- {text: x, ctx: 4, tokens: 5, kld: 0.1, kld_se: 1.0e-07, dppl_percent: 1, top1: 99, bits_k: 4, "
                "bits_v: 4, bytes_per_token: 1, f16_bytes_per_token: 4}\n",
    "anchor": "version: &a 3\npolicy: {sinks: *a}\n",
    "tag": "version: !!int 3\n",
    "two": "version: 3\n---\nversion: 3\n",
    "deep": "version: " + "[" * 12 + "]" * 12 + "\n",
    "quoted": "version: 3\npolicy: {k: \"f16\", v: 'q8_0', sinks: 0x10, window: 1}\n",
}


def profiles():
    for name, text in PROFILES.items():
        seed("profile", name, text)
    data = HERE.parent / "data" / "profile"
    seed("profile", "full", (data / "full.yaml").read_bytes())
    five = (data / "full.yaml").read_text().replace("version: 2", "version: 5", 1)
    seed("profile", "windows", five + "---\n" + five.replace("window: 128", "window: 0", 1))


def blob_body(heads, dim, basis=None):
    """The content of the binary part up to the levels: identity transforms of four bits a dimension."""
    n = 2 * heads  # K and V
    out = struct.pack("<4sIII", b"KVTC", 2, dim, n)
    out += bytes([4] * (n * dim)) + b"\0" * (4 * n * dim) + b"\xf7" * (n * dim)  # bits, mean, exp: 2^-9
    rows = basis or [[512 if i == j else 0 for j in range(dim)] for i in range(dim)]
    flat = [v & 0xFFFF for _ in range(n) for row in rows for v in row]
    out += bytes(v & 255 for v in flat) + bytes(v >> 8 for v in flat)
    sigma = struct.pack("<e", 1.0)
    out += sigma[:1] * (n * dim) + sigma[1:] * (n * dim)
    out += sigma[:1] * (n * 7) + sigma[1:] * (n * 7)
    return out


def blobs():
    for shape, (heads, dim) in enumerate(((1, 4), (2, 4), (1, 32), (1, 1))):
        for name, levels in (("zero", b"\0" * LEVELS), ("falling", bytes(i * 37 % 251 for i in range(LEVELS)))):
            seed("blob", f"{shape}-{name}", bytes([shape]) + blob_body(heads, dim) + levels * (2 * heads))
    singular = [[1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    seed("blob", "singular", b"\0" + blob_body(1, 4, singular) + b"\0" * (2 * LEVELS))
    seed("blob", "frame", b"\x04\x28\xb5\x2f\xfd\x20\x10")


def vocabulary(kind, pre, flags, tokens, merges, scores, text):
    lines = []
    for i, (what, t) in enumerate(tokens):
        lines.append(b"T%d" % what + t.encode())
        if scores:
            lines.append(b"S" + bytes([scores[i] & 127]))
    lines += [b"M" + m.encode() for m in merges]
    return bytes([kind, pre, flags]) + b"\n".join(lines) + b"\nX" + (text if isinstance(text, bytes) else text.encode())


def tokenizers():
    bpe = [(2, "<unk>")] + [(1, c) for c in "abctheinor\u0120\u010a123'.,!s\u00c3\u00a9"] + \
          [(1, t) for t in ("th", "the", "\u0120the", "in", "ing", "\u0120\u0120", "12", "an")] + \
          [(3, "<|im_start|>"), (3, "<|im_end|>"), (3, "</s>"), (4, "<tool>"), (4, "<tool><tool>"), (4, "\u0120\u0120\u0120")]
    merges = ["t h", "th e", "\u0120 the", "i n", "\u0120 \u0120", "1 2", "a n"]
    prose = "the  thing can't be 12,345 \u00e9t\u00e9\n\n  <|im_start|>the<tool><tool> !</s>\r\n \t a'S"
    for pre in range(0, 96, 5):
        seed("tok", f"bpe-{pre:02}", vocabulary(0, pre, pre % 16, bpe, merges, None, prose))
    spm = [(2, "<unk>"), (3, "<s>"), (3, "</s>")] + [(6, f"<0x{b:02X}>") for b in range(256)] + \
          [(1, t) for t in ("\u2581", "\u2581t", "he", "in", "\u2581the", "a", "b", "t", "h", "e", "i", "n", "th")]
    scores = [0] * 259 + [3, 9, 8, 7, 12, 1, 1, 1, 1, 1, 1, 1, 5]
    seed("tok", "spm", vocabulary(1, 0, 5, spm, [], scores, prose))
    seed("tok", "spm-broken", vocabulary(1, 0, 4, spm, [], scores, b"\xff\xfe\xc3\x28 \xed\xa0\x80 \xf0\x9f\x98"))
    chars = [(2, "<unk>")] + [(6, f"<0x{b:02X}>") for b in range(256)] + [(1, t) for t in ("a", "b", "\u2581", "ab", "\u2581a", "\u00e9")]
    seed("tok", "chars", vocabulary(2, 0, 0, chars, ["a b", "\u2581 a"], None, "ab a \u00e9\u00e8 \n a"))
    seed("tok", "strip", vocabulary(0, 0, 8, bpe, merges, None, "the <|im_end|>  the  </s>\n\n the"))


def chats():
    cases = json.loads((HERE.parent / "data" / "tok" / "chat.json").read_text())
    for i, c in enumerate(cases):
        seed("chat", f"{i:02}", c["template"].encode()[:6000] + b"\0be brief\0hello\0hi \n")
    seed("chat", "none", b"\0be brief\0hello\0hi")


def templates():
    """Those of the suite, several to an input: each statement, filter and test occurs."""
    cases = json.loads((HERE.parent / "data" / "template.json").read_text())
    for i in range(0, len(cases["cases"]), 6):
        parts = [c["template"] for c in cases["cases"][i : i + 6] if "error" not in c and len(c["template"]) < 2000]
        seed("template", f"{i // 6:02}", "\n".join(parts))
    seed("template", "values", "{% for m in messages %}{{ m | tojson }}{% endfor %}\0" + json.dumps({"messages": [{"a": [1, None, "x"]}]}))


def questions():
    seed("questions", "two", "# who\nWho keeps the gate?\tOdo|Otto\n\nHow many?\t1,000\n")
    seed("questions", "crlf", b"\xef\xbb\xbfWho?\tOdo\r\nWhere?\tat the gate | there\r\n")
    seed("questions", "tabs", "Who?\tOdo\tOtto\n")
    seed("questions", "empty", "Who?\t|\n")
    seed("questions", "utf8", "Wer?\t\u00c4nne | \u1e9e\n")
    seed("questions", "utf16", "Who?\tOdo\n".encode("utf-16"))


def documents():
    """The first byte says what the others are: tests/fuzz/fuzz_document.c."""
    seed("document", "html", "h<!doctype html><title>t &amp; u</title><h1>a</h1><p>b<br>c<ul><li>d<ol><li>e</ol></ul><pre>\n f\n</pre>&eacute;&#x20ac;")
    seed("document", "table", "h<table><caption>c</caption><tr><th>a<td><td>b<tr><td><p>x<p>y<td><h2>z</h2><table><tr><td>n</table></table><nav>m</nav><p hidden>i")
    seed("document", "latin", b"h<meta charset=iso-8859-1><p>caf\xe9")
    seed("document", "sjis", b"h<meta charset=shift_jis><p>\x93\xfa\x96\x7b")
    seed("document", "utf16", b"h\xff\xfe" + "<p>x</p>".encode("utf-16-le"))
    seed("document", "script", "h<script>a</script><style>b<!-- </style><svg><title>c</title></svg><![CDATA[d]]><!-- e -->f")
    body = ("<w:document xmlns:w='w'><w:body><w:p><w:pPr><w:pStyle w:val='h'/></w:pPr><w:r><w:t>a</w:t></w:r></w:p><w:p><w:pPr><w:numPr><w:ilvl w:val='1'/>"
            "<w:numId w:val='1'/></w:numPr></w:pPr><w:r><w:t>b</w:t><w:footnoteReference w:id='1'/></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p>"
            "</w:tc><w:tc><w:p/></w:tc></w:tr></w:tbl></w:body></w:document>")
    styles = "<w:styles xmlns:w='w'><w:style w:styleId='h'><w:name w:val='heading 2'/></w:style></w:styles>"
    notes = "<w:footnotes xmlns:w='w'><w:footnote w:id='1'><w:p><w:r><w:t>d</w:t></w:r></w:p></w:footnote></w:footnotes>"
    seed("document", "docx", "\0".join(["d" + body, styles, notes, "<w:endnotes xmlns:w='w'/>", "<c><title>t</title></c>"]))
    seed("document", "laughs", "d<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><d><p><t>&b;</t></p></d>")
    opf = ("<package><metadata><title>t</title></metadata><manifest><item id='a' href='1.xhtml'/><item id='b' href='x/../%32.xhtml#y'/></manifest>"
           "<spine><itemref idref='b'/><itemref idref='a'/></spine></package>")
    seed("document", "epub", "\0".join(["e" + opf, "<p>one</p>", "<html><body><p>two</p></body></html>"]))
    for kind in ("docx", "epub"):
        seed("document", f"{kind}-zip", b"z" + (HERE.parent / f"documents/sample.{kind}").read_bytes())
    seed("document", "text", b"t\xef\xbb\xbfone\r\ntwo \xc3\xa9")


ABOUT = {"title": "t", "model": "m", "arch": "llama", "cache": "K tc", "program": "p", "model_id": "0" * 32, "cache_id": "1" * 32, "saved": 1,
         "bytes_f16": 100, "n_tokens": 2, "n_ctx": 64, "n_marks": 1, "ctk": "", "ctv": "tc", "evict": "", "window": 128, "sinks": 4, "recent": -1,
         "budget_tokens": 0, "budget_share": 0.0, "ada": False, "equal_budgets": False, "profile": True}


def zstd_frame(data):
    """One block as it is: of any bytes, and the same with every version of zstd."""
    assert len(data) < 256
    return bytes.fromhex("28b52ffd20") + bytes([len(data)]) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def context(sections, packed):
    """(kind, how, index, bytes as they lie there, bytes unpacked); what sums there are the target makes right."""
    out, rows = bytearray(64), b""
    for kind, how, index, data, raw in sections:
        rows += struct.pack("<HHIQQQQ", kind, how, index, len(out), len(data), raw, 0)
        out += data + bytes(-(len(out) + len(data)) % 64)
    table = len(out)
    return b"\0" + bytes(out) + rows + struct.pack("<8sIIQQQ16xQ", b"", len(sections), packed, table, 0, 0, 0)


def contexts():
    about = json.dumps(ABOUT).encode()
    ids, body = struct.pack("<2i", 5, 7), bytes(range(200))
    plain = [(1, 0, 0, about, len(about)), (2, 0, 0, ids, 8), (3, 0, 0, body, 200), (4, 0, 0, body[:70], 70), (5, 0, 0, body[:64], 64)]
    seed("context", "mapped", context(plain, 0))
    seed("context", "empty", context([], 0))
    packed = [(1, 0, 0, about, len(about)), (2, 1, 0, zstd_frame(ids), 8), (3, 2, 0, body, 600), (3, 1, 1, zstd_frame(body), 200), (4, 2, 0, body, 64)]
    seed("context", "packed", context(packed, 1))
    seed("context", "longer", context([(1, 1, 0, zstd_frame(body), 199), (3, 2, 0, body, 1 << 60), (3, 3, 1, b"", 0)], 1))
    seed("context", "how", context([(1, 1, 0, zstd_frame(ids), 8)], 0))
    for name, value in (("title", "x" * 2000), ("n_tokens", -1), ("saved", 1 << 62), ("budget_share", "x"), ("profile", None)):
        text = json.dumps({**ABOUT, name: value}).encode()
        seed("context", "about-" + name.replace("_", "-"), context([(1, 0, 0, text, len(text))], 0))
    for i, say in enumerate(([64, 2, 20, 3, 200, 5, 3, 1], [0, 0, 0, 0, 0, 0, 0, 0], [80, 5, 80, 1, 255, 7, 1, 3])):
        seed("context", f"blocks-{i}", bytes([1, *say]) + bytes(range(0, 256, 3)) * 2)
        seed("context", f"slots-{i}", bytes([1, *say]) + bytes(4))  # none of which holds a token


def replies():
    """A case of every format, and some that go wrong. The first byte is the format's place in the table, if its rows are as the
    cases are in order; where they are not, other formats have a look at it."""
    cases = json.loads((HERE.parent / "data" / "reply.json").read_text())["cases"]
    formats = list(dict.fromkeys(c["format"] for c in cases))
    for i, name in enumerate(formats):
        mine = [c["text"] for c in cases if c["format"] == name and c["calls"]]
        for number in range(24):
            if number % len(formats) == i or number == i:
                seed("reply", f"{name}-{number}", bytes([number, 16 * (i % 5)]) + mine[-1].encode())
    for i, c in enumerate(c for c in cases if c["format"] == "hermes" and not c["calls"] and len(c["text"]) > 4):
        seed("reply", f"odd-{i}", bytes([16, 4 * (i % 4)]) + c["text"].encode())


def chat_requests():
    cases = json.loads((HERE.parent / "data" / "request.json").read_text())
    for i, c in enumerate(cases["cases"][::3]):
        request = {"messages": c["messages"], "tools": cases["tools"], "extra": c["extra"], "open": True}
        seed("chat_request", f"{i}", cases["templates"][c["template"]] + "\0" + json.dumps(request))
    for i, c in enumerate(cases["cases"][:7]):
        seed("chat_request", f"words-{i}", "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}" * (i % 2) + "\0" + json.dumps({"messages": c["messages"], "tools": cases["tools"]}))


if __name__ == "__main__":
    for make in (models, dequant, profiles, blobs, tokenizers, chats, templates, questions, documents, grammars, requests, contexts, replies, chat_requests):
        make()
