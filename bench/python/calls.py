"""What a call costs beside its arithmetic: attention over 8 tokens, in microseconds.

usage: calls.py [--json]

The least of nine rounds of 5,000 calls each. With torch also its own attention, as a yardstick.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import longspan


def microseconds(call: Callable[[], Any], calls: int = 5000) -> float:
    rounds = []
    for _ in range(9):
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter() - begin) / calls * 1e6)
    return min(rounds)


def main(arguments: list[str]) -> None:
    array = np.random.default_rng(1).standard_normal((1, 2, 8, 16), dtype=np.float32)
    rows = {
        "NumPy, window": lambda: longspan.window_attention(array, array, array, left=2, right=2),
        "NumPy, full": lambda: longspan.full_attention(array, array, array),
    }
    try:
        import torch

        import longspan.torch as lt
        plain = torch.from_numpy(array)
        grad = plain.clone().requires_grad_()
        dout = torch.ones_like(plain)
        rows |= {
            "torch, window": lambda: lt.window_attention(plain, plain, plain, left=2, right=2),
            "torch, window, with grad": lambda:
                lt.window_attention(grad, grad, grad, left=2, right=2),
            "torch, window, with grad and backward": lambda: torch.autograd.grad(
                lt.window_attention(grad, grad, grad, left=2, right=2), grad, dout),
            "torch's scaled_dot_product_attention": lambda:
                torch.nn.functional.scaled_dot_product_attention(plain, plain, plain),
        }
    except ImportError:
        pass
    results = {name: microseconds(call) for name, call in rows.items()}
    if "--json" in arguments:
        print(json.dumps(results))
    else:
        for name, value in results.items():
            print(f"{name:40} {value:7.1f} us")


if __name__ == "__main__":
    main(sys.argv[1:])
