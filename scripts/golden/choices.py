#!/usr/bin/env python3
"""Writes testdata/golden/choices.json: log-likelihoods of choices after prompts by transformers, as lm-evaluation-harness has them made.

Usage: choices.py SHARED OUT    (needs torch and transformers)

Model: SHARED/models/stories260k. `records`: made-up questions with `prompt`, `choices`, `gold`; `cqa`: the first 100 of SHARED/data/cot/dss/cqa/cqa_train.json as
"Question: ...\\nAnswer:", which are not part of the project. Of each `loglikelihood` of the choices; `acc`, `acc_norm` and their standard errors over all.
"""
import json
import math
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

shared = pathlib.Path(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(shared / "models/stories260k", dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(shared / "models/stories260k")


def pair(context, continuation):
    """Blanks at the end of the context belong to the continuation, whose tokens are those that both together have more than the context."""
    blanks = len(context) - len(context.rstrip())
    if blanks and context.strip():
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    if not context.strip():
        return [tokenizer.bos_token_id], tokenizer(continuation, add_special_tokens=False).input_ids
    whole, head = tokenizer(context + continuation).input_ids, tokenizer(context).input_ids
    return whole[: len(head)], whole[len(head) :]


@torch.no_grad()
def likelihood(context, continuation):
    head, tail = pair(context, continuation)
    ids = torch.tensor([head + tail])
    logp = model(ids[:, :-1]).logits.double().log_softmax(-1)[0]
    return sum(logp[len(head) - 1 + i, t].item() for i, t in enumerate(tail))


def measure(records):
    hits, normed = [], []
    for r in records:
        delimiter = "" if r["prompt"] == "" or r["prompt"] != r["prompt"].rstrip() else " "
        r["loglikelihood"] = [likelihood(r["prompt"], delimiter + c) for c in r["choices"]]
        by_byte = [x / len(c.encode()) for x, c in zip(r["loglikelihood"], r["choices"])]
        hits.append(r["loglikelihood"].index(max(r["loglikelihood"])) == r["gold"])
        normed.append(by_byte.index(max(by_byte)) == r["gold"])
    out = {"records": records}
    for name, x in (("acc", hits), ("acc_norm", normed)):
        p = sum(x) / len(x)
        out[name], out[name + "_stderr"] = p, math.sqrt(sum((v - p) ** 2 for v in x) / (len(x) - 1) / len(x))
    return out


made = [
    ("Once upon a time, there was a little", ["girl named Lily.", "engine of war.", "boy"], 0),
    ("Lily and Tom went to the", ["park", "parliament", "shop to buy a very big red ball and a small blue car"], 0),
    ("The dog was very ", ["happy.", "sad.", "logarithmic."], 0),
    ("The sun is\n", ["bright", "dark"], 0),
    ("", ["Once upon a time", "Zebra"], 0),
    ("Tim saw a cat.  ", ["The cat ran away.", "It was blue."], 1),
    ("Mom said, \"Let's eat", ["lunch!\"", "naïve café 日本\"", "the moon.\""], 0),
    ("Question: What do birds do?\nAnswer:", ["fly", "swim in the deep sea", "read"], 0),
    ("One day, a boy named Ben found a toy. He wanted to", ["play with it.", "sell the toy to a bank", "cry."], 2),
    ("She gave him a big", ["hug", "tax", "hug and a kiss"], 0),
    ("It was raining, so they took an", ["umbrella", "elephant"], 0),
    ("Grandma baked a cake. It smelled", ["good.", "like", "g"], 0),
]
records = [{"prompt": p, "choices": c, "gold": g} for p, c, g in made]
lines = (shared / "data/cot/dss/cqa/cqa_train.json").read_text().splitlines()[:100]
cqa = [json.loads(x) for x in lines]
cqa = [{"prompt": f"Question: {r['question']}\nAnswer:", "choices": r["choices"], "gold": r["choices"].index(r["answer"])} for r in cqa]
golden = {"source": "transformers, torch", "made": measure(records), "cqa": measure(cqa)}
golden["cqa"]["records"] = [{"loglikelihood": r["loglikelihood"]} for r in golden["cqa"]["records"]]
pathlib.Path(sys.argv[2]).write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
