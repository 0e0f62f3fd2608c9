"""Embeds the texts of a folder on many workers: a job of Ray Data.

    ray_embed.py MODEL FOLDER OUTPUT [WORKERS]

OUTPUT gets Parquet files with the columns "path", "text" and "vector". Each worker loads the model
once and uses one thread: a machine with 64 cores takes 64 workers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import ray

import longspan


class Embedder:
    """A worker. Ray makes one for each process, and calls it with a batch of rows at a time."""

    def __init__(self, model: str) -> None:
        self._model = longspan.load(model, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        texts = [bytes(data).decode("utf-8", "replace") for data in batch["bytes"]]
        return {
            "path": batch["path"],
            "text": texts,
            "vector": self._model.encode(texts, normalize_embeddings=True),
        }


def embed(model: str, folder: str, workers: int) -> ray.data.Dataset:
    """A lazy data set with a row for each file of the folder."""
    files = ray.data.read_binary_files(folder, include_paths=True)
    return files.map_batches(
        Embedder,
        fn_constructor_args=(model,),
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    if len(argv) not in (3, 4):
        print("usage: ray_embed.py MODEL FOLDER OUTPUT [WORKERS]", file=sys.stderr)
        return 2
    model, folder, output = argv[:3]
    embed(model, folder, int(argv[3]) if len(argv) == 4 else 2).write_parquet(output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
