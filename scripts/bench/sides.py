"""Processes that take turns: kdistill's and PyTorch's sides of scripts/bench-torch."""
import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WARM_UP = 2


class Side:
    """A process that makes one step for each line it is sent."""

    def __init__(self, name, command, environment):
        self.name, self.steps = name, []
        self.process = subprocess.Popen([str(c) for c in command], cwd=ROOT, env=environment, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: ended with {self.process.wait()}")
        return json.loads(line)

    def step(self):
        self.process.stdin.write("\n")
        self.steps.append(self.answer())

    def finish(self):
        self.process.stdin.close()
        self.end = self.answer()
        self.process.wait()

    def seconds(self):
        return statistics.median(s["seconds"] for s in self.steps[WARM_UP:])

    def memory(self, imports):
        """Peak in MB, with or without what the process took before it loaded anything."""
        return (self.end["peak_memory"] - (0 if imports else self.end["imports"])) / 1e6


def environment(threads, allocator=None):
    """Nobody's settings of BLAS: some machines set some that halve the speed."""
    e = {k: v for k, v in os.environ.items() if not re.match("OPENBLAS_|MKL_|OMP_|KDISTILL_|GO(MAXPROCS|GC|MEMLIMIT|DEBUG)", k)}
    e |= {"GOMAXPROCS": str(threads), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
    if allocator:
        e |= {"LD_PRELOAD": allocator, "TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(1 << 40), "TCMALLOC_RELEASE_RATE": "0"}
    return e


def tcmalloc():
    listing = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    found = re.search(r"libtcmalloc_minimal\.so\S* .*=> (\S+)", listing)
    return found and found[1]


@contextlib.contextmanager
def built():
    """kdistill's side as a program in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "bench"
        subprocess.run(["go", "build", "-o", program, "./scripts/bench"], cwd=ROOT, check=True, env=os.environ | {"CGO_ENABLED": "0"})
        yield program
