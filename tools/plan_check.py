#!/usr/bin/env python3
"""What `plan` foretells beside what `bench train` then measures: peak memory and seconds of a step.

usage: plan_check.py PROGRAM [--cases N...] [--steps N] [--json]
       plan_check.py PROGRAM --ranks 1 2 4 [--cases N...] [--tiny] [--steps N] [--mpirun WORDS] [--json]

Ten configurations of both models, small to large, from 2,048 to 65,536 tokens, in fp32 and bf16. Each
plan and each step is a process of its own, one after the other; nothing else should run. About ten
minutes and 5 GB on two cores.

With --ranks it compares updates under mpirun instead: four configurations of four models, in which ranks
share updates, or rows, in fp32 and bf16. Each rank has one thread. Where there are more ranks than CPUs,
memory alone is compared. It ends with 1 if a plan is further off than 15 %. --tiny takes the smallest
models and short rows: that shows in seconds whether all of it runs, and compares no times. --mpirun has
words for mpirun, as "--hostfile hosts": the ranks then count as one on each machine.
"""
import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

# architecture, preset, rows, tokens, attention (Longformers: window), dtype
CASES = [
    ("reformer", "tiny", 1, 4096, "lsh", "f32"),
    ("reformer", "tiny", 8, 2048, "local", "f32"),
    ("reformer", "small", 1, 8192, "local", "f32"),
    ("reformer", "base", 1, 4096, "full", "f32"),
    ("reformer", "base", 4, 4096, "lsh", "f32"),
    ("reformer", "base", 1, 16384, "lsh", "f32"),
    ("reformer", "base", 1, 16384, "lsh", "bf16"),
    ("reformer", "base", 1, 65536, "lsh", "f32"),
    ("longformer", "base", 1, 4096, "window", "f32"),
    ("longformer", "base", 2, 2048, "window", "bf16"),
]
# Of several ranks: the same, then micro-batches for each rank and whether all ranks share each row.
RANK_CASES = [
    ("reformer", "base", 1, 16384, "lsh", "f32", 1, False),
    ("longformer", "base", 1, 4096, "window", "f32", 1, True),
    ("bert", "base", 4, 512, "full", "bf16", 2, False),
    ("modernbert", "base", 1, 4096, "config", "f32", 1, True),
]
MOST_OFF = 0.15


