#!/usr/bin/env python3
"""Writes testdata/golden/metrics.json: figures of predictions by scikit-learn and scipy, and their jackknife standard errors.

Usage: metrics.py OUT    (needs scikit-learn and scipy)

`cases`: `predicted`, `labels`, and for every metric its `value` (null: not a number) and `jackknife`.
"""
import json
import math
import sys
import warnings

import numpy as np
import scipy
import scipy.stats
import sklearn
from sklearn import metrics as m

warnings.filterwarnings("ignore")
CLASSES = {
    "accuracy": lambda p, y: m.accuracy_score(y, p),
    "f1": lambda p, y: m.f1_score(y, p, zero_division=0),
    "macro_f1": lambda p, y: m.f1_score(y, p, average="macro", zero_division=0),
    "matthews": lambda p, y: m.matthews_corrcoef(y, p),
}
NUMBERS = {
    "mse": lambda p, y: m.mean_squared_error(y, p),
    "pearson": lambda p, y: scipy.stats.pearsonr(p, y)[0],
    "spearman": lambda p, y: scipy.stats.spearmanr(p, y)[0],
}


def case(name, predicted, labels, functions):
    out = {"name": name, "predicted": predicted.tolist(), "labels": labels.tolist(), "figures": {}}
    n = len(labels)
    keep = ~np.eye(n, dtype=bool)
    for metric, f in functions.items():
        value = float(f(predicted, labels))
        left = np.array([f(predicted[k], labels[k]) for k in keep])
        error = math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
        out["figures"][metric] = {"value": value if math.isfinite(value) else None, "jackknife": error if math.isfinite(error) else None}
    return out


def main():
    r = np.random.default_rng(5)
    cases = []
    for name, n, k, right in (("binary", 240, 2, 0.8), ("rare", 240, 2, 0.9), ("four", 240, 4, 0.6)):
        y = r.integers(k, size=n) if name != "rare" else (r.random(n) < 0.15).astype(int)
        p = np.where(r.random(n) < right, y, r.integers(k, size=n))
        functions = CLASSES if k == 2 else {x: f for x, f in CLASSES.items() if x != "f1"}
        cases.append(case(name, p, y, functions))
    without = {x: f for x, f in CLASSES.items() if x != "f1"}
    cases.append(case("one class is never predicted", np.array([0, 0, 2, 2, 0, 2, 0, 0]), np.array([0, 1, 2, 1, 0, 2, 2, 0]), without))
    cases.append(case("constant prediction", np.zeros(8, int), np.array([0, 1, 0, 1, 1, 0, 0, 1]), CLASSES))
    cases.append(case("one class only", np.ones(6, int), np.ones(6, int), CLASSES))
    cases.append(case("all wrong", np.array([1, 0, 1, 0]), np.array([0, 1, 0, 1]), CLASSES))
    y = r.normal(size=200)
    cases.append(case("numbers", 0.7 * y + 0.6 * r.normal(size=200) + 3, y, NUMBERS))
    y = r.integers(0, 6, size=200) * 0.8
    cases.append(case("ties", np.round(0.5 * y - r.exponential(size=200), 1), y, NUMBERS))
    cases.append(case("constant number", np.full(9, 1.5), r.normal(size=9), NUMBERS))
    versions = {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__}
    with open(sys.argv[1], "w") as f:
        f.write(json.dumps({"versions": versions, "cases": cases}, separators=(",", ":")) + "\n")


main()
