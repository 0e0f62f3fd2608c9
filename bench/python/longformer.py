"""A training step of a Longformer of base size: Hugging Face's against longspan.hf.accelerate.

    python longformer.py [--layers 12] [--tokens 4096] [--rounds 3] [--bf16] [--globals 1]
    python longformer.py --layers 1 --tokens 65536 --rounds 1 --only longspan

Each of the two lives in a process of its own, which are asked in turn. A first round is not counted.
Memory is the peak resident set of each process, of which torch alone takes some 0.4 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--globals", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="autocast; weights stay float32")
    parser.add_argument("--checkpoint", action="store_true", help="gradient checkpointing")
    parser.add_argument("--only", choices=["hf", "longspan"])
    parser.add_argument("--worker", choices=["hf", "longspan"], help=argparse.SUPPRESS)
    return parser.parse_args()


def work(options: argparse.Namespace) -> None:
    """Makes a step for each line that it is given, and prints what it took."""
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.LongformerConfig(
        vocab_size=50265, hidden_size=options.hidden, num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64, intermediate_size=4 * options.hidden,
        attention_window=options.window, max_position_embeddings=options.tokens + 2, pad_token_id=1,
        type_vocab_size=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = transformers.LongformerForSequenceClassification(config).train()
    if options.checkpoint:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if options.worker == "longspan":
        import longspan.hf
        longspan.hf.accelerate(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.randint(3, 50265, (1, options.tokens))
    is_global = torch.zeros_like(ids)
    is_global[:, :options.globals] = 1
    for _ in sys.stdin:
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            loss = model(ids, attention_mask=torch.ones_like(ids), global_attention_mask=is_global,
                         labels=torch.tensor([1])).loss
        forward = time.perf_counter() - begin
        loss.backward()
        optimizer.step()
        print(json.dumps({"forward": forward, "step": time.perf_counter() - begin,
                          "loss": float(loss.detach()),
                          "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}),
              flush=True)


def main() -> None:
    options = parse()
    if options.worker:
        work(options)
        return
    names = [options.only] if options.only else ["hf", "longspan"]
    workers = {name: subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--worker", name],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for name in names}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(options.rounds + 1):
        for name, process in workers.items():
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("step\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                sys.exit(f"{name} ended")
            row = json.loads(line)
            if turn:
                results[name].append(row)
            print(f"{turn or 'warm-up':>8} {name:9} forward {row['forward']:7.2f} s, step "
                  f"{row['step']:7.2f} s, loss {row['loss']:.6f}", flush=True)
    for process in workers.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    medians = {}
    for name, rows in results.items():
        steps = [row["step"] for row in rows]
        medians[name] = statistics.median(steps)
        print(f"{name:9} {'bf16' if options.bf16 else 'fp32'}: step median {medians[name]:.2f} s "
              f"({min(steps):.2f} to {max(steps):.2f}), forward median "
              f"{statistics.median(row['forward'] for row in rows):.2f} s, peak memory "
              f"{max(row['rss'] for row in rows):.2f} GiB")
    if len(medians) == 2:
        print(f"ratio: {medians['hf'] / medians['longspan']:.2f}")


if __name__ == "__main__":
    main()
