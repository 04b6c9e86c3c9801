#!/usr/bin/env python3
"""Makes tests/data/tok/{strings,real,small}.json: what llama.cpp makes of a few hundred strings.

    pip install xllamacpp==2026.10.11549 gguf==0.19.0
    python3 tests/make_tok_cases.py DIRECTORY_OF_THE_REAL_MODELS

The wheel exports llama.cpp's C interface, which takes any bytes (its HTTP interface takes valid UTF-8 only). Only vocabularies
are loaded. The small vocabularies are trained here on the strings themselves, across word borders, so that the ids depend on
where the pre-tokenizers cut.
"""
import collections
import ctypes as C
import json
import os
import sys
import tempfile

import gguf
import xllamacpp

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "tok")
MODELS = {
    "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "gemma3-270m": "gemma-3-270m-q4_k_m.gguf",
}
VOCAB_ONLY = 72  # offset of the flag in llama_model_params of that wheel

# ---- the strings ----

SCRIPTS = """
The quick brown fox jumps over the lazy dog; it's 3.14 times faster!
Übergrößenträger weiß daß ÄÖÜ äöü – „Anführung“ «guillemets» œuvre NAÏVE
Жили-были дед да баба. СЪЕШЬ ещё этих мягких французских булок
Ο γρήγορος αφός ΑΒΓ άέήίόύώ· ερώτηση;
שָׁלוֹם עוֹלָם, מה שלומך? 123
السَّلامُ عليكم، كيف حالك؟ ١٢٣٤٥
हिन्दी में नमस्ते दुनिया। १२३ क्षत्रिय
বাংলা ভাষা ৪৫৬ তাড়াতাড়ি
தமிழ் மொழி வணக்கம் ௧௨௩
తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ සිංහල
ภาษาไทยไม่มีช่องว่างระหว่างคำ ๑๒๓
ພາສາລາວ မြန်မာဘာသာ ភាសាខ្មែរ བོད་སྐད་ ᠮᠣᠩᠭᠣᠯ
你好，世界！今天是2024年1月15日。繁體字與简体字
こんにちは世界、カタカナとｶﾀｶﾅ。「引用」１２３
안녕하세요 세계! 한국어 띄어쓰기 ㅋㅋㅋ
Tiếng Việt: Đường phố Hà Nội rất đông người
ქართული ენა ՀԱՅԵՐԵՆ հայերեն ትግርኛ አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ
Türkçe İstanbul ıIiİ ğüşöç Ŀ ſtraße ǅ ǆ Ǆ K Å
𝕳𝖊𝖑𝖑𝖔 𝓦𝓸𝓻𝓵𝓭 𝟙𝟚𝟛 𐍈𐌰𐌽 𒀀𒀁 𓀀𓁐 𠀀𠀁 ℵ∀∃∑∫√∞≠≈
ⅠⅡⅢ ①②③ ½⅓¾ x² H₂O ª º ʰ ㊿ ㎏ ﬁ ﬂ
""".strip().split("\n")

EMOJI = ["😀😃 :) 👍🏽👍🏿 ❤️ ❤ ☺︎", "👩‍👩‍👧‍👦 👨🏻‍💻 🏳️‍🌈 🏴‍☠️ 👩‍❤️‍💋‍👨", "🇩🇪🇫🇷🇯🇵🇺🇸", "a😀b😀\n😀 😀1😀!", "5️⃣#️⃣ ™ © ®", "🫠🪿🩷 \U0001fae9",
         "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"]

MARKS = ["e\u0301 a\u0308\u0301\u0323 n\u0303o", "Z\u0351\u0343\u030a\u0347a\u0310l\u0353g\u0300o\u0336", "\u0301\u0302 leading marks", "1\u0301 2\u20e3 !\u0308",
         "A\u0308B\u0308 a\u0308b\u0308A\u0301a", "\u202eright to left\u202c \u2066isolate\u2069", "zero\u200bwidth\u200cnon\u200djoin\u2060er soft\u00adhyphen",
         "\ufeffBOM first", "x\ufeffy", "\ufffd \ufffe \uffff \U0010ffff \ue000 \U000f0000", "\u0378 \u0530 unassigned"]

NEW = ["\U0001123f\U00011240\u0041", "\U00031350\U000323af\u4e00 \U0002ebf0", "\U00011f04\U00011f50\U00011f43 Kawi", "\U0001e4d0\U0001e4f0\U0001d2c0 \U00011b00",
       "a\u180eb \u180e c"]

