#!/usr/bin/env python3
"""Writes the ids and the assistant's mask that transformers makes of chats, and Alpaca's prompts, to testdata/golden/chat_training.json.

No turn ends with a character that is several tokens: of these transformers' mask has the first one only.

Usage: chat_training.py testdata/tokenizer/clean OUT    (needs the package transformers)
"""
import json
import sys

from transformers import PreTrainedTokenizerFast

GENERATION = {
    "turns": "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
    "tight": "{% for m in messages %}<{{ m['role'] }}>{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim }}{% endgeneration %}</s>{% else %}{{ m['content'] | trim }}{% endif %}{% endfor %}",
    "thinks": "{%- for m in messages %}{% if m.role == 'assistant' %}A:{% generation %} {{ m.content }}\n\n{% endgeneration %}{% else %}Q: {{ m.content }}\n{% endif %}{% endfor %}",
}
CHATS = [
    [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "It is 5."}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour"}, {"role": "assistant", "content": "Blue"},
     {"role": "user", "content": "Another one, please."}, {"role": "assistant", "content": "Größe – no: 🙂 “green”!"}],
    [{"role": "user", "content": "  spaces  around "}, {"role": "assistant", "content": "  are\n kept?  "}, {"role": "user", "content": "and an open turn"}],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y, said twice"}],
]
# Stanford Alpaca, train.py: PROMPT_DICT; what is learned is f"{output}{eos_token}" right behind it.
ALPACA = {
    True: "Below is an instruction that describes a task, paired with an input that provides further context. "
          "Write a response that appropriately completes the request.\n\n"
          "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:",
    False: "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
           "### Instruction:\n{instruction}\n\n### Response:",
}
RECORDS = [
    {"instruction": "Give three tips for staying healthy.", "input": "", "output": "1. Sleep\n2. Eat\n3. Walk"},
    {"instruction": "Classify the animal.", "input": "A whale\nlives in the sea", "output": "mammal"},
    {"instruction": "Übersetze", "input": "{braces} stay", "output": " leading space"},
]


def main(clean, out):
    cases, alpaca = [], []
    for name in ["own-llama3", "own-llama2", "own-qwen3", "own-gpt2", "own-llama2-metaspace"]:
        special = {"own-llama3": ("<|begin_of_text|>", "<|end_of_text|>"), "own-qwen3": ("<|endoftext|>", "<|im_end|>"), "own-gpt2": ("<|endoftext|>",) * 2}
        bos, eos = special.get(name, ("<s>", "</s>"))
        tok = PreTrainedTokenizerFast(tokenizer_file=f"{clean}/{name}.tokenizer.json", bos_token=bos, eos_token=eos)
        for title, template in GENERATION.items():
            for chat in CHATS:
                got = tok.apply_chat_template(chat, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
                cases.append({"tokenizer": name, "bos": bos, "eos": eos, "template": title, "messages": chat, "ids": got["input_ids"], "mask": got["assistant_masks"]})
    for r in RECORDS:
        alpaca.append({**r, "prompt": ALPACA[bool(r["input"])].format_map(r)})
    with open(out, "w") as f:
        json.dump({"source": "transformers", "templates": GENERATION, "cases": cases, "alpaca": alpaca}, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


main(*sys.argv[1:])
