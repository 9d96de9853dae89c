"""PyTorch's side of scripts/bench-torch: the same training steps as kdistill's, when it is told to.

A line on standard input asks for a step; each is answered by a JSON line. At the end of the input comes the memory.
stock: what one writes first: transformers' defaults, eager, AdamW as it is.
best: student, teacher and losses compiled together, scaled_dot_product_attention, the head only where there are labels, fused AdamW.
"""
import argparse
import json
import os
import sys
import time


def memory(key):
    """A size of this process in bytes, as Linux tells it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(key))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--student", required=True)
    p.add_argument("--teacher")
    p.add_argument("--tokens", required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--lr", type=float, required=True)
    p.add_argument("--weight-decay", type=float, required=True)
    p.add_argument("--betas", type=float, nargs=2, required=True)
    p.add_argument("--variant", choices=("stock", "best"), required=True)
    p.add_argument("--bfloat16", action="store_true", help="under autocast")
    o = p.parse_args()

    import torch
    import torch.nn.functional as F
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    imports = memory("VmRSS")
    best = o.variant == "best"

    def load(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)  # attention: sdpa is transformers' default

    student = load(o.student).train()
    teacher = load(o.teacher).eval().requires_grad_(False) if o.teacher else None
    optimizer = torch.optim.AdamW(student.parameters(), lr=o.lr, betas=o.betas, eps=1e-8, weight_decay=o.weight_decay,
                                  **({"fused": True} if best else {}))
    with open(o.tokens) as f:
        rows = torch.tensor([json.loads(line)["input_ids"] for line in f])
    batches = rows.split(o.batch)

    def logits(model, x):
        """Of the positions that have a next token."""
        if best:
            hidden = model.base_model(x, use_cache=False).last_hidden_state[:, :-1]
            return model.get_output_embeddings()(hidden).flatten(0, 1)
        return model(x, use_cache=False).logits[:, :-1].flatten(0, 1)

    def loss(x):
        z, y = logits(student, x).float(), x[:, 1:].flatten()
        value = F.cross_entropy(z, y)
        if teacher is None:
            return value
        with torch.no_grad():
            p = F.softmax(logits(teacher, x).float(), -1)
        return 0.5 * value + 0.5 * F.kl_div(F.log_softmax(z, -1), p, reduction="batchmean")

    if best:
        loss = torch.compile(loss)

    for i, _ in enumerate(sys.stdin):
        begun = time.perf_counter()
        x = batches[i % len(batches)]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=o.bfloat16):
            value = loss(x)
        value.backward()
        optimizer.step()
        value = value.item()
        print(json.dumps({"seconds": time.perf_counter() - begun, "tokens": x.numel(), "loss": value}), flush=True)
        if i == 0 and best:
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")  # the compiler's own peak is none of the steps'
    print(json.dumps({"peak_memory": memory("VmHWM"), "imports": imports}), flush=True)


if __name__ == "__main__":
    main()
