"""PyTorch's side of scripts/bench-torch --kernels: a loss with its gradients, when it is told to.

A line on standard input asks for a turn; each is answered by a JSON line. At the end of the input comes the memory.
The case is JSON as kernels.py has it, with "variant", a function below, and "compile".
"""
import json
import math
import os
import sys
import time

import numpy
import torch
import torch.nn.functional as F

from torch_step import memory


def matrix(k, *shape, scale):
    """The k-th matrix: bits of a multiplicative hash, the same in kernel.go."""
    x = torch.empty(shape)
    flat = x.view(-1).numpy()
    for at in range(0, flat.size, 1 << 20):
        h = (numpy.arange(at, min(at + (1 << 20), flat.size), dtype=numpy.uint32) + numpy.uint32(k * 0x9e3779b9 & 0xffffffff)) * numpy.uint32(0x85ebca6b)
        h = (h ^ h >> 15) * numpy.uint32(0xc2b2ae35)
        h ^= h >> 16
        flat[at:at + h.size] = numpy.float32(scale) * ((h >> 8).astype(numpy.float32) * numpy.float32(2 ** -24) - numpy.float32(0.5))
    return x


# Losses of logits, summed over rows. Those of PAIRS return the gradient as well.
def kl_div(z, y):
    return F.kl_div(F.log_softmax(z, -1), F.softmax(y, -1), reduction="sum")


def kl_div_log(z, y):
    return F.kl_div(F.log_softmax(z, -1), F.log_softmax(y, -1), reduction="sum", log_target=True)


def kl_formula(z, y):
    q, p = F.log_softmax(z, -1), F.log_softmax(y, -1)
    return (p.exp() * (p - q)).sum()


def kl_by_hand(z, y):
    q, p = F.log_softmax(z, -1), F.log_softmax(y, -1)
    return (p.exp() * (p - q)).sum(), q.exp() - p.exp()


def jsd_trl(z, y, beta=0.5):
    """As TRL's GKDTrainer computes it."""
    q, p = F.log_softmax(z, -1), F.log_softmax(y, -1)
    m = torch.logsumexp(torch.stack([q + math.log(1 - beta), p + math.log(beta)]), 0)
    kl = lambda a: F.kl_div(m, a, reduction="sum", log_target=True)
    return beta * kl(p) + (1 - beta) * kl(q)


def jsd_formula(z, y, beta=0.5):
    """Of probabilities, which loses what is small."""
    q, p = F.softmax(z, -1), F.softmax(y, -1)
    m = (beta * p + (1 - beta) * q).log()
    return beta * (p * (p.log() - m)).sum() + (1 - beta) * (q * (q.log() - m)).sum()


def jsd_by_hand(z, y, beta=0.5):
    q, p = F.log_softmax(z, -1), F.log_softmax(y, -1)
    m = torch.logaddexp(q + math.log(1 - beta), p + math.log(beta))
    d = q.exp() * (q - m)
    k = d.sum(-1, keepdim=True)
    return (beta * (p.exp() * (p - m)).sum() + (1 - beta) * k.sum()), (1 - beta) * (d - q.exp() * k)


PAIRS = (kl_by_hand, jsd_by_hand)


def head(h, w, ht, wt):
    with torch.no_grad():
        p = F.softmax(ht @ wt.t(), -1, dtype=torch.float32)
    return F.kl_div(F.log_softmax(h @ w.t(), -1, dtype=torch.float32), p, reduction="sum")


def main():
    case = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if case["compile"]:
        torch.compile(lambda x: x + 1)(torch.zeros(64))  # loads the compiler, which is none of the loss's memory
    imports = memory("VmRSS")
    rows, vocabulary, width = case["rows"], case["vocabulary"], case.get("width", 0)
    function = globals()[case["variant"]]
    evaluate = torch.compile(function, dynamic=False) if case["compile"] else function

    if width:
        h, w = matrix(0, rows, width, scale=1).requires_grad_(), matrix(2, vocabulary, width, scale=1).requires_grad_()
        ht, wt = matrix(1, rows, case["teacher_width"], scale=1), matrix(3, vocabulary, case["teacher_width"], scale=1)
        leaves, data = [h, w], 8 * (h.numel() + w.numel()) + 4 * (ht.numel() + wt.numel())
        if case.get("bfloat16"):
            ht, wt = ht.bfloat16(), wt.bfloat16()  # not to be converted in each turn

        def turn():
            h.grad = w.grad = None
            value = 0.0
            for at in range(0, rows, case.get("chunk", rows)):
                part = slice(at, at + case.get("chunk", rows))
                with torch.autocast("cpu", torch.bfloat16, enabled=case.get("bfloat16", False)):
                    part_value = evaluate(h[part], w, ht[part], wt) / rows
                part_value.backward()
                value += part_value.item()
            return value, [h.grad, w.grad]
    else:
        z, y = matrix(0, rows, vocabulary, scale=12), matrix(1, rows, vocabulary, scale=12)
        data = 4 * 3 * z.numel()
        if function in PAIRS:
            def turn():
                with torch.no_grad():
                    value, grad = evaluate(z, y)
                    return (value / rows).item(), [grad.mul_(1 / rows)]
        else:
            z.requires_grad_()

            def turn():
                z.grad = None
                value = evaluate(z, y) / rows
                value.backward()
                return value.item(), [z.grad]

    grads, repeat = None, case.get("repeat", 1)
    for i, _ in enumerate(sys.stdin):
        begun = time.perf_counter()
        for _ in range(repeat):
            grads = None  # not to be held while new ones are made
            value, grads = turn()
        seconds = (time.perf_counter() - begun) / repeat
        samples = [[g.view(-1)[j * (g.numel() // 97) + j].item() for j in range(97)] for g in grads]
        print(json.dumps({"seconds": seconds, "loss": value, "gradients": samples}), flush=True)
        if i == 0:
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")  # the compiler's own peak is none of the loss's
    print(json.dumps({"peak_memory": memory("VmHWM"), "imports": imports, "data": data}), flush=True)


if __name__ == "__main__":
    main()
