"""scripts/bench-torch --kernels: see there.

Each way to write a loss in PyTorch takes turns with kdistill. It must compute the same value and the same gradients, of which 97 numbers each are compared.
"""
import json
import statistics
import sys

from sides import HERE, WARM_UP, Side, environment, tcmalloc

KL = [{"variant": v, "compile": True} for v in ("kl_div", "kl_div_log", "kl_formula", "kl_by_hand")]
JSD = [{"variant": v, "compile": True} for v in ("jsd_trl", "jsd_formula", "jsd_by_hand")]


def head(chunk):
    return [{"variant": "head", "compile": c, **k} for c in (True, False) for k in ({}, {"chunk": chunk})]


LOGITS = {"rows": 512, "repeat": 5}  # evaluations of a turn: one alone is as long as waking up
HEAD = {"loss": "forward_kl", "rows": 2048, "width": 288, "teacher_width": 288, "vocabulary": 32000}
CASES = {  # title, case, ways to write it, the first as one writes it without the compiler
    "kl-32000": ("forward KL, 512 × 32000", LOGITS | {"loss": "forward_kl", "vocabulary": 32000}, KL),
    "kl-262144": ("forward KL, 512 × 262144", LOGITS | {"loss": "forward_kl", "vocabulary": 262144}, KL),
    "jsd-32000": ("generalized JSD, 512 × 32000", LOGITS | {"loss": "generalized_jsd", "vocabulary": 32000}, JSD),
    "jsd-262144": ("generalized JSD, 512 × 262144", LOGITS | {"loss": "generalized_jsd", "vocabulary": 262144}, JSD),
    "head": ("head + forward KL, 2048 × 288 × 32000", HEAD, head(512)),
    "head-bfloat16": ("the same, bfloat16", HEAD | {"bfloat16": True}, head(512)),
    "head-151936": ("head + forward KL, 512 rows, width 288, teacher 768, V 151936",
                    {"loss": "forward_kl", "rows": 512, "width": 288, "teacher_width": 768, "vocabulary": 151936}, head(128)),
}
# Of the value; of gradients, by the largest of them. PyTorch's float32 sum over 512 x 262144 ids is 1.6e-5 away from float64's, kdistill's 2e-8.
TOLERANCE = {False: (3e-5, 1e-4), True: (1e-2, 5e-2)}


def beyond(side):
    """MB of the peak beyond imports, inputs and results."""
    return max(0, side.end["peak_memory"] - side.end["imports"] - side.end["data"]) / 1e6


def check(ours, other, bfloat16):
    of_value, of_gradient = TOLERANCE[bfloat16]
    a, b = ours.steps[-1], other.steps[-1]
    if not abs(a["loss"] - b["loss"]) <= of_value * abs(b["loss"]):
        sys.exit(f"the loss is {a['loss']} and {other.name}'s {b['loss']}: they don't do the same work")
    for x, y in zip(a["gradients"], b["gradients"], strict=True):
        largest = max(map(abs, y))
        if not all(abs(u - v) <= of_gradient * largest for u, v in zip(x, y)):
            sys.exit(f"gradients differ from {other.name}'s by {max(abs(u - v) for u, v in zip(x, y)) / largest} of the largest: they don't do the same work")


def compare(program, case, way, tuned, o):
    """Seconds and MB of both sides, in turns."""
    ours = Side("kdistill", [program, "-kernel", json.dumps(case)], environment(o.threads))
    command = [sys.executable, HERE / "kernel_torch.py", json.dumps(case | way)]
    other = Side(f"PyTorch, {way}", command, environment(o.threads, tcmalloc() if tuned else None))
    try:
        for side in (ours, other):
            for _ in range(WARM_UP):
                side.step()
        for turn in range(o.turns):
            for side in (ours, other) if turn % 2 else (other, ours):
                side.step()
        for side in (ours, other):
            side.finish()
        check(ours, other, case.get("bfloat16", False))
    finally:
        ours.process.kill()
        other.process.kill()
    seconds = [statistics.median(s["seconds"] for s in side.steps[WARM_UP:]) for side in (ours, other)]
    if o.out:
        print(json.dumps({"case": case, "way": way, "tuned": tuned, "seconds": seconds, "beyond_mb": [beyond(ours), beyond(other)],
                          "turns": [[s["seconds"] for s in side.steps] for side in (ours, other)]}), file=o.out, flush=True)
    return seconds, [beyond(ours), beyond(other)]


def table(program, names, o):
    print("| kernel, value and gradients | kdistill | PyTorch's best ÷ kdistill | the best is | stock ÷ kdistill | memory beyond inputs and results, kdistill | PyTorch's best |\n"
          "|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        title, case, ways = CASES[name]
        runs = [(way, *compare(program, case, way, True, o)) for way in ways]
        best = min(runs, key=lambda run: run[1][1] / run[1][0])
        way, seconds, memory = best
        stock = "" if o.no_stock else (lambda s: f"{s[1] / s[0]:.1f}")(compare(program, case, ways[0] | {"compile": False}, False, o)[0])
        described = way["variant"] + (", compiled" if way["compile"] else "") + (f", chunks of {way['chunk']}" if "chunk" in way else "")
        milliseconds = statistics.median(run[1][0] for run in runs) * 1e3
        print(f"| {title} | {milliseconds:.1f} ms | {seconds[1] / seconds[0]:.2f} | {described} | {stock} | {memory[0]:.0f} MB | {memory[1]:.0f} MB |", flush=True)
