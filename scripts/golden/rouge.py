#!/usr/bin/env python3
"""Writes testdata/golden/rouge.json: F-measures by google-research's rouge_score, stems by NLTK, of made-up texts and of files under ../shared/data.

Usage: rouge.py SHARED OUT    (needs rouge_score)

`pairs`: `a`, `b`, `plain` and `stemmed`, each [rouge1, rouge2, rougeL]; `files`: the same of the texts in `a` and `b`, which are not part of the project;
`vicuna`: of each of the 80 pairs of answers; `stems`: word, stem, ...
"""
import json
import pathlib
import random
import sys

from nltk.stem import porter
from rouge_score import rouge_scorer

TYPES = ["rouge1", "rouge2", "rougeL"]
plain = rouge_scorer.RougeScorer(TYPES)
stemmed = rouge_scorer.RougeScorer(TYPES, use_stemmer=True)


def scores(scorer, a, b):
    s = scorer.score(a, b)
    return [s[t].fmeasure for t in TYPES]


def pair(a, b):
    return {"plain": scores(plain, a, b), "stemmed": scores(stemmed, a, b)}


def main():
    shared, r = pathlib.Path(sys.argv[1]) / "data", random.Random(7)
    texts = [("", ""), ("", "a"), ("word", ""), ("the cat sat", "the cat sat"), ("The CAT, sat!", "the cat sat"), ("a b c", "c b a"), ("one", "one two"),
             ("İstanbul is big", "i stanbul is big"), ("5 K of naïve café", "5 k of nai ve caf"), ("snake_case x-y 3.14", "snake case x y 3 14"),
             ("the the the cat", "the cat the"), ("running flies happily", "run fly happy"), ("日本 語 abc", "abc")]
    words = "the a quick brown fox jumps over lazy dogs running runner happily relational conditional 42 it's don't state-of-the-art".split()
    for _ in range(60):
        a = [r.choice(words) for _ in range(r.randrange(1, 30))]
        b = [w for w in a if r.random() < 0.7] + [r.choice(words) for _ in range(r.randrange(6))]
        if r.random() < 0.3:
            r.shuffle(b)
        texts.append((" ".join(a), ", ".join(b)))
    files = [pair((shared / "metric/rouge/target.txt").read_text(), (shared / "metric/rouge/prediction.txt").read_text())]
    answers = [[json.loads(x) for x in (shared / "instruct/vicuna" / f).read_text().splitlines()] for f in ("answer_gpt35.jsonl", "answer_llama-13b.jsonl")]
    vicuna = [pair(a["text"], b["text"]) for a, b in zip(*answers)]
    ends = ("s es ies sses ss ed ing ied eed at bl iz y ational tional enci anci izer bli abli alli entli eli ousli ization ation ator alism iveness fulness "
            "ousness aliti iviti biliti fulli logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion sion tion ou ism ate "
            "iti ous ive ize e ll lle").split()
    out, seen = [], set()
    stems = porter.PorterStemmer()
    given = "sky skies dying lying tying news innings outing cannings howe proceed exceed succeed died dies flies spied enjoy enjoyment say by yyyy yes toy hopping falling geology".split()
    while len(out) < 3000:
        w = given.pop() if given else "".join(r.choice("aeiouybcdfglmnrstvwxz") for _ in range(r.randrange(6))) + "".join(r.choice(ends) for _ in range(r.randrange(1, 3)))
        if w and w not in seen:
            seen.add(w)
            out += [w, stems.stem(w)]
    golden = {"source": "rouge_score 0.1.2, nltk 3.10", "pairs": [{"a": a, "b": b, **pair(a, b)} for a, b in texts], "files": files, "vicuna": vicuna, "stems": " ".join(out)}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
