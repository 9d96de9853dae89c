#!/usr/bin/env python3
"""Writes testdata/tokenizer/components.json.gz: small tokenizers that use every component, and what Hugging Face's
tokenizers library makes of difficult random texts with them.

Usage: tokenizer-components.py OUT    (needs the package tokenizers)

Each case has the tokenizer.json (`tokenizer`), `texts` with `ids`, `ids0` (without special tokens) and `offsets`
(of ids0, in characters, flat), and random `decode` lists with their text, whole and without special tokens.
"""
import gzip
import json
import random
import sys

import tokenizers
from tokenizers import Tokenizer

R = random.Random(20261123)

# Difficult characters and sequences.
PARTS = (
    list("aAbzZ019 .,!?'-_|\t\n\r#")
    + ["  ", "   ", "\r\n", " \n", "\n\n ", "'s", "'S", "'LL", "'ſ", "'re", "do not", " n't", "##", "word", "Word's", "1234567"]
    + ["é", "e\u0301", "a\u0323\u0301", "a\u0301\u0323", "q\u0307\u0323", "İ", "ß", "ǅ", "Σς", "ſ", "K", "Å", "ﬁ", "½", "²", "①", "Ⅷ"]
    + ["\u0301", "\u0345", "\u094d", "क्षि", "가", "각", "\u1100\u1161\u11a8", "한국", "あア", "ー", "漢字", "豈", "。", "、", "ｶﾞ", "Ａ"]
    + ["\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\u200d", "\ufeff", "\u00ad", "\x00", "\x0b", "\x7f", "\ufffd", "\u061c"]
    + ["😀", "👩\u200d👩", "🇩🇪", "Привет", "ا\u064bل", "١٢", "ไทย", "▁", "▁a", "Ġ", "Ċ", "<0x41>", "€", "𝒜", "\U0002f800"]
    + ["<x>", "<y>", "<yy>", "tok", "Tok", "<norm>", "<NORM>", "<unk>", "</s>"]
    + ["q?", "a a", "▁a▁", "ﬁ\u200b", "\u0b94\u0bc8", "\u081b\u1715", "a\u08d3\u0301", "\n\u0897", "ⓐ", "ⅷ"]
    + ["\u0897", "\u1c89", "\u1c8a", "\ua7cb", "\ua7dc", "\U00010ec2", "\U00010d40", "\U0001171e", "\U00013460", "\U00016d40", "\U0001cd00", "\U0001e5ff", "\U0002ebf0"]  # Unicode 15.1 and 16
)


def text(n=12):
    return "".join(R.choice(PARTS) for _ in range(R.randint(0, n)))


def added(content, id, **flags):
    token = dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return token | flags


def words():
    """Every word is one unknown token: the offsets show where the words are."""
    return {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1, "word": 2, "▁a": 3, "漢": 4}, "unk_token": "<unk>"}


def bytes_bpe(**settings):
    """Byte fallback: the ids show the normalized text."""
    vocab = {"<unk>": 0} | {f"<0x{b:02X}>": b + 1 for b in range(256)}
    for token in ["a", "b", "z", "w", "o", "r", "d", "▁", "é", "漢", " ", "wo", "rd", "word", "▁a", "▁▁", "  ", "aa"]:
        vocab[token] = len(vocab)
    merges = ["w o", "r d", "wo rd", "▁ a", "▁ ▁", "a a"]
    return {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True} | settings


def plain_bpe(**settings):
    vocab = {"<unk>": 0}
    for token in ["a", "b", "z", "w", "o", "r", "d", "é", "#", "##a", "##b", "##o", "##r", "##d", "##z", "a</w>", "##a</w>", "##d</w>",
                  "d</w>", "o</w>", "wo", "wor", "word", "word</w>", "rd</w>", "<0xC3>", "<0xA9>", "<0x0A>"]:
        vocab[token] = len(vocab)
    model = {"type": "BPE", "vocab": vocab, "unk_token": "<unk>", "merges": [["w", "o"], ["wo", "r"], ["wor", "d"]]} | settings
    prefix, suffix = model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")
    if prefix and not suffix:
        model["merges"] = [["w", "##o"], ["wo", "##r"], ["wor", "##d"]]
    elif suffix and not prefix:
        model["merges"] = [["w", "o"], ["r", "d</w>"], ["wo", "rd</w>"]]
    elif prefix:
        model["merges"] = [["w", "##o"], ["wo", "##r"], ["wor", "##d</w>"]]
    return model