SPACES = [" ", "  ", "   ", " " * 17, "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", "\t", "\t\t", " \t \n \r\n x", "x \n", "x  \n\n  y", "\n x", "\n  x", "   x   y   ",
          "x\n\n\n\n\ny", "a\x0bb\x0cc", "\x85next\x85line", "a\u00a0b\u00a0\u00a0c", "\u2028line\u2029para", "\u3000全角\u3000空白\u3000", "\u2003\u2009\u200a thin",
          "\u1680 ogham", " \u00a0 \u2003 mixed \u3000\n", "tab\tseparated\tvalues\n1\t2\t3\n", "trailing ", "trailing  ", "trailing\n ", " leading", "  leading", "\x1c\x1d\x1e\x1f"]

CONTRACTIONS = ["I'm you're he'd they'll we've it's don't", "I'M YOU'RE HE'D THEY'LL WE'VE IT'S DON'T", "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D", "'Re'rE'Ll'vE x'ſ",
                "rock 'n' roll 'tis ''' '' '", "’s curly ’ll", "'sam 'tom 'really 'very 'mad 'llama 'dog", "a's1's 's"]

NUMBERS = ["1", "12", "123", "1234", "12345", "1234567", "1,234,567.89", "0x1F 0b101 1e-9 1_000", "3a4b 5c", " 1 12 123 1234", "v1.2.3-rc4", "2024-01-15T12:34:56Z",
           "٠١٢٣٤٥٦٧٨٩", "१२३४", "１２３４５", "a1b22c333d4444", "$5 5$ 5% #5", "½½½ ²³¹ ⅧⅧ", "\n1\n22\n333", "1 000 000"]

SYMBOLS = ["!", "!!", "!!!!!!!!", "?!?!", "...", "…", "--", "---", "***", "=== ===", "->=>|>::", "a.b,c;d:e", "(a)[b]{c}<d>", "~!@#$%^&*()_+`-={}[]|\\:\";'<>?,./",
           " !", " !a", "!a", "! a", "!\n", "!\n\n", " !\r\nx", "/\n/", "//\n///\n", "path/to/file", "http://example.com/?q=a&b=c#d", "user@example.org", "$+<=>^~|`",
           "$$ ++ << == >> ^^ ~~ ||", "§¶†‡•¿¡", "€£¥₹₿¢", "±×÷≤≥", "→⇒↔", "\u201cquoted\u201d", "a-b_c", "under_score __init__", "CamelCaseHTTPServer", "ALLCAPS lower Mixed",
           "aA Aa AAa aAA aaAAaa", "éÉ Éé ÉÉé ЖжЖж ÉA Aé éa", "ÀBC ÀBc abÀ ABÀ ABÀcd", "ǅx Xǅ ʰA aʰ 漢A A漢 漢a", "xX1yY2"]

CODE = ["def f(x, *args):\n    \"\"\"doc\"\"\"\n    return x**2  # square\n", "int main(void) {\n\tprintf(\"%d\\n\", 42);\n\treturn 0;\n}\n", "<div class=\"a\">&nbsp;</div>\n<!-- c -->",
        "SELECT * FROM t WHERE a='b' AND c<>1;", "{\"k\": [1, 2.5, null, true], \"s\": \"\\u00e9\"}", "for i in $(seq 1 10); do echo \"$i\"; done", "#include <stdio.h>\n#define X(a,b) a##b",
        "if (a && !b || c == 0) { a[i++] += --j; }", "\\frac{1}{2}\\alpha_{i}^{2}", "| a | b |\n|---|:-:|\n| 1 | 2 |", "- item\n  - sub\n1. one\n2. two\n\n> quote", "    indented\n        more\n",
        "\x1b[31mred\x1b[0m", "C:\\Users\\x\\n", "let s = `t${x}`; // ok", "f'{x!r:>10}'"]

SPECIAL = ["<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "a<|endoftext|>b", "<|im_start|><|im_start|>", "<|im_start |>", "<|im_", " <|im_end|> ", "<start_of_turn>user\nhi<end_of_turn>\n",
           "<bos>x<eos>", "<unk><pad><mask>", "<s>a</s>", "[multimodal]", "<unused0><unused6241><unused9", "<tool_call>\n{}\n</tool_call>", "<0x0A><0x41>", "▁", "▁▁a▁b", "[INST] x [/INST]",
           "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<repo_name>r<filename>f", "[USER]", "a[USER]b[[USER]]", "<b>bold</b><table><tr>", "<<|im_end|>>", "[USER][USER]!", "xyz[USER] xyz[U xyz[xyz[U[USER]xyz", "<|im_end|><|im_e"]

CONTROL = ["\0", "a\0b", "\x01\x02\x03", "\x7f\x80\x9f".encode("latin-1").decode("latin-1"), "\b\a\f\v", "nul\0\0\0nul"]

LONG = ["a" * 150, "A" * 129, "ab" * 70, " " * 200, "\n" * 80, "7" * 50, "-" * 150, "é" * 40, "漢" * 40, "😀" * 20, "\t" * 64, "aA" * 30, "Ж" * 45, "!?" * 40, "= " * 30, "\r\n" * 20,
        "x" * 33 + " " * 65 + "y", "word " * 25, "ha" * 37 + "!", "\u0301" * 20]

