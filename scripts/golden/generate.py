#!/usr/bin/env python3
"""Writes testdata/golden/generate.json: what transformers' logits processors leave of rows of logits, and greedy text under a repetition penalty.

Usage: generate.py OUT    (needs torch and transformers; run in the repository's root)

`cases`: `logits`, `seen` (ids before), `options` (names of transformers' generation settings) and the probabilities `p` after them.
`greedy`: `model` (a folder of testdata/golden/models), `prompt`, `penalty` and the `ids` that follow.
"""
import json
import os
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

MODELS = ["qwen2", "gpt2", "gemma2", "llama-gqa-untied"]
OPTIONS = [
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_k": 4},
    {"top_k": 40},
    {"top_p": 0.5},
    {"top_p": 0.9},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"temperature": 2.0, "top_k": 7, "top_p": 0.8},
    {"temperature": 0.3, "top_p": 0.95, "min_p": 0.05},
    {"temperature": 1.5, "top_k": 9, "min_p": 0.4},
    {"temperature": 3.0, "top_k": 9, "top_p": 0.7, "min_p": 0.5, "repetition_penalty": 1.8},
]


def load(name):
    return AutoModelForCausalLM.from_pretrained(os.path.join("testdata/golden/models", name), dtype=torch.float32).eval()


model = load("qwen2")
torch.manual_seed(1)
cases = []
for row in range(3):
    logits = (torch.randn(12) * (1, 2, 0.2)[row]).round(decimals=3)
    if row == 1:
        logits[4], logits[5], logits[6] = logits.max() + 1, logits.max() - 0.5, logits.max() - 0.5  # two equals
        logits[9] = -float("inf")
    seen = [1, 4, 4, 8]
    for o in OPTIONS:
        config = GenerationConfig(**{"temperature": 1.0, "top_k": 0, "do_sample": True, **o})
        processors = model._get_logits_processor(generation_config=config, input_ids_seq_length=len(seen), encoder_input_ids=None,
                                                 prefix_allowed_tokens_fn=None, logits_processor=[], device="cpu")
        p = processors(torch.tensor([seen]), logits[None].clone()).double().softmax(-1)[0]
        cases.append({"logits": [z if z > -1e30 else None for z in logits.tolist()], "seen": seen, "options": o, "p": p.tolist()})

greedy = []
for name in MODELS:
    m = load(name)
    for prompt in ([7, 3, 9], [5, 11, 11, 2, 40, 1]):
        for penalty in (1.2, 2.5):
            ids = torch.tensor([prompt])
            out = m.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, min_new_tokens=16, do_sample=False, repetition_penalty=penalty,
                             pad_token_id=0, eos_token_id=None)
            greedy.append({"model": name, "prompt": prompt, "penalty": penalty, "ids": out[0, len(prompt):].tolist()})

with open(sys.argv[1], "w") as f:
    json.dump({"source": f"transformers {transformers.__version__}, torch {torch.__version__}", "cases": cases, "greedy": greedy}, f, separators=(",", ":"))
    f.write("\n")
