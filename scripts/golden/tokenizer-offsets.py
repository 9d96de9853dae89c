#!/usr/bin/env python3
"""Writes the offsets that Hugging Face's tokenizers library gives for each NAME.tokenizer.json of a folder.

Usage: tokenizer-offsets.py DIR CORPUS OUT    (needs the package tokenizers)

OUT is a folder for NAME.json.gz: one list for each text of the corpus, start and end of each token in characters, flat,
without special tokens. Or OUT ends in .json: one file with the SHA-256 of each of these lists (uncompressed), for
tokenizers that are not in the repository.
"""
import gzip
import hashlib
import json
import pathlib
import sys

from tokenizers import Tokenizer


def main():
    folder, corpus, out = map(pathlib.Path, sys.argv[1:])
    texts = [line["text"] for line in json.loads(corpus.read_text())]
    hashes = {}
    for path in sorted(folder.glob("*.tokenizer.json")):
        tokenizer = Tokenizer.from_file(str(path))
        offsets = [[n for pair in tokenizer.encode(t, add_special_tokens=False).offsets for n in pair] for t in texts]
        name = path.name.removesuffix(".tokenizer.json")
        data = json.dumps(offsets, separators=(",", ":")).encode()
        hashes[name] = hashlib.sha256(data).hexdigest()
        if out.suffix != ".json":
            out.mkdir(parents=True, exist_ok=True)
            with gzip.GzipFile(out / f"{name}.json.gz", "wb", mtime=0) as f:
                f.write(data)
    if out.suffix == ".json":
        out.write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
