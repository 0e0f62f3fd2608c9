#!/usr/bin/env python3
"""Hugging Face's Longformer beside longspan's: time and memory of a forward pass and of a step.

usage: longformer_speed.py PROGRAM [--size base|small|tiny] [--tokens 4096] [--steps 3] [--rounds 2]
                           [--threads N] [--dtype f32 bf16] [--step forward train]
                           [--cast autocast|weights] [--json FILE]

Needs an environment with torch and transformers, some gigabytes on a disk:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
Run it on an idle machine with a release build; a base-size step takes 10 to 20 GB.

Both get one config.json: LongformerForMaskedLM of that size with dropout 0, random weights, one row
of random tokens of which the first is global, labels on 15 % of them.
  forward  the loss in evaluation mode, without gradients
  train    forward, backward and AdamW's update, for both
Each measurement is a fresh process with one warm-up and --steps repetitions; Hugging Face and
longspan take turns, --rounds times, never two at once. Seconds are medians over all repetitions of
all rounds (longspan reports the median of a process: there they are medians of medians), memory is
the largest resident set of a process, interpreter and libraries included.
bf16 of Hugging Face is torch.autocast over fp32 weights, as longspan's masters are; `--cast weights`
makes the weights themselves bf16, which saves memory and loses small updates.
Prints a table and, with --json, writes all figures.
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
from pathlib import Path

# hidden, heads, layers, attention_window (both sides), positions
SIZES = {"tiny": (128, 2, 2, 64, 1026), "small": (256, 4, 6, 256, 4098),
         "base": (768, 12, 12, 512, 4098)}
LABELLED = 0.15


def write_config(folder, size):
    hidden, heads, layers, window, positions = SIZES[size]
    config = {"model_type": "longformer", "architectures": ["LongformerForMaskedLM"],
              "vocab_size": 50265, "hidden_size": hidden, "num_attention_heads": heads,
              "num_hidden_layers": layers, "intermediate_size": 4 * hidden,
              "attention_window": [window] * layers, "max_position_embeddings": positions,
              "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
              "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
              "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))


def peak_bytes():
    """The largest resident set of this process (not that of the one that started it)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("/proc/self/status names no VmHWM")


def measure_theirs(folder, options):
    """In a process of its own: the repetitions of one kind of step, as JSON."""
    import torch
    import transformers

    from peers import quiet

    quiet()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    config = transformers.LongformerConfig.from_pretrained(folder)
    model = transformers.LongformerForMaskedLM(config)
    dtype = options.dtype[0]
    if dtype == "bf16" and options.cast == "weights":
        model = model.to(torch.bfloat16)
    ids = torch.randint(3, config.vocab_size, (1, options.tokens))
    labels = torch.where(torch.rand(ids.shape) < LABELLED, ids, -100)
    labels[0, 0] = ids[0, 0]
    where = torch.zeros_like(ids)
    where[0, 0] = 1
    train = options.step[0] == "train"
    model.train(train)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3) if train else None

    def loss():
        autocast = dtype == "bf16" and options.cast == "autocast"
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(input_ids=ids, global_attention_mask=where, labels=labels).loss

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
    command = [sys.executable, __file__, options.program, "--child", str(folder), "--step", kind,
               "--dtype", dtype, "--tokens", str(options.tokens), "--steps", str(options.steps),
               "--threads", str(options.threads), "--cast", options.cast]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def ours(folder, kind, dtype, options):
    environment = {**os.environ, "LONGSPAN_THREADS": str(options.threads)}
    command = [options.program, "bench", kind, "--config", str(folder / "config.json"), "--tokens",
               str(options.tokens), "--dtype", dtype, "--steps", str(options.steps), "--json"]
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


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtype", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--step", nargs="+", choices=["forward", "train"],
                        default=["forward", "train"])
    parser.add_argument("--cast", choices=["autocast", "weights"], default="autocast")
    parser.add_argument("--json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    if options.child:
        measure_theirs(Path(options.child), options)
        return
    report = {"cpu": cpu(), "threads": options.threads, "size": options.size,
              "tokens": options.tokens, "cast": options.cast, "rows": []}
    print(f"{report['cpu']}, {options.threads} threads; Longformer {options.size}, "
          f"{options.tokens} tokens")
    print(f"{'step':8} {'dtype':5} {'theirs s':>9} {'ours s':>9} {'times':>6} {'theirs MB':>10} "
          f"{'ours MB':>8} {'part':>5}")
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), options.size)
        for kind in options.step:
            for dtype in options.dtype:
                row = compare(Path(folder), kind, dtype, options)
                report["rows"].append(row)
                print(f"{kind:8} {dtype:5} {row['theirs']['seconds']:9.3f} "
                      f"{row['ours']['seconds']:9.3f} {row['times_as_fast']:6.2f} "
                      f"{row['theirs']['bytes'] / 1e6:10.0f} {row['ours']['bytes'] / 1e6:8.0f} "
                      f"{row['part_of_memory']:5.2f}", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
