#!/usr/bin/env python3
"""Writes testdata/golden/encoders: ten optimizer steps of distilling small BERTs, by torch and transformers.

Usage: encoder_distill.py OUT    (needs torch, transformers, safetensors)

OUT/TASK/teacher, OUT/TASK/student: folders; OUT/TASK.jsonl: 10 steps of 8 rows, ids with what is predicted, as `format: tokens` reads them.
OUT/RUN.json: formula, per step the loss, gradient norm before clipping and learning rate, and norms and values of parameters at the end.
Key biases are left out: their true gradient is 0, and Adam makes steps of its noise.

Losses are sums over counted positions divided by their number in the whole step: positions with a label, or (attended) all real ones. p and q are softmax
of logits / T. AdamW as in ../shared/golden/README.md: betas (.9, .95), eps 1e-8, decay .1 on matrices, clipping at 1, three steps of warm-up, cosine to 10 %.
"""
import json
import math
import os
import pathlib
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
import torch.nn.functional as F
import transformers

torch.set_num_threads(1)
STEPS, ROWS, LENGTH, VOCAB, PAD, MASK = 10, 8, 12, 64, 0, 4
LR, WARMUP = 5e-3, 3


def config(task, layers, width, heads):
    c = dict(vocab_size=VOCAB, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=2 * width,
             max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3, pad_token_id=PAD)
    if task == "classes":
        c["id2label"], c["label2id"] = {0: "no", 1: "maybe", 2: "yes"}, {"no": 0, "maybe": 1, "yes": 2}
    if task == "number":
        c["id2label"], c["label2id"], c["problem_type"] = {0: "LABEL_0"}, {"LABEL_0": 0}, "regression"
    return transformers.BertConfig(**c)


def make(task, layers, width, heads):
    cls = transformers.BertForMaskedLM if task == "masked" else transformers.BertForSequenceClassification
    m = cls(config(task, layers, width, heads))
    for name, p in m.named_parameters():
        if p.dim() == 1:  # zeros and ones test little
            p.data += 0.1 * torch.randn(p.shape)
    return m.eval()


