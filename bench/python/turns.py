"""Whether torch and longspan disturb each other: their work in turn against each alone.

usage: turns.py [--rounds N] [--order torch|longspan]

Products of torch and windows of longspan, some milliseconds each, are run alone and then in turn.
With one OpenMP runtime for both, the time in turn is the sum of the times alone; with two, waiting
threads of one take the cores from the other.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any


def seconds(call: Any, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=60, help="of either kind in a round")
    parser.add_argument("--order", choices=("torch", "longspan"), default="torch",
                        help="which one is imported first")
    options = parser.parse_args()
    if options.order == "torch":
        import torch

        import longspan.torch as lt
    else:
        import longspan  # noqa: F401
        import torch

        import longspan.torch as lt
    from longspan._runtime import openmp_runtimes

    x = torch.randn(512, 768)
    weight = torch.randn(768, 768)
    q = torch.randn(1, 12, 512, 64)

    def product() -> None:
        x @ weight

    def window() -> None:
        lt.window_attention(q, q, q, left=64, right=64)

    def both() -> None:
        product()
        window()

    for call in (product, window, both):
        seconds(call, options.calls)
    losses = []
    for _ in range(options.rounds):
        alone = seconds(product, options.calls) + seconds(window, options.calls)
        losses.append(seconds(both, options.calls) / alone - 1)
    low, middle, high = (statistics.quantiles(losses, n=4) if len(losses) > 1 else losses * 3)
    print(f"OpenMP runtimes: {', '.join(openmp_runtimes())}")
    print(f"in turn against the sum alone: {middle:+.1%} ({low:+.1%} to {high:+.1%}, "
          f"{options.rounds} rounds, {torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()
