"""Asks models of every kind, each a folder in the Hugging Face layout.

    ask_models.py CLASSIFIER ANSWERER WRITER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import longspan


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    if len(argv) != 3:
        print("usage: ask_models.py CLASSIFIER ANSWERER WRITER", file=sys.stderr)
        return 2
    classifier, answerer, writer = (longspan.load(folder) for folder in argv)

    review = "The first chapters are slow. The last hundred pages are not."
    result = classifier.classify(review)
    print(result.label, f"{result.score:.3f}")

    answer = answerer.qa("Which pages are slow?", review)
    print(answer.text, answer.start, answer.end)

    for piece in writer.generate("She had been", tokens=40, stream=True):
        print(piece, end="", flush=True)
    print()

    # The calls and dictionaries that transformers has.
    for entry in longspan.pipeline("text-classification", argv[0])([review, "Fine."]):
        print(entry["label"], f"{entry['score']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
