#!/usr/bin/env python3
"""Writes testdata/tokenizer/unicode.json.gz: what Hugging Face's tokenizers library takes each code point for.

Usage: tokenizer-unicode.py OUT    (needs the package tokenizers; tells its version in the file)

The library mixes Unicode tables of several versions (Oniguruma's, Rust's, and old crates'), none of which is Go's, so
every class is found by asking the library about each code point.
"""
import gzip
import json
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(codes):
    out = []
    for c in codes:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def removed(pre_tokenizer):
    """Code points that a pre-tokenizer removes."""
    kept = set()
    for k in range(0, len(CODES), 4096):
        for piece, _ in pre_tokenizer.pre_tokenize_str("".join(map(chr, CODES[k : k + 4096]))):
            kept.update(map(ord, piece))
    return ranges(c for c in CODES if c not in kept)


def regex(pattern):
    return removed(pre_tokenizers.Split(Regex(pattern), "removed"))


def splits(pre_tokenizer):
    """Code points that are cut from letters around them."""
    return ranges(c for c in CODES if len(pre_tokenizer.pre_tokenize_str("a" + chr(c) + "a")) > 1)


def changes(normalizer):
    out = {}
    for c in CODES:
        s = normalizer.normalize_str(chr(c))
        if s != chr(c):
            out[c] = s
    return out


def dropped(normalizer):
    return ranges(c for c in CODES if normalizer.normalize_str("a" + chr(c) + "a") == "aa")


def main():
    bert = normalizers.BertNormalizer
    out = {
        "tokenizers": tokenizers.__version__,
        "classes": {
            "letter": regex(r"\p{L}"),
            "number": regex(r"\p{N}"),
            "space": regex(r"\s"),
            "numeric": splits(pre_tokenizers.Digits(True)),
            "white_space": removed(pre_tokenizers.WhitespaceSplit()),
            "not_word": splits(pre_tokenizers.Whitespace()),
            "bert_split": splits(pre_tokenizers.BertPreTokenizer()),
            "punctuation": removed(pre_tokenizers.Punctuation("removed")),
            "mark": dropped(normalizers.StripAccents()),
            "accent": dropped(bert(False, False, True, False)),
            "control": dropped(bert(True, False, False, False)),
        },
        "changes": {
            "lowercase": changes(normalizers.Lowercase()),
            "nfd": changes(normalizers.NFD()),
            "nfkd": changes(normalizers.NFKD()),
            "nfc": changes(normalizers.NFC()),
            "nfkc": changes(normalizers.NFKC()),
            "nmt": changes(normalizers.Nmt()),
            "clean": {c: s for c, s in changes(bert(True, False, False, False)).items() if s},
            "chinese": ranges(c for c in CODES if bert(False, True, False, False).normalize_str(chr(c)) != chr(c)),
        },
    }
    with gzip.GzipFile(sys.argv[1], "wb", mtime=0) as f:
        f.write(json.dumps(out, separators=(",", ":"), sort_keys=True).encode())


if __name__ == "__main__":
    main()
