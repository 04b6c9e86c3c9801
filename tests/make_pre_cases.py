#!/usr/bin/env python3
"""Makes tests/data/tok/pre.json: ids of texts that are cut differently by different pre-tokenizers, for every name of one that
llama.cpp knows; or compares kveval with llama.cpp on those texts and on random ones.

    pip install xllamacpp==2026.10.11549 gguf==0.19.0
    python3 tests/make_pre_cases.py
    python3 tests/make_pre_cases.py --check PROGRAMS [SEED [NAME ...]]     PROGRAMS: the folder of kveval

The vocabularies are trained on the texts across word borders, so that a wrong cut shows. Names whose texts all have the same
ids are one case of the file. Exit code of --check: 0, no difference; 1; 77, xllamacpp is not installed.
"""
import collections
import json
import os
import random
import re
import subprocess
import sys
import tempfile

try:
    import make_tok_cases as base
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

# ---- what llama.cpp knows (src/llama-vocab.cpp) ----

BYTES = """
default minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano deepseek-llm deepseek-coder
deepseek-v3 spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum
modern-bert jais-2 jina-v1-en jina-v2-code roberta-bpe refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2
olmo dbrx smaug-bpe poro-chat chatglm-bpe glm4 glm5 viking jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4
exaone-moe chameleon minerva-7b megrez gpt-4o llama4 kanana2 talkie granite-embed-multi-97m tiny_aya cohere2moe superbpe
trillion granite-docling bailingmoe bailingmoe2 llada-moe seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka
grok-2 afmoe laguna minimax-m2 solar-open mellum2 k2-horizon
""".split()
CHARS = "gemma4 granite-embed-multi-311m mmbert sarvam-moe whitespace".split()

# ---- texts ----

