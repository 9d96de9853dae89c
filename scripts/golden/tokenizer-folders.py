#!/usr/bin/env python3
"""Writes testdata/tokenizer/folders.json.gz: folders without a tokenizer.json, and what transformers makes of them.

Usage: tokenizer-folders.py CLEAN OUT    (needs the packages transformers and sentencepiece; CLEAN is testdata/tokenizer/clean)
       tokenizer-folders.py CLEAN OUT TOKENIZERS    OUT gets only hashes, for models in ../shared/data/tokenizer

`models` are SentencePiece models trained here on CLEAN/corpus.json (base64). `cases` are folders: `files` (texts; a value
"model:NAME" stands for one of the models) and what AutoTokenizer gives for them: `special` (the ids of bos, eos, pad, unk;
-1: none), `texts` (with `ids`, `ids0` without special tokens, `offsets` of ids0 in characters, flat), `decode` (random ids
and their text, whole and without special tokens), and `sha256` over all texts of the corpus. LlamaTokenizer drops
characters that a model without bytes lacks, and its offsets after such a one are wrong (they overlap): there they are left
out (`no_offsets`: in sha256 everywhere).
`sentencepiece` is what the sentencepiece library itself gives for some of the models.
"""
import base64
import collections
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import sentencepiece
import transformers
from sentencepiece import sentencepiece_model_pb2

SYMBOLS = ["<tool>", "qx", "=>"]  # user-defined in some models
TEXTS = [
    "", " ", "  ", "a", " a", "a ", "  a  b   c ", "▁", "▁a", " ▁ a", "hello world", "Hello,  World!", "<s>", "a<s>b", "a <s> b</s>", " </s> x",
    "<unk> x", "x<tool>y", " <tool> <tool>", "<tool>", "a qx b qxqx", "q x=>y => z", "<extra_id_0> and <extra_id_1>x", "[CLS] a [SEP]", "[MASK]",
    "<pad>", "a\nb\n\nc\td", "\r\n", "é e\u0301 Å", "ﬁ ½ ① Ａ", "漢字 한국 かな", "👩\u200d👩 🇩🇪", "\u00a0a\u3000b", "\x00a\x01", "<0x41> <0x0A>",
    "I don't. It's ok , n't !", "café CAFÉ", "<|endoftext|>a<|endoftext|>", "a[NEW]b [NEW] c", "x <mask> y", "<bos>hi<eos>",
    "AB! ab! aB!x", "a[U]b [B] B? b?",
]


def corpus(clean):
    return [line["text"] for line in json.loads((clean / "corpus.json").read_text())]


def train(lines, **settings):
    common = [c for c, _ in collections.Counter("".join(lines)).most_common(160)]
    keep = set(common) - set("\n\r\0\t")
    lines = ["".join(c for c in line if c in keep) for line in lines]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in lines if line.strip()]), model_writer=model, num_threads=1, minloglevel=2,
        hard_vocab_limit=False, character_coverage=1.0, max_sentence_length=100000, **settings,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    proto.normalizer_spec.ClearField("normalization_rule_tsv")  # the path of a temporary file
    return proto.SerializeToString(deterministic=True)


