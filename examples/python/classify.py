"""Trains a classifier of texts on a small table, then asks it.

    classify.py MODEL OUTPUT

MODEL is a folder with a Longformer or a Reformer of any head. OUTPUT gets the trained model.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import longspan
from longspan.training import TrainingEvent

TEXTS = [
    ("She smiled, and was glad to see the sea.", "glad"),
    ("He wept, for the house was empty.", "sad"),
    ("All were glad, and danced until the morning.", "glad"),
    ("A sad day; nobody came, and it rained.", "sad"),
]


def write_table(path: Path) -> None:
    """A table as a spreadsheet would save it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows(TEXTS * 8)


def tell(event: TrainingEvent) -> None:
    """Prints what the held-out texts say."""
    if event.kind == "eval":
        print(f"update {event.step} of {event.steps}: accuracy {event.metrics['accuracy']:.3f}")


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    if len(argv) != 2:
        print("usage: classify.py MODEL OUTPUT", file=sys.stderr)
        return 2
    model, output = argv[0], Path(argv[1])
    table = output.with_name(output.name + ".csv")
    write_table(table)
    # A tiny model with random weights needs a high rate; a pretrained one takes the default, 3e-5.
    run = longspan.train(
        "classify", model, output, train=table, held_out=0.25, epochs=4, learning_rate=1e-3,
        callbacks=[tell],
    )  # fmt: skip
    answer = run.model().classify("She was glad.")
    print(f"{answer.label} {answer.score:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