TEXTS = [
    "I'm sure you'RE right, she'Ll say it’s 'sound, they’ve 'd it x'ſ 's",
    "'sound 'sound 'tail 'tail 'd'or 'd'or 'sail 'sa 'ta 'ma 'da'n'l'l",
    "Cat's-paw isn't ISN'T L'été d'Aujourd'hui Türkiye'nin",
    "1 12 123 1234 12345 123456 1234567 12345678 x1234 x123456 a12b345c6789",
    "  123 \t4567\n\n89012 3.1415,92 -1e10 0xFF00 ½½ ²³¹ Ⅷ",
    "١٢٣٤٥٦٧ １２３４５６７ 1２345678 １2345 १२३४",
    "CamelCaseHTTPServer aBcD ABCdef ABC'S ABC's abC'll ÉCOLE École éÀ ЖЖж жЖ ǅx ʰA ªb",
    "foo_bar __init__ a+b=c; x<=y ~~ `code` ^^ $5 $$ | || /path/to//file\n/\n",
    "(a)[b]{c} <d> \"e\" 'f' #g @h *i* -j- .k ,l :m ;n !o ?p /q \\r _s `t ~u ^v =w +x |y",
    "What?!... Yes—no – “quoted” ‘single’ «guillemets» …… !!\n\n?!\r\n.\n",
    " !a ! b !!c  !d\t!e",
    "one two  three   four    five     six      seven",
    "tab\tseparated\t\tvalues\t 1\t2 \t 3\n\tindented\n    four\n  \n \n\n\n  end  ",
    "line\r\nbreaks\r\n\r\nof\rall\n\rkinds\n",
    "\n\n\n\n\n", "   \n  \n ", "     ", " ", " a", "\n", "a\n", "a \n b\n\n c",
    "no\u00a0break\u3000wide\u2003em\u2028line\u2029para\u1680ogham\u0085next\u000bvt",
    "\u3000 全角\u3000\u3000空白 \u2003\u2003x",
    (4 * " \t " + "x") * 4,
    "x" + " " * 130 + "y" + " " * 67 + "\n" + " " * 21,
    "中文字符和English混合 2024年1月15日，下午3:30。《书名》“引号”——破折号……",
    "日本語のテキスト、カタカナとｶﾀｶﾅ・ひらがな。「引用」～ー々〆",
    "한국어 텍스트 ㅋㅋㅋ 한글과漢字와 日本語を 섞어서 ᄀᄁ 쓰기!",
    "ㄅㄆㄇ ︰︱﹏ ！？：；，、。〃〜 ＂＃＄％ ａｂｃＡＢＣ １２３",
    "ภาษาไทยมีสระ ๑๒๓ ພາສາລາວ ភាសាខ្មែរ မြန်မာ ꩠꩡ ꧠꧡ",
    "हिन्दी में क्षत्रिय। বাংলা তাড়াতাড়ি तमिळ தமிழ்",
    "العربية، نصٌّ بالحركاتِ؟ ۔ فارسی می‌خواهم نمی‌دانم",
    "שָׁלוֹם עולם! \u202eRTL\u202c \u200fmark",
    "e\u0301te\u0301 A\u0308B\u0308 n\u0303 \u0301alone \u0301\u0302 1\u0301 !\u0301 a\u0301'S Z\u0351\u0343\u030aalgo",
    "\u0301ABC x\u0301Y\u0301z \u093fक 中\u0301文",
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word soft\u00adhyphen \u200d\u200c",
    "😀😃 👍🏽 👩‍👩‍👧 🇩🇪🇫🇷 ❤️ a😀b 1😀2 ☺︎ ™© №",
    "≠≈∑∫ €£¥ ←→ ±× ½ ° § ¶",
    "\U00020000\U0002a6de\U0002b739\U0002ebf0\U0002f800 \U00031350a 豈更 ⼀⼁ 龥鿿㐀",
    "\U00010400\U00010428 ᎠᏣ ႠႡ აბგ ՀԱՅ Ꙁꙁ ꭰ ꀀꀁ ᠠᠡ ⴰⴱ",
    "\U00011f04\U00011f50\U00011f43\U00011f00 \U0001e4d0\U0001e4ec \U0001fa75\U0001fae8 \u0cf3\u0ece \u31ef\u2ffc \u0378\ue000",
    "x\u0cf3y x\u0cf3y x\u0ecey x\u0ecey x\U0001e4ecy x\U0001e4ecy x\U00011f00y x\U00011f00y x\u0301y x\u0301y",
    "!\u31ef! !\u31ef! !\u2ffc! !\u2ffc! !\U0001fa75! !\U0001fa75! !\U00011f43! !\U00011f43! !\u0378! !\u0378!",
    "a\U0002b739b a\U0002b739b a\U0002ebf0b a\U0002ebf0b a\U00011f04b a\U00011f04b 1\U00011f502 1\U00011f502 a\u180eb",
    "a\u2028b a\u2028b \u3000,\u3000, \u2060a \u2060a 中\u205f中\u205f中 中\u2fff中\u2fff a\ua000 a\ua000 a\ue000a\ue000",
    "123４123４123４123４ x'ſax'ſax'ſax'ſa `a` `b` `c` `d` `a` `b` `c`",
    "!\n/!\n/!\n/!\n/ !\U0001fa75! !\U0001fa75! !\U0001fa75! !\U0001fa75!",
    "<sentinel:12> <sentinel:x> IMGIMGABZ IMGIMGABCDEZ IMGIMGZ </s><s>[USER]<|im_end|>x",
    "ab\u0000c \u0001\u001c\u001d \u007f\u0080 \ufeffbom \ufffd ▁mark ▁▁two",
    "def f(x):\n    return x**2  # square\n\n\nclass A:\n\tpass\n",
    "{\"k\": [1, 2.5, null], \"s\": \"é\"}\n| a | b |\n|---|:-:|\n",
    "a b c d e f g, single letters A B C and words of one é è x y 1 2 z",
    "https://example.com/a/b?c=d&e=%20#f user@mail.org C:\\dir\\x v1.2.3-rc4 100%",
    "the quick faster printf indented the the  the\nthe",
]
BROKEN = [b"caf\xe9 \xff\xfe1\xff2", b"\xed\xa0\x80a \xe2\x82 \xf0\x9f\x98x", b"\xc1\xa1\xc0\xafb \x80\x81", b"\xe4\xb8\xad\xe6\x96", 4 * b"\xed\xa0\x80a "]

