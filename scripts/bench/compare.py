"""scripts/bench-torch: see there.

Both sides live at the same time and take turns, a step each, so that the machine's moods fall on both. PyTorch runs as best it can
(torch.compile, scaled_dot_product_attention, fused AdamW, tcmalloc where it is installed) and as one writes it first (stock).
A case counts only where all sides compute the same losses from step to step. The ratios come as a Markdown table, and each process as a JSON line in --out.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

import kernels
from sides import HERE, WARM_UP, Side, built, environment, tcmalloc

STOCK_TURNS = 3      # it is slow, and no close race
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-3}  # of the losses: the first one's difference is rounding, AdamW makes later ones of it
OPTIMIZER = {"lr": 1e-4, "betas": [0.9, 0.95], "weight_decay": 0.1}


def llama(layers, width, heads, kv, ffn, vocabulary, positions):
    return {"model_type": "llama", "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "num_key_value_heads": kv,
            "intermediate_size": ffn, "vocab_size": vocabulary, "max_position_embeddings": positions, "tie_word_embeddings": True,
            "rms_norm_eps": 1e-5, "initializer_range": 0.05}


def gpt2(layers):
    return {"model_type": "gpt2", "n_layer": layers, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.05}


SMALL, TINY = llama(6, 288, 6, 6, 768, 32000, 256), llama(5, 64, 8, 4, 172, 512, 512)
CASES = {  # student, teacher, rows and tokens of a batch, precision of products (PyTorch: autocast)
    "kd-15m": ("KD, Llama of 15 M, teacher of the same size", SMALL, SMALL, 8, 256, "float32"),
    "kd-15m-bfloat16": ("the same, bfloat16", SMALL, SMALL, 8, 256, "bfloat16"),
    "ce-15m": ("CE, Llama of 15 M", SMALL, None, 8, 256, "float32"),
    "kd-260k": ("KD, Llama of stories260K's size", TINY, TINY, 8, 512, "float32"),
    "kd-gpt2": ("KD, GPT-2 124 M to 6 of its layers", gpt2(6), gpt2(12), 4, 256, "float32"),
}


def start(folder, program, student, teacher, rows, tokens, precision, o):
    """Writes models, tokens and configuration, and starts the sides."""
    folders = {folder / "student": student} | ({folder / "teacher": teacher} if teacher else {})
    subprocess.run([sys.executable, HERE / "models.py"], input=json.dumps({str(k): v for k, v in folders.items()}), text=True, check=True,
                   env=environment(o.threads))
    vocabulary = student.get("vocab_size", 50257)
    draw = random.Random(1)
    with (folder / "tokens.jsonl").open("w") as f:
        for _ in range(4 * rows):
            f.write(json.dumps({"input_ids": [draw.randrange(vocabulary) for _ in range(tokens)]}) + "\n")
    config = {
        "student": {"path": str(folder / "student")},
        "data": {"train": [{"path": str(folder / "tokens.jsonl"), "format": "tokens"}], "sequence_length": tokens, "packing": False, "shuffle": False},
        "loss": [{"name": "cross_entropy", "weight": 0.5 if teacher else 1}],
        "train": {"batch_size": rows, "precision": precision, "activation_recompute": o.recompute, "optimizer": OPTIMIZER | {"name": "adamw", "decay": "all"}, "schedule": {"name": "constant"}, "max_grad_norm": 0},
        "output": {"dir": str(folder / "run")},
    }
    if teacher:
        config["teacher"] = {"path": str(folder / "teacher")}
        config["loss"].append({"name": "forward_kl", "weight": 0.5})
    (folder / "config.yaml").write_text(json.dumps(config))

    def torch(variant, allocator):
        command = [sys.executable, HERE / "torch_step.py", "--variant", variant, "--student", folder / "student", "--tokens", folder / "tokens.jsonl",
                   "--batch", rows, "--lr", OPTIMIZER["lr"], "--weight-decay", OPTIMIZER["weight_decay"], "--betas", *OPTIMIZER["betas"]]
        command += ["--teacher", folder / "teacher"] if teacher else []
        command += ["--bfloat16"] if precision == "bfloat16" else []
        return Side(f"PyTorch, {variant}", command, environment(o.threads, allocator))

    sides = [Side("kdistill", [program, "-config", folder / "config.yaml", "-warm-up", WARM_UP], environment(o.threads)), torch("best", tcmalloc())]
    return sides + ([] if o.no_stock else [torch("stock", None)])


def measure(sides, turns):
    for side in sides:  # one after the other: compilers take all cores
        for _ in range(WARM_UP):
            side.step()
    for turn in range(turns):
        for i in range(len(sides)):
            side = sides[(turn + i) % len(sides)]
            if side.name != "PyTorch, stock" or turn < STOCK_TURNS:
                side.step()
    for side in sides:
        side.finish()


def check(sides, tolerance):
    """The largest relative difference between kdistill's losses and another side's."""
    worst = 0.0
    for other in sides[1:]:
        for i, (a, b) in enumerate(zip(sides[0].steps, other.steps)):
            difference = abs(a["loss"] - b["loss"]) / abs(b["loss"])
            worst = max(worst, difference)
            if not difference <= tolerance:
                sys.exit(f"step {i + 1}: the loss is {a['loss']} and {other.name}'s {b['loss']}: they don't do the same work")
    return worst


def main():
    p = argparse.ArgumentParser(prog="scripts/bench-torch")
    p.add_argument("--turns", type=int, default=7, help="measured steps of each side")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    p.add_argument("--kernels", nargs="?", const="", help="losses and heads in place of steps: all, or of " + ", ".join(kernels.CASES))
    p.add_argument("--no-stock", action="store_true", help="leave out PyTorch as one writes it first")
    p.add_argument("--recompute", action="store_true", help="kdistill computes activations again in the backward pass")
    p.add_argument("--out", type=argparse.FileType("a"), help="file that gets a JSON line for each process")
    o = p.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}; threads: {o.threads}; tcmalloc: {tcmalloc() or 'not installed, PyTorch is slower without'}", file=sys.stderr)

    if o.kernels is not None:
        with built() as program:
            kernels.table(program, o.kernels.split(",") if o.kernels else kernels.CASES, o)
        return
    print("| step | kdistill | PyTorch's best ÷ kdistill | stock ÷ kdistill | peak memory, kdistill ÷ PyTorch's best | without imports | as told by --dry-run | losses differ by |\n"
          "|---|---|---|---|---|---|---|---|", flush=True)
    with built() as program:
        for name in o.cases.split(","):
            title, student, teacher, rows, tokens, precision = CASES[name]
            sides = start(program.parent / name, program, student, teacher, rows, tokens, precision, o)
            try:
                measure(sides, o.turns)
            finally:
                for side in sides:
                    side.process.kill()
            worst = check(sides, TOLERANCE[precision])
            for side in sides if o.out else []:
                line = {"case": name, "side": side.name, "seconds": side.seconds(), "tokens_per_second": rows * tokens / side.seconds(),
                        "turns": [s["seconds"] for s in side.steps], "losses": [s["loss"] for s in side.steps]} | side.end
                print(json.dumps(line), file=o.out, flush=True)
            ours, best, *stock = sides
            memory = [f"{ours.memory(imports) / best.memory(imports):.2f}" for imports in (True, False)]
            cells = [f"{title}, {rows} × {tokens}", f"{ours.seconds() * 1e3:.0f} ms, {rows * tokens / ours.seconds():.0f} tokens/s, {ours.memory(True):.0f} MB",
                     f"{best.seconds() / ours.seconds():.2f}", f"{stock[0].seconds() / ours.seconds():.2f}" if stock else "", *memory, f"{ours.end['expected_memory'] / 1e6:.0f} MB",
                     f"{worst:.0e}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