BROKEN = [b"\xff", b"a\xffb", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82a", b"\xf0\x9f\x98", b"\xf0\x9f\x98 x", b"\x80\x81\x82", b"\xc0\xaf", b"\xc1\xa1bc", b"\xe0\x80\xa0x",
          b"\xf0\x80\x80\xa0x", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"caf\xe9 latin-1", b"ok \xe2\x82\xac then \xe2\x82", b"\xfe\xff\x00h\x00i", b"\xf8\x88\x80\x80\x80",
          b"<|im_end|>\xff<|im_end|>", b"\xe2\x96", b"\xe2\x96 \x81", b"\xff" * 20, b"\xc3\xa9\xc3", b"\xa9\xc3\xa9", b" \xff \xff", b"1\xff2", b"\xf0\x9f\x91\xa9\xe2\x80\x8d\xff"]

STRINGS = [s.encode() for s in [""] + SCRIPTS + EMOJI + MARKS + NEW + SPACES + CONTRACTIONS + NUMBERS + SYMBOLS + CODE + SPECIAL + CONTROL + LONG] + BROKEN

# ---- llama.cpp ----


class Params(C.Structure):
    _fields_ = [("bytes", C.c_uint8 * 256)]  # larger than llama_model_params, which only its owner reads


LIB = C.CDLL(os.path.join(os.path.dirname(xllamacpp.__file__), "xllamacpp.abi3.so"))
LIB.llama_model_default_params.restype = Params
LIB.llama_model_load_from_file.restype = C.c_void_p
LIB.llama_model_load_from_file.argtypes = [C.c_char_p, Params]
LIB.llama_model_get_vocab.restype = C.c_void_p
LIB.llama_model_get_vocab.argtypes = [C.c_void_p]
LIB.llama_tokenize.argtypes = [C.c_void_p, C.c_char_p, C.c_int32, C.POINTER(C.c_int32), C.c_int32, C.c_bool, C.c_bool]


class Vocab:
    def __init__(self, path):
        LIB.llama_backend_init()
        params = LIB.llama_model_default_params()
        params.bytes[VOCAB_ONLY] = 1
        model = LIB.llama_model_load_from_file(path.encode(), params)
        assert model, path
        self.vocab = LIB.llama_model_get_vocab(model)

    def __call__(self, text, special):
        room = 3 * len(text) + 8
        ids = (C.c_int32 * room)()
        n = LIB.llama_tokenize(self.vocab, text, len(text), ids, room, special, special)
        assert n >= 0
        return list(ids[:n])


# ---- small vocabularies ----


def train(words, n_merges, may):
    """Plain BPE over lists of symbols; returns the pairs in order."""
    words = [list(w) for w in words]
    merges = []
    for _ in range(n_merges):
        pairs = collections.Counter(p for w in words for p in zip(w, w[1:]) if may(p))
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for w in words:
            i = 0
            while i + 1 < len(w):
                if (w[i], w[i + 1]) == best:
                    w[i : i + 2] = [w[i] + w[i + 1]]
                i += 1
    return merges


def letters():
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in keep]
    return {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}


CONTROL_TYPE, USER_TYPE, BYTE_TYPE = 3, 4, 6
EXTRA = [("<s>", CONTROL_TYPE), ("</s>", CONTROL_TYPE), ("<|im_start|>", CONTROL_TYPE), ("<|im_end|>", CONTROL_TYPE), ("[USER]", USER_TYPE), ("[USER][USER]", USER_TYPE), ("\n\n\n", USER_TYPE), ("xyz[U", USER_TYPE), ("xy", USER_TYPE)]


def mergeable(pair):
    return len(pair[0] + pair[1]) < 8 and pair[0] + pair[1] not in dict(EXTRA)


def with_extra(tokens, merges, extra):
    """A BPE vocabulary; extra: tokens that nothing is merged into, of which the first two are BOS and EOS."""
    return {
        "tokens": tokens + [t for t, _ in extra],
        "types": [1] * len(tokens) + [k for _, k in extra],
        "merges": [f"{a} {b}" for a, b in merges],
        "bos": len(tokens),
        "eos": len(tokens) + 1,
    }


def bpe_vocab():
    code = letters()
    words = ["".join(code[b] for b in s) for s in STRINGS if len(s) < 100]
    merges = train(words, 700, mergeable)
    missing = {0x07, 0xF3}  # bytes without a token
    tokens = list(dict.fromkeys([c for b, c in code.items() if b not in missing] + [a + b for a, b in merges]))
    merges = [(a, b) for a, b in merges if not {code[m] for m in missing} & set(a + b)]
    tokens = [t for t in tokens if not {code[m] for m in missing} & set(t)]
    tokens += [t for t in ("Ġfaster", "printf", "Ġindented", "/Ċ/") if t not in tokens]  # no merges lead there
    return with_extra(tokens, merges, EXTRA)


