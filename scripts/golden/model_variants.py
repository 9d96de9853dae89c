"""Writes folders of testdata/golden/models for settings that the other folders there do not have, in their format.

    python scripts/golden/model_variants.py testdata/golden/models

Tiny models with seeded random weights; logits, hidden states, loss, gradients and, of decoders, greedy ids are transformers' (eager attention, float32).
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

SMALL = {"num_hidden_layers": 3, "hidden_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40, "vocab_size": 60, "max_position_embeddings": 48}
BERT = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40, "vocab_size": 60, "max_position_embeddings": 48,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DISTILBERT = {"n_layers": 2, "dim": 24, "n_heads": 3, "hidden_dim": 40, "vocab_size": 60, "max_position_embeddings": 48, "dropout": 0.0, "attention_dropout": 0.0,
              "seq_classif_dropout": 0.0}
NEOX = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40, "vocab_size": 60, "max_position_embeddings": 48}

VARIANTS = {
    "gpt2-unscaled": ("gpt2", {**GPT2, "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True, "n_inner": 40,
                               "activation_function": "gelu", "tie_word_embeddings": False}),
    "opt-postnorm": ("opt", {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 16, "pad_token_id": 1}),
    "opt-unusual": ("opt", {**OPT, "enable_bias": False, "_remove_final_layer_norm": True, "tie_word_embeddings": False,
                            "activation_function": "quick_gelu", "pad_token_id": 4}),
    "qwen3-windows": ("qwen3", {**QWEN, "use_sliding_window": True, "sliding_window": 4, "attention_bias": True, "pad_token_id": 3,
                                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "distilbert-mlm": ("distilbert", {**DISTILBERT, "architectures": ["DistilBertForMaskedLM"], "activation": "relu"}),
    "roberta-sequence-classification": ("roberta", {**BERT, "architectures": ["RobertaForSequenceClassification"], "num_labels": 4, "type_vocab_size": 1}),
    "bert-pair": ("bert", {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {0: "same", 1: "other"}, "problem_type": "single_label_classification"}),
    "bert-regression": ("bert", {**BERT, "architectures": ["BertForSequenceClassification"], "num_labels": 1, "problem_type": "regression"}),
    "bert-mlm-untied": ("bert", {**BERT, "architectures": ["BertForMaskedLM"], "tie_word_embeddings": False, "hidden_act": "gelu_new", "type_vocab_size": 3}),
    "gpt_neox-serial": ("gpt_neox", {**NEOX, "use_parallel_residual": False, "attention_bias": False, "rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}),
    "phi3-partial": ("phi3", {**SMALL, "head_dim": 8, "pad_token_id": 3, "sliding_window": 5, "tie_word_embeddings": True, "rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}}),
    "phi3-longrope": ("phi3", {**SMALL, "num_attention_heads": 3, "num_key_value_heads": 3, "pad_token_id": 3, "max_position_embeddings": 96, "original_max_position_embeddings": 32,
                               "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0, "original_max_position_embeddings": 32,
                                                   "short_factor": [1.0, 1.2, 1.5, 2.5], "long_factor": [1.5, 2.0, 4.0, 8.0]}}),
    "gemma2-wide": ("gemma2", {**SMALL, "num_hidden_layers": 4, "head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 3, "attn_logit_softcapping": 3.0,
                               "final_logit_softcapping": None, "attention_bias": True, "tie_word_embeddings": False, "pad_token_id": 3}),
    "gemma3-text-windows": ("gemma3_text", {**SMALL, "num_hidden_layers": 5, "head_dim": 10, "query_pre_attn_scalar": 7, "sliding_window": 4, "final_logit_softcapping": 4.0,
                                            "pad_token_id": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
                                            "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 50000.0},
                                                                "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}}}),
    "gpt_neox-odd": ("gpt_neox", {**NEOX, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.4}}),
}


def randomize(model):
    for name, p in model.named_parameters():
        with torch.no_grad():
            p.normal_(0, 0.3 if p.dim() > 1 else 0.1)
            if p.dim() == 1 and "weight" in name:
                p.add_(1)


def encode(model, ids, mask, **more):
    """transformers' encoders take positions in the row"""
    if "ForCausalLM" in type(model).__name__ or "LMHead" in type(model).__name__:
        return forward(model, ids, mask, **more)
    return model(input_ids=ids, attention_mask=mask, **more)


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


