"""Writes testdata/golden/distill/ce_forward_kl_t2_bfloat16.json: the ten steps of ce_forward_kl_t2.json with matrix products in bfloat16.

    python scripts/golden/distill_bfloat16.py testdata/golden/distill

PyTorch rounds the operands of every linear layer, forward and backward, of teacher and student, head included, to bfloat16 and multiplies in
float32; everything else is float32, attention's products included. Without the rounding the script must give the numbers of ce_forward_kl_t2.json.
The same in float64 tells how far rounding noise alone moves a run: a value that is rounded the other way moves by a 256th.
"""

import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

STEPS, WARM_UP, LR, TEMPERATURE = 10, 3, 5e-3, 2
torch.set_num_threads(1)


def rounded(x):
    return x.bfloat16().to(x.dtype)


class Product(torch.autograd.Function):
    """x Wᵀ with operands rounded, forward and backward."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return rounded(x) @ rounded(w).T

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        dy = rounded(dy)
        return dy @ rounded(w), dy.flatten(0, -2).T @ rounded(x).flatten(0, -2)


def load(folder, dtype, bfloat16):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    for module in model.modules() if bfloat16 else []:
        if isinstance(module, torch.nn.Linear):
            assert module.bias is None
            module.forward = lambda x, m=module: Product.apply(x, m.weight)
    return model


def run(root, dtype, bfloat16):
    student, teacher = (load(root / name, dtype, bfloat16) for name in ("student", "teacher"))
    matrices = [p for p in student.parameters() if p.dim() > 1]
    rest = [p for p in student.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=LR, betas=(0.9, 0.95), eps=1e-8)
    batches, steps = load_file(root / "batches.safetensors"), []
    for step in range(STEPS):
        ids, mask, labels = (batches[name][step] for name in ("input_ids", "attention_mask", "labels"))
        z = student(ids, attention_mask=mask).logits[:, :-1]
        with torch.no_grad():
            y = teacher(ids, attention_mask=mask).logits[:, :-1]
        counted = labels[:, 1:] != -100
        z, y, targets = z[counted], y[counted], labels[:, 1:][counted]
        q, p = F.log_softmax(z / TEMPERATURE, -1), F.log_softmax(y / TEMPERATURE, -1)
        kl = TEMPERATURE**2 * F.kl_div(q, p, reduction="sum", log_target=True)
        loss = (0.5 * F.cross_entropy(z, targets, reduction="sum") + 0.5 * kl) / len(targets)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        cosine = 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARM_UP + 1) / (STEPS - WARM_UP)))
        lr = LR * ((step + 1) / WARM_UP if step < WARM_UP else cosine)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        steps.append({"step": step, "loss": loss.item(), "grad_norm_before_clip": norm.item(), "lr": lr, "counted_tokens": len(targets)})
    return steps, dict(student.named_parameters())


def difference(a, b, key):
    return max(abs(x[key] - y[key]) / abs(y[key]) for x, y in zip(a, b))


def main():
    root = pathlib.Path(sys.argv[1])
    exact = json.loads((root / "ce_forward_kl_t2.json").read_text())["steps"]
    plain, _ = run(root, torch.float32, False)
    assert difference(plain, exact, "loss") < 1e-5 and difference(plain, exact, "grad_norm_before_clip") < 1e-4 and difference(plain, exact, "lr") < 1e-9
    steps, parameters = run(root, torch.float32, True)
    noise, _ = run(root, torch.float64, True)
    final = {}
    for name, p in parameters.items():
        if name == "lm_head.weight" and "model.embed_tokens.weight" in parameters:
            continue
        flat = p.detach().flatten()
        indices = [round(i * (len(flat) - 1) / 4) for i in range(5)]
        final[name] = {"l2": flat.double().norm().item(), "indices": indices, "values": [flat[i].item() for i in indices]}
    result = {
        "run": "ce_forward_kl_t2 with operands of linear layers rounded to bfloat16",
        "torch": torch.__version__,
        "steps": steps,
        "float32_against_float64": {key: difference(steps, noise, key) for key in ("loss", "grad_norm_before_clip")},
        "against_no_rounding": {key: difference(steps, plain, key) for key in ("loss", "grad_norm_before_clip")},
        "parameters_at_the_end": final,
    }
    (root / "ce_forward_kl_t2_bfloat16.json").write_text(json.dumps(result, indent=1) + "\n")


main()
