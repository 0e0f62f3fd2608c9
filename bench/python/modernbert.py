"""One training step of ModernBERT-base's size: longspan against torch's SDPA, random weights.

    python modernbert.py [--tokens 8192] [--layers 22] [--steps 1] [--bf16] [--forward]

Every third layer is global, from the first on; 3 layers stand for the whole where time is short.
Steps of the two alternate, after a short one each that is not counted. The medians and the spreads
are printed, and by how much the losses differ.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time

import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

import longspan.hf


def step(model: torch.nn.Module, tokens: int, bf16: bool, backward: bool) -> tuple[float, float]:
    """Seconds and the loss of a step. Nothing of it stays, so the next one has the memory."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 50000, (1, tokens), generator=generator)
    weights = torch.randn(1, tokens, model.config.hidden_size, generator=generator)
    seen = torch.ones_like(ids)
    model.zero_grad(set_to_none=True)
    begin = time.perf_counter()
    with torch.set_grad_enabled(backward), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = (model(input_ids=ids, attention_mask=seen).last_hidden_state.float() * weights).sum()
    if backward:
        loss.backward()
    return time.perf_counter() - begin, float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--forward", action="store_true", help="no backward")
    parser.add_argument("--only", choices=["sdpa", "longspan"], help="for peak memory")
    options = parser.parse_args()
    longspan.hf.register()
    torch.manual_seed(0)
    config = ModernBertConfig(num_hidden_layers=options.layers)  # base: 768, 12 heads, window 128
    model = ModernBertForMaskedLM(config).model.train()
    names = [options.only] if options.only else ["sdpa", "longspan"]
    times: dict[str, list[float]] = {name: [] for name in names}
    losses: dict[str, float] = {}
    print(f"{options.layers} layers, {options.tokens} tokens, "
          f"{'bf16 autocast' if options.bf16 else 'fp32'}, {torch.get_num_threads()} threads, "
          f"{'forward' if options.forward else 'forward and backward'}, load {os.getloadavg()[0]}")
    for number in range(-1, options.steps):
        for name in names:
            model.set_attn_implementation(name)
            tokens = options.tokens if number >= 0 else options.tokens // 16
            seconds, losses[name] = step(model, tokens, options.bf16, not options.forward)
            if number >= 0:
                times[name].append(seconds)
                print(f"step {number} {name:9} {seconds:7.2f} s", flush=True)
    for name, values in times.items():
        print(f"{name:9} median {statistics.median(values):.2f} s, "
              f"{min(values):.2f} to {max(values):.2f}")
    if len(names) == 2:
        ratio = statistics.median(times["sdpa"]) / statistics.median(times["longspan"])
        print(f"{ratio:.2f} times; losses differ by "
              f"{abs(losses['sdpa'] - losses['longspan']) / abs(losses['sdpa']):.1e}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, "
          f"load {os.getloadavg()[0]}")
    print(longspan.hf.report(model))


if __name__ == "__main__":
    main()
