#!/usr/bin/env python3
"""Table 2 of the Reformer paper: trained with one attention, judged with others, on rows 0w0w.

usage: duplication_table.py PROGRAM [--tokens T] [--steps N] [--batch B] [--symbols S] [--seeds 1 2 3]
                            [--trained full lsh-4 lsh-2 lsh-1] [--rows R] [-o DIR] [--json]

Trains a model of one layer with full attention and with 4, 2 and 1 rounds of hashing by
`longspan puzzle duplication`, which judges it with full attention and 8, 4, 2 and 1 rounds. With several
seeds the table has medians. A run that is there is not trained again, and one that was interrupted goes
on from its last checkpoint. The table lies in DIR/table.md, all figures in table.json, the curves in
duplication.svg.
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

SCORED = ["full", "lsh-8", "lsh-4", "lsh-2", "lsh-1"]
PAPER = {"full": [100, 94.8, 92.5, 76.9, 52.5], "lsh-4": [0.8, 100, 99.9, 99.4, 91.9],
         "lsh-2": [0.8, 100, 99.9, 98.1, 86.8], "lsh-1": [0.8, 99.9, 99.6, 94.8, 77.9]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--symbols", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--trained", nargs="+", choices=list(PAPER), default=list(PAPER))
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path, default=Path("duplication-table"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def trained(a, attention, seed):
    """What the command reported of one training."""
    run = a.output / f"{attention}-seed-{seed}"
    report = run.with_suffix(".json")
    if report.exists():
        return json.loads(report.read_text())
    going_on = any(run.glob("checkpoint-*"))
    if not going_on:
        shutil.rmtree(run, ignore_errors=True)
    kind, _, rounds = attention.partition("-")
    words = ["puzzle", "duplication", "-o", run, *(["--resume"] if going_on else []), "--tokens", a.tokens,
             "--symbols", a.symbols, "--hidden", a.hidden, "--batch", a.batch, "--steps", a.steps,
             "--attention", kind, "--num-hashes", rounds or 4, "--seed", seed, "--rows", a.rows,
             "--save-every", max(1, a.steps // 8), "--eval-every", max(1, a.steps // 8), "--json"]
    print("$ longspan", *words, file=sys.stderr, flush=True)
    out = subprocess.run([a.program, *map(str, words)], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    report.write_text(out)
    return json.loads(out)


def row(a, attention):
    runs = [trained(a, attention, seed) for seed in a.seeds]
    scores = [{s["attention"]: 100 * s["accuracy"] for s in run["scores"]} for run in runs]
    return {"trained": attention, "seconds": [run["seconds"] for run in runs],
            "updates": runs[0]["updates"], "paper": PAPER[attention],
            "all": [[each[name] for name in SCORED] for each in scores],
            "accuracy": [statistics.median(each[name] for each in scores) for name in SCORED]}


def table(rows):
    lines = ["| trained with | " + " | ".join(f"judged with {name}" for name in SCORED) + " | time |",
             "|---" * (len(SCORED) + 2) + "|"]
    for r in rows:
        cells = [f"{ours:.2f} ({paper:g})" for ours, paper in zip(r["accuracy"], r["paper"])]
        seconds = statistics.median(r["seconds"])
        lines.append(f"| {r['trained']} | " + " | ".join(cells) +
                     f" | {int(seconds) // 60}:{int(seconds) % 60:02d} |")
    return "\n".join(lines) + "\n"


def draw(a, rows):
    """Accuracy against the rounds of hashing, by the program's own plots."""
    curves = []
    for r in rows:
        curve = a.output / "curves" / r["trained"]
        curve.mkdir(parents=True, exist_ok=True)
        points = zip((8, 4, 2, 1), r["accuracy"][1:])
        (curve / "metrics.jsonl").write_text("".join(
            json.dumps({"kind": "eval", "step": rounds, "right": share}) + "\n"
            for rounds, share in sorted(points)))
        curves.append(curve)
    subprocess.run([a.program, "plot", *curves, "--metric", "right", "--log-x", "--x-label",
                    "rounds of hashing when judged", "--title", "Duplication: percent right, by the "
                    "attention of the training", "-o", a.output / "duplication.svg"], check=True)


def main():
    a = arguments()
    a.output.mkdir(parents=True, exist_ok=True)
    rows = [row(a, attention) for attention in a.trained]
    report = {"tokens": a.tokens, "symbols": a.symbols, "batch": a.batch, "seeds": a.seeds,
              "judged": SCORED, "rows": rows}
    (a.output / "table.md").write_text(table(rows))
    (a.output / "table.json").write_text(json.dumps(report, indent=2) + "\n")
    draw(a, rows)
    print(json.dumps(report, indent=2) if a.json else table(rows), end="" if not a.json else "\n")


if __name__ == "__main__":
    main()
