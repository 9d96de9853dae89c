"""Writes Llama or GPT-2 models with random weights as Hugging Face folders: models.py < JSON {folder: config}."""
import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

for seed, (folder, values) in enumerate(json.load(sys.stdin).items()):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=getattr(torch, values.get("dtype", "float32")))
    model.save_pretrained(folder)