def models(lines):
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("41\t61\n42\t62\nE9\t65\nFB01\t66 69\n66 66 69\t66 69\n")  # A a, B b, é e, ﬁ fi, ffi fi
        return {
            "bpe-bytes": train(lines, model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, vocab_size=700),
            "bpe-plain": train(lines, model_type="bpe", normalization_rule_name="identity", vocab_size=300),
            "bpe-symbols": train(lines, model_type="bpe", normalization_rule_name="identity", add_dummy_prefix=False, user_defined_symbols=SYMBOLS,
                                 control_symbols=["<ctrl>"], vocab_size=400),
            "bpe-rules": train(lines, model_type="bpe", byte_fallback=True, normalization_rule_tsv=str(rules), pad_id=3, unk_id=2, bos_id=0, eos_id=1,
                               unk_piece="[U]", bos_piece="[B]", user_defined_symbols=SYMBOLS, vocab_size=600),
            "unigram-nfkc": train(lines, model_type="unigram", normalization_rule_name="nmt_nfkc", vocab_size=500, pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
            "unigram-bytes": train(lines, model_type="unigram", byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
                                   remove_extra_whitespaces=False, user_defined_symbols=SYMBOLS, vocab_size=700),
        }


def vocab_files(clean, name):
    model = json.loads((clean / f"{name}.tokenizer.json").read_text())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return model["vocab"], "#version: 0.2\n" + "\n".join(merges) + "\n"


def folders(clean):
    """name, files"""
    token = lambda content, **flags: {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False} | flags
    typed = lambda content, **flags: token(content, **flags) | {"__type": "AddedToken"}

    def folder(files, config=None, model=None, tokens=None, added=None):
        files = dict(files)
        for name, content in [("tokenizer_config.json", config), ("config.json", model), ("special_tokens_map.json", tokens), ("added_tokens.json", added)]:
            if content is not None:
                files[name] = json.dumps(content, ensure_ascii=False)
        return files

    def spm(name):
        return {"tokenizer.model": "model:" + name}

    for name in ["bpe-bytes", "bpe-symbols", "bpe-rules", "unigram-nfkc", "unigram-bytes"]:
        yield name + " alone", folder(spm(name))
    yield "no class, llama", folder(spm("bpe-bytes"), {"add_bos_token": True}, {"model_type": "llama"})
    yield "mistral", folder(spm("bpe-bytes"), {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}, {"model_type": "mistral"})
    yield "llama", folder(spm("bpe-bytes"), {"tokenizer_class": "LlamaTokenizer"}, {"model_type": "llama"})
    yield "llama fast", folder(spm("bpe-bytes"), {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": True, "legacy": True})
    yield "llama bare", folder(spm("bpe-bytes"), {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False, "bos_token": None, "add_bos_token": True,
                                                 "clean_up_tokenization_spaces": True})
    yield "llama 2", folder(
        spm("bpe-bytes"),
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False, "bos_token": typed("<s>", normalized=True),
         "eos_token": typed("</s>", normalized=True), "unk_token": typed("<unk>", normalized=True), "pad_token": None},
        {"model_type": "llama"}, {"bos_token": token("<s>", normalized=True), "eos_token": token("</s>", rstrip=True), "unk_token": "<unk>"})
    yield "llama added", folder(
        spm("bpe-bytes"), {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "pad_token": "[PAD]", "image_token": "[NEW]"}, None,
        {"pad_token": "[PAD]", "eos_token": "[NEW]", "additional_special_tokens": ["text"]}, {"[PAD]": 700, "[NEW]": 701})
    yield "llama decoder", folder(
        spm("bpe-bytes"),
        {"tokenizer_class": "LlamaTokenizer", "pad_token": "[NEW]", "additional_special_tokens": ["text", token("ad", lstrip=True) | {"__type": "AddedToken"}],
         "added_tokens_decoder": {"1": token("<s>", special=True, lstrip=True), "700": token("[NEW]", special=False, normalized=True, rstrip=True)}},
        None, {"bos_token": "</s>"})
    yield "llama symbols", folder(spm("bpe-symbols"), {"tokenizer_class": "LlamaTokenizer"})
    yield "llama no extras", folder(spm("bpe-symbols"), {"tokenizer_class": "LlamaTokenizer", "additional_special_tokens": []})
    yield "llama rules", folder(spm("bpe-rules"), {"tokenizer_class": "LlamaTokenizer", "unk_token": "[U]", "bos_token": "[B]", "add_bos_token": True, "pad_token": "<pad>"})
    yield "gemma", folder(spm("bpe-rules"), {"tokenizer_class": "GemmaTokenizer", "bos_token": "[B]", "unk_token": "[U]", "eos_token": "</s>", "mask_token": "qx",
                                               "add_bos_token": True})
    yield "normalized", folder(spm("bpe-rules"), {"eos_token": "B?"}, {"model_type": "llama"}, None, {"aB!": 600, "B?": 601})
    yield "renamed", folder(spm("bpe-bytes"), {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"699": token("[NEW]", special=True)}})
    yield "t5", folder(spm("unigram-nfkc"), {"tokenizer_class": "T5Tokenizer"}, {"model_type": "t5"})
    yield "t5 by its model", folder({"spiece.model": "model:unigram-nfkc"}, None, {"model_type": "t5"})
    yield "t5 few", folder(
        {"spiece.model": "model:unigram-nfkc"},
        {"tokenizer_class": "T5Tokenizer", "extra_ids": 3, "additional_special_tokens": ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"], "add_bos_token": True},
        {"model_type": "mt5"}, {"eos_token": token("</s>"), "additional_special_tokens": ["<extra_id_0>"]})
    yield "t5 bytes", folder(spm("unigram-bytes"), {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "pad_token": "<s>"})

    vocab, merges = vocab_files(clean, "own-gpt2")
    vocab.setdefault("<|endoftext|>", len(vocab))
    gpt2 = {"vocab.json": json.dumps(vocab, ensure_ascii=False), "merges.txt": merges}
    last = max(vocab, key=vocab.get)
    vocab = dict(vocab)
    for s in ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]:
        vocab.setdefault(s, len(vocab))
    roberta = {"vocab.json": json.dumps(vocab), "merges.txt": merges}
    yield "gpt2", folder(gpt2, None, {"model_type": "gpt2"})
    yield "gpt2 class", folder(gpt2, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "add_bos_token": True, "errors": "replace", "pad_token": last})
    yield "opt", folder(
        roberta, {"tokenizer_class": "GPT2Tokenizer", "bos_token": typed("</s>", normalized=True), "eos_token": typed("</s>", normalized=True),
                  "unk_token": typed("</s>", normalized=True), "pad_token": typed("<pad>", normalized=True), "add_bos_token": True},
        {"model_type": "opt"}, {"bos_token": token("</s>", normalized=True), "pad_token": token("<pad>", normalized=True)})
    yield "roberta", folder(roberta, None, {"model_type": "roberta"})
    yield "roberta class", folder(roberta, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True, "trim_offsets": False,
                                            "mask_token": typed("<mask>", lstrip=True, normalized=True)})
    vocab, merges = vocab_files(clean, "own-qwen3")
    qwen = json.loads((clean / "own-qwen3.tokenizer.json").read_text())
    decoder = {str(t.pop("id")): t for t in qwen["added_tokens"]}
    first = min(decoder.values(), key=lambda t: t["content"])["content"]
    yield "qwen2", folder({"vocab.json": json.dumps(vocab), "merges.txt": merges},
                          {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "added_tokens_decoder": decoder, "unk_token": None, "bos_token": None,
                           "eos_token": first, "pad_token": first, "clean_up_tokenization_spaces": False}, {"model_type": "qwen2"})

    bert = json.loads((clean / "own-bert.tokenizer.json").read_text())["model"]["vocab"]
    bert = {"vocab.txt": "\n".join(sorted(bert, key=bert.get)) + "\n"}
    yield "bert", folder(bert, None, {"model_type": "bert"})
    yield "bert cased", folder(bert, {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "tokenize_chinese_chars": False, "clean_up_tokenization_spaces": True})
    yield "bert accents", folder(bert, {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True, "strip_accents": False}, {"model_type": "distilbert"},
                                 {"cls_token": "[MASK]", "sep_token": "[PAD]", "mask_token": token("[CLS]", lstrip=True)})

    # with a tokenizer.json: what the files beside it add
    own = {"tokenizer.json": (clean / "own-qwen3.tokenizer.json").read_text()}
    yield "own", folder(own, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</think>", "pad_token": "120", "add_bos_token": True,
                              "additional_special_tokens": ["ab"], "clean_up_tokenization_spaces": True}, None, {"pad_token": "<|im_end|>", "mask_token": "ing"})
    yield "own decoder", folder(own, {"eos_token": "<|im_end|>", "image_token": "ab", "extra_special_tokens": [typed("ing", lstrip=True)],
                                      "added_tokens_decoder": {"1159": token("<tool_call>", special=True, rstrip=True)}}, None, {"eos_token": "</think>"})
    own = {"tokenizer.json": (clean / "own-bert.tokenizer.json").read_text()}
    yield "own bert", folder(own, {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": True, "unk_token": "[UNK]"}, None,
                             {"pad_token": token("[PAD]"), "bos_token": "[CLS]", "eos_token": "[PAD]"})


def drops(tokenizer):
    """the characters that are dropped are all but these"""
    vocab = tokenizer.get_vocab()
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model.get("byte_fallback") and model["type"] == "BPE" and not model["unk_token"] and "<0x00>" not in vocab:
        return set(vocab) | {" "}
    return None


def result(tokenizer, texts, lists):
    rows, out, known = [], [], drops(tokenizer)
    for text in texts:
        ids, ids0 = tokenizer.encode(text), tokenizer.encode(text, add_special_tokens=False)
        offsets = [n for pair in tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"] for n in pair]
        if known is not None and not set(text) <= known:
            offsets = None
        out.append({"text": text, "ids": ids, "ids0": ids0, "offsets": offsets})
        rows.append((ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=True)))
    decode = [{"ids": ids, "dec": dec, "decs": decs} for ids, dec, decs in rows]
    decode += [{"ids": ids, "dec": tokenizer.decode(ids), "decs": tokenizer.decode(ids, skip_special_tokens=True)} for ids in lists]
    return out, decode


def sha256(texts, decode):
    numbers = lambda values: " ".join(map(str, values or []))
    h = hashlib.sha256()
    for t, d in zip(texts, decode):
        h.update(f"{numbers(t['ids'])}|{numbers(t['ids0'])}|{numbers(t['offsets'])}|{d['dec']}|{d['decs']}\n".encode())
    return h.hexdigest()


def ask(files, blobs, lines):
    r = random.Random(20261123)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            data = blobs[content.removeprefix("model:")] if content.startswith("model:") else content.encode()
            (pathlib.Path(folder) / name).write_bytes(data)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    lists = [[r.randrange(len(tokenizer)) for _ in range(r.randint(1, 12))] for _ in range(60)]
    texts, decode = result(tokenizer, TEXTS + lines[::40], lists)
    every, decoded = result(tokenizer, lines, [])
    without = drops(tokenizer) is not None
    for t in every if without else []:
        t["offsets"] = []
    every = sha256(every, decoded)
    special = [-1 if getattr(tokenizer, name) is None else getattr(tokenizer, name + "_id") for name in ("bos_token", "eos_token", "pad_token", "unk_token")]
    return {"special": special, "texts": texts, "decode": decode, "sha256": every, "no_offsets": without}


def published(folder):
    """hashes for models that are not in the repository"""
    lines = corpus(folder / "hf")
    llama = (folder / "llama32k" / "tokenizer.model").read_bytes()
    llama_class = {"tokenizer_class": "LlamaTokenizer"}
    cases = [("llama", llama, llama_class | {"add_bos_token": True}), ("llama legacy", llama, llama_class | {"legacy": True}), ("llama no class", llama, {}),
             ("t5", t5_model(folder / "hf" / "t5-small.tokenizer.json"), {"tokenizer_class": "T5Tokenizer"})]
    hashes = {}
    for name, model, config in cases:
        files = {"tokenizer.model": "model:m", "tokenizer_config.json": json.dumps(config)}
        hashes[name] = ask(files, {"m": model}, lines)["sha256"]
    library = sentencepiece.SentencePieceProcessor(model_proto=llama)
    ids = "".join(" ".join(map(str, library.encode(line))) + "\n" for line in lines)
    hashes["llama sentencepiece"] = hashlib.sha256(ids.encode()).hexdigest()
    return hashes


def t5_model(path):
    """the SentencePiece model that a T5 tokenizer was made of"""
    tokenizer = json.loads(path.read_text())
    model = sentencepiece_model_pb2.ModelProto()
    for i, (piece, score) in enumerate(tokenizer["model"]["vocab"][:32000]):  # the others are the sentinels
        model.pieces.add(piece=piece, score=score, type=(3, 3, 2)[i] if i < 3 else 1)
    model.trainer_spec.model_type = 1
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(tokenizer["normalizer"]["precompiled_charsmap"])
    return model.SerializeToString()


def main():
    clean, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    lines = corpus(clean)
    versions = {p.__name__: p.__version__ for p in (transformers, sentencepiece)} | {"tokenizers": __import__("tokenizers").__version__}
    if len(sys.argv) > 3:
        out.write_text(json.dumps({"versions": versions, "sha256": published(pathlib.Path(sys.argv[3]))}, indent=1) + "\n")
        return
    blobs = models(lines)
    cases = [{"name": name, "files": files} | ask(files, blobs, lines) for name, files in folders(clean)]
    library = {}
    for name in ["bpe-bytes", "bpe-plain"]:
        processor = sentencepiece.SentencePieceProcessor(model_proto=blobs[name])
        library[name] = [{"text": t, "ids": processor.encode(t)} for t in TEXTS + lines]
    data = {"versions": versions, "models": {k: base64.b64encode(v).decode() for k, v in blobs.items()}, "cases": cases, "sentencepiece": library}
    with gzip.GzipFile(out, "wb", mtime=0) as f:
        f.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


if __name__ == "__main__":
    main()
