"""Writes folders of testdata/golden/models for settings that the other folders there do not have, in their format.

    python scripts/golden/model_variants.py testdata/golden/models

Tiny models with seeded random weights; logits, hidden states, loss, gradients and greedy ids are transformers' (eager attention, float32).
The pad token also stands among real tokens, where its row of the embedding gets no gradient (padding_idx).
"""

import json
import os
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

GPT2 = {"n_layer": 3, "n_embd": 24, "n_head": 3, "vocab_size": 60, "n_positions": 48, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
OPT = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 3, "ffn_dim": 40, "vocab_size": 60, "max_position_embeddings": 48, "dropout": 0.0}
QWEN = {"num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 40, "vocab_size": 60,
        "max_position_embeddings": 48}

VARIANTS = {
    "gpt2-unscaled": ("gpt2", {**GPT2, "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True, "n_inner": 40,
                               "activation_function": "gelu", "tie_word_embeddings": False}),
    "opt-postnorm": ("opt", {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 16, "pad_token_id": 1}),
    "opt-unusual": ("opt", {**OPT, "enable_bias": False, "_remove_final_layer_norm": True, "tie_word_embeddings": False,
                            "activation_function": "quick_gelu", "pad_token_id": 4}),
    "qwen3-windows": ("qwen3", {**QWEN, "use_sliding_window": True, "sliding_window": 4, "attention_bias": True, "pad_token_id": 3,
                                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
}


def randomize(model):
    for name, p in model.named_parameters():
        with torch.no_grad():
            p.normal_(0, 0.3 if p.dim() > 1 else 0.1)
            if p.dim() == 1 and "weight" in name:
                p.add_(1)


def forward(model, ids, mask, **more):
    if model.config.model_type != "opt":  # which derives positions from the mask
        more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return model(input_ids=ids, attention_mask=mask, use_cache=False, **more)


def greedy(model, prompt, count):
    ids = list(prompt)
    gap = float("inf")
    for _ in range(count):
        x = torch.tensor([ids])
        logits = forward(model, x, torch.ones_like(x)).logits[0, -1]
        best = logits.topk(2)
        gap = min(gap, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    return {"prompt_ids": list(prompt), "new_ids": ids[len(prompt):], "smallest_gap": gap}


def write(folder, seed, model_type, values):
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **values)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).eval()
    randomize(model)
    model.save_pretrained(folder)

    rows, length, vocab = 3, 12, values["vocab_size"]
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    ids = torch.randint(5, vocab, (rows, length))
    ids[0, 3] = ids[1, 2] = pad  # among real tokens
    lengths = [length, 9, 7]
    mask = torch.zeros(rows, length, dtype=torch.long)
    for r, n in enumerate(lengths):
        mask[r, :n] = 1
        ids[r, n:] = pad
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, :4] = -100
    labels[1, 5] = -100

    out = forward(model, ids, mask, labels=labels, output_hidden_states=True)
    out.loss.backward()
    expected = {"input_ids": ids, "attention_mask": mask, "labels": labels, "logits": out.logits.detach(), "loss": out.loss.detach()}
    for i, h in enumerate(out.hidden_states):
        expected[f"hidden_states.{i}"] = h.detach()
    tied = config.tie_word_embeddings
    for name, p in model.named_parameters(remove_duplicate=False):
        if not (tied and name == "lm_head.weight"):
            expected["grad." + name] = p.grad
    left_ids, left_mask = torch.full_like(ids, pad), torch.zeros_like(mask)
    for r, n in enumerate(lengths):
        left_ids[r, length - n:], left_mask[r, length - n:] = ids[r, :n], 1
    with torch.no_grad():
        expected |= {"left.input_ids": left_ids, "left.attention_mask": left_mask, "left.logits": forward(model, left_ids, left_mask).logits}
        cases = [greedy(model, p, 16) for p in ([7, 9, 11], [20])]
    save_file({k: v.contiguous() for k, v in expected.items()}, os.path.join(folder, "expected.safetensors"))
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump({"class": type(model).__name__, "seed": seed, "transformers": transformers.__version__, "torch": torch.__version__,
                   "logits_std": out.logits.std().item(), "loss": out.loss.item(), "greedy": {"cases": cases}}, f, indent=1)
    for name in ("model", "expected"):
        os.chmod(os.path.join(folder, name + ".safetensors"), 0o644)
    print(folder, out.logits.std().item(), out.loss.item(), [c["smallest_gap"] for c in cases])


if __name__ == "__main__":
    for seed, (name, (model_type, values)) in enumerate(VARIANTS.items(), 201):
        write(os.path.join(sys.argv[1], name), seed, model_type, values)