def make(model_type, values):
    config = AutoConfig.for_model(model_type, **values)
    config._attn_implementation = "eager"
    if config.architectures:
        return getattr(transformers, config.architectures[0])(config).eval()
    return AutoModelForCausalLM.from_config(config).eval()


def batch(config, vocab):
    """ids of three rows padded on the right with the pad token, which also stands among real tokens (not for RoBERTa, which would shift positions there)"""
    rows, length = 3, 12
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    ids = torch.randint(5, vocab, (rows, length))
    if config.model_type != "roberta":
        ids[0, 3] = ids[1, 2] = pad
    lengths = [length, 9, 7]
    mask = torch.zeros(rows, length, dtype=torch.long)
    for r, n in enumerate(lengths):
        mask[r, :n] = 1
        ids[r, n:] = pad
    return ids, mask, lengths, pad


def labels_of(config, kind, ids, mask):
    if "Classification" in kind:
        if config.problem_type == "regression":
            return torch.tensor([0.5, -1.25, 2.0])
        return torch.tensor([1, 0, config.num_labels - 1])
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, :4] = -100
    labels[1, 5] = -100
    if "MaskedLM" in kind:  # what is predicted is not what is read
        labels = torch.where(labels == -100, labels, (labels + 7) % 60)
    return labels


def write(folder, seed, model_type, values):
    torch.manual_seed(seed)
    model = make(model_type, values)
    config, kind = model.config, type(model).__name__
    randomize(model)
    model.save_pretrained(folder)

    ids, mask, lengths, pad = batch(config, values["vocab_size"])
    labels = labels_of(config, kind, ids, mask)
    more = {}
    if getattr(config, "type_vocab_size", 1) > 1:  # the second sentence begins in the middle
        more["token_type_ids"] = ((mask.cumsum(1) > 4) & (mask == 1)).long()

    out = encode(model, ids, mask, labels=labels, output_hidden_states=True, **more)
    out.loss.backward()
    expected = {"input_ids": ids, "attention_mask": mask, "labels": labels, "logits": out.logits.detach(), "loss": out.loss.detach(), **more}
    for i, h in enumerate(out.hidden_states):
        expected[f"hidden_states.{i}"] = h.detach()
    on_disk = {"lm_head.weight": "embed_out.weight"} if model_type == "gpt_neox" else {}
    for name, p in model.named_parameters(remove_duplicate=False):
        if name not in model.all_tied_weights_keys and p.grad is not None:
            expected["grad." + on_disk.get(name, name)] = p.grad
    doc = {"class": kind, "seed": seed, "transformers": transformers.__version__, "torch": torch.__version__, "logits_std": out.logits.std().item(), "loss": out.loss.item()}
    if "ForCausalLM" in kind or "LMHead" in kind:
        left_ids, left_mask = torch.full_like(ids, pad), torch.zeros_like(mask)
        for r, n in enumerate(lengths):
            left_ids[r, ids.shape[1] - n:], left_mask[r, ids.shape[1] - n:] = ids[r, :n], 1
        with torch.no_grad():
            expected |= {"left.input_ids": left_ids, "left.attention_mask": left_mask, "left.logits": forward(model, left_ids, left_mask).logits}
            doc["greedy"] = {"cases": [greedy(model, p, 16) for p in ([7, 9, 11], [20])]}
    save_file({k: v.contiguous() for k, v in expected.items()}, os.path.join(folder, "expected.safetensors"))
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump(doc, f, indent=1)
    for name in ("model", "expected"):
        os.chmod(os.path.join(folder, name + ".safetensors"), 0o644)
    print(folder, doc["logits_std"], doc["loss"], [c["smallest_gap"] for c in doc.get("greedy", {"cases": []})["cases"]])


if __name__ == "__main__":
    for seed, (name, (model_type, values)) in enumerate(VARIANTS.items(), 201):
        write(os.path.join(sys.argv[1], name), seed, model_type, values)
