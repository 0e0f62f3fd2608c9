#!/usr/bin/env python3
"""Writes texts whose answer needs a word that stands far away, for three trainings.

usage: planted_facts.py TASK -o FOLDER [--tokens 4096] [--train 4000] [--test 500] [--seed 1] [--decoys 8]

TASK is token-classify, qa or multiple-choice. A text has N tokens with its question and all special ones.
In its first eighth it says whom anna follows ("anna follows otto ."), and behind five eighths, among other
words and sentences about others, which colour each of two people has ("otto has red ."). What anna has,
only both together tell; at least half of the text lies between them: of 4,096 tokens more than 2,000.

  token-classify   behind five eighths, no sentence says the colour of the one whom anna follows: "anna" stands
                   there instead, and its tag is B-RED or B-BLUE as the sentence in the first eighth says
                   ("anna has red .")
  qa               the question is "who has what anna has ?"; the answer is the colour's place
  multiple-choice  the choices are "red" and "blue"

Both colours are equally frequent, so a model that reads less has one half of the questions right (of words:
of the two tags). FOLDER gets train.jsonl, eval.jsonl and test.jsonl, each from random numbers of its own, and
start/, a folder with config.json and vocab.txt: `longspan init --config FOLDER/start/config.json -o MODEL` and a
copy of vocab.txt make the model to start from. Every token that the answer needs is global:
--global first:1 for token-classify, the question and the choices by themselves.

  longspan train qa -m MODEL --train FOLDER/train.jsonl --eval FOLDER/eval.jsonl -o RUN --lr 1e-3
  longspan eval -m RUN FOLDER/test.jsonl
"""
import argparse
import json
import random
from pathlib import Path

TASKS = {"token-classify": 2, "qa": 9, "multiple-choice": 6}  # tokens beside the text's own
OTHERS = ["bela", "cora", "dirk", "emil", "fira", "gabi", "hugo", "ines"]
COLOURS = ["red", "blue"]
NOISE = [a + b for a in ("lo", "mi", "ra", "tu", "ne") for b in ("ka", "si", "po", "du", "fe")]
VOCABULARY = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "has", "follows", "anna", "otto", "who", "what"]
              + COLOURS + OTHERS + NOISE)
QUESTION = "who has what anna has ?"


def document(task, tokens, decoys, rng):
    """(words, place of what counts first, place of what counts last, colour)."""
    length = tokens - TASKS[task]
    words = [rng.choice(NOISE) for _ in range(length)]
    head, tail = max(tokens // 8, 16), 5 * tokens // 8
    colour = rng.choice(COLOURS)
    other = COLOURS[1 - COLOURS.index(colour)]
    free = set(range(1, length - 5))

    def put(sentence, low, high):
        """At a free place from low to high, with a word before and after it."""
        size = len(sentence)
        place = rng.choice([p for p in range(low, high - size) if free.issuperset(range(p - 1, p + size + 1))])
        words[place:place + size] = sentence
        free.difference_update(range(place - 1, place + size + 1))
        return place

    if task == "token-classify":
        first = put(["anna", "has", colour, "."], 1, head)
        last = put(["anna"], tail, length - 5)
    else:
        friend, stranger = rng.sample(OTHERS, 2)
        first = put(["anna", "follows", friend, "."], 1, head)
        last = put([friend, "has", colour, "."], tail, length - 5)
        put([stranger, "has", other, "."], tail, length - 5)
        used = {friend, stranger}
    left = OTHERS if task == "token-classify" else [o for o in OTHERS if o not in used]
    for _ in range(decoys):
        put([rng.choice(left), "has", rng.choice(COLOURS), "."], 1, length - 5)
    return words, first, last, colour


def row(task, tokens, decoys, rng):
    words, first, last, colour = document(task, tokens, decoys, rng)
    if task == "token-classify":
        tags = ["O"] * len(words)
        tags[last] = "B-" + colour.upper()
        return {"tokens": words, "tags": tags, "facts": [first, last]}
    text = " ".join(words)
    if task == "multiple-choice":
        return {"context": text, "question": "anna has", "choices": COLOURS, "label": colour, "facts": [first, last]}
    place = len(" ".join(words[:last + 2])) + 1
    return {"question": QUESTION, "context": text, "answers": [{"text": colour, "answer_start": place}],
            "facts": [first, last]}


def config(task, tokens):
    head = {"token-classify": "TokenClassification", "qa": "QuestionAnswering",
            "multiple-choice": "MultipleChoice"}[task]
    return {"model_type": "longformer", "architectures": [f"LongformerFor{head}"], "attention_window": [16, 16, 16],
            "vocab_size": len(VOCABULARY), "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
            "intermediate_size": 128, "max_position_embeddings": tokens + 1, "type_vocab_size": 2, "pad_token_id": 0,
            "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.1, "layer_norm_eps": 1e-5,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--decoys", type=int, default=8)
    given = parser.parse_args(arguments)
    if given.tokens < 128 or given.decoys * 12 > given.tokens // 2:
        parser.error(f"{given.decoys} decoys do not fit into {given.tokens} tokens, need 128 or more and 24 a decoy")
    start = given.output / "start"
    start.mkdir(parents=True, exist_ok=True)
    (start / "vocab.txt").write_text("".join(word + "\n" for word in VOCABULARY), encoding="utf-8")
    (start / "config.json").write_text(json.dumps(config(given.task, given.tokens), indent=2) + "\n", encoding="utf-8")
    for split, count in (("train", given.train), ("eval", given.test), ("test", given.test)):
        rng = random.Random(f"{given.seed} {split} {given.task} {given.tokens}")
        with (given.output / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for _ in range(count):
                file.write(json.dumps(row(given.task, given.tokens, given.decoys, rng)) + "\n")


if __name__ == "__main__":
    main()
