#!/usr/bin/env python3
"""Writes long documents, each found by one sentence of its last quarter: whether vectors see that far.

usage: planted_retrieval.py [FOLDER] [--documents N] [--words N] [--held-out N] [--seed N]

FOLDER/train.jsonl and FOLDER/test.jsonl (default: here) hold pairs: "anchor" is a sentence, and
"positive" the document that has it, once, in its last quarter. All other sentences of all documents
are drawn from one list, so nothing but the planted one tells two documents apart. A model that reads
a document's beginning alone finds it by chance: recall_1 is 1 / documents.
"""
import argparse
import json
import random
from pathlib import Path

NAMES = ("Anne", "Mary", "Charles", "Henrietta", "Louisa", "Walter", "Sophia", "Edward", "Frederick", "William")
VERBS = ("found", "lost", "praised", "carried", "described", "forgot", "painted", "returned")
THINGS = ("letter", "carriage", "ribbon", "map", "pistol", "novel", "barometer", "shell", "portrait", "lantern",
          "bonnet", "telescope")
PLACES = ("Lyme", "Bath", "Uppercross", "Kellynch", "Plymouth", "Winthrop", "Camden", "Clifton")
FILLER = tuple(f"The {a} {b} in the {c}." for a in ("rain", "wind", "talk", "music", "tide")
               for b in ("stopped", "went on", "began again", "was heard")
               for c in ("morning", "evening", "garden", "street"))


def planted(number, rng):
    """A sentence of its own for each number."""
    tag = f"{THINGS[number % len(THINGS)]} number {number}"
    return f"{rng.choice(NAMES)} {rng.choice(VERBS)} the {tag} near {rng.choice(PLACES)}."


def document(sentence, words, rng):
    """About `words` words of filler, the sentence somewhere in their last quarter."""
    sentences, count = [], 0
    while count < words:
        sentences.append(rng.choice(FILLER))
        count += len(sentences[-1].split())
    first, before = 0, 0  # the first place that has three quarters of all words before it
    while 4 * before < 3 * (count + len(sentence.split())):
        before += len(sentences[first].split())
        first += 1
    sentences.insert(rng.randint(first, len(sentences)), sentence)
    return " ".join(sentences)


def rows(numbers, words, rng):
    for number in numbers:
        sentence = planted(number, rng)
        yield {"anchor": sentence, "positive": document(sentence, words, rng)}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=".", type=Path)
    parser.add_argument("--documents", type=int, default=1000, help="to learn from")
    parser.add_argument("--held-out", type=int, default=100, help="to measure by")
    parser.add_argument("--words", type=int, default=1000, help="of a document, about")
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args(arguments)
    rng = random.Random(o.seed)
    o.folder.mkdir(parents=True, exist_ok=True)
    parts = {"train.jsonl": range(o.documents),
             "test.jsonl": range(o.documents, o.documents + o.held_out)}
    for name, numbers in parts.items():
        with open(o.folder / name, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(numbers, o.words, rng))
        print(f"{o.folder / name}: {len(numbers)} documents of about {o.words} words")


if __name__ == "__main__":
    main()
