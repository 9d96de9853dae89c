"""Writes testdata/golden/losses_torch.json: values and autograd gradients of every loss on rows by PyTorch, in float64.

    python scripts/golden/losses.py testdata/golden/losses_torch.json

What losses.json does not hold: label smoothing, and gradients under the factor T squared. Written from PyTorch's own
functions where it has them (cross_entropy, kl_div, mse_loss), so that nothing is shared with the Go code.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(3)
torch.set_num_threads(1)
ROWS, IDS = 4, 11
student = (3 * torch.randn(ROWS, IDS, dtype=torch.float64)).round(decimals=4)
teacher = (3 * torch.randn(ROWS, IDS, dtype=torch.float64)).round(decimals=4)
labels = torch.randint(IDS, (ROWS,))


def kl(log_a, log_b):
    """KL(a || b) of each row"""
    return F.kl_div(log_b, log_a, reduction="none", log_target=True).sum(-1)


def log_mix(share, log_a, log_b):
    a = log_a + torch.log(torch.tensor(share, dtype=torch.float64))
    b = log_b + torch.log1p(torch.tensor(-share, dtype=torch.float64))
    return torch.logsumexp(torch.stack([a, b]), dim=0)


def generalized_jsd(log_q, log_p, beta):
    log_m = log_mix(beta, log_p, log_q)
    return beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)


def adaptive_kl(log_q, log_p, mu):
    p, gap = log_p.exp(), (log_p.exp() - log_q.exp()).abs().detach()
    ordered, order = torch.sort(p, dim=-1, descending=True)
    head = ordered.cumsum(-1) <= mu
    head[:, 0] = True
    ordered_gap = gap.gather(-1, order)
    h = (ordered_gap * head).sum(-1) / ordered_gap.sum(-1)
    return h * kl(log_p, log_q) + (1 - h) * kl(log_q, log_p)


# name -> (parameter, its values, loss of log q, log p and the parameter)
DIVERGENCES = {
    "forward_kl": (None, [None], lambda q, p, _: kl(p, q)),
    "reverse_kl": (None, [None], lambda q, p, _: kl(q, p)),
    "soft_cross_entropy": (None, [None], lambda q, p, _: F.cross_entropy(q, p.exp(), reduction="none")),
    "symmetric_kl": ("forward_weight", [0.5, 0.8], lambda q, p, w: w * kl(p, q) + (1 - w) * kl(q, p)),
    "generalized_jsd": ("beta", [0.1, 0.5, 0.9], generalized_jsd),
    "skew_kl": ("alpha", [0.1, 0.4], lambda q, p, a: kl(p, log_mix(a, p, q))),
    "skew_reverse_kl": ("alpha", [0.1, 0.4], lambda q, p, a: kl(q, log_mix(a, q, p))),
    "total_variation": (None, [None], lambda q, p, _: 0.5 * (p.exp() - q.exp()).abs().sum(-1)),
    "adaptive_kl": ("mu", [0.5, 0.9], adaptive_kl),
}

cases = []


def add(name, values, temperature, t2, loss, choices=None):
    """loss: student logits (a hidden state, scores) -> one value per row"""
    z = student.clone().requires_grad_()
    value = loss(z) * (temperature**2 if t2 else 1)
    value.sum().backward()
    cases.append({
        "loss": name, "values": values, **({"choices": choices} if choices else {}), "temperature": temperature, "t2_scaling": t2,
        "value": value.tolist(), "gradient": z.grad.tolist(),
    })


for smoothing in [0.0, 0.1, 0.5, 1.0]:
    add("cross_entropy", {"label_smoothing": smoothing}, 1, False,
        lambda z: F.cross_entropy(z, labels, reduction="none", label_smoothing=smoothing))
for name in ["logit_mse", "mse"]:  # the same, of the teacher's logits and of targets
    add(name, {}, 1, False, lambda z: F.mse_loss(z, teacher, reduction="none").mean(-1))
for name, (parameter, settings, divergence) in DIVERGENCES.items():
    for setting in settings:
        for temperature, t2 in [(1, False), (2, False), (2, True), (3, True)]:
            log_p = F.log_softmax(teacher / temperature, dim=-1)
            add(name, {parameter: setting} if parameter else {}, temperature, t2,
                lambda z: divergence(F.log_softmax(z / temperature, dim=-1), log_p, setting))


# losses on features: the rows are hidden states, or a query's scores
add("hidden_mse", {}, 1, False, lambda z: F.mse_loss(z, teacher, reduction="none").mean(-1))
add("hidden_mse", {}, 1, False, lambda z: F.mse_loss(F.normalize(z, dim=-1), F.normalize(teacher, dim=-1), reduction="none").mean(-1),
    {"normalize": "true"})
add("hidden_cosine", {}, 1, False,
    lambda z: F.cosine_embedding_loss(z, teacher, torch.ones(ROWS), reduction="none"))
add("attention_mse", {}, 1, False, lambda z: F.mse_loss(F.softmax(z, -1), F.softmax(teacher, -1), reduction="none").sum(-1))
add("attention_mse", {}, 1, False, lambda z: F.mse_loss(z, teacher, reduction="none").mean(-1), {"compare": "scores"})
for name in ["attention_kl", "relation_kl"]:
    add(name, {}, 1, False, lambda z: kl(F.log_softmax(teacher, -1), F.log_softmax(z, -1)))

with open(sys.argv[1], "w") as f:
    head = {
        "source": f"PyTorch {torch.__version__.split('+')[0]} float64, scripts/golden/losses.py; one value and one gradient per row",
        "student": student.tolist(), "teacher": teacher.tolist(), "labels": labels.tolist(),
    }
    f.write("{\n" + "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items()))
    f.write(' "cases": [\n' + ",\n".join("  " + json.dumps(c) for c in cases) + "\n ]\n}\n")
