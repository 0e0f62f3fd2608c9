#!/usr/bin/env python3
"""Writes the SentencePiece part of tests/tokenizers/.

usage: make_sentencepiece_fixtures.py       needs `pip install tokenizers xxhash sentencepiece
                                            protobuf transformers`

Two small models, made from data/persuasion.txt and the lines in other scripts of
make_tokenizer_fixtures.py: spiece-bpe as google/reformer-crime-and-punishment has it (320 pieces, the
library's usual folding of characters, no bytes) and spiece-unigram as `longspan tokenize train` makes
them (characters as they are, bytes for what has no piece). What `transformers` saves of the first as
a ReformerTokenizer is reformer-5; unigram is the second kind in the words of the `tokenizers`
package, as its conversions write them.

NAME.cases.json has the sections that make_tokenizer_fixtures.py describes. Those of spiece-* hold
what the `sentencepiece` package computed, around the special tokens of Hugging Face: a text is cut at
them and each part encoded by itself. A piece for one byte of a character has the place of the whole
character. Decoding joins what the package makes of the pieces between special tokens.
"""
import json
import random
import re
import sys
from types import SimpleNamespace

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers)

import make_tokenizer_fixtures as base
from make_tokenizer_fixtures import NOVEL, OUT, SCRIPTS