PIECES = list(" \t\n\r!'()+,-./019:<=>AZ[]^_`az{|}~§«·×ßéÉжЖאع۔।๑กກကក한ㅋあア・ー、。々中龥鿿㐀豈ｱＡ１！～") + [
    "  ", "    ", "\r\n", "\n\n", "'s", "'LL", "’s", "12", "345", "1234567", "the", "ing", "ABC", "Abc", "...", "\u0301", "\u093f", "\u200b",
    "\u200c", "\u200d", "\u2028", "\u3000", "\u00a0", "\u0085", "\u1680", "▁", "😀", "🏽", "\ufe0f", "Ⅷ", "½", "٣", "ǅ", "ʰ", "\U00020000",
    "\U0002b739", "\U0002ebf0", "\U00011f04", "\U00011f50", "\U0001e4ec", "\U0001fa75", "\u0cf3", "\u31ef", "\u0378", "\ue000", "\ufffd",
    "\0", "\x1c", "<s>", "[USER]", "<sentinel:1>", "IMGIMGAZ"]


def random_texts(seed, n):
    r = random.Random(seed)
    texts = []
    for _ in range(n):
        some = r.sample(PIECES, r.choice((2, 4, 8, len(PIECES))))
        texts.append("".join(r.choice(some) for _ in range(r.choice((1, 2, 3, 5, 10, 20)))))
    for _ in range(n // 4):
        points = [r.randrange(r.choice((0x300, 0x3400, 0x32400))) for _ in range(r.randrange(1, 6))]
        texts.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
    return texts


def allowed(name, text):
    """llama.cpp aborts where spaces are a word of more than one character."""
    return name != "whitespace" or not re.search(r"[^\S\x1c-\x1f] | [^\S\x1c-\x1f]", text.decode(errors="replace"))


# ---- vocabularies ----

EXTRA = base.EXTRA[:5]


def mergeable(pair):
    return len(pair[0] + pair[1]) < 8 and " " not in pair[0] + pair[1] and pair[0] + pair[1] not in dict(EXTRA)


def byte_vocab(texts):
    code = base.letters()
    texts = [t.encode() for t in texts if len(t) < 100] + BROKEN
    texts += [b" " + w for t in texts for w in t.split(b" ") if w]  # so that joining within words comes before joining words
    merges = base.train(["".join(code[b] for b in t) for t in texts], 1400, mergeable)
    tokens = list(dict.fromkeys(list(code.values()) + [a + b for a, b in merges]))
    tokens += [t for t in ("Ġfaster", "printf", "Ġindented", "ĊĊĊĊĊ") if t not in tokens]  # no merges lead there
    return base.with_extra(tokens, merges, EXTRA)


def char_vocab(texts):
    texts = [t.replace(" ", "▁") for t in texts if len(t) < 100 and "\0" not in t]
    merges = base.train(texts, 500, lambda pair: mergeable(pair) and (pair[0] + pair[1]).strip("\n"))
    seen = collections.Counter(c for t in texts for c in t)
    parts = [c for pair in merges for p in pair for c in p]
    pieces = list(dict.fromkeys(parts + [c for c, n in seen.items() if n > 1] + [a + b for a, b in merges] + ["\n\n", "\n\n\n\n\n"]))
    head = [("<unk>", 2)] + EXTRA[:2] + [(f"<0x{b:02X}>", base.BYTE_TYPE) for b in range(256) if b != 0xE1]
    return {
        "tokens": [t for t, _ in head] + pieces + [t for t, _ in EXTRA[2:]],
        "types": [k for _, k in head] + [1] * len(pieces) + [k for _, k in EXTRA[2:]],
        "merges": [f"{a} {b}" for a, b in merges],
        "bos": 1,
        "eos": 2,
    }


# ---- the file ----


def make():
    texts = [t.encode() for t in TEXTS] + BROKEN
    vocabs = {"bytes": byte_vocab(TEXTS), "chars": char_vocab(TEXTS)}
    cases = []
    for kind, names in (("bytes", BYTES), ("chars", CHARS)):
        for name in names:
            ids = ids_of_llama_cpp(name, vocabs[kind], texts)
            same = [c for c in cases if c["vocab"] == kind and c["ids"] == ids]
            if same:
                same[0]["names"].append(name)
            else:
                cases.append({"vocab": kind, "names": [name], "ids": ids})
    for c in cases:
        print(" ".join(c["names"]))
    assert len(cases) == 35, "texts tell fewer pre-tokenizers apart than there are"
    lines = []
    for i, c in enumerate(cases):  # ids that an earlier case has for the same text are null; "like" says which
        earlier = [k for k in range(i) if cases[k]["vocab"] == c["vocab"]]
        like = max(earlier, key=lambda k: sum(len(a or []) for a, b in zip(c["ids"], cases[k]["ids"]) if a == b), default=None)
        ids = [None if like is not None and a == b else a for a, b in zip(c["ids"], cases[like]["ids"] if like is not None else c["ids"])]
        head = json.dumps({"vocab": c["vocab"], "names": c["names"], "like": like})
        lines.append(head[:-1] + ',\n"ids": ' + base.show(ids) + "}")
    strings = [json.dumps(t, ensure_ascii=not t.isprintable()) for t in TEXTS] + [json.dumps({"hex": b.hex()}) for b in BROKEN]
    with open(os.path.join(base.HERE, "pre.json"), "w") as f:
        f.write('{"strings": [\n' + ",\n".join(strings) + '],\n"vocabs": ' + json.dumps(vocabs, separators=(",", ":"), ensure_ascii=False))
        f.write(',\n"cases": [\n' + ",\n".join(lines) + "\n]}\n")


def ids_of_llama_cpp(name, vocab, texts):
    """Special tokens parsed and added; false where llama.cpp cannot."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "v.gguf")
        base.write_gguf(path, vocab, "gpt2", name, {})
        llama = base.Vocab(path)
        return [llama(t, True) if allowed(name, t) else False for t in texts]


# ---- comparing ----


def check(programs, seed, names):
    """One name after the other, each in a process of its own: where llama.cpp aborts, the others are still compared."""
    texts = random_texts(seed, 400)
    job = {
        "vocabs": {"bytes": byte_vocab(TEXTS + texts[:200]), "chars": char_vocab(TEXTS + texts[:200])},
        "texts": TEXTS + [s.decode() for s in base.STRINGS if s not in base.BROKEN] + texts,
    }
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "job.json")
        with open(path, "w") as f:
            json.dump(job, f)
        for name in names or BYTES + CHARS:
            run = subprocess.run([sys.executable, __file__, "--one", programs, path, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            print(run.stdout, end="", flush=True)
            if run.returncode not in (0, 1) or not run.stdout:
                print(f"{name}: {run.stderr[-400:]}", flush=True)
            failed += run.returncode != 0
    sys.exit(1 if failed else 0)


def check_one(programs, path, name):
    with open(path) as f:
        job = json.load(f)
    vocab = job["vocabs"]["chars" if name in CHARS else "bytes"]
    texts = [t for t in job["texts"] if allowed(name, t.encode())]
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "v.gguf")
        base.write_gguf(path, vocab, "gpt2", name, {})
        run = subprocess.run([os.path.join(programs, "kveval"), "tokens", path, "--in", "-", "--special"], input=json.dumps(texts),
                             capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{name}: {run.stderr}")
        got = json.loads(run.stdout)
        llama = base.Vocab(path)
        want = [llama(t.encode(), True) for t in texts]
    bad = [i for i in range(len(texts)) if got[i] != want[i]]
    for i in bad[:3]:
        print(f"    {texts[i]!r}\n        wanted {[vocab['tokens'][k] for k in want[i]]}\n        got    {[vocab['tokens'][k] for k in got[i]]}")
    print(f"{name}: {len(texts) - len(bad)} of {len(texts)} texts agree")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        make()
    elif sys.argv[1] == "--check" and len(sys.argv) > 2:
        check(sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "1", sys.argv[4:])
    elif sys.argv[1] == "--one":
        check_one(*sys.argv[2:])
    else:
        sys.exit(__doc__)
