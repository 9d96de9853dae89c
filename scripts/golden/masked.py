#!/usr/bin/env python3
"""Writes testdata/golden/masked.json: what transformers' DataCollatorForLanguageModeling makes of texts, several times each.

Usage: masked.py TOKENIZER OUT    (needs torch and transformers; TOKENIZER is testdata/tokenizer/clean/own-bert.tokenizer.json)

`ids`: the texts' tokens, special ones included. `runs`: inputs and labels, REPEATS for each text.
"""
import json
import os
import pathlib
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import transformers

TEXTS = [
    "the little cat sat on the mat and saw a big red ball", "unbelievable adventures happened yesterday in the mountains",
    "she wanted to play outside with her friends but it was raining", "one two three four five six seven eight nine ten",
]
REPEATS = 30


def main():
    t = transformers.PreTrainedTokenizerFast(
        tokenizer_file=sys.argv[1], cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")
    out = {"versions": {"transformers": transformers.__version__}, "texts": TEXTS, "ids": [t(x)["input_ids"] for x in TEXTS], "vocab": len(t), "mask": t.mask_token_id}
    collate = transformers.DataCollatorForLanguageModeling(t, seed=3)
    batches = [collate([dict(t(text, return_special_tokens_mask=True))]) for text in TEXTS for _ in range(REPEATS)]
    out["runs"] = [{"inputs": b["input_ids"][0].tolist(), "labels": b["labels"][0].tolist()} for b in batches]
    pathlib.Path(sys.argv[2]).write_text(json.dumps(out, separators=(",", ":")) + "\n")


main()
