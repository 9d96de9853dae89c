"""Writes testdata/golden/model_configs.json: what transformers makes of small config.json files, of each supported model_type.

    python scripts/golden/model_configs.py testdata/golden/model_configs.json

Each case is built on the meta device: sizes, parameter names and shapes, eps, windows, scales and rotary frequencies are read from the modules.
The cases of "initial" are built with real weights, of which mean and standard deviation are kept.
"""

import json
import os
import re
import sys
import tempfile

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
torch.manual_seed(5)

SMALL = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 96, "vocab_size": 80, "max_position_embeddings": 256}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
WINDOWED = {"sliding_window": 9, "use_sliding_window": True}
GPT2 = {"n_layer": 2, "n_embd": 48, "n_head": 4, "vocab_size": 80, "n_positions": 32}
OPT = {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4, "ffn_dim": 96, "vocab_size": 80, "max_position_embeddings": 32}

BERT = {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 80, "max_position_embeddings": 32}
DISTILBERT = {"n_layers": 2, "dim": 48, "n_heads": 4, "hidden_dim": 96, "vocab_size": 80, "max_position_embeddings": 32}

GEMMA = {**SMALL, "head_dim": 24, "query_pre_attn_scalar": 18}
NEOX = {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 80, "max_position_embeddings": 32}
SHORT = {"short_factor": [1.0, 1.1, 1.25, 1.5, 2.0, 2.5], "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}

CASES = [
    {"model_type": "llama"},
    {"model_type": "mistral"},
    {"model_type": "qwen2"},
    {"model_type": "qwen3"},
    {"model_type": "gpt2"},
    {"model_type": "opt"},
    {"model_type": "bert"},
    {"model_type": "distilbert"},
    {"model_type": "roberta"},
    {"model_type": "gemma2"},
    {"model_type": "gemma3_text"},
    {"model_type": "phi3"},
    {"model_type": "gpt_neox"},
    {"model_type": "olmo2"},
    {"model_type": "smollm3"},
    {"model_type": "llama", **SMALL, "num_key_value_heads": None, "head_dim": None, "pad_token_id": None},
    {"model_type": "llama", **SMALL, "head_dim": 24, "attention_bias": True, "mlp_bias": True, "pad_token_id": 3},
    {"model_type": "llama", **SMALL, "tie_word_embeddings": True, "pad_token_id": -1, "initializer_range": 0.05, "rms_norm_eps": 1e-5},
    {"model_type": "qwen2", "use_sliding_window": True},
    {"model_type": "qwen3", "use_sliding_window": True},
    # the rotary embedding: transformers 4
    {"model_type": "llama", **SMALL, "rope_theta": 5000.0, "rope_scaling": None},
    {"model_type": "llama", **SMALL, "rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
    {"model_type": "llama", **SMALL, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    {"model_type": "qwen2", **SMALL, "rope_theta": 1000000.0, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}},
    {"model_type": "qwen2", **SMALL, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16, "beta_slow": 2, "attention_factor": 1.25}},
    {"model_type": "llama", **SMALL, "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.8, "mscale_all_dim": 1.2, "truncate": False}},
    # and 5
    {"model_type": "llama", **SMALL, "rope_parameters": {"rope_type": "default", "rope_theta": 3000.0}},
    {"model_type": "llama", **SMALL, "rope_parameters": {"rope_type": "llama3", "rope_theta": 3000.0, **LLAMA3}},
    {"model_type": "qwen3", **SMALL, "rope_parameters": {"rope_type": "yarn", "rope_theta": 3000.0, "factor": 4.0, "original_max_position_embeddings": 64}},
    # both: which one counts
    {"model_type": "llama", **SMALL, "rope_theta": 7000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 3000.0}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    {"model_type": "llama", **SMALL, "rope_theta": 7000.0, "rope_parameters": {"rope_type": "default"}},
    # windows
    {"model_type": "mistral", **SMALL, "sliding_window": 7},
    {"model_type": "mistral", **SMALL, "sliding_window": None},
    {"model_type": "qwen2", **SMALL, **WINDOWED, "max_window_layers": 1},
    {"model_type": "qwen2", **SMALL, "sliding_window": 9, "use_sliding_window": False, "max_window_layers": 1},
    {"model_type": "qwen2", **SMALL, "use_sliding_window": True, "max_window_layers": 0},
    {"model_type": "qwen2", **SMALL, **WINDOWED, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    {"model_type": "qwen3", **SMALL, **WINDOWED},
    {"model_type": "qwen3", **SMALL, "head_dim": 16, "attention_bias": True, "tie_word_embeddings": True},
    {"model_type": "gpt2", **GPT2, "n_inner": None, "activation_function": "relu", "layer_norm_epsilon": 1e-6},
    {"model_type": "gpt2", **GPT2, "n_inner": 100, "scale_attn_weights": False, "tie_word_embeddings": False},
    {"model_type": "gpt2", **GPT2, "scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu_pytorch_tanh"},
    {"model_type": "opt", **OPT, "pad_token_id": None, "activation_function": "gelu", "enable_bias": False},
    {"model_type": "opt", **OPT, "pad_token_id": 5, "word_embed_proj_dim": 24, "do_layer_norm_before": False},
    {"model_type": "opt", **OPT, "_remove_final_layer_norm": True, "tie_word_embeddings": False},
    {"model_type": "gemma2", **GEMMA, "sliding_window": 5, "attention_bias": True, "tie_word_embeddings": False, "pad_token_id": None},
    {"model_type": "gemma2", **GEMMA, "layer_types": ["full_attention", "sliding_attention", "full_attention"], "rope_theta": 5000.0, "hidden_activation": "gelu"},
    {"model_type": "gemma2", **GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None, "hidden_act": "silu", "rope_parameters": {"rope_type": "default", "rope_theta": 700.0}},
    {"model_type": "gemma3_text", **GEMMA, "sliding_window": 5, "sliding_window_pattern": 2},
    {"model_type": "gemma3_text", **GEMMA, "sliding_window": 5, "rope_theta": 50000.0, "rope_local_base_freq": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
     "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    {"model_type": "gemma3_text", **GEMMA, "sliding_window": 5, "sliding_window_pattern": 3, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 60000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 600.0}}},
    {"model_type": "gemma3_text", **GEMMA, "num_hidden_layers": 7, "final_logit_softcapping": 12.0, "tie_word_embeddings": False,
     "rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}},
    {"model_type": "phi3", **SMALL, "pad_token_id": 7, "num_key_value_heads": None},
    {"model_type": "phi3", **SMALL, "pad_token_id": None, "sliding_window": 9, "tie_word_embeddings": True, "rope_theta": 400.0, "partial_rotary_factor": 0.75},
    {"model_type": "phi3", **SMALL, "pad_token_id": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 400.0, "partial_rotary_factor": 0.5}},
    {"model_type": "phi3", **SMALL, "pad_token_id": 1, "original_max_position_embeddings": 64, "partial_rotary_factor": 0.75, "rope_scaling": {"type": "longrope", **SHORT}},
    {"model_type": "phi3", **SMALL, "pad_token_id": 1, "original_max_position_embeddings": 512, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 400.0, "partial_rotary_factor": 0.75, **SHORT}},
    {"model_type": "gpt_neox", **NEOX, "rotary_pct": 0.5, "rotary_emb_base": 500, "tie_word_embeddings": True, "hidden_act": "gelu_new"},
    {"model_type": "gpt_neox", **NEOX, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}, "attention_bias": False},
    {"model_type": "gpt_neox", **NEOX, "use_parallel_residual": False, "rotary_pct": 0.5, "rope_scaling": {"type": "linear", "factor": 2.0}, "layer_norm_eps": 1e-6},
    {"model_type": "olmo2", **SMALL, "pad_token_id": None, "attention_bias": True, "num_key_value_heads": None, "rope_theta": 500.0},
    {"model_type": "smollm3", **SMALL, "pad_token_id": 2, "no_rope_layer_interval": 2, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    {"model_type": "smollm3", **SMALL, "pad_token_id": None, "no_rope_layers": [0, 1, 1], "use_sliding_window": True, "sliding_window": 7, "rope_theta": 500.0},
    # encoders: a bare one, and with its heads
    {"model_type": "bert", **BERT, "architectures": ["BertModel"], "hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-6},
    {"model_type": "bert", **BERT, "architectures": ["BertForMaskedLM"], "pad_token_id": None},
    {"model_type": "bert", **BERT, "architectures": ["BertForMaskedLM"], "tie_word_embeddings": False, "pad_token_id": 7},
    {"model_type": "bert", **BERT, "architectures": ["BertForSequenceClassification"]},
    {"model_type": "bert", **BERT, "architectures": ["BertForSequenceClassification"], "num_labels": 5},
    {"model_type": "bert", **BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"1": "good", "0": "bad", "2": "neither"}, "num_labels": 3},
    {"model_type": "bert", **BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "score"}, "problem_type": "regression"},
    {"model_type": "distilbert", **DISTILBERT, "architectures": ["DistilBertForMaskedLM"], "activation": "relu"},
    {"model_type": "distilbert", **DISTILBERT, "architectures": ["DistilBertForMaskedLM"], "tie_word_embeddings": False},
    {"model_type": "distilbert", **DISTILBERT, "architectures": ["DistilBertForSequenceClassification"], "pad_token_id": None},
    {"model_type": "distilbert", "num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4, "vocab_size": 80, "architectures": ["DistilBertModel"]},
    {"model_type": "roberta", **BERT, "architectures": ["RobertaForMaskedLM"], "pad_token_id": 5, "type_vocab_size": 1},
    {"model_type": "roberta", **BERT, "architectures": ["RobertaForMaskedLM"], "tie_word_embeddings": False},
    {"model_type": "roberta", **BERT, "architectures": ["RobertaForSequenceClassification"], "num_labels": 3},
]

INITIAL = [
    {"model_type": "llama", **SMALL, "attention_bias": True, "mlp_bias": True, "pad_token_id": 3, "initializer_range": 0.05},
    {"model_type": "mistral", **SMALL},
    {"model_type": "qwen2", **SMALL, "tie_word_embeddings": True, "pad_token_id": 0},
    {"model_type": "qwen3", **SMALL},
    {"model_type": "gpt2", **GPT2, "n_layer": 3},
    {"model_type": "opt", **OPT, "word_embed_proj_dim": 24, "init_std": 0.03},
    {"model_type": "olmo2", **SMALL},
    {"model_type": "smollm3", **SMALL, "pad_token_id": 2},
    {"model_type": "gemma2", **GEMMA, "attention_bias": True},
    {"model_type": "gemma3_text", **GEMMA, "pad_token_id": 4},
    {"model_type": "phi3", **SMALL, "pad_token_id": 7},
    {"model_type": "gpt_neox", **NEOX, "rotary_pct": 0.5, "initializer_range": 0.03},
    {"model_type": "bert", **BERT, "architectures": ["BertForMaskedLM"], "initializer_range": 0.04},
    {"model_type": "bert", **BERT, "architectures": ["BertForSequenceClassification"], "num_labels": 4},
    {"model_type": "distilbert", **DISTILBERT, "architectures": ["DistilBertForMaskedLM"], "tie_word_embeddings": False},
    {"model_type": "distilbert", **DISTILBERT, "architectures": ["DistilBertForSequenceClassification"]},
    {"model_type": "roberta", **BERT, "architectures": ["RobertaForMaskedLM"]},
    {"model_type": "roberta", **BERT, "architectures": ["RobertaForSequenceClassification"]},
]


def read(values):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(values, f)
        return AutoConfig.from_pretrained(folder)


ENCODERS = ("bert", "distilbert", "roberta")


def build(config):
    if config.architectures:
        return getattr(transformers, config.architectures[0])(config)
    return (AutoModel if config.model_type in ENCODERS else AutoModelForCausalLM).from_config(config)


def parameters(model):
    """the tensors of a checkpoint: a tied head is not there. Bare encoders get the prefix that they have in other models, and lose the pooler, which no output needs"""
    prefix = "" if model.base_model is not model else model.base_model_prefix + "."
    left_out = {"pooler.dense.weight", "pooler.dense.bias"} if prefix else set(model.all_tied_weights_keys)
    if not model.config.tie_word_embeddings:  # two biases, of which one is read
        left_out |= {"cls.predictions.bias", "lm_head.bias"}
    on_disk = {"lm_head.weight": "embed_out.weight"} if model.config.model_type == "gpt_neox" else {}
    return {on_disk.get(name, prefix + name): p for name, p in model.named_parameters(remove_duplicate=False) if name not in left_out}


def first_layer_only(name):
    number = re.search(r"\.(\d+)\.", name)
    return number is None or number.group(1) == "0"


def describe(values):
    config = read(values)
    with torch.device("meta"):
        model = build(config)
    tensors = parameters(model)
    modules = list(model.modules())
    attention = [m for m in modules if type(m).__name__.endswith("Attention") and hasattr(m, "scaling")]
    norms = [m for m in modules if type(m).__name__.endswith("Norm")]
    eps = {getattr(m, "variance_epsilon", getattr(m, "eps", None)) for m in norms}
    assert len(eps) == 1, eps
    embedding = model.get_input_embeddings()
    case = {
        "config": values,
        "class": type(model).__name__,
        "vocab": embedding.num_embeddings,
        "width": config.hidden_size,
        "layers": len(attention),
        "positions": config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0),
        "heads": config.num_attention_heads,
        "kv_heads": getattr(config, "num_key_value_heads", config.num_attention_heads),
        "head_dim": next(getattr(attention[0], key) for key in ("head_dim", "attention_head_size", "head_size") if hasattr(attention[0], key)),
        "eps": eps.pop(),
        "padding": -1 if embedding.padding_idx is None else embedding.padding_idx,
        "tied": model.get_output_embeddings() is not None and model.get_output_embeddings().weight is embedding.weight,
        "scales": [a.scaling for a in attention],
        "activation": next(getattr(config, key) for key in ("hidden_activation", "hidden_act", "activation_function", "activation") if hasattr(config, key)),
        "windows": [getattr(a, "sliding_window", None) or 0 for a in attention],
        "tensors": len(tensors),
        "weights": sum(p.numel() for p in tensors.values()),
        "parameters": {name: list(p.shape) for name, p in tensors.items() if first_layer_only(name)},
    }
    if values["model_type"] in ("mistral", "phi3"):  # their mask reads the config
        case["windows"] = [config.sliding_window or 0] * len(attention)
    if hasattr(model, "num_labels") and "Classification" in case["class"]:
        case["labels"] = [config.id2label[i] for i in range(config.num_labels)]
    for rotary in [m for m in modules if type(m).__name__.endswith("RotaryEmbedding")]:
        rotary = type(rotary)(config=config)  # with real numbers
        kinds = [""]
        if hasattr(rotary, "layer_types"):
            kinds = [kind + "_" for kind in rotary.layer_types]
        case["ropes"] = [{"frequencies": getattr(rotary, kind + "inv_freq").tolist(), "factor": getattr(rotary, kind + "attention_scaling")} for kind in kinds]
        case["layer_ropes"] = [kinds.index(config.layer_types[i] + "_") if kinds != [""] else 0 for i in range(len(attention))]
        if hasattr(config, "no_rope_layers"):
            case["layer_ropes"] = [0 if rotated else -1 for rotated in config.no_rope_layers]
        if (config.rope_parameters or {}).get("rope_type") == "longrope":  # of sequences that it rotates by the short factors
            case["positions"] = min(case["positions"], config.original_max_position_embeddings)
    return case


def initial(values):
    """how each parameter begins: mean, standard deviation, and the rows that are zero where others are not"""
    model = build(read(values))
    out = {}
    for name, p in parameters(model).items():
        if not first_layer_only(name):
            continue
        p = p.detach().double()
        zero = []
        if p.dim() == 2 and p.abs().max() > 0:
            zero = [i for i in range(p.shape[0]) if p[i].abs().max() == 0]
            p = p[[i for i in range(p.shape[0]) if i not in zero]]
        out[name] = {"mean": round(p.mean().item(), 7), "std": round(p.std(correction=0).item(), 7), "zero_rows": zero}
    return {"config": values, "parameters": out}


if __name__ == "__main__":
    doc = {
        "transformers": transformers.__version__,
        "cases": [describe(c) for c in CASES],
        "initial": [initial(c) for c in INITIAL],
    }
    with open(sys.argv[1], "w") as f:
        f.write("{" + ",\n".join(f"{json.dumps(k)}: " + (json.dumps(v) if isinstance(v, str) else "[\n" + ",\n".join(json.dumps(x) for x in v) + "]") for k, v in doc.items()) + "}\n")
