"""Time and memory of a whole step of a model, Hugging Face's and longspan's, in turn.

A script describes its model (Model) and calls main(). Each measurement is a fresh process with one
warm-up and --steps repetitions; Hugging Face and longspan take turns, --rounds times, never two at
once. Seconds are medians over all repetitions of all rounds (longspan reports the median of a
process: there they are medians of medians), memory is the largest resident set of a process,
interpreter and libraries included.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass
class Model:
    name: str
    sizes: list
    tokens: int
    config: Callable  # (size, tokens) -> dict of config.json
    # (folder, options, torch, transformers) -> model, and a function of it that gives the loss
    build: Callable


def peak_bytes():
    """The largest resident set of this process (not that of the one that started it)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status names no VmHWM")


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def measure_theirs(kind, folder, options):
    """In a process of its own: the repetitions of one kind of step, as JSON."""
    import torch
    import transformers

    from peers import quiet

    quiet()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model, loss_of = kind.build(folder, options, torch, transformers)
    dtype = options.dtype[0]
    if dtype == "bf16" and options.cast == "weights":
        model = model.to(torch.bfloat16)
    train = options.step[0] == "train"
    model.train(train)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3) if train else None

    def loss():
        autocast = dtype == "bf16" and options.cast == "autocast"
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return loss_of(model)

    def step():
        if not train:
            with torch.no_grad():
                return loss().item()
        optimiser.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        optimiser.step()
        return value.item()

    seconds = []
    for repetition in range(options.steps + 1):
        begin = time.perf_counter()
        value = step()
        if repetition > 0:
            seconds.append(time.perf_counter() - begin)
    if not 0 < value < 1e3:
        raise SystemExit(f"the loss is {value}")
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes(), "torch": torch.__version__,
                      "transformers": transformers.__version__}))


def theirs(folder, kind, dtype, options):
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, sys.argv[0], options.program, "--child", str(folder), "--step", kind,
               "--dtype", dtype, "--tokens", str(options.tokens), "--steps", str(options.steps),
               "--threads", str(options.threads), "--cast", options.cast]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def ours(folder, kind, dtype, options):
    environment = {**os.environ, "LONGSPAN_THREADS": str(options.threads)}
    command = [options.program, "bench", kind, "--config", str(folder / "config.json"), "--tokens",
               str(options.tokens), "--dtype", dtype, "--steps", str(options.steps), "--json"]
    if options.memory and kind == "train":
        command += ["--memory", options.memory]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result = json.loads(done.stdout)
    return {"seconds": [result["seconds"]], "bytes": result["peak_rss_bytes"],
            "fraction_of_peak": result["fraction"], "machine": result["machine"]}


def join(rounds):
    seconds = [s for one in rounds for s in one["seconds"]]
    return {**rounds[-1], "seconds": statistics.median(seconds), "all_seconds": seconds,
            "bytes": max(one["bytes"] for one in rounds)}


def compare(folder, kind, dtype, options):
    rounds = {"theirs": [], "ours": []}
    for _ in range(options.rounds):
        rounds["theirs"].append(theirs(folder, kind, dtype, options))
        rounds["ours"].append(ours(folder, kind, dtype, options))
    row = {"step": kind, "dtype": dtype, **{name: join(all_) for name, all_ in rounds.items()}}
    row["times_as_fast"] = row["theirs"]["seconds"] / row["ours"]["seconds"]
    row["part_of_memory"] = row["ours"]["bytes"] / row["theirs"]["bytes"]
    return row


def parse(description, model):
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--size", choices=model.sizes, default=model.sizes[-1])
    parser.add_argument("--tokens", type=int, default=model.tokens)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--step", nargs="+", choices=["forward", "train"],
                        default=["forward", "train"])
    parser.add_argument("--cast", choices=["autocast", "weights"], default="autocast")
    parser.add_argument("--memory", help="longspan's --memory in training steps")
    parser.add_argument("--json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main(description, model):
    options = parse(description, model)
    if options.child:
        measure_theirs(model, Path(options.child), options)
        return
    report = {"cpu": cpu(), "threads": options.threads, "size": options.size,
              "tokens": options.tokens, "cast": options.cast, "rows": []}
    print(f"{report['cpu']}, {options.threads} threads; {model.name} {options.size}, "
          f"{options.tokens} tokens")
    print(f"{'step':8} {'dtype':5} {'theirs s':>9} {'ours s':>9} {'times':>6} {'theirs MB':>10} "
          f"{'ours MB':>8} {'part':>5} {'of peak':>7}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(
            json.dumps(model.config(options.size, options.tokens)))
        for kind in options.step:
            for dtype in options.dtype:
                row = compare(Path(folder), kind, dtype, options)
                report["rows"].append(row)
                print(f"{kind:8} {dtype:5} {row['theirs']['seconds']:9.3f} "
                      f"{row['ours']['seconds']:9.3f} {row['times_as_fast']:6.2f} "
                      f"{row['theirs']['bytes'] / 1e6:10.0f} {row['ours']['bytes'] / 1e6:8.0f} "
                      f"{row['part_of_memory']:5.2f} {row['ours']['fraction_of_peak']:7.2f}",
                      flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
