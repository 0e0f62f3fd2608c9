#!/usr/bin/env python3
"""Attention alone, longspan's and everybody else's, on the same tensors: time and agreement.

usage: attention_speed.py PROGRAM [--kind window lsh] [--tokens 4096 16384] [--dtype f32 bf16]
                          [--rounds 2] [--steps 3] [--threads N] [--json FILE] [--plot FILE.svg]

Needs an environment with the peers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors reformer-pytorch \\
    local-attention matplotlib
Run it on an idle machine with a release build.

  window  256 keys on each side, 12 heads of 64. Peers: Hugging Face's Longformer (its sliding
          chunks), full attention (torch's scaled_dot_product_attention), FlexAttention compiled
          with a block mask (forward: it has no backward on CPUs), local-attention.
  lsh     not causal, chunks of 64, one of look-back, 4 rounds, 8 heads of 64, hash and sort
          included. Peers: reformer-pytorch with longspan's rotations.
`longspan bench attention --save` writes what it was given and what it made of it: each peer gets
the same q, k, v, gradient and rotations, and its outputs and gradients are compared with those
(relative L2 distance; full attention and local-attention see other keys: "-"). Each measurement is
a process of its own with one warm-up; longspan and the peers take turns, never two at once, and
seconds are the medians over all rounds. The peer's best of threads is --threads and what it
chooses itself; torch.compile is tried where it helps (FlexAttention).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from turns import cpu, peak_bytes

WINDOW, CHUNK, ROUNDS = 256, 64, 4
PEERS = {"window": ["hf-chunks", "sdpa-full", "flex", "local-attention"],
         "lsh": ["reformer-pytorch"]}
HEADS = {"window": 12, "lsh": 8}


# ---- peers: each returns a function of the tensors that gives out -------------------------------

def hf_chunks(torch, tensors):
    """Longformer's core as modeling_longformer has it: scores in overlapping chunks, softmax over
    the band, product. It wants (B, T, H, D)."""
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    class Core(LongformerSelfAttention):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.one_sided_attn_window_size = WINDOW
            self.config = type("Config", (), {"onnx_export": False})()

    core = Core()

    def attend(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
        scores = core._sliding_chunks_query_key_matmul(q, k, WINDOW)
        weights = torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        # rows near the ends have -inf where there is no key
        return core._sliding_chunks_matmul_attn_probs_value(weights, v, WINDOW).transpose(1, 2)

    return attend


def sdpa_full(torch, tensors):
    return torch.nn.functional.scaled_dot_product_attention


def flex(torch, tensors):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    tokens = tensors["q"].shape[2]
    mask = create_block_mask(lambda b, h, q, k: (q - k).abs() <= WINDOW, None, None, tokens, tokens,
                             device="cpu", BLOCK_SIZE=128)
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: compiled(q, k, v, block_mask=mask)


def local_attention(torch, tensors):
    from local_attention import LocalAttention

    # Blocks of 256 with one before and one behind: 768 keys for each query.
    core = LocalAttention(dim=64, window_size=WINDOW, causal=False, look_backward=1, look_forward=1,
                          autopad=True, use_rotary_pos_emb=False)
    return core


def reformer_pytorch(torch, tensors):
    """LSHAttention divides scores by sqrt(D) once more than Reformer's paper and transformers do:
    queries come in sqrt(D) times as long. Rotations are longspan's."""
    from reformer_pytorch.reformer_pytorch import LSHAttention

    rotations = tensors["rotations"]  # (H, D, R, columns)
    core = LSHAttention(bucket_size=CHUNK, n_hashes=ROUNDS, causal=False,
                        random_rotations_per_head=True, return_attn=False, dropout=0.0)
    drawn = torch.randn

    def attend(qk, v):
        heads = qk.shape[1]
        torch.randn = lambda *shape, **options: rotations.to(qk.dtype)
        try:
            out, *_ = core(qk[0] * qk.shape[-1] ** 0.5, v[0])
        finally:
            torch.randn = drawn
        return out.reshape(1, heads, *out.shape[1:])

    return attend


MAKERS = {"hf-chunks": hf_chunks, "sdpa-full": sdpa_full, "flex": flex,
          "local-attention": local_attention, "reformer-pytorch": reformer_pytorch}
SAME_KEYS = {"hf-chunks", "flex", "reformer-pytorch"}
FORWARD_ONLY = {"flex"}


def distance(a, b):
    a, b = a.detach().float(), b.float()
    return ((a - b).norm() / b.norm()).item()


