"""Embeds the lines of a file in several processes, each of them its own share.

    mpirun -n 2 --bind-to none -x LONGSPAN_THREADS=8 python3 ranks_embed.py MODEL LINES OUT
    python3 ranks_embed.py MODEL LINES OUT --join 2

The second command puts the shares of two processes together: OUT/all.npy has a row for each line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import longspan


def place() -> tuple[int, int]:
    """Which process this is, and how many there are: of Open MPI's mpirun, of srun, or alone."""
    for rank, ranks in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
                        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):  # fmt: skip
        if rank in os.environ and ranks in os.environ:
            return int(os.environ[rank]), int(os.environ[ranks])
    return 0, 1


def save(path: Path, vectors: npt.NDArray[np.generic]) -> None:
    """A file of this name is whole: it has another name until it is written."""
    with open(path.with_suffix(".part"), "wb") as file:
        np.save(file, vectors)
    path.with_suffix(".part").rename(path)


def embed_share(model_folder: str, lines: str, out: Path) -> None:
    """Writes the vectors of every n-th line, from the rank on: (lines of this rank, width)."""
    texts = Path(lines).read_text(encoding="utf-8").splitlines()
    rank, ranks = place()
    model = longspan.load(model_folder)
    save(out / f"{rank}-of-{ranks}.npy", model.encode_document(texts[rank::ranks]))


def join_shares(out: Path, ranks: int) -> None:
    """Writes the vectors of all lines, in the order of the lines."""
    shares = [np.load(out / f"{rank}-of-{ranks}.npy") for rank in range(ranks)]
    vectors = np.empty((sum(map(len, shares)), *shares[0].shape[1:]), shares[0].dtype)
    for rank, share in enumerate(shares):
        vectors[rank::ranks] = share
    save(out / "all.npy", vectors)


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("lines")
    parser.add_argument("out", type=Path)
    parser.add_argument("--join", type=int, metavar="RANKS")
    options = parser.parse_args(argv)
    options.out.mkdir(exist_ok=True)
    try:
        if options.join:
            join_shares(options.out, options.join)
        else:
            embed_share(options.model, options.lines, options.out)
    except longspan.Error as error:
        print(f"ranks_embed: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
