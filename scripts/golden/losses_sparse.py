"""Writes testdata/golden/losses_sparse.json: losses on a teacher's likeliest ids or on draws, values and autograd gradients by PyTorch, in float64.

    python scripts/golden/losses_sparse.py testdata/golden/losses_sparse.json

The tail, the ids that are not kept, is treated as the names of the policies say. A temperature other than that of the kept rows takes the tail's ids as
equally likely. Draws have no tail: their relative frequencies stand for the teacher's distribution, and forward_kl takes its entropy from the whole row.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(5)
torch.set_num_threads(1)
ROWS, IDS, KEPT, DRAWS = 2, 11, 4, 9
student = (2 * torch.randn(ROWS, IDS, dtype=torch.float64)).round(decimals=4)
teacher = (2 * torch.randn(ROWS, IDS, dtype=torch.float64)).round(decimals=4)


def mix(share, a, b):
    return share * a + (1 - share) * b


def times(p, x):
    """p·x, 0 where p is 0"""
    return torch.where(p > 0, p * torch.where(p > 0, x, 0), 0)


def kl(a, b):
    """terms of KL(a || b), of probabilities that need not add up to 1"""
    return times(a, torch.log(torch.where(a > 0, a, 1)) - torch.log(b))


# name -> (parameter, its values, terms of q, p and the parameter, finite where p is 0)
LOSSES = {
    "forward_kl": (None, [None], lambda q, p, _: kl(p, q), lambda _: True),
    "soft_cross_entropy": (None, [None], lambda q, p, _: -times(p, torch.log(q)), lambda _: True),
    "reverse_kl": (None, [None], lambda q, p, _: kl(q, p), lambda _: False),
    "symmetric_kl": ("forward_weight", [0.3, 1.0], lambda q, p, w: w * kl(p, q) + ((1 - w) * kl(q, p) if w < 1 else 0), lambda w: w == 1),
    "generalized_jsd": ("beta", [0.0, 0.1, 0.5, 1.0], lambda q, p, b: kl(p, q) if b == 0 else kl(q, p) if b == 1 else
                        b * kl(p, mix(b, p, q)) + (1 - b) * kl(q, mix(b, p, q)), lambda b: b < 1),
    "skew_kl": ("alpha", [0.0, 0.1, 0.4], lambda q, p, a: kl(p, mix(a, p, q)), lambda _: True),
    "skew_reverse_kl": ("alpha", [0.1, 0.4], lambda q, p, a: kl(q, mix(a, q, p)), lambda _: True),
    "total_variation": (None, [None], lambda q, p, _: 0.5 * (p - q).abs(), lambda _: True),
}


def kept_rows(at):
    log_p = F.log_softmax(teacher / at, -1)
    top, ids = log_p.topk(KEPT, -1)
    rest = log_p.scatter(-1, ids, -torch.inf)
    return ids, stored(top), stored(torch.logsumexp(rest, -1))


def stored(x):
    """as a cache keeps it: in float32"""
    return x.to(torch.float32).to(torch.float64)


def at_temperature(top, tail, power):
    """probabilities of the kept ids and the tail; power 1: as they are"""
    others = math.log(IDS - KEPT)
    x = torch.cat([power * top, (others + power * (tail - others)).unsqueeze(-1)], -1)
    return torch.softmax(x, -1)


def reduce(z, ids, temperature):
    """the student's probabilities of the kept ids and the tail"""
    q = torch.softmax(z / temperature, -1)
    kept = q.gather(-1, ids)
    inside = torch.zeros_like(q).scatter(-1, ids, 1.0)
    return torch.cat([kept, (q * (1 - inside)).sum(-1, keepdim=True)], -1)


cases = []
for own in [1.0, 2.0]:
    ids, top, tail = kept_rows(own)
    for name, (parameter, settings, terms, finite) in LOSSES.items():
        for setting in settings:
            for temperature, t2 in [(1.0, False), (2.0, True), (3.0, False)]:
                if own == 2 and temperature == 3:
                    continue
                for policy in ["tail_bucket", "raw", "teacher_renormalized", "both_renormalized"]:
                    if policy == "teacher_renormalized" and not finite(setting):
                        continue
                    z = student.clone().requires_grad_()
                    p = at_temperature(top, tail, own / temperature)
                    q = reduce(z, ids, temperature)
                    if policy == "raw":
                        p, q = p[:, :-1], q[:, :-1]
                    elif policy == "teacher_renormalized":
                        p = torch.cat([p[:, :-1] / p[:, :-1].sum(-1, keepdim=True), torch.zeros(ROWS, 1, dtype=p.dtype)], -1)
                    elif policy == "both_renormalized":
                        p, q = p[:, :-1] / p[:, :-1].sum(-1, keepdim=True), q[:, :-1] / q[:, :-1].sum(-1, keepdim=True)
                    value = terms(q, p, setting).sum(-1) * (temperature**2 if t2 else 1)
                    value.sum().backward()
                    cases.append({
                        "loss": name, "values": {parameter: setting} if parameter else {}, "temperature": temperature, "t2_scaling": t2,
                        "tail": policy, "rows": own, "value": value.tolist(), "gradient": z.grad.tolist(),
                    })

kept = [{"temperature": t, "ids": i.tolist(), "log_probs": top.tolist(), "tail": tail.tolist()}
        for t in [1.0, 2.0] for i, top, tail in [kept_rows(t)]]
counts = torch.stack([torch.bincount(torch.multinomial(p, DRAWS, replacement=True), minlength=IDS) for p in torch.softmax(teacher, -1)]).to(torch.float64)
frequencies = torch.exp(stored(torch.log(counts / DRAWS)))
entropy = stored(torch.distributions.Categorical(logits=teacher).entropy())
draws = {"counts": counts.tolist(), "entropy": entropy.tolist(), "cases": []}
for name in ["soft_cross_entropy", "forward_kl"]:
    z = student.clone().requires_grad_()
    value = F.cross_entropy(z, frequencies / frequencies.sum(-1, keepdim=True), reduction="none") - (entropy if name == "forward_kl" else 0)
    value.sum().backward()
    draws["cases"].append({"loss": name, "value": value.tolist(), "gradient": z.grad.tolist()})

with open(sys.argv[1], "w") as f:
    head = {
        "source": f"PyTorch {torch.__version__.split('+')[0]} float64, scripts/golden/losses_sparse.py; one value and one gradient per row",
        "student": student.tolist(), "teacher": teacher.tolist(), "kept": kept, "draws": draws,
    }
    f.write("{\n" + "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items()))
    f.write(' "cases": [\n' + ",\n".join("  " + json.dumps(c) for c in cases) + "\n ]\n}\n")
