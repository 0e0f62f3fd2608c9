#!/usr/bin/env python3
"""What `plan` foretells beside what `bench train` then measures: peak memory and seconds of a step.

usage: plan_check.py PROGRAM [--cases N...] [--steps N] [--json]
       plan_check.py PROGRAM --ranks 1 2 [--steps N] [--json]   updates under mpirun instead, on this machine,
                                                                with a thread each

Ten configurations of both models, small to large, from 2,048 to 65,536 tokens, in fp32 and bf16. Each
plan and each step is a process of its own, one after the other; nothing else should run. About ten
minutes and 5 GB on two cores.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TEXT = Path(__file__).resolve().parent.parent / "data" / "persuasion.txt"
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


def check_ranks(folder, ranks, steps):
    """Seconds of an update: of four micro-batches, on a link as fast as `bench world` finds it."""
    mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-x", "LONGSPAN_THREADS=1",
              "-n", str(ranks), folder.program]
    tokens, micros, start, out = 1024, 4, folder.path / "start", folder.path / f"run-{ranks}"
    def together(*words):
        print("$ mpirun -n", ranks, "longspan", *words, file=sys.stderr, flush=True)
        return subprocess.run([*mpirun, *map(str, words)], check=True, text=True, stdout=subprocess.PIPE).stdout
    run(folder.program, "init", "--arch", "reformer", "--preset", "small", "-o", start, "--overwrite")
    link = []
    if ranks > 1:
        pairs = json.loads(together("bench", "world", "--json"))["pairs"]
        link = ["--link", f"{min(pair['bytes_per_s'] for pair in pairs) * 1e-6:.1f}MB/s"]
    plan = json.loads(run(folder.program, "plan", "-m", start, "--tokens", tokens, "--accumulate", micros, "-t", 1,
                          "--ranks", ranks, "--ranks-here", ranks, *link, "--json"))
    update = next(step for step in plan["steps"] if step["attention"] == "local")["update"]
    together("train", "lm", "-m", start, "--train", TEXT, "-o", out, "--tokens", tokens, "--batch", 1, "--accumulate",
             micros, "--attention", "local", "--steps", steps, "--log-every", 1, "--eval-every", 0, "--progress", "none")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rates = [line["tokens_per_s"] for line in lines if line["kind"] == "train"][1:]
    seconds = micros * tokens / statistics.median(rates)
    return {"ranks": ranks, "planned_seconds": update["seconds"], "seconds": seconds,
            "planned_efficiency": update["efficiency"]}


def percent(planned, measured):
    return f"{100.0 * (planned / measured - 1.0):+.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--cases", nargs="+", type=int, default=range(1, len(CASES) + 1),
                        choices=range(1, len(CASES) + 1), metavar="N")
    parser.add_argument("--ranks", nargs="+", type=int, metavar="N")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(a.program, path)
        if a.ranks:
            rows = [check_ranks(folder, ranks, max(4, a.steps)) for ranks in a.ranks]
            for r in rows:
                r["off"] = percent(r["planned_seconds"], r["seconds"])
            print(json.dumps(rows, indent=2))
            return
        rows = [check(CASES[number - 1], folder, a.steps) for number in a.cases]
    if a.json:
        print(json.dumps(rows, indent=2))
        return
    print("| model | rows x tokens | attention | dtype | MB planned | MB seen | | s planned | s seen | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['model']} | {r['rows']} x {r['tokens']:,} | {r['attention']} | {r['dtype']} | "
              f"{r['planned_bytes'] * 1e-6:,.0f} | {r['bytes'] * 1e-6:,.0f} | "
              f"{percent(r['planned_bytes'], r['bytes'])} | {r['planned_seconds']:.2f} | "
              f"{r['seconds']:.2f} | {percent(r['planned_seconds'], r['seconds'])} |")


if __name__ == "__main__":
    main()
