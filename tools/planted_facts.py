#!/usr/bin/env python3
"""Writes texts whose answer needs a word that stands far away, for three trainings.

usage: planted_facts.py TASK -o FOLDER [--tokens 4096] [--train 600] [--shortest 32] [--test 1000] [--seed 1]
                        [--decoys 8]

TASK is token-classify, qa or multiple-choice. A text has N tokens with its question and all special ones.
One sentence says which colour anna has ("anna has red ."), among other words and sentences about others.

  token-classify   The sentence stands in the first eighth. Behind five eighths "anna" stands here and there, and
                   its tag is B-RED or B-BLUE as the sentence says.
  qa               The sentence is "anna likes red ." and stands in the first eighth. Behind five eighths there are
                   a thing of this colour and one of the other, "red boat" and "blue cart". The question before the
                   text is "what does anna like ?", the answer is "red boat".
  multiple-choice  The sentence stands behind five eighths. The question before the text is "anna has", the choices
                   are "red" and "blue".

So at least half of the text lies between what an answer needs: of 4,096 tokens more than 2,000. Both colours are
equally frequent, so a model that reads less has one half of the questions right (of words: of the two tags).

FOLDER gets train.jsonl, eval.jsonl and test.jsonl, each from random numbers of its own, and start/, a folder with
config.json and vocab.txt: `longspan init --config FOLDER/start/config.json -o MODEL` and a copy of vocab.txt make
the model to start from. Every token that the answer needs is global: --global first:1 for token-classify, the
question and the choices by themselves.

Few words of a long text tell the answer, so a model with random weights would look for them in vain for a long
time. Training texts are therefore of all lengths: --train of N tokens, twice as many of half of that, and so on
down to --shortest, so that each length has as many tokens. Half of their questions for an answer
ask "what is red ?": the model learns to find a colour before it learns whose. eval.jsonl (a fifth as many as --test)
and test.jsonl have texts of N tokens, and ask about anna.

token-classify needs --global first:1 in training, and learns faster with --class-weights balanced.

  longspan train qa -m MODEL --train FOLDER/train.jsonl --eval FOLDER/eval.jsonl -o RUN --lr 1e-3 --epochs 1 \\
    --batch 16 --accumulate 1
  longspan eval -m RUN FOLDER/test.jsonl
  longspan eval -m RUN FOLDER/test.jsonl --tokens 512 --overflow truncate
"""
import argparse
import json
import random
from pathlib import Path

TASKS = {"token-classify": 2, "qa": 8, "multiple-choice": 6}  # tokens beside the text's own
THINGS = ["boat", "cart", "door", "flag", "gate", "kite", "lamp", "vase"]
OTHERS = ["otto", "bela", "cora", "dirk", "emil", "fira", "gabi", "hugo", "ines"]
COLOURS = ["red", "blue"]
OTHER = {"red": "blue", "blue": "red"}
NOISE = [a + b for a in ("lo", "mi", "ra", "tu", "ne") for b in ("ka", "si", "po", "du", "fe")]
VOCABULARY = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "has", "is", "what", "does", "like", "likes", "anna"]
              + COLOURS + OTHERS + THINGS + NOISE)


class NoRoom(Exception):
    """The words of a short text leave no place for another sentence."""


def document(task, tokens, decoys, rng):
    """(words, place of what counts first, place of what counts last, anna's colour). Raises NoRoom."""
    length = tokens - TASKS[task]
    words = [rng.choice(NOISE) for _ in range(length)]
    head = tokens // 8 if tokens >= 128 else tokens // 4
    tail = 5 * tokens // 8 if tokens >= 256 else head  # short texts have no room for a gap
    colour = rng.choice(COLOURS)
    thing, other_thing = rng.sample(THINGS, 2)
    free = set(range(1, length - 5))

    def put(sentence, low, high):
        """At a free place from low to high, with a word before and after it."""
        size = len(sentence)
        places = [p for p in range(low, high - size) if free.issuperset(range(p - 1, p + size + 1))]
        if not places:
            raise NoRoom
        place = rng.choice(places)
        words[place:place + size] = sentence
        free.difference_update(range(place - 1, place + size + 1))
        return place

    said = ["anna", "likes" if task == "qa" else "has", colour, "."]
    if task == "multiple-choice":
        first, last = 0, put(said, tail, length - 5)
    else:
        first = put(said, 1, head)
        if task == "token-classify":
            # A loss over all words hardly sees a single one: long texts have several, all with one answer.
            last = min(put(["anna"], tail, length - 5) for _ in range(max(1, tokens // 128)))
        else:
            last = put([colour, thing, "."], tail, length - 5)
            put([OTHER[colour], other_thing, "."], tail, length - 5)
    for _ in range(min(decoys, tokens // 48)):
        name, said_of = rng.choice(OTHERS), ["likes", rng.choice(OTHERS)] if task == "qa" else ["has", rng.choice(COLOURS)]
        put([name, *said_of, "."], 1, length - 5)
    return words, first, last, colour


def row(task, tokens, decoys, rng, direct=False):
    """A text with its question. `direct`: the question of an answer names the colour, not anna."""
    while True:
        try:
            words, first, last, colour = document(task, tokens, decoys, rng)
            break
        except NoRoom:
            pass  # its sentences are drawn anew
    if task == "token-classify":
        tags = ["B-" + colour.upper() if word == "anna" and place >= last else "O" for place, word in enumerate(words)]
        return {"tokens": words, "tags": tags, "facts": [first, last]}
    text = " ".join(words)
    if task == "multiple-choice":
        return {"context": text, "question": "anna has", "choices": COLOURS, "label": colour, "facts": [first, last]}
    asked = f"what is {colour} ?" if direct else "what does anna like ?"
    place = len(" ".join(words[:last])) + 1
    return {"question": asked, "context": text,
            "answers": [{"text": " ".join(words[last:last + 2]), "answer_start": place}],
            "facts": [first, last]}


def training_rows(task, tokens, count, shortest, decoys, rng):
    """`count` rows of `tokens` tokens, twice as many of half as many, and so on."""
    while tokens >= shortest:
        for i in range(count):
            yield row(task, tokens, decoys, rng, direct=i % 2 == 1)
        tokens, count = tokens // 2, 2 * count


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
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--shortest", type=int, default=32)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--decoys", type=int, default=8)
    given = parser.parse_args(arguments)
    if given.tokens < given.shortest or given.shortest < 32:
        parser.error(f"--shortest {given.shortest} --tokens {given.tokens}: need 32 or more, and no more than --tokens")
    start = given.output / "start"
    start.mkdir(parents=True, exist_ok=True)
    (start / "vocab.txt").write_text("".join(word + "\n" for word in VOCABULARY), encoding="utf-8")
    (start / "config.json").write_text(json.dumps(config(given.task, given.tokens), indent=2) + "\n", encoding="utf-8")
    for split in ("train", "eval", "test"):
        rng = random.Random(f"{given.seed} {split} {given.task} {given.tokens}")
        rows = (training_rows(given.task, given.tokens, given.train, given.shortest, given.decoys, rng) if split == "train"
                else (row(given.task, given.tokens, given.decoys, rng) for _ in range(given.test if split == "test" else given.test // 5)))
        with (given.output / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in rows)


if __name__ == "__main__":
    main()
