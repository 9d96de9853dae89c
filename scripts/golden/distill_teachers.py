"""Writes testdata/golden/distill/two_teachers.json and a_loss_for_each.json: ten steps against two teachers, as PyTorch takes them.

    python scripts/golden/distill_teachers.py testdata/golden/distill

The teachers are the folders teacher and student-wide. Steps, rates and decay are those of ce_forward_kl_t2.json, which the script has to give with the first
teacher alone. Each run is made again in eight micro-batches, whose losses are divided by the counts of the whole step: the numbers have to be the same.
"""

import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

STEPS, WARM_UP, LR, T = 10, 3, 5e-3, 2
SHARES = 0.75, 0.25
torch.set_num_threads(1)


def forward_kl(p, z, temperature):
    return (p * (p.log() - F.log_softmax(z / temperature, -1))).sum()


def one_teacher(z, teachers, targets):
    return 0.5 * F.cross_entropy(z, targets, reduction="sum") + 0.5 * T**2 * forward_kl((teachers[0] / T).softmax(-1), z, T)


def two_teachers(z, teachers, targets):
    average = sum(share * (y / T).softmax(-1) for share, y in zip(SHARES, teachers))
    return 0.5 * F.cross_entropy(z, targets, reduction="sum") + 0.5 * T**2 * forward_kl(average, z, T)


def a_loss_for_each(z, teachers, targets):
    log_q, log_p = F.log_softmax(z, -1), F.log_softmax(teachers[1], -1)
    reverse_kl = (log_q.exp() * (log_q - log_p)).sum()
    return 0.5 * T**2 * forward_kl((teachers[0] / T).softmax(-1), z, T) + 0.25 * reverse_kl


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def run(root, objective, micro_batches):
    student, teachers = load(root / "student"), [load(root / name) for name in ("teacher", "student-wide")]
    matrices, rest = ([p for p in student.parameters() if (p.dim() > 1) == wide] for wide in (True, False))
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=LR, betas=(0.9, 0.95), eps=1e-8)
    batches, steps = load_file(root / "batches.safetensors"), []
    for step in range(STEPS):
        everything = [batches[name][step] for name in ("input_ids", "attention_mask", "labels")]
        counted = int((everything[2][:, 1:] != -100).sum())
        optimizer.zero_grad()
        total = 0.0
        for ids, mask, labels in zip(*(x.chunk(micro_batches) for x in everything)):
            chosen = labels[:, 1:] != -100
            z = student(ids, attention_mask=mask).logits[:, :-1][chosen]
            with torch.no_grad():
                heard = [teacher(ids, attention_mask=mask).logits[:, :-1][chosen] for teacher in teachers]
            loss = objective(z, heard, labels[:, 1:][chosen]) / counted
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        cosine = 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARM_UP + 1) / (STEPS - WARM_UP)))
        lr = LR * ((step + 1) / WARM_UP if step < WARM_UP else cosine)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        steps.append({"step": step, "loss": total, "grad_norm_before_clip": norm.item(), "lr": lr, "counted_tokens": counted})
    return steps, dict(student.named_parameters())


def difference(a, b, key):
    return max(abs(x[key] - y[key]) / abs(y[key]) for x, y in zip(a, b))


def main():
    root = pathlib.Path(sys.argv[1])
    exact = json.loads((root / "ce_forward_kl_t2.json").read_text())["steps"]
    alone, _ = run(root, one_teacher, 1)
    assert difference(alone, exact, "loss") < 1e-5 and difference(alone, exact, "grad_norm_before_clip") < 1e-4 and difference(alone, exact, "lr") < 1e-9
    for name, objective in ("two_teachers", two_teachers), ("a_loss_for_each", a_loss_for_each):
        steps, parameters = run(root, objective, 1)
        micro, _ = run(root, objective, 8)
        assert difference(micro, steps, "loss") < 1e-5 and difference(micro, steps, "grad_norm_before_clip") < 1e-4
        assert difference(steps, exact, "loss") > 1e-2
        final = {}
        for key, p in parameters.items():
            if key == "lm_head.weight" and "model.embed_tokens.weight" in parameters:
                continue
            flat = p.detach().flatten()
            indices = [round(i * (len(flat) - 1) / 4) for i in range(5)]
            final[key] = {"l2": flat.double().norm().item(), "indices": indices, "values": [flat[i].item() for i in indices]}
        result = {"run": name, "teachers": {"teacher": SHARES[0], "student-wide": SHARES[1]}, "torch": torch.__version__, "steps": steps, "parameters_at_the_end": final}
        (root / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


main()
