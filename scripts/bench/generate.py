"""scripts/bench-generate: see there.

All sides of a case live at the same time and take turns, a batch of texts each. A case counts only where all sides write the same text: at the first id in which
a text differs, the two likeliest must be as near as rounding. The figures come as a Markdown table, and each side as a JSON line in --out.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys

from compare import SMALL
from sides import HERE, ROOT, WARM_UP, Side, built, environment

LENGTH = 16  # of a prompt
NEAR = {"float32": 1e-2, "bfloat16": 0.1}  # llama.cpp rounds up to 4e-3 away; transformers' bfloat16 rounds every value on the way, ours only weights
CASES = {  # model, prompts at once, type of the weights
    "stories260k-1": ("stories260k", "stories260k", 1, "float32"),
    "stories260k-32": ("the same", "stories260k", 32, "float32"),
    "15m-1": ("Llama of 15 M", "15m", 1, "float32"),
    "15m-32": ("the same", "15m", 32, "float32"),
    "15m-bfloat16-1": ("the same in bfloat16", "15m-bfloat16", 1, "bfloat16"),
    "15m-bfloat16-32": ("the same in bfloat16", "15m-bfloat16", 32, "bfloat16"),
}


def compare(ours, other, margins, near):
    """How many texts differ from another side's, all where the two best ids are near each other."""
    differ = 0
    for mine, theirs, margin in zip(ours, other, margins, strict=True):
        at = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b), None)
        if at is None:
            continue
        differ += 1
        if margin[at] > near:
            sys.exit(f"id {at} differs where the best is {margin[at]} from the second: they don't do the same work")
    return differ


def main():
    p = argparse.ArgumentParser(prog="scripts/bench-generate")
    p.add_argument("--turns", type=int, default=7, help="measured batches of each side")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--new", type=int, default=128, help="ids that each text gets")
    p.add_argument("--cases", default=",".join(CASES), help="of " + ", ".join(CASES))
    p.add_argument("--stories", type=pathlib.Path, default=ROOT / "../shared/models/stories260k", help="the folder of stories260k")
    p.add_argument("--out", type=argparse.FileType("a"), help="file that gets a JSON line for each side")
    o = p.parse_args()
    llama = os.environ.get("LLAMA_PYTHON", sys.executable)
    print(f"load before: {os.getloadavg()[0]:.2f}; threads: {o.threads}", file=sys.stderr)
    print("| model, texts at once | kdistill, tokens/s | llama.cpp, tokens/s | transformers, tokens/s | kdistill ÷ llama.cpp | kdistill ÷ transformers | texts that differ |\n"
          "|---|---|---|---|---|---|---|", flush=True)
    with built() as program:
        folder = program.parent
        models = {"15m": SMALL | {"max_position_embeddings": 512}, "15m-bfloat16": SMALL | {"max_position_embeddings": 512, "dtype": "bfloat16"}}
        subprocess.run([sys.executable, HERE / "models.py"], input=json.dumps({str(folder / k): v for k, v in models.items()}), text=True, check=True,
                       env=environment(o.threads))
        for name in o.cases.split(","):
            title, model, rows, dtype = CASES[name]
            draw = random.Random(1)
            work = json.dumps({"model": str((o.stories if model == "stories260k" else folder / model).resolve()), "dtype": dtype, "new": o.new,
                               "gguf": str(folder / f"{name}.gguf"), "prompts": [[draw.randrange(3, 500) for _ in range(LENGTH)] for _ in range(rows)]})
            sides = [Side("kdistill", [program, "-generate", work], environment(o.threads))]
            if llama:
                sides.append(Side("llama.cpp", [llama, HERE / "generate_llama.py", work], environment(o.threads)))
            sides.append(Side("transformers", [sys.executable, HERE / "generate_torch.py", work], environment(o.threads)))
            try:
                for turn in range(WARM_UP + o.turns):
                    for i in range(len(sides)):
                        sides[(turn + i) % len(sides)].step()
            finally:
                for side in sides:
                    side.process.kill()
            ours = sides[0]
            speed = {side.name: rows * o.new / side.seconds() for side in sides}
            differ = [f"{compare(ours.steps[0]['ids'], s.steps[0]['ids'], ours.steps[0]['margins'], NEAR[dtype])} ({s.name})" for s in sides[1:]]
            for side in sides if o.out else []:
                print(json.dumps({"case": name, "side": side.name, "tokens_per_second": speed[side.name], "turns": [s["seconds"] for s in side.steps]}), file=o.out, flush=True)
            ratios = [f"{speed['kdistill'] / speed[s]:.1f}" if s in speed else "" for s in ("llama.cpp", "transformers")]
            cells = [f"{title}, {rows}", *(f"{speed[s]:.0f}" if s in speed else "" for s in ("kdistill", "llama.cpp", "transformers")), *ratios, ", ".join(differ)]
            print(f"| {' | '.join(cells)} |", flush=True)
            if rows == 1:
                weights, bare = ours.steps[0]["weights"], ours.steps[0]["read_rate"]
                read = speed["kdistill"] * weights
                print(f"{title}: kdistill reads its {weights / 1e6:.1f} MB of weights at {read / 1e9:.0f} GB/s for each id, {100 * read / bare:.0f} % of bare reading, "
                      f"{bare / 1e9:.0f} GB/s, which would give {bare / weights:.0f} tokens/s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