def byte_level_bpe(**settings):
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    for token in ["Ġa", "wo", "rd", "word", "Ġword", "ĠĠ", "Ã©"]:
        vocab[token] = len(vocab)
    merges = ["Ġ a", "w o", "r d", "wo rd", "Ġ word", "Ġ Ġ", "Ã ©"]
    return {"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": None} | settings


def wordpiece(**settings):
    vocab = {t: i for i, t in enumerate(["[UNK]", "a", "b", "word", "##s", "##a", "##b", "wo", "##rd", "漢", "字", "é", "##é", "!", "'", "1", "##2"])}
    return {"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 6} | settings


def unigram(**settings):
    vocab = [["<unk>", 0.0], ["▁", -2.5], ["a", -3.0], ["▁a", -3.2000000000000001], ["aa", -6.0], ["word", -7.1234567890123456789], ["wo", -4.5],
             ["rd", -4.25], ["w", -5.0], ["o", -5.5], ["r", -5.25], ["d", -5.125], ["漢字", -6.5], ["漢", -7.5], ["é", -4.75], ["<unk>x", -9.0], ["😀", -8.0],
             ["q", 5.0], ["q?", -20.0]]  # "q?" is better than "q" and an unknown character, but by less than the penalty for that
    if settings.get("byte_fallback"):
        vocab += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
    return {"type": "Unigram", "vocab": vocab, "unk_id": 0} | settings


def charsmap():
    """A real compiled charsmap is large; this double array maps a few sequences, laid out as darts-clone does."""
    import base64
    import struct

    rules = {"\t": " ", "\n": " ", "é": "e", "e\u0301": "é", "ﬁ": "fi", "½": " 1⁄2", "\u200b": "", "①": "1", "Ａ": "A", "\r\n": "\n", "\u00ad": "", "豈": "豈"}
    blob, places = b"", {}
    for key, value in rules.items():
        places[key.encode()] = len(blob)
        blob += value.encode() + b"\0"
    units = [0] * 4096
    used = [False] * 4096
    used[0] = True

    def build(at, prefix):
        keys = sorted({k[len(prefix) : len(prefix) + 1] for k in places if k.startswith(prefix)})
        labels = [k[0] if k else 0 for k in keys]
        base = 256
        while used[base] or any(used[base ^ b] for b in labels):
            base += 1
        offset = at ^ base
        assert offset < 1 << 21
        units[at] |= offset << 10
        for b in labels:
            used[base ^ b] = True
        used[base] = True
        for b in labels:
            if b == 0:
                units[at] |= 1 << 8
                units[base] = places[prefix] | 1 << 31
            else:
                units[base ^ b] |= b
        for b in labels:
            if b:
                build(base ^ b, prefix + bytes([b]))

    build(0, b"")
    data = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + blob
    return base64.b64encode(data).decode()


def template(prefix, suffix, ids):
    one = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    single = [one(t) for t in prefix] + [{"Sequence": {"id": "A", "type_id": 0}}] + [one(t) for t in suffix]
    special = {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in ids.items()}
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}


def tokenizer(model, normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None, added_tokens=()):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added_tokens), "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model}


def seq(kind, *members):
    return {"type": "Sequence", kind: list(members)}


def byte_level(**settings):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True} | settings


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


