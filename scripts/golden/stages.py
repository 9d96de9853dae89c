"""Writes testdata/golden/stages.json: optimizer steps in stages, and with losses on attention alone, by PyTorch and transformers.

    python scripts/golden/stages.py testdata/golden

What the runs of golden/distill do not hold: moments and schedules that begin anew, a projection that goes on, weights without a gradient (PyTorch leaves
them as they are, weight decay included), and losses on attention and relations without another one beside them. Models and batches are those of
golden/distill; everything is computed in float64 over whole batches: a loss is divided by the number of positions that count in the whole step.
"naive" is the first loss as the mean over micro-batches of two rows, the common mistake.
"""

import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from features import evaluate, load, root

HIDDEN = {"name": "hidden_mse", "layers": [[1, 2]], "projection": {"init": "identity", "keep": True}}
KL = {"name": "forward_kl", "temperature": 2, "t2_scaling": True}
CONSTANT, LINEAR = {"name": "constant", "warmup_steps": 2, "min_lr_ratio": 0}, {"name": "linear", "warmup_steps": 1, "min_lr_ratio": 0.1}


def stage(*losses, steps=3, lr=5e-3, schedule=CONSTANT, name="only"):
    return {"name": name, "loss": list(losses), "steps": steps, "lr": lr, "schedule": schedule}


RUNS = {  # stages as kdistill's configuration has them
    # The second layer's values and whatever comes after them get no gradient in the first stage.
    "stages": [
        stage(HIDDEN, {"name": "attention_mse", "layers": [[2, 4]], "weight": 2}, name="layers"),
        stage(KL, HIDDEN, steps=4, lr=2e-3, schedule=LINEAR, name="predictions"),
    ],
    "attention_mse": [stage({"name": "attention_mse", "layers": [[1, 2], [2, 4]]})],
    "attention_mse on scores": [stage({"name": "attention_mse", "layers": [[1, 2], [2, 4]], "compare": "scores"})],
    "attention_kl": [stage({"name": "attention_kl", "layers": [[1, 2], [2, 4]]})],
    "attention_kl of averages": [stage({"name": "attention_kl", "layers": [[1, 3]], "heads": "average"})],
    "relation_kl": [stage({"name": "relation_kl", "layers": [[2, 3]], "relations": ["qq"], "relation_heads": 2})],
}


def factor(schedule, done, steps):
    t, warm = done + 1, schedule["warmup_steps"]
    if t < warm:
        return t / warm
    if schedule["name"] == "constant":
        return 1
    return schedule["min_lr_ratio"] + (1 - schedule["min_lr_ratio"]) * (1 - (t - warm) / (steps - warm))


def forward_kl(term, student, teacher, ids, mask, labels):
    t = term["temperature"]
    logits = [m(input_ids=ids, attention_mask=mask).logits[:, :-1] / t for m in (student, teacher)]
    q, p = F.log_softmax(logits[0], -1), F.log_softmax(logits[1].detach(), -1)
    counts = labels[:, 1:] != -100
    return t * t * (p.exp() * (p - q)).sum(-1)[counts].sum() / counts.sum()


def objective(losses, student, teacher, projection, ids, mask, labels):
    total = 0
    for term in losses:
        if term["name"] == "forward_kl":
            value = forward_kl(term, student, teacher, ids, mask, labels)
        else:
            value = evaluate(term, student, teacher, [projection] * len(term["layers"]), ids, mask, True)
        total = total + term.get("weight", 1) * value
    return total


def run(stages, batches):
    student, teacher = load("distill/student"), load("distill/teacher")
    projection = torch.eye(teacher.config.hidden_size, student.config.hidden_size, dtype=torch.float64).requires_grad_()
    parameters = {**dict(student.named_parameters()), "projection.0": projection}
    steps, naive, at = [], None, 0
    for s in stages:
        optimizer = torch.optim.AdamW(parameters.values(), lr=s["lr"], betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
        for done in range(s["steps"]):
            ids, mask, labels = (batches[k][at] for k in ["input_ids", "attention_mask", "labels"])
            at += 1
            if naive is None:
                parts = [objective(s["loss"], student, teacher, projection, *(x[i : i + 2] for x in (ids, mask, labels))) for i in range(0, 8, 2)]
                naive = sum(p.item() for p in parts) / len(parts)
            optimizer.zero_grad(set_to_none=True)
            loss = objective(s["loss"], student, teacher, projection, ids, mask, labels)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 1)
            lr = s["lr"] * factor(s["schedule"], done, s["steps"])
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            steps.append({"loss": float(loss), "grad_norm_before_clip": float(norm), "lr": lr})
    end = {}
    for name, p in parameters.items():
        if name == "projection.0" and not any(HIDDEN in s["loss"] for s in stages):
            continue
        x = p.detach().flatten()
        indices = [int(i) for i in torch.linspace(0, len(x) - 1, 5)]
        end[name] = {"l2": float(x.norm()), "indices": indices, "values": [float(x[i]) for i in indices]}
    return {"stages": stages, "naive": naive, "steps": steps, "parameters_at_the_end": end}


def main():
    batches = load_file(os.path.join(root, "distill/batches.safetensors"))
    with open(os.path.join(root, "stages.json"), "w") as f:
        f.write("{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(run(stages, batches))}" for name, stages in RUNS.items()) + "\n}\n")


main()
