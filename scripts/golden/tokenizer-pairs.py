#!/usr/bin/env python3
"""Writes testdata/tokenizer/pairs.json: pairs of texts as the tokenizers library and transformers put them together.

Usage: tokenizer-pairs.py CLEAN OUT    (needs the package transformers; CLEAN is testdata/tokenizer/clean)

`processors`: clean/own-bert.tokenizer.json with other post-processors: `post_processor`, and for `pairs` of texts ids and
token types. `truncated`: the same tokenizer as it is, pairs cut to `length` by longest_first. `folders`: `files`, and what
AutoTokenizer makes of the pairs; `mask` is the id of the mask token.
"""
import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import tokenizers
import transformers

PAIRS = [("a small dog", "It runs."), ("a", "b"), ("the cat sat on the mat", "a"), ("x y", "unbelievable, isn't it?")]


def template(pair, special):
    item = lambda s: {"Sequence": {"id": s[0], "type_id": int(s[2:])}} if s[0] in "AB" and s[1] == ":" else {"SpecialToken": {"id": s.split(":")[0], "type_id": int(s.split(":")[1])}}
    return {
        "type": "TemplateProcessing", "single": [item("A:0")], "pair": [item(s) for s in pair.split()],
        "special_tokens": {name: {"id": name, "ids": ids, "tokens": [name] * len(ids)} for name, ids in special.items()},
    }


def main():
    clean, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    bert = json.loads((clean / "own-bert.tokenizer.json").read_text())
    vocab = bert["model"]["vocab"]
    cls, sep = vocab["[CLS]"], vocab["[SEP]"]
    special = {"[CLS]": [cls], "[SEP]": [sep], "[TWO]": [sep, cls]}
    processors = [
        bert["post_processor"],
        {"type": "BertProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", cls]},
        {"type": "RobertaProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", cls], "trim_offsets": True, "add_prefix_space": False},
        template("A:0 B:0", special),
        template("A:0 [SEP]:0 B:1", special),
        template("[CLS]:3 A:1 [TWO]:2 B:0 [SEP]:0 [SEP]:0", special),
        {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, bert["post_processor"]]},
    ]
    result = {"versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}, "pairs": PAIRS, "processors": [], "truncated": [], "folders": []}
    for p in processors:
        t = tokenizers.Tokenizer.from_str(json.dumps({**bert, "post_processor": p}))
        all = [t.encode(a, b) for a, b in PAIRS]
        result["processors"].append({"post_processor": p, "ids": [e.ids for e in all], "types": [e.type_ids for e in all]})
    t = tokenizers.Tokenizer.from_str(json.dumps(bert))
    words = "the dog saw a big red ball and ran to it".split()
    for n in range(1, 11, 3):
        for m in (1, 2, 4, 7, 10):
            for length in (5, 6, 9, 10, 14):
                t.enable_truncation(length, strategy="longest_first")
                e = t.encode(" ".join(words[:n]), " ".join(words[:m]))
                result["truncated"].append({"a": " ".join(words[:n]), "b": " ".join(words[:m]), "length": length, "ids": e.ids, "types": e.type_ids})
    lines = [w for w, _ in sorted(vocab.items(), key=lambda x: x[1])]
    gpt2 = json.loads((clean / "own-gpt2.tokenizer.json").read_text())
    base = dict(gpt2["model"]["vocab"])
    for token in ("<s>", "</s>", "<unk>", "<pad>", "<mask>"):
        base.setdefault(token, len(base))
    merges = ["#version: 0.2"] + [m if isinstance(m, str) else " ".join(m) for m in gpt2["model"]["merges"]]
    for files in (
        {"config.json": json.dumps({"model_type": "bert"}), "vocab.txt": "\n".join(lines) + "\n"},
        {"config.json": json.dumps({"model_type": "roberta"}), "vocab.json": json.dumps(base), "merges.txt": "\n".join(merges) + "\n"},
    ):
        with tempfile.TemporaryDirectory() as d:
            for name, text in files.items():
                pathlib.Path(d, name).write_text(text)
            t = transformers.AutoTokenizer.from_pretrained(d)
            all = [t(a, b, return_token_type_ids=True) for a, b in PAIRS]
            result["folders"].append({"files": files, "mask": t.mask_token_id, "ids": [e["input_ids"] for e in all], "types": [e["token_type_ids"] for e in all]})
    out.write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
