#!/usr/bin/env python3
"""Writes two tables to try a classifier of long texts on: passages of the novel in data/, labelled
by whether people mostly talk in them.

usage: passages.py [FOLDER]      writes FOLDER/train.csv and FOLDER/test.csv (default: here)

A passage is about 500 words: whole paragraphs of one chapter. It is "dialogue" where at least a
third of its words stand between quotation marks, else "narration". Every fourth passage goes to
test.csv. The columns are text and label.
"""
import csv
import re
import sys
from pathlib import Path

NOVEL = Path(__file__).resolve().parent.parent / "data" / "persuasion.txt"
WORDS = 500


def passages(text):
    """The passages in the novel's order."""
    for chapter in re.split(r"\n\s*Chapter \d+\n", text)[1:]:
        passage, words = [], 0
        for paragraph in (" ".join(p.split()) for p in chapter.split("\n\n") if p.strip()):
            passage.append(paragraph)
            words += len(paragraph.split())
            if words >= WORDS:
                yield "\n".join(passage)
                passage, words = [], 0
        if words >= WORDS // 2:
            yield "\n".join(passage)


def label(passage):
    spoken = sum(len(speech.split()) for speech in re.findall(r'"([^"]*)"', passage))
    return "dialogue" if 3 * spoken >= len(passage.split()) else "narration"


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    rows = [(text, label(text)) for text in passages(NOVEL.read_text(encoding="utf-8"))]
    parts = {"train.csv": [row for i, row in enumerate(rows) if i % 4 != 3], "test.csv": rows[3::4]}
    for name, part in parts.items():
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("text", "label"))
            table.writerows(part)
        print(f"{folder / name}: {len(part)} passages")


if __name__ == "__main__":
    main()