def batches(task, generator):
    rows = []
    for _ in range(STEPS * ROWS):
        n = int(torch.randint(4, LENGTH + 1, (1,), generator=generator))
        ids = torch.randint(5, VOCAB, (n,), generator=generator)
        ids[0] = 2
        types = (torch.arange(n) >= n // 2).long() if task == "classes" else torch.zeros(n, dtype=torch.long)
        if task == "masked":
            labels = torch.full((n,), -100)
            chosen = torch.rand(n, generator=generator) < 0.3
            labels[chosen] = ids[chosen]
            ids = torch.where(chosen & (torch.rand(n, generator=generator) < 0.8), MASK, ids)
            value = labels.tolist()
        elif task == "classes":
            value = int(torch.randint(3, (1,), generator=generator))
        else:
            value = round(float(torch.randn(1, generator=generator)), 4)
        rows.append({"input_ids": ids.tolist(), "token_type_ids": types.tolist(), "labels": value})
    return rows


def collate(rows, task):
    pad = lambda key, fill: torch.tensor([r[key] + [fill] * (LENGTH - len(r[key])) for r in rows])
    x = {"input_ids": pad("input_ids", PAD), "token_type_ids": pad("token_type_ids", 0), "attention_mask": torch.tensor([[1] * len(r["input_ids"]) + [0] * (LENGTH - len(r["input_ids"])) for r in rows])}
    labels = pad("labels", -100) if task == "masked" else torch.tensor([r["labels"] for r in rows])
    return x, labels


def terms(task, recipe, student, teacher, x, labels):
    """The losses, each summed and divided by what it counts."""
    z, y = student(**x).logits, teacher(**x).logits
    mask = x["attention_mask"].bool()
    if task == "masked":
        labelled = labels != -100
        zl, yl, ll = z[labelled], y[labelled], labels[labelled]
    else:
        zl, yl, ll = z, y, labels
    kl = lambda z, y, t: F.kl_div(F.log_softmax(z / t, -1), F.log_softmax(y / t, -1), log_target=True, reduction="none").sum(-1).mean()
    out = []
    for name, weight, t in recipe:
        if name == "cross_entropy":
            out.append(weight * F.cross_entropy(zl, ll))
        elif name == "forward_kl":
            out.append(weight * t * t * kl(zl, yl, t))
        elif name == "forward_kl attended":
            out.append(weight * t * t * kl(z[mask], y[mask], t))
        elif name == "mse":
            out.append(weight * F.mse_loss(zl[:, 0], ll.to(zl.dtype)))
        elif name == "logit_mse":
            out.append(weight * F.mse_loss(zl, yl))
    return out


RUNS = {
    "classes_ce_kl": ("classes", [("cross_entropy", 0.5, 1), ("forward_kl", 0.5, 4)]),
    "classes_kl": ("classes", [("forward_kl", 1, 1)]),
    "number_mse": ("number", [("mse", 0.7, 1), ("logit_mse", 0.3, 1)]),
    "masked_ce_kl": ("masked", [("cross_entropy", 0.5, 1), ("forward_kl", 0.5, 2)]),
    "masked_attended": ("masked", [("cross_entropy", 0.5, 1), ("forward_kl attended", 0.5, 2)]),
}


def rate(t):
    if t < WARMUP:
        return LR * (t + 1) / WARMUP
    return LR * (0.1 + 0.45 * (1 + math.cos(math.pi * (t - WARMUP + 1) / (STEPS - WARMUP))))


def run(out, name, dtype):
    task, recipe = RUNS[name]
    cls = transformers.BertForMaskedLM if task == "masked" else transformers.BertForSequenceClassification
    load = lambda who: cls.from_pretrained(out / task / who, dtype=torch.float32, attn_implementation="eager").to(dtype).eval()
    student, teacher = load("student"), load("teacher").requires_grad_(False)
    rows = [json.loads(line) for line in (out / f"{task}.jsonl").read_text().splitlines()]
    matrices = [p for p in student.parameters() if p.dim() > 1]
    others = [p for p in student.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.95), eps=1e-8)
    steps = []
    for t in range(STEPS):
        x, labels = collate(rows[t * ROWS:(t + 1) * ROWS], task)
        parts = terms(task, recipe, student, teacher, x, labels)
        loss = sum(parts)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(t)
        optimizer.step()
        steps.append({"step": t, "loss": loss.item(), "grad_norm_before_clip": norm.item(), "lr": rate(t)})
    return student, steps


def round12(x):
    return float(f"{x:.12g}")


def main():
    out = pathlib.Path(sys.argv[1])
    torch.manual_seed(11)
    generator = torch.Generator().manual_seed(12)
    for task in ("classes", "number", "masked"):
        make(task, 2, 24, 4).save_pretrained(out / task / "teacher")
        make(task, 1, 16, 2).save_pretrained(out / task / "student")
        (out / f"{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in batches(task, generator)))
    for name in RUNS:
        student, steps = run(out, name, torch.float32)
        _, exact = run(out, name, torch.float64)
        for s, e in zip(steps, exact):
            s["loss_float64"] = round12(e["loss"])
            for key in ("loss", "grad_norm_before_clip", "lr"):
                s[key] = round12(s[key])
        ends = {}
        for tensor, p in student.named_parameters():
            if tensor.endswith("key.bias"):
                continue
            flat = p.detach().flatten()
            at = sorted({int(i) for i in torch.linspace(0, len(flat) - 1, 5)})
            ends[tensor] = {"l2": round12(flat.norm().item()), "indices": at, "values": [round12(flat[i].item()) for i in at]}
        task, recipe = RUNS[name]
        result = {"run": name, "task": task, "loss": [{"name": n, "weight": w, "temperature": t} for n, w, t in recipe],
                  "versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "steps": steps, "parameters_at_the_end": ends}
        (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        print(name, [s["loss"] for s in steps][:2], max(abs(s["loss"] - s["loss_float64"]) for s in steps))


main()
