#!/usr/bin/env python3
"""Loads folders that kdistill wrote in transformers and compares the logits with kdistill's own.

    python scripts/compare-transformers.py runs/x/model [MORE FOLDERS]

Needs torch and transformers; run it from the repository's root. Weights of every type are computed with in float32 on both sides.
Exits with 1 where the largest difference is above 1e-4 of the largest logit.
"""
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM


def main(folders):
    worst = 0.0
    for folder in folders:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        faults = {k: v for k, v in report.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        if faults:
            sys.exit(f"{folder}: {faults}")
        model.eval()
        length = min(64, model.config.max_position_embeddings)
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(0, model.config.vocab_size, (1, length), generator=generator)
        with torch.no_grad():
            want = model(ids).logits[0]
        out = subprocess.run(
            ["go", "run", "./scripts/logits", "-model", folder, "-ids", ",".join(map(str, ids[0].tolist()))],
            check=True, capture_output=True, text=True).stdout
        have = torch.tensor(json.loads(out))
        difference = ((have - want).abs().max() / want.abs().max()).item()
        worst = max(worst, difference)
        print(f"{folder}: {type(model).__name__}, largest difference {difference:.2e} of the largest logit")
    return worst <= 1e-4


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(0 if main(sys.argv[1:]) else 1)
