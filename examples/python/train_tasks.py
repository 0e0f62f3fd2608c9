"""Trains one model for each task that rows in memory can have, and asks each of them.

    train_tasks.py MODEL OUTPUT

MODEL is a folder with a Longformer, ModernBERT or BERT of any head. OUTPUT gets a folder for each
task. The rows are far too few to learn anything: put files or rows of your own in their places.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import longspan

CONTEXT = "Anne walked to the sea. Captain Wentworth stayed in Bath."

# Of each task the names of entities, answers, choices, and which texts belong together.
TAGGED = [
    (["Anne", "walked", "to", "Bath"], ["B-PER", "O", "O", "B-LOC"]),
    (["It", "rained"], ["O", "O"]),
]
ANSWERED = [
    {
        "question": "Who walked to the sea?",
        "context": CONTEXT,
        "answers": {"text": ["Anne"], "answer_start": [0]},
    },
    {"question": "Who sang?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
]
CHOSEN = [
    {"context": CONTEXT, "question": "Who walked?", "choices": ["Anne", "Mary"], "label": 0},
    {"context": CONTEXT, "question": "Who stayed?", "choices": ["Mary", "Wentworth"], "label": 1},
]
PAIRS = [("who went to the sea", "Anne walked to the sea."), ("weather", "It rained all day.")]
JUDGED = [
    {"query": "weather", "positive": "It rained all day.", "negatives": ["Anne walked."]},
    {"query": "who walked", "positive": "Anne walked.", "negatives": ["It rained all day."]},
]


def ask(model: str, output: Path, **learning: Any) -> None:
    """Trains, measures and asks; prints a line for each task."""
    tagger = longspan.train(
        "token-classify", model, output / "tagger", train=TAGGED, eval=TAGGED, **learning
    )
    found = longspan.evaluate(tagger, TAGGED)
    print("tags:", " ".join(found.words[0].predicted), f"F1 {found.metrics['f1']:.2f}")

    reader = longspan.train("qa", model, output / "qa", train=ANSWERED, eval=ANSWERED, **learning)
    answers = longspan.evaluate(reader, ANSWERED).answers
    print("answer:", answers[0].predicted or "none", f"F1 {answers[0].f1:.2f}")

    chooser = longspan.train(
        "multiple-choice", model, output / "choose", train=CHOSEN, eval=CHOSEN, **learning
    )
    choice = longspan.evaluate(chooser, CHOSEN).choices[0]
    print("choice:", choice.choices[choice.predicted])

    searcher = longspan.train("embed", model, output / "embed", train=PAIRS, eval=PAIRS, **learning)
    recall = longspan.evaluate(searcher, PAIRS, task="embed").metrics["recall_1"]
    print(f"vectors: recall at 1 {recall:.2f}")

    judge = longspan.train("rerank", model, output / "rerank", train=JUDGED, eval=JUDGED, **learning)
    ndcg = longspan.evaluate(judge, JUDGED, task="rerank").metrics["ndcg"]
    print(f"relevance: ndcg {ndcg:.2f}")


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    if len(argv) != 2:
        print("usage: train_tasks.py MODEL OUTPUT", file=sys.stderr)
        return 2
    ask(argv[0], Path(argv[1]), epochs=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
