"""Time and memory of a whole step of a model, Hugging Face's and longspan's, in turn.

A script describes its model (Model) and calls main(). Before anything is timed, what
`transformers` makes of a short row is recorded, and `longspan verify` compares its loss and its
gradients (Model.check; of --layers at most 4, in fp32). Each measurement is a fresh process with
one warm-up and --steps repetitions; Hugging Face and longspan take turns, --pairs times, each
first in every other pair, never two at once. Seconds are medians over all repetitions of all pairs
(longspan reports the median of a process: there they are medians of medians). `times` is the
median of the pairs' ratios, with its quartiles. Memory is the largest resident set of a process,
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
    config: Callable  # (size, tokens, layers or None) -> dict of config.json
    # (folder, options, torch, transformers) -> model, and the arguments that make it give a loss
    build: Callable
    check: bool = True  # both compute the same: no random numbers of their own

# Of the row that is compared before anything is timed.
CHECKED_TOKENS, CHECKED_LAYERS = 200, 4


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


def quartiles(values):
    """Lower quartile, median, upper quartile."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def record_theirs(kind, folder, options):
    """In a process of its own: a model whose every parameter is away from its initial value, its
    loss and its gradients, as a folder and a case for `longspan verify`."""
    import torch
    import transformers

    from peers import perturb, quiet, record

    quiet()
    torch.manual_seed(2)
    model, inputs = kind.build(folder, options, torch, transformers)
    perturb(model, 0.01)
    model.save_pretrained(folder)
    model.train()
    loss = model(**inputs).loss
    loss.backward()
    record(folder / "case.safetensors",
           {name: value for name, value in inputs.items() if torch.is_tensor(value)},
           {"loss": loss.detach(), "train_loss": loss.detach()},
           {f"grad.{name}": parameter.grad for name, parameter in model.named_parameters()
            if parameter.grad is not None})


def measure_theirs(kind, folder, options):
    """In a process of its own: the repetitions of one kind of step, as JSON."""
    import torch
    import transformers

    from peers import quiet

    quiet()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model, inputs = kind.build(folder, options, torch, transformers)
    dtype = options.dtype[0]
    if dtype == "bf16" and options.cast == "weights":
        model = model.to(torch.bfloat16)
    train = options.step[0] == "train"
    model.train(train)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3) if train else None

    def loss():
        autocast = dtype == "bf16" and options.cast == "autocast"
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(**inputs).loss

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


def child(folder, options, *more):
    """What this script prints in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, sys.argv[0], options.program, "--child", str(folder), "--threads",
               str(options.threads), *more]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def theirs(folder, kind, dtype, options):
    printed = child(folder, options, "--step", kind, "--dtype", dtype, "--tokens",
                    str(options.tokens), "--steps", str(options.steps), "--cast", options.cast)
    return json.loads(printed.splitlines()[-1])


def check(model, folder, options):
    """Ends with what differs unless both give a short row the same loss and the same gradients."""
    tokens = min(options.tokens, CHECKED_TOKENS)
    fields = model.config(options.size, tokens, min(options.layers or CHECKED_LAYERS,
                                                    CHECKED_LAYERS))
    (folder / "config.json").write_text(json.dumps(fields))
    child(folder, options, "--record", "--tokens", str(tokens))
    command = [options.program, "verify", str(folder), "--case", str(folder / "case.safetensors"),
               "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode > 1:
        raise SystemExit(done.stderr)
    report = json.loads(done.stdout)
    wrong = [tensor["name"] for tensor in report["tensors"] if not tensor["ok"]]
    if not report["ok"] or len(report["tensors"]) < 3:
        raise SystemExit(f"the two differ in {wrong or 'nothing that was compared'}")
    # Some gradients are zero but for rounding: a relative distance says nothing of them.
    worst = max(tensor["max_abs"] for tensor in report["tensors"])
    gradients = len(report["tensors"]) - 2  # the loss stands there twice
    print(f"{tokens} tokens, {fields['num_hidden_layers']} layers: the loss and {gradients} "
          f"gradients agree, no number is more than {worst:.1e} apart", flush=True)
    return {"tokens": tokens, "gradients": gradients, "largest_difference": worst}


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
    sides = [("theirs", theirs), ("ours", ours)]
    for _ in range(options.pairs):
        for name, measure in sides:
            rounds[name].append(measure(folder, kind, dtype, options))
        sides.reverse()
    row = {"step": kind, "dtype": dtype, **{name: join(all_) for name, all_ in rounds.items()}}
    row["times_quartiles"] = quartiles(
        [statistics.median(a["seconds"]) / statistics.median(b["seconds"])
         for a, b in zip(rounds["theirs"], rounds["ours"])])
    row["times_as_fast"] = row["times_quartiles"][1]
    row["part_of_memory"] = row["ours"]["bytes"] / row["theirs"]["bytes"]
    return row


def parse(description, model):
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--size", choices=model.sizes, default=model.sizes[-1])
    parser.add_argument("--tokens", type=int, default=model.tokens)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--layers", type=int, help="instead of the size's: where time is short")
    parser.add_argument("--pairs", "--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--step", nargs="+", choices=["forward", "train"],
                        default=["forward", "train"])
    parser.add_argument("--cast", choices=["autocast", "weights"], default="autocast")
    parser.add_argument("--memory", help="longspan's --memory in training steps")
    parser.add_argument("--json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main(description, model):
    options = parse(description, model)
    if options.child:
        (record_theirs if options.record else measure_theirs)(model, Path(options.child), options)
        return
    fields = model.config(options.size, options.tokens, options.layers)
    report = {"cpu": cpu(), "threads": options.threads, "size": options.size,
              "tokens": options.tokens, "layers": fields["num_hidden_layers"],
              "cast": options.cast, "pairs": options.pairs, "rows": []}
    print(f"{report['cpu']}, {options.threads} threads; {model.name} {options.size}, "
          f"{report['layers']} layers, {options.tokens} tokens, {options.pairs} pairs")
    if model.check:
        with tempfile.TemporaryDirectory() as folder:
            report["check"] = check(model, Path(folder), options)
    print(f"{'step':8} {'dtype':5} {'theirs s':>9} {'ours s':>9} {'times':>6} {'quartiles':>12} "
          f"{'theirs MB':>10} {'ours MB':>8} {'part':>5} {'of peak':>7}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(fields))
        for kind in options.step:
            for dtype in options.dtype:
                row = compare(Path(folder), kind, dtype, options)
                report["rows"].append(row)
                print(f"{kind:8} {dtype:5} {row['theirs']['seconds']:9.3f} "
                      f"{row['ours']['seconds']:9.3f} {row['times_as_fast']:6.2f} "
                      f"{row['times_quartiles'][0]:5.2f} to{row['times_quartiles'][2]:5.2f} "
                      f"{row['theirs']['bytes'] / 1e6:10.0f} {row['ours']['bytes'] / 1e6:8.0f} "
                      f"{row['part_of_memory']:5.2f} {row['ours']['fraction_of_peak']:7.2f}",
                      flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
