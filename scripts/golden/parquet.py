#!/usr/bin/env python3
"""Writes testdata/golden/records.parquet, and the same records as JSON lines to records.jsonl.

Usage: parquet.py OUT_FOLDER    (needs pyarrow)
"""
import json
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq

out = pathlib.Path(sys.argv[1])
records = [
    {"messages": [{"role": "user", "content": "Hi “you” & <me>"}, {"role": "assistant", "content": "Hello"}], "choices": {"text": ["a", "b"], "label": ["A", "B"]},
     "prompt": "Say", "completion": "a", "finish_reason": "stop", "question": "2 + 2?", "answer": "4", "rationale": "Two and two.", "options": ["3", "4"], "score": 0.5, "n": 1, "ok": True},
    {"messages": [], "choices": {"text": [], "label": []}, "prompt": "b", "completion": "b", "finish_reason": "length", "question": "", "answer": "5", "rationale": None, "options": None, "score": -1e300,
     "n": -(2**62), "ok": False},
    {"messages": None, "choices": None, "prompt": None, "completion": None, "finish_reason": None, "question": None, "answer": None, "rationale": None, "options": [], "score": None, "n": None, "ok": None},
    {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "ja, das ist é\n"}], "choices": {"text": ["q", None], "label": ["A", "B"]}, "prompt": "日本",
     "completion": "\u0000 \U0001f600", "finish_reason": "stop", "question": "3 + 3?", "answer": "6", "rationale": "So.", "options": ["5", "6"], "score": 3.0, "n": 4, "ok": True},
]
pq.write_table(pa.Table.from_pylist(records), out / "records.parquet", compression="zstd", row_group_size=3)
(out / "records.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
