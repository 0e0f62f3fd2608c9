"""Attention over 16,384 tokens with NumPy alone: a window, its gradient, and what LSH finds.

    python attention.py [TOKENS]
"""

import sys
import time

import numpy as np

import longspan


def main(arguments: list[str]) -> None:
    tokens = int(arguments[0]) if arguments else 16384
    random = np.random.default_rng(1)
    # (batch, heads, tokens, head size): 12 heads of 64, as in BERT-base.
    q, k, v = (random.standard_normal((1, 12, tokens, 64), dtype=np.float32) for _ in range(3))

    # Every token sees 128 tokens to each side. The first token is global: it sees all, all see it.
    roles = np.full((1, tokens), longspan.LOCAL)
    roles[0, 0] = longspan.GLOBAL
    begin = time.perf_counter()
    out, pullback = longspan.window_attention_vjp(q, k, v, left=128, right=128, roles=roles)
    forward = time.perf_counter() - begin
    dq, dk, dv = pullback(np.ones_like(out))  # the gradient of out.sum()
    both = time.perf_counter() - begin
    print(f"window of 257 over {tokens} tokens: {forward:.3f} s forward, {both:.3f} s with gradients")
    # The weights of each query sum to 1, so the gradient of v does to their number.
    print(f"gradient of v sums to {dv.sum(dtype=np.float64) / out.size:.4f} of the outputs")

    # Reformer's attention hashes tokens to buckets and looks for keys within a bucket.
    begin = time.perf_counter()
    out, buckets = longspan.lsh_attention(q, v, rounds=2, causal=True, return_buckets=True)
    print(f"LSH attention, 2 rounds, {int(buckets.max()) + 1} buckets: "
          f"{time.perf_counter() - begin:.3f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