def spm_vocab():
    texts = [s.decode().replace(" ", "▁") for s in STRINGS[: -len(BROKEN)] if len(s) < 100 and b"\n\n\n" not in s and b"\0" not in s]
    merges = train(texts, 500, mergeable)
    chars = collections.Counter(c for t in texts for c in t)
    pieces = list(dict.fromkeys([a + b for a, b in merges] + [c for c, n in chars.items() if n > 2]))
    head = [("<unk>", 2)] + EXTRA[:2] + [(f"<0x{b:02X}>", BYTE_TYPE) for b in range(256)]
    tail = [e for e in EXTRA[2:] if e[0] not in pieces]
    pieces = [p for p in pieces if p not in dict(head + tail)]
    return {
        "tokens": [t for t, _ in head] + pieces + [t for t, _ in tail],
        "types": [k for _, k in head] + [1] * len(pieces) + [k for _, k in tail],
        # scores as in real vocabularies: by rank, with some ties
        "scores": [0.0] * len(head) + [-float(i // 2) for i in range(len(pieces))] + [-1000.0] * len(tail),
        "bos": 1,
        "eos": 2,
    }


def write_gguf(path, vocab, model, pre, flags):
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model(model)
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(vocab["tokens"])
    w.add_token_types(vocab["types"])
    if "merges" in vocab:
        w.add_token_merges(vocab["merges"])
    if "scores" in vocab:
        w.add_token_scores(vocab["scores"])
    w.add_bos_token_id(vocab["bos"])
    w.add_eos_token_id(vocab["eos"])
    for key, value in flags.items():
        w.add_bool(f"tokenizer.ggml.{key}", value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


# vocabulary, pre-tokenizer, flags in the file, special tokens parsed (and added)
SMALL = [
    ("bpe", "gpt-2", {}, False),
    ("bpe", "llama-bpe", {"add_eos_token": True}, True),
    ("bpe", "qwen2", {"add_bos_token": True}, True),
    ("bpe", "smollm", {}, True),
    ("bpe", "tekken", {"add_bos_token": False}, True),
    ("bpe", "default", {}, False),
    ("bpe", "smaug-bpe", {}, False),
    ("spm", "", {}, False),
    ("spm", "default", {"add_space_prefix": False, "add_bos_token": True, "add_eos_token": True}, True),
    ("spm", "default", {"add_space_prefix": True}, True),
]


def show(ids):
    return json.dumps(ids, separators=(",", ":"))


def main():
    strings = []
    for s in STRINGS:
        try:
            strings.append(json.dumps(s.decode(), ensure_ascii=not s.decode().isprintable()))
        except UnicodeDecodeError:
            strings.append(json.dumps({"hex": s.hex()}))
    with open(f"{HERE}/strings.json", "w") as f:
        f.write("[\n" + ",\n".join(strings) + "\n]\n")

    # "special" is null where it is what "plain" says, with BOS where the model adds one
    with open(f"{HERE}/real.json", "w") as f:
        parts = []
        for name, file in MODELS.items():
            vocab = Vocab(os.path.join(sys.argv[1], file))
            bos = vocab(b"", True)
            plain = [vocab(s, False) for s in STRINGS]
            special = [vocab(s, True) for s in STRINGS]
            special = [None if b == bos + a else b for a, b in zip(plain, special)]
            parts.append(f'{json.dumps(name)}: {{"file": {json.dumps(file)}, "bos": {show(bos)},\n"plain": {show(plain)},\n"special": {show(special)}}}')
        f.write("{\n" + ",\n".join(parts) + "\n}\n")

    vocabs = {"bpe": bpe_vocab(), "spm": spm_vocab()}
    with open(f"{HERE}/small.json", "w") as f, tempfile.TemporaryDirectory() as tmp:
        parts = []
        for kind, pre, flags, special in SMALL:
            path = os.path.join(tmp, "v.gguf")
            write_gguf(path, vocabs[kind], {"bpe": "gpt2", "spm": "llama"}[kind], pre, flags)
            vocab = Vocab(path)
            head = {"vocab": kind, "pre": pre, "flags": flags, "special": special}
            parts.append(json.dumps(head)[:-1] + ',\n"ids": ' + show([vocab(s, special) for s in STRINGS]) + "}")
        f.write('{"vocabs": ' + json.dumps(vocabs, separators=(",", ":"), ensure_ascii=False) + ',\n"cases": [\n' + ",\n".join(parts) + "\n]}\n")
    print(len(STRINGS), "strings")


if __name__ == "__main__":
    main()
