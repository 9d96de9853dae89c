#!/usr/bin/env python3
"""Writes testdata/golden/squad.json: texts and what torchmetrics' SQuAD normalises them to.

Usage: squad.py OUT    (needs torchmetrics)
"""
import json
import pathlib
import random
import string
import sys

from torchmetrics.functional.text.squad import _normalize_text

r = random.Random(3)
texts = ["", "The Cat", "a an the", "An apple a day.", "theatre", "a—b", "a's the_end", "U.S.A.", "ΟΔΟΣ", "İstanbul", "naïve A", "a\u0301 b", "\x1cone\x1ftwo\u00a0three\u3000",
         "½ a 5", "$1,000.50", "日本the語", "the² cat", string.punctuation, "x\u200bthe\u200by", "ǅ THE ß ẞ", "  tab\tnew\nline  "]
letters = ["a", "an", "the", "The", "A", " ", " ", "-", "é", "語", "_", "5", ".", "’", "\n", "\u0301", "x", "²", "Σ"]
texts += ["".join(r.choice(letters) for _ in range(r.randrange(1, 15))) for _ in range(200)]
golden = {"source": "torchmetrics 1.9", "texts": [[t, _normalize_text(t)] for t in texts]}
pathlib.Path(sys.argv[1]).write_text(json.dumps(golden, separators=(",", ":")) + "\n")
