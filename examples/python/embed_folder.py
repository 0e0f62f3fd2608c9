"""Finds the texts of a folder that mean most nearly what a question says.

    embed_folder.py MODEL FOLDER QUESTION

MODEL is a folder of an embedding model in the Hugging Face layout. A long text is read in windows,
so all of it counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import longspan


def nearest(model_folder: str, folder: str, question: str, most: int) -> list[tuple[str, float]]:
    """Names of the nearest texts, and their cosines to the question, the nearest first."""
    model = longspan.load(model_folder)
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    vectors = model.encode_document(texts)  # (texts, width)
    query = model.encode_query(question)  # (width,)
    cosines = model.similarity(query, vectors)[0]
    return [(str(files[i]), float(cosines[i])) for i in np.argsort(-cosines)[:most]]


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("question")
    parser.add_argument("--most", type=int, default=10)
    options = parser.parse_args(argv)
    try:
        for name, cosine in nearest(
            options.model, options.folder, options.question, options.most
        ):
            print(f"{cosine:.4f}  {name}")
    except longspan.Error as error:
        print(f"embed_folder: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
