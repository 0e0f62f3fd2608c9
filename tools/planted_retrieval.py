#!/usr/bin/env python3
"""Writes long documents, each found by one sentence of its last quarter: whether vectors see that far.

usage: planted_retrieval.py FOLDER [--tokens 4096] [--documents 200] [--shortest 64] [--held-out 1000] [--seed 1]

FOLDER/train.jsonl and FOLDER/test.jsonl hold pairs: "anchor" is a sentence, and "positive" the document that has it,
once, in its last quarter. All other sentences of all documents are drawn from one list, so nothing but the planted
one tells two documents apart. A model that reads a document's beginning alone finds it by chance: recall_1 is then
1 / documents. No sentence is planted twice, but all words of the held-out ones occur in training.

Documents of test.jsonl have N tokens with their special ones. Documents of train.jsonl are of all lengths: --documents
of N tokens, twice as many of half of that, and so on down to --shortest. A model with random weights learns from the
short ones which words count, and from the long ones where they stand. FOLDER/start has config.json and vocab.txt:
`longspan init --config FOLDER/start/config.json -o MODEL` and a copy of vocab.txt make the model to start from.

  longspan train embed -m MODEL --train FOLDER/train.jsonl --eval FOLDER/test.jsonl -o RUN --pooling cls \\
    --global first:1 --lr 1e-3
  longspan eval -m RUN FOLDER/test.jsonl --task embed
  longspan eval -m RUN FOLDER/test.jsonl --task embed --tokens 512 --overflow truncate
"""
import argparse
import itertools
import json
import random
from pathlib import Path

NAMES = ("anne", "mary", "charles", "henrietta", "louisa", "walter", "sophia", "edward", "frederick", "william")
VERBS = ("found", "lost", "praised", "carried", "described", "forgot", "painted", "returned")
KINDS = ("old", "new", "small", "broken", "heavy", "pretty", "borrowed", "golden")
THINGS = ("letter", "carriage", "ribbon", "map", "pistol", "novel", "barometer", "shell", "portrait", "lantern",
          "bonnet", "telescope")
PLACES = ("lyme", "bath", "uppercross", "kellynch", "plymouth", "winthrop", "camden", "clifton")
SENTENCES = tuple(itertools.product(NAMES, VERBS, KINDS, THINGS, PLACES))
FILLER = tuple(f"the {a} {b} in the {c} ." for a in ("rain", "wind", "talk", "music", "tide")
               for b in ("stopped", "went on", "began again", "was heard")
               for c in ("morning", "evening", "garden", "street"))
SPECIAL = 2  # [CLS] and [SEP]


def planted(number):
    """Sentence `number` of all that can be planted."""
    name, verb, kind, thing, place = SENTENCES[number]
    return f"{name} {verb} the {kind} {thing} near {place} ."


def document(sentence, tokens, rng):
    """Filler of `tokens` tokens at most and nearly as many, the sentence somewhere in their last quarter."""
    room = tokens - SPECIAL - len(sentence.split())
    sentences, starts = [], [0]
    while room - starts[-1] >= max(len(one.split()) for one in FILLER):
        sentences.append(rng.choice(FILLER))
        starts.append(starts[-1] + len(sentences[-1].split()))
    late = [i for i, start in enumerate(starts) if 4 * start >= 3 * (starts[-1] + len(sentence.split()))]
    sentences.insert(rng.choice(late), sentence)
    return " ".join(sentences)


def row(number, tokens, rng):
    sentence = planted(number)
    return {"anchor": sentence, "positive": document(sentence, tokens, rng)}


def training_rows(numbers, tokens, count, shortest, rng):
    """`count` rows of `tokens` tokens, twice as many of half as many, and so on."""
    while tokens >= shortest:
        for _ in range(count):
            yield row(next(numbers), tokens, rng)
        tokens, count = tokens // 2, 2 * count


def vocabulary():
    words = sorted({word for sentence in SENTENCES for word in sentence}
                   | {word for sentence in FILLER for word in sentence.split()} | {"the", "near", "."})
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + words


def config(tokens):
    return {"model_type": "longformer", "architectures": ["LongformerModel"], "attention_window": [16, 16],
            "vocab_size": len(vocabulary()), "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 128, "max_position_embeddings": tokens + 1, "type_vocab_size": 2, "pad_token_id": 0,
            "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.1, "layer_norm_eps": 1e-5,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=4096, help="of the longest documents")
    parser.add_argument("--documents", type=int, default=200, help="of so many tokens, to learn from")
    parser.add_argument("--shortest", type=int, default=64, help="tokens of the shortest documents to learn from")
    parser.add_argument("--held-out", type=int, default=1000, help="documents to measure by")
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args(arguments)
    if not 64 <= o.shortest <= o.tokens:
        parser.error(f"--shortest {o.shortest} --tokens {o.tokens}: need 64 or more, and no more than --tokens")
    rng = random.Random(o.seed)
    numbers = list(range(len(SENTENCES)))
    rng.shuffle(numbers)
    held_out, rest = numbers[:o.held_out], iter(numbers[o.held_out:])
    start = o.folder / "start"
    start.mkdir(parents=True, exist_ok=True)
    (start / "vocab.txt").write_text("".join(word + "\n" for word in vocabulary()), encoding="utf-8")
    (start / "config.json").write_text(json.dumps(config(o.tokens), indent=2) + "\n", encoding="utf-8")
    parts = {"train.jsonl": training_rows(rest, o.tokens, o.documents, o.shortest, rng),
             "test.jsonl": (row(number, o.tokens, rng) for number in held_out)}
    for name, rows in parts.items():
        with open(o.folder / name, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in rows)


if __name__ == "__main__":
    main()