def measure(options):
    """In a process of its own: one peer on the saved tensors, as JSON."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(options.threads)
    tensors = load_file(options.child)
    peer, dtype = options.peer, torch.bfloat16 if options.dtype[0] == "bf16" else torch.float32
    names = ["qk", "v"] if "qk" in tensors else ["q", "k", "v"]
    inputs = [tensors[name].to(dtype) for name in names]
    dout = tensors["dout"].to(dtype)
    attend = MAKERS[peer](torch, tensors)
    both = options.passes == "both"
    for x in inputs:
        x.requires_grad_(both)

    def step():
        with torch.set_grad_enabled(both):
            out = attend(*inputs)
        if both:
            for x in inputs:
                x.grad = None
            out.backward(dout)
        return out

    seconds = []
    for repetition in range(options.steps + 1):
        begin = time.perf_counter()
        out = step()
        if repetition > 0:
            seconds.append(time.perf_counter() - begin)
    result = {"seconds": seconds, "bytes": peak_bytes(), "torch": torch.__version__}
    if peer in SAME_KEYS:
        result["distance"] = distance(out, tensors["out"])
        if both:
            result["gradients"] = max(distance(x.grad, tensors["d" + name])
                                      for name, x in zip(names, inputs))
    print(json.dumps(result))


# ---- the run ------------------------------------------------------------------------------------

def arguments(kind, tokens, dtype, passes, steps):
    line = ["bench", "attention", "--kind", kind, "--tokens", str(tokens), "--heads",
            str(HEADS[kind]), "--dtype", dtype, "--pass", passes, "--steps", str(steps)]
    if kind == "lsh":
        # reformer-pytorch hashes to tokens / chunk buckets in one factor.
        line += ["--rounds", str(ROUNDS), "--chunk", str(CHUNK), "--buckets", str(tokens // CHUNK)]
    return line


def ours(options, *what, save=None):
    environment = {**os.environ, "LONGSPAN_THREADS": str(options.threads)}
    line = [options.program, *arguments(*what, options.steps), "--json"]
    if save:
        line += ["--save", str(save)]
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
    result = json.loads(done.stdout)
    return {"seconds": [result["seconds"]], "bytes": result["peak_rss_bytes"],
            "fraction": result["fraction"], "machine": result["machine"]}


def theirs(options, peer, tensors, dtype, passes):
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    line = [sys.executable, sys.argv[0], options.program, "--child", str(tensors), "--peer", peer,
            "--dtype", dtype, "--passes", passes, "--steps", str(options.steps), "--threads",
            str(options.threads)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        return {"failed": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def join(rounds):
    if "failed" in rounds[-1]:
        return rounds[-1]
    seconds = [s for one in rounds for s in one["seconds"]]
    return {**rounds[-1], "seconds": statistics.median(seconds), "all_seconds": seconds}


def compare(options, kind, tokens, dtype, passes, folder):
    saved = Path(folder) / "tensors.safetensors"
    all_ = {"longspan": []}
    for turn in range(options.rounds):
        all_["longspan"].append(
            ours(options, kind, tokens, dtype, passes, save=saved if turn == 0 else None))
        for peer in PEERS[kind]:
            if passes == "both" and peer in FORWARD_ONLY:
                continue
            all_.setdefault(peer, []).append(theirs(options, peer, saved, dtype, passes))
    saved.unlink()
    return {"kind": kind, "tokens": tokens, "dtype": dtype, "pass": passes,
            **{name: join(rounds) for name, rounds in all_.items()}}


def tell(row):
    mine = row["longspan"]
    print(f"{row['kind']:7} {row['tokens']:6} {row['dtype']:4} {row['pass']:8} "
          f"{'longspan':17} {mine['seconds']:9.4f}              {mine['fraction']:.2f} of the peak")
    for peer in PEERS[row["kind"]]:
        other = row.get(peer)
        if other is None:
            continue
        if "failed" in other:
            print(f"{'':29}{peer:17} failed: {other['failed']}")
            continue
        agreement = "-"
        if "distance" in other:
            agreement = f"out differs by {other['distance']:.1e}"
            if "gradients" in other:
                agreement += f", gradients by {other['gradients']:.1e}"
        print(f"{'':29}{peer:17} {other['seconds']:9.4f} "
              f"{other['seconds'] / mine['seconds']:8.1f} times  {agreement}", flush=True)


def plot(rows, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = sorted({(r["kind"], r["pass"], r["dtype"]) for r in rows})
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.6), squeeze=False)
    for axis, panel in zip(axes[0], panels):
        mine = [r for r in rows if (r["kind"], r["pass"], r["dtype"]) == panel]
        for name in ["longspan", *PEERS[panel[0]]]:
            points = [(r["tokens"], r[name]["seconds"]) for r in mine
                      if name in r and "failed" not in r[name]]
            if points:
                axis.plot(*zip(*points), marker="o", label=name, linewidth=2 if name == "longspan"
                          else 1)
        axis.set(xscale="log", yscale="log", xlabel="tokens", ylabel="seconds",
                 title=f"{panel[0]}, {panel[1]}, {panel[2]}")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--kind", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--tokens", nargs="+", type=int, default=[4096, 16384])
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json")
    parser.add_argument("--plot")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--passes", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    if options.child:
        measure(options)
        return
    report = {"cpu": cpu(), "threads": options.threads, "rows": []}
    print(f"{report['cpu']}, {options.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kind:
            for tokens in options.tokens:
                for dtype in options.dtype:
                    for passes in ["forward", "both"]:
                        row = compare(options, kind, tokens, dtype, passes, folder)
                        report["rows"].append(row)
                        tell(row)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        plot(report["rows"], options.plot)


if __name__ == "__main__":
    main()