NORMALIZERS = {
    **{n: {"type": n} for n in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"]},
    "strip": {"type": "Strip", "strip_left": True, "strip_right": True},
    "strip left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "prepend": {"type": "Prepend", "prepend": "▁x"},
    "replace string": {"type": "Replace", "pattern": {"String": "a"}, "content": "éz"},
    "replace longer": {"type": "Replace", "pattern": {"String": "  "}, "content": "▁"},
    "replace regex": {"type": "Replace", "pattern": {"Regex": " {2,}|\\d+"}, "content": "#"},
    "replace nothing": {"type": "Replace", "pattern": {"Regex": "[aé]"}, "content": ""},
    "replace ends": {"type": "Replace", "pattern": {"Regex": "\\A +| +\\z"}, "content": ""},
    "bert": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    "bert cased": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False},
    "bert accents": {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": False, "strip_accents": True, "lowercase": False},
    "precompiled": {"type": "Precompiled", "precompiled_charsmap": charsmap()},
    "strip, prepend": seq("normalizers", {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Prepend", "prepend": "▁"}),
    "nested": seq("normalizers", {"type": "NFKD"}, seq("normalizers", {"type": "StripAccents"}, {"type": "Lowercase"}), {"type": "NFC"}),
    "albert": seq("normalizers", {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}, {"type": "NFKD"}, {"type": "StripAccents"},
                  {"type": "Lowercase"}, {"type": "Precompiled", "precompiled_charsmap": charsmap()}),
    "llama": seq("normalizers", {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
}

BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
DEEPSEEK = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
            "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")

# What Oniguruma reads in its own way, and what other families split by.
EXPRESSIONS = [
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"[\p{L}&&[^\p{Han}]]+", r"[a-z&&[^aeiou]&&\w]+|[[:^alpha:]]", r"\w+|[^\w\s]+", r"[\w]+", r"[^\W\d]+", r"\W", r"\b", r"\B",
    r"[[:alnum:]]+", r"[[:punct:]]", r"[[:upper:]][[:lower:]]*", r"[[:space:]]+", r"\h+", r"\R", r"\p{N}{1,2}+", r"\p{L}{,3}", r"a*", r"(?=[A-Z])", r"(?<=a)", "",
    r"(?m).+", r".", r"(?i)WORD|é", r"\x{6f22}|\u0301|\x41", r"\p{^L}+", r"\P{Letter}+", r"[^\p{C}\p{Z}]+", r"[\p{Hiragana}\p{katakana}ー]+", r"{a}", r"[\]\-a]",
    r"(?:\r?\n)+(?!\r?\n)", r"(?=(\d{3})+(?!\d))", r"\p{Lu}\p{Ll}*|\p{M}|\p{Nd}|\p{S}", r"(?:a|(?#or)b)?+ ", r"^ | $", r"\p{Cyrillic}+|[\p{Latin}\p{Arabic}]+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
]

PRE_TOKENIZERS = {
    **{n: {"type": n} for n in ["Whitespace", "WhitespaceSplit", "BertPreTokenizer"]},
    "fixed": {"type": "FixedLength", "length": 3},
    "delimiter": {"type": "CharDelimiterSplit", "delimiter": "|"},
    "digits": {"type": "Digits", "individual_digits": True},
    "digits together": {"type": "Digits", "individual_digits": False},
    **{f"punctuation {b}": {"type": "Punctuation", "behavior": b} for b in BEHAVIORS},
    **{f"split string {b}": split({"String": "a"}, b) for b in BEHAVIORS},
    **{f"split regex {b} {i}": split({"Regex": r"\d+|\s"}, b, i) for b in BEHAVIORS for i in (False, True)},
    "llama3": split({"Regex": LLAMA3}, "Isolated"),
    "qwen": split({"Regex": LLAMA3.replace("{1,3}", "")}, "Isolated"),
    "cl100k": split({"Regex": CL100K}, "Isolated"),
    "cl100k removed": split({"Regex": CL100K}, "Removed", True),
    "o200k": split({"Regex": O200K}, "Isolated"),
    "deepseek": seq("pretokenizers", split({"Regex": r"\p{N}{1,3}"}, "Isolated"), split({"Regex": "[一-龥぀-ゟ゠-ヿ]+"}, "Isolated"),
                    split({"Regex": DEEPSEEK}, "Isolated"), byte_level(use_regex=False)),
    "metaspace": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "metaspace first": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
    "metaspace first whole": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    "metaspace never": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    "byte level": byte_level(),
    "byte level prefix": byte_level(add_prefix_space=True),
    "byte level whole": byte_level(use_regex=False),
    "byte level, digits": seq("pretokenizers", byte_level(), {"type": "Digits", "individual_digits": True}),
    "digits, byte level": seq("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()),
    "albert": seq("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}),
}

ADDED = [
    [added("<x>", 0, special=True), added("<y>", 1), added("<yy>", 2), added("tok", 3, single_word=True)],
    [added("<x>", 0, lstrip=True, special=True), added("<y>", 1, rstrip=True), added("<yy>", 2, lstrip=True, rstrip=True)],
    [added("<norm>", 0, normalized=True), added("tok", 1, normalized=True, single_word=True), added("word", 2, normalized=True, lstrip=True)],
    [added("<NORM>", 0, normalized=True), added("Tok", 1, normalized=True, rstrip=True), added(" a", 2, normalized=True), added("  ", 3, normalized=True)],
    [added("é", 0, normalized=True), added("▁", 1), added("<x>", 2, normalized=True, special=True), added("<y>", 3, special=True, lstrip=True)],
    [added("  ", 0, lstrip=True, rstrip=True), added("\n", 1, rstrip=True), added("<x>", 2, rstrip=True)],
]

DECODER_TOKENS = ["a", "▁a", "▁", "▁▁b", "##a", "##", "Ġa", "Ċ", "é", "Ã©", "Ã", "<0xE2>", "<0x82>", "<0xAC>", "<0xff>", "<0x41>", "<0x4G>", "<0x+F>",
                  "word</w>", "</w>", "|", "<pad>", "do", "not", "n't", "'s", "'", ".", ",", "?", " ", "  ", "a b", "漢", "�", "😀", "", "|a|", " do not"]
DECODERS = {
    "none": None,
    **{n: {"type": n} for n in ["ByteFallback", "Fuse"]},
    "byte level": byte_level(),
    "metaspace": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "metaspace never": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    "wordpiece": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "wordpiece raw": {"type": "WordPiece", "prefix": "##", "cleanup": False},
    "bpe": {"type": "BPEDecoder", "suffix": "</w>"},
    "ctc": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    "ctc raw": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False},
    "strip": {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    "strip more": {"type": "Strip", "content": "a", "start": 2, "stop": 0},
    "replace": {"type": "Replace", "pattern": {"String": "a"}, "content": "éé"},
    "replace regex": {"type": "Replace", "pattern": {"Regex": "[aé]+"}, "content": "x"},
    "replace everywhere": {"type": "Replace", "pattern": {"String": ""}, "content": "x"},
    "empty": seq("decoders"),
    "llama": seq("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                 {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
}

POST_PROCESSORS = {
    "trim": byte_level(trim_offsets=True),
    "trim prefix": byte_level(trim_offsets=True, add_prefix_space=True),
    "roberta": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": False},
    "bert": {"type": "BertProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4]},
    "template": template(["<s>", "<b>"], ["</s>"], {"<s>": 7, "<b>": 8, "</s>": 9}),
    "empty template": template([], [], {}),
    "sequence": seq("processors", byte_level(trim_offsets=True), template(["<s>"], [], {"<s>": 7})),
}


def empty(normalizer, content):
    return Tokenizer.from_str(json.dumps(tokenizer(words(), normalizer))).normalizer.normalize_str(content) == ""


def cases():
    for name, n in NORMALIZERS.items():
        yield f"normalizer {name}", tokenizer(bytes_bpe(), n)
        for k, tokens in enumerate(ADDED):
            model = bytes_bpe()
            size = len(model["vocab"])
            ids = [t | {"id": model["vocab"].get(t["content"])} for t in tokens]
            for t in ids:
                if t["id"] is None:
                    t["id"], size = size, size + 1
            # A token that normalizes to nothing would match everywhere; the library then cuts the text into characters.
            if n is None or not any(t["normalized"] and empty(n, t["content"]) for t in ids):
                yield f"normalizer {name}, added {k}", tokenizer(model, n, added_tokens=ids)
    for name, p in PRE_TOKENIZERS.items():
        yield f"pre-tokenizer {name}", tokenizer(words(), None, p)
        yield f"pre-tokenizer {name}, bytes", tokenizer(bytes_bpe(), {"type": "NFKD"}, p)
        yield f"pre-tokenizer {name}, added", tokenizer(words(), {"type": "Strip", "strip_left": True, "strip_right": True}, p,
                                                        added_tokens=[added("<x>", 5, lstrip=True), added("<y>", 6, normalized=True, rstrip=True)])
    for e in EXPRESSIONS:
        yield f"expression {e}", tokenizer(words(), None, split({"Regex": e}, "Isolated"))
        yield f"expression {e} merged", tokenizer(words(), {"type": "Replace", "pattern": {"Regex": e}, "content": "_a"}, split({"Regex": e}, "MergedWithNext", True))
    gap = words()
    gap["vocab"]["far"] = 9
    yield "ids after a gap", tokenizer(gap, None, {"type": "WhitespaceSplit"}, added_tokens=[added("<x>", 6), added("<y>", 7)])
    for settings in [{}, {"fuse_unk": True}, {"byte_fallback": True}, {"byte_fallback": True, "fuse_unk": True}, {"ignore_merges": True},
                     {"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"}, {"unk_token": None},
                     {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "fuse_unk": True}]:
        yield f"BPE {settings}", tokenizer(plain_bpe(**settings), None, {"type": "Whitespace"})
        yield f"BPE {settings} whole", tokenizer(plain_bpe(**settings), {"type": "NFD"})
    joining = bytes_bpe()
    joining["vocab"]["a▁"] = len(joining["vocab"])
    joining["merges"].insert(0, "a ▁")
    yield "BPE that merges across spaces", tokenizer(joining, NORMALIZERS["llama"])
    yield "BPE that drops characters", tokenizer(bytes_bpe(unk_token=None, byte_fallback=False), NORMALIZERS["llama"])
    yield "WordPiece", tokenizer(wordpiece(), None, {"type": "BertPreTokenizer"})
    yield "WordPiece normalized", tokenizer(wordpiece(), NORMALIZERS["bert"], {"type": "BertPreTokenizer"})
    for settings in [{}, {"byte_fallback": True}]:
        yield f"Unigram {settings}", tokenizer(unigram(**settings), None, PRE_TOKENIZERS["metaspace"])
        yield f"Unigram {settings} whole", tokenizer(unigram(**settings), {"type": "NFKC"})
    for name, p in POST_PROCESSORS.items():
        for space in (False, True):
            yield f"post-processor {name} {space}", tokenizer(byte_level_bpe(), None, byte_level(add_prefix_space=space), p,
                                                              added_tokens=[added("  ", 263, normalized=True), added("<x>", 264, special=True, lstrip=True), added("<y>", 265, rstrip=True)])
        yield f"post-processor {name}, Unigram", tokenizer(unigram(), {"type": "Nmt"}, None, p, added_tokens=[added("<x>", 19, lstrip=True), added("tok", 20, rstrip=True)])
    yield "byte level, ignore_merges", tokenizer(byte_level_bpe(ignore_merges=True), None, byte_level())
    yield "byte level, lowercase", tokenizer(byte_level_bpe(), {"type": "Lowercase"}, byte_level(), added_tokens=[added("Tok", 263, normalized=True)])
    for name, d in DECODERS.items():
        vocab = {t: i for i, t in enumerate(dict.fromkeys(DECODER_TOKENS))}
        yield f"decoder {name}", tokenizer({"type": "WordLevel", "vocab": vocab, "unk_token": "a"}, None, {"type": "WhitespaceSplit"}, decoder=d,
                                           added_tokens=[added("<pad>", vocab["<pad>"], special=True), added("<x>", len(vocab), special=True)])


def main():
    out = []
    for name, config in cases():
        t = Tokenizer.from_str(json.dumps(config))
        case = {"name": name, "tokenizer": json.dumps(config, ensure_ascii=False), "texts": [], "decode": []}
        decoding = name.startswith("decoder")
        for _ in range(4 if decoding else 40):
            s = text()
            e = t.encode(s, add_special_tokens=False)
            case["texts"].append({"text": s, "ids": t.encode(s).ids, "ids0": e.ids, "offsets": [n for pair in e.offsets for n in pair]})
        for _ in range(150 if decoding else 3):
            ids = [R.randrange(t.get_vocab_size() + 2) for _ in range(R.randint(0, 8))]
            ids += [a["id"] for a in config["added_tokens"] if R.random() < 0.5]
            case["decode"].append({"ids": ids, "dec": t.decode(ids, skip_special_tokens=False), "decs": t.decode(ids, skip_special_tokens=True)})
        out.append(case)
    with gzip.GzipFile(sys.argv[1], "wb", mtime=0) as f:
        f.write(json.dumps({"tokenizers": tokenizers.__version__, "cases": out}, ensure_ascii=False, separators=(",", ":")).encode())
    print(len(out), "tokenizers")


if __name__ == "__main__":
    main()
