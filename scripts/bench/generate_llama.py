"""llama.cpp's side of scripts/bench-generate: its C functions, which choose the ids too, on the prompts in one batch. A line on standard input asks for a run.

The model is written as a GGUF file with the checkpoint's own numbers: F32, or BF16 matrices.
"""
import ctypes
import json
import os
import pathlib
import sys
import time

import gguf
import llama_cpp as l
import numpy as np
from safetensors import safe_open

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def paired(w, heads):
    """GGUF's Llama rotates neighbours, transformers' the halves of a head."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def widened(path, name):
    """A bfloat16 tensor as float32: NumPy has no bfloat16."""
    with path.open("rb") as f:
        size = int.from_bytes(f.read(8), "little")
        entry = json.loads(f.read(size))[name]
        f.seek(8 + size + entry["data_offsets"][0])
        bits = np.frombuffer(f.read(entry["data_offsets"][1] - entry["data_offsets"][0]), "<u2")
    assert entry["dtype"] == "BF16", f"{name} is {entry['dtype']}"
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def convert(folder, path, dtype):
    c = json.loads((folder / "config.json").read_text())
    head = c["hidden_size"] // c["num_attention_heads"]
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base((c.get("rope_parameters") or c).get("rope_theta", 10000.0))
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    with safe_open(folder / "model.safetensors", "np") as f:
        for name in f.keys():
            x = widened(folder / "model.safetensors", name) if dtype == "bfloat16" else f.get_tensor(name).astype(np.float32)
            if "q_proj" in name or "k_proj" in name:
                x = paired(x, c["num_attention_heads"] if "q_proj" in name else c["num_key_value_heads"])
            parts = name.removeprefix("model.").removesuffix(".weight").split(".")
            new = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}.get(parts[0])
            new = f"{new or f'blk.{parts[1]}.' + NAMES['.'.join(parts[2:])]}.weight"
            if dtype == "bfloat16" and x.ndim > 1:
                w.add_tensor(new, gguf.quants.quantize(x, gguf.GGMLQuantizationType.BF16), raw_dtype=gguf.GGMLQuantizationType.BF16)
            else:
                w.add_tensor(new, x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


o = json.loads(sys.argv[1])
path = pathlib.Path(o["gguf"])
convert(pathlib.Path(o["model"]), path, o["dtype"])
silent = l.llama_log_callback(lambda *_: None)
l.llama_log_set(silent, None)
l.llama_backend_init()
model = l.llama_model_load_from_file(str(path).encode(), l.llama_model_default_params())
rows, length = len(o["prompts"]), len(o["prompts"][0])
cp = l.llama_context_default_params()
threads = int(os.environ["OMP_NUM_THREADS"])
cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_seq_max = rows * (length + o["new"] + 31) // 32 * 32, 512, 512, rows
cp.n_threads = cp.n_threads_batch = threads
cp.type_k = cp.type_v = 0  # F32, as kdistill's
context = l.llama_init_from_model(model, cp)
sampler = l.llama_sampler_chain_init(l.llama_sampler_chain_default_params())
l.llama_sampler_chain_add(sampler, l.llama_sampler_init_greedy())
batch = l.llama_batch_init(max(512, rows), 0, rows)


def decode(tokens):
    """Tokens (id, position, row, whether logits are wanted) in batches; returns the ids that follow those with logits."""
    out = []
    for at in range(0, len(tokens), 512):
        part = tokens[at:at + 512]
        batch.n_tokens = len(part)
        for i, (token, position, row, wanted) in enumerate(part):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, row, wanted
        if l.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        out += [l.llama_sampler_sample(sampler, context, i) for i, t in enumerate(part) if t[3]]
    return out


for _ in sys.stdin:
    l.llama_memory_clear(l.llama_get_memory(context), True)
    began = time.perf_counter()
    ids = [[] for _ in range(rows)]
    tokens = [(t, i, row, i == length - 1) for row, p in enumerate(o["prompts"]) for i, t in enumerate(p)]
    for n in range(o["new"]):
        last = decode(tokens)
        for row, token in enumerate(last):
            ids[row].append(token)
        tokens = [(token, length + n, row, True) for row, token in enumerate(last)]
    print(json.dumps({"seconds": time.perf_counter() - began, "ids": ids}), flush=True)
