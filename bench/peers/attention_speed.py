#!/usr/bin/env python3
"""Attention alone, longspan's and everybody else's, on the same tensors: time, memory, agreement.

usage: attention_speed.py PROGRAM [--kind window lsh] [--tokens 4096 16384] [--dtype f32 bf16]
         [--window 128 256 512] [--hashes 1 2 4] [--sweep-tokens 16384] [--rounds 2] [--steps 3]
         [--threads N] [--cores near|far] [--most-full-tokens 16384] [--patience 15]
         [--most-seconds 600] [--json FILE] [--markdown FILE] [--plot PREFIX]
       attention_speed.py --from FILE.json... [--json FILE] [--markdown FILE] [--plot PREFIX]

Needs an environment with the peers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors reformer-pytorch \\
    local-attention matplotlib
Run it on an idle machine with a release build.

  window  --window keys on each side (256), 12 heads of 64. Peers: Hugging Face's Longformer (its
          sliding chunks), full attention (torch's scaled_dot_product_attention), FlexAttention
          compiled with a block mask (forward: it has no backward on CPUs), local-attention.
  lsh     not causal, chunks of 64, one of look-back, --hashes rounds of hashing (4), 8 heads of
          64, hash and sort included. Peers: reformer-pytorch with longspan's rotations. In bf16 it
          hashes in bf16 too, so that some tokens meet others: outputs 0.1 apart and more.
All --tokens are measured with one window and one number of hashes: 256 and 4, or the first ones
given when those are not among them. The others are measured at --sweep-tokens only.

`longspan bench attention --save` writes what it was given and what it made of it: each peer gets
the same q, k, v, gradient and rotations, and its outputs and gradients are compared with those
(relative L2 distance; full attention sees other keys: "-"). Each measurement is
a process of its own with one warm-up and --steps repetitions; longspan and the peers take turns,
--rounds times, never two at once. Seconds are the medians over all of them, the fraction of the
peak (of the data type, measured between longspan's repetitions) too. Memory is the largest
resident set of a process in any round: Python, torch and its compiler included, which takes
hundreds of MB before the first step (idle_bytes); longspan's process holds all tensors of its
check, gradients in a forward pass and fp32 copies in bf16 too. The peer's best of threads is
--threads and what it chooses itself; torch.compile is tried where it helps (FlexAttention).

Behind each line: the nanoseconds in which a line of the cache goes from core to core and back,
before and after (cores.py). --cores near, or far, measures again until both were so.

To bound a run: full attention is left out above --most-full-tokens and where only the window
changes; a peer whose repetitions took --patience seconds together makes no more in this round; one
that takes longer than --most-seconds, or more than nine tenths of the memory that was free, has
failed. What failed once in a row is not tried again there, and the run goes on; it ends with
status 1 when longspan itself failed somewhere.

--json is written after every row. --from makes tables and pictures of such files without measuring
(several: one report of them all). --markdown writes tables; --plot writes PREFIX_seconds.svg,
PREFIX_memory.svg and PREFIX_peak.svg (against tokens) and, when several windows or numbers of
hashes were measured, PREFIX_sweep.svg (seconds against those).
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import attention_report
from attention_report import SETTING, measured, setting
from cores import measure_in_place
from turns import cpu, peak_bytes

CHUNK = 64
BASE = {"window": 256, "lsh": 4}
PEERS = {"window": ["hf-chunks", "sdpa-full", "flex", "local-attention"],
         "lsh": ["reformer-pytorch"]}
HEADS = {"window": 12, "lsh": 8}


# ---- peers: each returns a function of the tensors that gives out; `amount` is the window or the
# number of hashes --------------------------------------------------------------------------------

def hf_chunks(torch, tensors, amount):
    """Longformer's core as modeling_longformer has it: scores in overlapping chunks, softmax over
    the band, product. It wants (B, T, H, D)."""
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    class Core(LongformerSelfAttention):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.one_sided_attn_window_size = amount
            self.config = type("Config", (), {"onnx_export": False})()

    core = Core()

    def attend(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
        scores = core._sliding_chunks_query_key_matmul(q, k, amount)
        weights = torch.nn.functional.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        # rows near the ends have -inf where there is no key
        return core._sliding_chunks_matmul_attn_probs_value(weights, v, amount).transpose(1, 2)

    return attend


def sdpa_full(torch, tensors, amount):
    return torch.nn.functional.scaled_dot_product_attention


def flex(torch, tensors, amount):
    """create_block_mask looks at all pairs, 8 bytes each: 34 GB for 65,536 tokens. What it would
    give is made here of whole blocks: those that a window sees in part, and in full."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    tokens, size = tensors["q"].shape[2], 128
    block = torch.arange(-(-tokens // size))
    gap = (block[:, None] - block).abs()
    whole = (block + 1) * size <= tokens
    full = ((gap + 1) * size - 1 <= amount) & whole[:, None] & whole
    part = ((gap - 1) * size + 1 <= amount) & ~full

    def ordered(seen):
        indices = seen.int().argsort(dim=-1, descending=True, stable=True)
        return seen.sum(-1).int()[None, None], indices.int()[None, None]

    mask = BlockMask.from_kv_blocks(*ordered(part), *ordered(full), BLOCK_SIZE=size,
                                    mask_mod=lambda b, h, q, k: (q - k).abs() <= amount,
                                    seq_lengths=(tokens, tokens))
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: compiled(q, k, v, block_mask=mask)


def local_attention(torch, tensors, amount):
    from local_attention import LocalAttention

    # Blocks of the window with one before and one behind, and a mask that leaves the window.
    core = LocalAttention(dim=64, window_size=amount, causal=False, look_backward=1, look_forward=1,
                          exact_windowsize=True, autopad=True, use_rotary_pos_emb=False)
    return core


def reformer_pytorch(torch, tensors, amount):
    """LSHAttention divides scores by sqrt(D) once more than Reformer's paper and transformers do:
    queries come in sqrt(D) times as long. Rotations are longspan's."""
    from reformer_pytorch.reformer_pytorch import LSHAttention

    rotations = tensors["rotations"]  # (H, D, R, columns)
    core = LSHAttention(bucket_size=CHUNK, n_hashes=amount, causal=False,
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
SAME_KEYS = {"hf-chunks", "flex", "local-attention", "reformer-pytorch"}
FORWARD_ONLY = {"flex"}


def distance(a, b):
    a, b = a.detach().float(), b.float()
    return ((a - b).norm() / b.norm()).item()


def bound_memory():
    """A peer that wants more than the machine has fails alone, and nothing else with it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            limit = int(line.split()[1]) * 1024 * 9 // 10
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def repeat(step, options):
    """Seconds of each repetition behind a warm-up, and what the last one gave."""
    seconds = []
    step()
    while not seconds or (len(seconds) < options.steps and sum(seconds) < options.patience):
        begin = time.perf_counter()
        out = step()
        seconds.append(time.perf_counter() - begin)
    return seconds, out


def measure(options):
    """In a process of its own: one peer on the saved tensors, as JSON."""
    bound_memory()
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(options.threads)
    tensors = load_file(options.child)
    peer, dtype = options.peer, torch.bfloat16 if options.dtype[0] == "bf16" else torch.float32
    attend = MAKERS[peer](torch, tensors, options.amount)
    idle = peak_bytes()
    names = ["qk", "v"] if "qk" in tensors else ["q", "k", "v"]
    inputs = [tensors[name].to(dtype) for name in names]
    dout = tensors["dout"].to(dtype)
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

    seconds, out = repeat(step, options)
    result = {"seconds": seconds, "bytes": peak_bytes(), "idle_bytes": idle,
              "torch": torch.__version__}
    if peer in SAME_KEYS:
        result["distance"] = distance(out, tensors["out"])
        if both:
            result["gradients"] = max(distance(x.grad, tensors["d" + name])
                                      for name, x in zip(names, inputs))
    print(json.dumps(result))


# ---- the run ------------------------------------------------------------------------------------

def cases(options, kind):
    """(tokens, window or hashes) of all rows."""
    amounts = getattr(options, SETTING[kind])
    found = {(tokens, options.base[kind]) for tokens in options.tokens}
    if len(amounts) > 1:
        found |= {(options.sweep_tokens, amount) for amount in amounts}
    return sorted(found)


def peers_of(options, row):
    for peer in PEERS[row["kind"]]:
        if row["pass"] == "both" and peer in FORWARD_ONLY:
            continue
        if peer == "sdpa-full" and (row["tokens"] > options.most_full_tokens
                                    or setting(row) != options.base[row["kind"]]):
            continue
        yield peer


def why(done):
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines)[-1].strip()[:300]


def ours(options, row, save=None):
    environment = {**os.environ, "LONGSPAN_THREADS": str(options.threads)}
    line = [options.program, "bench", "attention", "--kind", row["kind"], "--tokens",
            str(row["tokens"]), "--heads", str(HEADS[row["kind"]]), "--dtype", row["dtype"],
            "--pass", row["pass"], "--steps", str(options.steps), "--json"]
    if row["kind"] == "window":
        line += ["--window", str(row["window"])]
    else:  # reformer-pytorch hashes to tokens / chunk buckets in one factor
        line += ["--rounds", str(row["hashes"]), "--chunk", str(CHUNK), "--buckets",
                 str(row["tokens"] // CHUNK)]
    if save:
        line += ["--save", str(save)]
    for _ in range(3):
        done = subprocess.run(line, capture_output=True, text=True, env=environment)
        if "disturbed" not in done.stderr:  # "the machine was disturbed, run again"
            break
    if done.returncode != 0:
        return {"failed": why(done)}
    result = json.loads(done.stdout)
    return {"seconds": [result["seconds"]], "bytes": result["peak_rss_bytes"],
            "fraction": result["fraction"], "machine": result["machine"]}


def theirs(options, row, peer, tensors):
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    line = [sys.executable, sys.argv[0], "--child", str(tensors), "--peer", peer, "--amount",
            str(setting(row)), "--dtype", row["dtype"], "--passes", row["pass"], "--steps",
            str(options.steps), "--threads", str(options.threads), "--patience",
            str(options.patience)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=environment,
                              timeout=options.most_seconds)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {options.most_seconds:g} s"}
    if done.returncode != 0:
        return {"failed": why(done)}
    return json.loads(done.stdout.splitlines()[-1])


def join(rounds):
    if "failed" in rounds[-1]:
        return rounds[-1]
    seconds = [s for one in rounds for s in one["seconds"]]
    joined = {**rounds[-1], "seconds": statistics.median(seconds), "all_seconds": seconds,
              "bytes": max(one["bytes"] for one in rounds),
              "round_trips_ns": [ns for one in rounds for ns in one["round_trips_ns"]]}
    if "fraction" in joined:
        joined["fraction"] = statistics.median(one["fraction"] for one in rounds)
    return joined


def compare(options, row, folder):
    """The row with what longspan and its peers reported."""
    saved = Path(folder) / "tensors.safetensors"
    found = {name: [] for name in ["longspan", *peers_of(options, row)]}
    for turn in range(options.rounds):
        for name, reports in found.items():
            if reports and "failed" in reports[-1]:
                continue
            if name == "longspan":
                measure_one = partial(ours, options, row, saved if turn == 0 else None)
            elif saved.exists():
                measure_one = partial(theirs, options, row, name, saved)
            else:
                continue
            reports.append(measure_in_place(options.program, options.threads, options.cores,
                                            measure_one))
    saved.unlink(missing_ok=True)
    return {**row, **{name: join(reports) for name, reports in found.items() if reports}}


def write_json(report, path):
    """Whole or not at all."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(report, indent=1) + "\n")
    part.replace(path)


def run(options):
    report = {"cpu": cpu(), "threads": options.threads, "base": options.base,
              "sweep_tokens": options.sweep_tokens, "rows": []}
    print(f"{report['cpu']}, {options.threads} threads", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kind:
            for tokens, amount in cases(options, kind):
                for dtype in options.dtype:
                    for passes in ["forward", "both"]:
                        row = {"kind": kind, "tokens": tokens, SETTING[kind]: amount,
                               "dtype": dtype, "pass": passes}
                        report["rows"].append(compare(options, row, folder))
                        attention_report.tell(report["rows"][-1])
                        if options.json:
                            write_json(report, options.json)
    return report


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", nargs="?")
    parser.add_argument("--from", nargs="+", dest="reports", metavar="FILE",
                        help="instead of PROGRAM: what --json wrote")
    parser.add_argument("--kind", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--tokens", nargs="+", type=int, default=[4096, 16384])
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--window", nargs="+", type=int, default=[BASE["window"]],
                        help="keys on each side")
    parser.add_argument("--hashes", nargs="+", type=int, default=[BASE["lsh"]],
                        help="LSH attention's rounds of hashing")
    parser.add_argument("--sweep-tokens", type=int, default=16384,
                        help="the length at which further windows and hashes are measured")
    parser.add_argument("--rounds", type=int, default=2,
                        help="how often longspan and the peers take turns")
    parser.add_argument("--steps", type=int, default=3, help="repetitions of a process")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cores", choices=["near", "far"],
                        help="measure while the cores share a last cache, or do not")
    parser.add_argument("--most-full-tokens", type=int, default=16384,
                        help="full attention is left out above")
    parser.add_argument("--patience", type=float, default=15,
                        help="seconds of repetitions after which a peer makes no more")
    parser.add_argument("--most-seconds", type=float, default=600, help="of a peer's process")
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    parser.add_argument("--plot", metavar="PREFIX")
    for hidden in ["--peer", "--passes", "--child"]:
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--amount", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child and bool(options.program) == bool(options.reports):
        parser.error("either PROGRAM or --from")
    options.base = {kind: amount if amount in getattr(options, SETTING[kind])
                    else getattr(options, SETTING[kind])[0] for kind, amount in BASE.items()}
    return options


def main():
    options = parse()
    if options.child:
        measure(options)
        return
    if options.reports:
        report = attention_report.join([json.loads(Path(f).read_text()) for f in options.reports])
        if options.json:
            write_json(report, options.json)
    else:
        report = run(options)
    if options.markdown:
        Path(options.markdown).write_text(attention_report.markdown(report))
    if options.plot:
        attention_report.plot(report, options.plot)
    if not all(measured(row, "longspan") for row in report["rows"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