def train(name, **settings):
    folder = OUT / name
    folder.mkdir(exist_ok=True)
    lines = NOVEL.split("\n\n") + SCRIPTS * 3
    writer = SimpleNamespace(data=b"")
    writer.write = lambda data: setattr(writer, "data", data)
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=writer,
                                   num_threads=1, minloglevel=2, **settings)
    (folder / "spiece.model").write_bytes(writer.data)
    config = {"tokenizer_class": "ReformerTokenizer", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


class Spiece:
    """The package behind the interface of `tokenizers`."""

    def __init__(self, folder):
        file = str(folder / "spiece.model")
        self.sp = spm.SentencePieceProcessor(model_file=file)
        self.special = {self.sp.id_to_piece(i): i for i in range(self.sp.get_piece_size())
                        if self.sp.is_control(i) or self.sp.is_unknown(i)}
        longest_first = sorted(self.special, key=lambda s: -len(s))
        self.cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def part(self, text, start, ids, offsets):
        character = {}  # at a byte
        at = 0
        for i, c in enumerate(text):
            character[at] = i
            at += len(c.encode())
        character[at] = len(text)
        rows = [(p.id, character[p.begin], character[p.end])
                for p in self.sp.encode(text, return_type="proto").pieces]
        for i in range(len(rows) - 1, 0, -1):
            (left, b, e), (right, b2, e2) = rows[i - 1], rows[i]
            if self.sp.is_byte(left) and self.sp.is_byte(right) and b == e == b2:
                rows[i - 1] = (left, b, e2)
        ids.extend(r[0] for r in rows)
        offsets.extend((start + b, start + e) for _, b, e in rows)

    def one(self, text):
        ids, offsets, at = [], [], 0
        for part in self.cut.split(text):
            if part in self.special:
                ids.append(self.special[part])
                offsets.append((at, at + len(part)))
            elif part:
                self.part(part, at, ids, offsets)
            at += len(part)
        return ids, offsets

    def encode(self, text, pair=None, add_special_tokens=True):
        ids, offsets = self.one(text)
        types = [0] * len(ids)
        if pair is not None:
            more, places = self.one(pair)
            ids, offsets, types = ids + more, offsets + places, types + [1] * len(more)
        return SimpleNamespace(ids=ids, offsets=offsets, type_ids=types)

    def encode_batch(self, texts, add_special_tokens=True):
        return [self.encode(x) for x in texts]

    def decode(self, ids, skip_special_tokens=True):
        spelled = {i: s for s, i in self.special.items()}
        out, run = "", []
        for i in ids:
            if i in spelled:
                if not skip_special_tokens:
                    out, run = out + self.sp.decode(run) + spelled[i], []
            else:
                run.append(i)
        return out + self.sp.decode(run)


def pieces_of(folder):
    model = proto.ModelProto()
    model.ParseFromString((folder / "spiece.model").read_bytes())
    return model


def save_reformer(folder):
    """What `transformers` saves of a ReformerTokenizer."""
    from transformers import ReformerTokenizer
    out = OUT / "reformer-5"
    out.mkdir(exist_ok=True)
    ReformerTokenizer.from_pretrained(str(folder)).save_pretrained(str(out))
    for file in out.iterdir():
        if file.name not in ("tokenizer.json", "tokenizer_config.json"):
            file.unlink()


def save_unigram(folder):
    """As the conversions of SentencePiece models in `transformers` write them."""
    model = pieces_of(folder)
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in model.pieces],
                                 model.trainer_spec.unk_id, model.trainer_spec.byte_fallback))
    t.normalizer = normalizers.Sequence([normalizers.Strip(left=False, right=True),
                                         normalizers.Replace(Regex(" {2,}"), "\u2581")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    t.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    t.add_special_tokens([AddedToken(s, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    out = OUT / "unigram"
    out.mkdir(exist_ok=True)
    base.dump(out / "tokenizer.json", json.loads(t.to_str()))


def novel(t):
    """As base.novel; eight dashes for a paragraph with three dashes: "-" "--" and "--" "-" have equal
    scores, and versions of the library choose differently."""
    return "".join(base.digest([t.encode(p)]) if "---" not in p else "-" * 8
                   for p in NOVEL.split("\n\n"))


LLAMA = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": None,
    "decoder": {"type": "Sequence", "replacement": None, "prepend_scheme": None, "split": None,
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                    {"type": "ByteFallback"}, {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
}


def bytes_bpe():
    """BPE over characters with bytes for what has no token: vocabulary and merges of reformer-5."""
    model = json.loads((OUT / "reformer-5" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocab = dict(model["vocab"])
    for b in range(256):
        vocab[f"<0x{b:02X}>"] = len(vocab)
    return {"model": {"vocab": vocab, "byte_fallback": True}}


def write_cases(name, t, head):
    """What base.write_cases writes of a tokenizer that comes as a patch of another."""
    rng = random.Random(11)
    texts = base.random_texts(rng)
    sections = {"texts": base.text_cases(t, texts, base.random_bytes(rng)),
                "pairs": base.pair_cases(t, texts)}
    lines = [f'"{k}": {json.dumps(v)}' for k, v in head.items()]
    lines += [f'"scalars": "{base.scalars(t)}"', f'"novel": "{novel(t)}"']
    for section, rows in sections.items():
        body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        lines.append(f'"{section}": [\n{body}]')
    (OUT / f"{name}.cases.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    print(name, "written", file=sys.stderr)


def main():
    print("sentencepiece", spm.__version__, "tokenizers", base.__version__, file=sys.stderr)
    bpe = train("spiece-bpe", model_type="bpe", vocab_size=320, character_coverage=0.9995)
    unigram = train("spiece-unigram", model_type="unigram", vocab_size=700, byte_fallback=True,
                    normalization_rule_name="identity", remove_extra_whitespaces=False,
                    max_sentence_length=1 << 20)
    for folder in (bpe, unigram):
        write_cases(folder.name, Spiece(folder), {"directory": folder.name})
    save_reformer(bpe)
    save_unigram(unigram)
    base.write_cases("reformer-5", "reformer-5", {})
    base.write_cases("reformer-5-first", "reformer-5", {"pre_tokenizer": {"prepend_scheme": "first"}})
    base.write_cases("reformer-5-bytes", "reformer-5", {**LLAMA, **bytes_bpe()})
    base.write_cases("unigram", "unigram", {})
    base.write_cases("unigram-whole", "unigram", {**LLAMA, "model": {"byte_fallback": False}})
    base.write_provenance()


if __name__ == "__main__":
    main()