def run(program, *words):
    print("$ longspan", *words, file=sys.stderr, flush=True)
    return subprocess.run([program, *map(str, words)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def model(arch, preset, tokens, folder):
    """Words that name a model with positions for so many tokens."""
    words = ["--arch", arch, "--preset", preset]
    if arch == "longformer" or tokens <= 16384:
        return words
    run(folder.program, "init", *words, "-o", folder.path / "start", "--overwrite")
    config = json.loads((folder.path / "start" / "config.json").read_text())
    config["max_position_embeddings"] = tokens
    config["axial_pos_shape"] = [tokens // config["axial_pos_shape"][1], config["axial_pos_shape"][1]]
    file = folder.path / "config.json"
    file.write_text(json.dumps(config))
    return ["--config", file]


class Folder:
    def __init__(self, program, path):
        self.program, self.path = program, Path(path)


def check(case, folder, steps):
    arch, preset, rows, tokens, attention, dtype = case
    words = [*model(arch, preset, tokens, folder), "--batch", rows, "--tokens", tokens, "--dtype", dtype]
    plan = next(step for step in json.loads(run(folder.program, "plan", *words, "--json"))["steps"]
                if step["attention"] == attention)
    kind = ["--attention", attention] if arch == "reformer" else []
    bench = json.loads(run(folder.program, "bench", "train", *words, *kind, "--steps", steps, "--json"))
    return {"model": f"{arch} {preset}", "rows": rows, "tokens": tokens, "attention": attention,
            "dtype": dtype, "planned_bytes": plan["bytes"]["total"], "bytes": bench["peak_rss_bytes"],
            "planned_seconds": plan["estimated_seconds"], "seconds": bench["seconds"]}


def rank_case(number, tiny):
    case = RANK_CASES[number - 1]
    if not tiny:
        return case
    arch, _, rows, tokens, *rest = case
    return (arch, "tiny", rows, min(256, tokens), *rest)


def mpirun(program, ranks, more):
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-x", "LONGSPAN_THREADS=1",
            *more, "-n", str(ranks), program]


def together(program, ranks, more, *words):
    """What rank 0 prints: one JSON document."""
    command = [*mpirun(program, ranks, more), *map(str, words), "--json"]
    print("$", shlex.join(command), file=sys.stderr, flush=True)
    return json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)


def check_ranks(case, folder, ranks, options):
    """An update of so many ranks, on a link as fast as `bench world` finds it."""
    arch, preset, rows, tokens, attention, dtype, each, shares = case
    row_ranks = ranks if shares else 1
    micros = each * ranks // row_ranks
    more = shlex.split(options.mpirun)
    timed = not options.tiny and (bool(more) or ranks <= len(os.sched_getaffinity(0)))
    words = [*model(arch, preset, tokens, folder), "--batch", rows, "--tokens", tokens, "--dtype", dtype,
             "--accumulate", micros, "--row-ranks", row_ranks]
    shared = ["--ranks", ranks, "--ranks-here", 1 if more else ranks]
    if ranks > 1 and timed:
        pairs = together(folder.program, ranks, more, "bench", "world")["pairs"]
        shared += ["--link", f"{min(pair['bytes_per_s'] for pair in pairs) * 1e-6:.1f}MB/s"]
    plan = json.loads(run(folder.program, "plan", *words, *shared, "-t", 1, *([] if timed else ["--trial", 0]),
                          "--json"))
    step = next(step for step in plan["steps"] if step["attention"] == attention)
    kind = ["--attention", attention] if arch == "reformer" else []
    bench = together(folder.program, ranks, more, "bench", "train", *words, *kind, "--steps",
                     options.steps if timed else 1)
    found = {"model": f"{arch} {preset}", "rows": rows, "tokens": tokens, "attention": attention, "dtype": dtype,
             "ranks": ranks, "row_ranks": row_ranks, "accumulate": micros,
             "planned_bytes": step["bytes"]["total"], "bytes": bench["peak_rss_bytes"],
             "waiting": bench.get("waiting", 0.0), "exchanged": bench.get("exchanged", {})}
    if timed:
        found |= {"planned_seconds": step["update"]["seconds"], "seconds": bench["seconds"],
                  "planned_efficiency": step["update"]["efficiency"]}
    return found


def is_off(found):
    pairs = [(found["planned_bytes"], found["bytes"])]
    if "seconds" in found:
        pairs.append((found["planned_seconds"], found["seconds"]))
    return any(abs(planned / measured - 1.0) > MOST_OFF for planned, measured in pairs)


def ranks_table(rows):
    print("| model | rows x tokens | attention | dtype | ranks | sharing rows | micro-batches | MB planned | MB seen | |"
          " s planned | s seen | | waiting |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        times = "| | | |"
        if "seconds" in r:
            times = (f"| {r['planned_seconds']:.2f} | {r['seconds']:.2f} | "
                     f"{percent(r['planned_seconds'], r['seconds'])} |")
        print(f"| {r['model']} | {r['rows']} x {r['tokens']:,} | {r['attention']} | {r['dtype']} | {r['ranks']} | "
              f"{r['row_ranks']} | {r['accumulate']} | {r['planned_bytes'] * 1e-6:,.0f} | {r['bytes'] * 1e-6:,.0f} | "
              f"{percent(r['planned_bytes'], r['bytes'])} {times} {100.0 * r['waiting']:.0f} % |")


def percent(planned, measured):
    return f"{100.0 * (planned / measured - 1.0):+.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--cases", nargs="+", type=int, metavar="N")
    parser.add_argument("--ranks", nargs="+", type=int, metavar="N")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--mpirun", default="", metavar="WORDS")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    cases = RANK_CASES if a.ranks else CASES
    numbers = a.cases or range(1, len(cases) + 1)
    if not set(numbers) <= set(range(1, len(cases) + 1)):
        parser.error(f"--cases {' '.join(map(str, numbers))}: need numbers from 1 to {len(cases)}")
    if not a.ranks and (a.tiny or a.mpirun):
        parser.error("--tiny and --mpirun are for --ranks")
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(a.program, path)
        if a.ranks:
            rows = [check_ranks(rank_case(number, a.tiny), folder, ranks, a) for number in numbers for ranks in a.ranks]
        else:
            rows = [check(cases[number - 1], folder, a.steps) for number in numbers]
    if a.ranks:
        if a.json:
            print(json.dumps(rows, indent=2))
        else:
            ranks_table(rows)
        return 1 if any(map(is_off, rows)) else 0
    if a.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("| model | rows x tokens | attention | dtype | MB planned | MB seen | | s planned | s seen | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['model']} | {r['rows']} x {r['tokens']:,} | {r['attention']} | {r['dtype']} | "
              f"{r['planned_bytes'] * 1e-6:,.0f} | {r['bytes'] * 1e-6:,.0f} | "
              f"{percent(r['planned_bytes'], r['bytes'])} | {r['planned_seconds']:.2f} | "
              f"{r['seconds']:.2f} | {percent(r['planned_seconds'], r['seconds'])} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
