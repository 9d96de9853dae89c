"""transformers' side of scripts/bench-generate: generate() as it is, greedy, all prompts in one batch. A line on standard input asks for a run."""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

o = json.loads(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(o["model"], dtype=getattr(torch, o["dtype"])).eval()
prompts = torch.tensor(o["prompts"])
options = {"attention_mask": torch.ones_like(prompts), "max_new_tokens": o["new"], "min_new_tokens": o["new"], "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
for _ in sys.stdin:
    began = time.perf_counter()
    with torch.inference_mode():
        ids = model.generate(prompts, **options)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "ids": ids[:, prompts.shape[1]:].tolist()}), flush=True)
