"""Writes testdata/safetensors: files of the reference library (safetensors 0.8.0, torch 2.15.0) for internal/safetensors.

kinds.safetensors   every type that torch has, a scalar, an empty tensor, names and types out of order
halves.safetensors  x [n] float32 and what torch rounds it to (bf16, f16, f64 -> f32), each with its value in float32 again
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "testdata/safetensors")
out.mkdir(parents=True, exist_ok=True)
g = torch.Generator().manual_seed(1)

kinds = "bool uint8 int8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64 complex64 " \
        "float8_e5m2 float8_e4m3fn float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz float4_e2m1fn_x2"
tensors = {}
for name in kinds.split():
    dtype = getattr(torch, name)
    size = torch.empty((), dtype=dtype).element_size()
    top = 2 if name == "bool" else 100  # a bool byte is 0 or 1
    data = torch.randint(0, top, (2, 3 * size), generator=g, dtype=torch.uint8)
    tensors["t." + name] = data.view(dtype)
tensors["z.scalar"] = torch.tensor(2.5)
tensors["a.empty"] = torch.empty(0, 4)
tensors['quoted "é"\n'] = torch.arange(3, dtype=torch.float32)
save_file(tensors, out / "kinds.safetensors", metadata={"format": "pt"})

inf, nan = float("inf"), float("nan")
edges = [0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 65504, 65519.99, 65520, -65520, 3.3895e38, 3.4e38, 1e-8, 2.98e-8, 2.99e-8, 5.96e-8,
         6.1e-5, 6.097e-5, 1e-40, -1e-45, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9, 1 + 2**-11, 1 + 3 * 2**-11, 2049, 2051, 1 / 3]
x = torch.cat([torch.tensor(edges), torch.randn(200, generator=g) * torch.logspace(-10, 6, 200)])
f64 = torch.cat([torch.tensor(edges, dtype=torch.float64), torch.randn(60, generator=g, dtype=torch.float64)])
halves = {"x": x, "bf16": x.bfloat16(), "f16": x.half(), "f64": f64}
halves |= {k + ".float32": v.float().clone() for k, v in halves.items()}
save_file(halves, out / "halves.safetensors")
