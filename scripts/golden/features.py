"""Writes testdata/golden/features: losses on hidden states, attention and relations, and their gradients, by PyTorch and transformers.

    python scripts/golden/features.py testdata/golden

What the runs of golden/distill do not hold: scores before the softmax, KL of attention, heads that are averaged or mapped, grouped heads, norms of queries
and keys, first tokens, normalised and projected hidden states, encoders. Models are tiny, with seeded random weights; the decoders' teacher is
golden/distill/teacher. Everything is computed in float64. A loss is divided by the number of positions that count: of real tokens, or of documents.
"""

import json
import os
import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.models.bert import modeling_bert
from transformers.models.llama import modeling_llama
from transformers.models.qwen3 import modeling_qwen3

transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
root = sys.argv[1]
out = os.path.join(root, "features")

BERT = {"vocab_size": 64, "max_position_embeddings": 32, "type_vocab_size": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pad_token_id": 0}
MODELS = {
    "decoder-student": ("qwen3", {"num_hidden_layers": 2, "hidden_size": 20, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6,
                                  "intermediate_size": 24, "vocab_size": 64, "max_position_embeddings": 32, "pad_token_id": 0, "tie_word_embeddings": True}),
    "encoder-teacher": ("bert", {**BERT, "num_hidden_layers": 4, "hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 32}),
    "encoder-student": ("bert", {**BERT, "num_hidden_layers": 2, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20}),
}


def make(name, seed):
    kind, settings = MODELS[name]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **settings)
    if kind == "bert":
        model = modeling_bert.BertForMaskedLM(config)
    else:
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((0.3 * torch.randn_like(p) if p.dim() > 1 else 1 + 0.1 * torch.randn_like(p)))
    model.tie_weights()
    model.save_pretrained(os.path.join(out, name))


def load(path):
    model = transformers.AutoModelForMaskedLM if "encoder" in path else AutoModelForCausalLM
    return model.from_pretrained(os.path.join(root, path), attn_implementation="eager").double().eval()


# What attention computes is recorded: scores before the mask, of all heads.
recorded = []


def recording(original):
    def forward(module, query, key, value, attention_mask, scaling=None, **kwargs):
        groups = query.shape[1] // key.shape[1]
        scale = scaling if scaling is not None else query.shape[-1] ** -0.5
        recorded.append(query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scale)
        return original(module, query, key, value, attention_mask, scaling=scale, **kwargs)

    return forward


for m in [modeling_bert, modeling_llama, modeling_qwen3]:
    m.eager_attention_forward = recording(m.eager_attention_forward)


def run(model, ids, mask):
    """hidden states, scores and projections (q, k, v) of every layer"""
    recorded.clear()
    projections, hooks = [], []
    for name, module in model.named_modules():
        kind = {"q_proj": 0, "k_proj": 1, "v_proj": 2, "query": 0, "key": 1, "value": 2}.get(name.split(".")[-1])
        if kind is not None:
            hooks.append(module.register_forward_hook(lambda _, __, y, kind=kind: (projections.append({}) if kind == 0 else None, projections[-1].update({"qkv"[kind]: y}))[1]))
    hidden = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    for h in hooks:
        h.remove()
    assert len(projections) == len(recorded) == len(hidden) - 1
    return {"hidden": hidden, "scores": list(recorded), "projections": projections}


def visible(mask, causal):
    """[row, 1, query, key]: whether a real query sees a key"""
    t = mask.shape[1]
    see = mask[:, None, None, :].bool() & mask[:, None, :, None].bool()
    return see & torch.tril(torch.ones(t, t)).bool() if causal else see.expand(-1, 1, t, t)


def softmax(scores, see):
    return torch.where(see, F.softmax(scores.masked_fill(~see, -1e300), -1), 0.0)


def kl(p, q, see):
    """[row, head, query]"""
    one = torch.ones_like(p)
    return torch.where(see & (p > 0), p * (torch.log(torch.where(p > 0, p, one)) - torch.log(torch.where(see & (q > 0), q, one))), 0.0).sum(-1)


def heads_of(x, heads):
    if heads == "average":
        return x.mean(1, keepdim=True)
    return x if heads is None else x[:, heads]


def attention(s, t, see, name, compare="probabilities", heads=None):
    if compare == "probabilities":
        s, t = softmax(s, see), softmax(t, see)
    s, t = heads_of(s, heads if heads == "average" else None), heads_of(t, heads)
    if name == "attention_kl":
        value = kl(t, s, see)
    else:
        value = torch.where(see, (s - t) ** 2, 0.0).sum(-1)
        if compare == "scores":
            value = value / see.sum(-1).clamp(min=1)
    return value.mean(1)


def relation(s, t, see, relations, heads):
    def scores(p, x, y):
        cut = lambda z: z.view(*z.shape[:2], heads, -1).transpose(1, 2)
        x, y = cut(p[x]), cut(p[y])
        return softmax(x @ y.transpose(2, 3) / x.shape[-1] ** 0.5, see)

    return sum(kl(scores(t, *r), scores(s, *r), see).mean(1) for r in relations)


def hidden(s, t, mask, name, projection=None, normalize=False, tokens="all"):
    if projection is not None:
        s = s @ projection.T
    if tokens == "mean":
        mean = lambda x: ((x * mask[..., None]).sum(1) / mask.sum(1)[:, None])[:, None].expand_as(x)
        s, t = mean(s), mean(t)
    if name == "hidden_cosine":
        return 1 - F.cosine_similarity(s, t, dim=-1)
    if normalize:
        s, t = F.normalize(s, dim=-1), F.normalize(t, dim=-1)
    return ((s - t) ** 2).mean(-1)


CASES = [  # the loss as kdistill's configuration has it
    {"name": "attention_kl", "layers": [[1, 2], [2, 4]], "heads": "average"},
    {"name": "attention_mse", "layers": [[1, 2], [2, 4]], "heads": "average"},
    {"name": "attention_mse", "layers": [[1, 2], [2, 4]], "heads": "average", "compare": "scores"},
    {"name": "attention_kl", "layers": [[2, 3]], "heads": [3, 1]},
    {"name": "attention_mse", "layers": [[1, 1], [2, 4]], "heads": [0, 2]},
    {"name": "attention_mse", "layers": [[1, 1], [2, 4]], "heads": [0, 2], "compare": "scores"},
    {"name": "relation_kl", "layers": [[2, 4]], "relations": ["vv", "kk", "qq"], "relation_heads": 2},
    {"name": "relation_kl", "layers": [[2, 3]], "relations": ["qk", "vv"], "relation_heads": 4, "models": "encoder"},
    {"name": "hidden_mse", "layers": [[1, 2], [2, 4]], "normalize": True, "tokens": "first"},
    {"name": "hidden_mse", "layers": [[0, 0], [2, 4]], "tokens": "first"},
    {"name": "hidden_mse", "layers": [[1, 2], [2, 4]], "normalize": True},
    {"name": "hidden_cosine", "layers": [[1, 2], [2, 4]]},
    {"name": "hidden_mse", "layers": [[1, 2], [2, 4]], "tokens": "mean"},
    {"name": "hidden_mse", "layers": [[2, 4]], "tokens": "mean", "normalize": True},
    {"name": "hidden_cosine", "layers": [[0, 0], [2, 4]], "tokens": "mean"},
]


def evaluate(case, student, teacher, projections, ids, mask, causal):
    see, t = visible(mask, causal), run(teacher, ids, mask)
    s = run(student, ids, mask)
    total = 0
    for i, (a, b) in enumerate(case["layers"]):
        if case["name"].startswith("hidden"):
            value = hidden(s["hidden"][a], t["hidden"][b].detach(), mask, case["name"], projections[i], case.get("normalize", False), case.get("tokens"))
        elif case["name"] == "relation_kl":
            value = relation(s["projections"][a - 1], {k: v.detach() for k, v in t["projections"][b - 1].items()}, see, case["relations"], case["relation_heads"])
        else:
            value = attention(s["scores"][a - 1], t["scores"][b - 1].detach(), see, case["name"], case.get("compare", "probabilities"), case.get("heads"))
        counts = mask.bool()
        if case.get("tokens") in ("first", "mean"):
            counts = counts & (mask.cumsum(1) == 1)
        total = total + value[counts].sum() / counts.sum()
    return total


def main():
    for seed, name in enumerate(MODELS):
        make(name, 11 + seed)
    batches = load_file(os.path.join(root, "distill/batches.safetensors"))
    ids, mask = batches["input_ids"][0], batches["attention_mask"][0]
    document = {
        "source": f"PyTorch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, float64, scripts/golden/features.py",
        "input_ids": ids.tolist(), "attention_mask": mask.tolist(), "cases": [],
    }
    for kind in ["decoder", "encoder"]:
        teacher = load("distill/teacher" if kind == "decoder" else "features/encoder-teacher")
        student = load(f"features/{kind}-student")
        for case in CASES:
            if case.get("models", kind) != kind:
                continue
            wide, narrow = teacher.config.hidden_size, student.config.hidden_size
            # the identity, which needs no file
            projections = [torch.eye(wide, narrow, dtype=torch.float64).requires_grad_() for _ in case["layers"]]
            student.zero_grad()
            loss = evaluate(case, student, teacher, projections, ids, mask, kind == "decoder")
            loss.backward()
            named = dict(student.named_parameters())
            if case["name"].startswith("hidden"):
                named |= {f"projection.{case['name']}.{i}": p for i, p in enumerate(projections)}
            gradients = {}
            for name, p in named.items():
                if p.grad is None:
                    continue
                g = p.grad.flatten()
                at = [int(i) for i in torch.linspace(0, len(g) - 1, 5)]
                gradients[name] = {"l2": float(g.norm()), "indices": at, "values": [float(g[i]) for i in at]}
            document["cases"].append({"models": kind, "loss": {k: v for k, v in case.items() if k != "models"}, "value": float(loss), "gradients": gradients})
    with open(os.path.join(out, "expected.json"), "w") as f:
        cases = document.pop("cases")
        f.write("{\n" + "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in document.items()))
        f.write(' "cases": [\n' + ",\n".join("  " + json.dumps(c) for c in cases) + "\n ]\n}\n")


if __name__ == "__main__":
    main()
