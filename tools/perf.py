#!/usr/bin/env python3
"""Whether this program is slower than another build of it: both in turn, ratios of neighbouring runs.

usage: perf.py PROGRAM OTHER [--pairs N] [--most RATIO] [--only WORD...] [--json]

Measures attention (each mechanism, with its gradient), training steps, encoding and loading. A pair is
one run of each program, the first one alternating; what is told is the median of the pairs' ratios,
PROGRAM over OTHER, with its quartiles. Attention and steps report the best of their own steps;
encoding and loading count the CPU seconds of the process, the best of three runs: neighbours only
ever make them slower. Leaves with 1 when a median is above --most (default 1.02). Nothing else should
run: 30 pairs take about 40 minutes on two cores.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKENIZERS = ROOT / "tests" / "tokenizers"
TEXT = ROOT / "data" / "persuasion.txt"


def bench(*words):
    """Seconds of the best step that a benchmark reports."""
    def measure(program, _):
        out = subprocess.run([program, "bench", *map(str, words), "--json"], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        return json.loads(out)["seconds_min"]
    return measure


def process(*words):
    """CPU seconds of a whole process, the best of three; {folder} stands for the scratch folder."""
    def once(program, folder):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, *(str(w).replace("{folder}", str(folder)) for w in words)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return lambda program, folder: min(once(program, folder) for _ in range(3))


def measures():
    found = {}
    for kind, tokens in (("full", 2048), ("window", 8192), ("chunked", 8192), ("lsh", 8192)):
        found[f"attention {kind}"] = bench("attention", "--kind", kind, "--tokens", tokens, "--steps", 5)
    found["step reformer"] = bench("train", "--preset", "small", "--tokens", 4096, "--steps", 3)
    found["step longformer"] = bench("train", "--arch", "longformer", "--preset", "small", "--tokens", 2048,
                                     "--steps", 3)
    for name in ("roberta", "bert-uncased", "spiece-bpe", "spiece-unigram"):
        found[f"encoding {name}"] = process("tokenize", "-m", TOKENIZERS / name, "-f", TEXT, "--ids")
    found["reading lines"] = process("tokenize", "-m", "bytes", "-f", TEXT, "--lines", "--ids")
    found["statistics"] = process("data", "stats", "{folder}/texts.jsonl", "--json")
    found["loading safetensors"] = process("embed", "-m", "{folder}/model", "--text", "a", "-q", "-t", 1)
    return found


def prepare(program, folder, names):
    """What the measures read."""
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    (folder / "texts.jsonl").write_text("".join(
        json.dumps({"id": i, "text": line}) + "\n" for i, line in enumerate(lines * 20) if line))
    if not any(name.startswith("loading") for name in names):
        return
    subprocess.run([program, "init", "--arch", "longformer", "--preset", "base", "--tokenizer",
                    TOKENIZERS / "roberta", "-o", folder / "model"], check=True,
                   stdout=subprocess.DEVNULL)


def ratios(measure, program, other, folder, pairs):
    """The pairs' ratios; the program that runs first takes turns."""
    found = []
    for pair in range(pairs):
        first, second = (program, other) if pair % 2 == 0 else (other, program)
        one, two = measure(first, folder), measure(second, folder)
        found.append(one / two if pair % 2 == 0 else two / one)
    return found


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--most", type=float, default=1.02)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("--pairs: at least 2")
    program, other = (str(p.resolve()) for p in (options.program, options.other))
    os.environ.setdefault("OMP_WAIT_POLICY", "active")
    chosen = {name: measure for name, measure in measures().items()
              if not options.only or any(word in name for word in options.only)}
    if not chosen:
        parser.error("--only: no measure has that in its name")
    report = {}
    with tempfile.TemporaryDirectory(prefix="longspan-perf-") as scratch:
        folder = Path(scratch)
        prepare(other, folder, chosen)
        for name, measure in chosen.items():
            found = ratios(measure, program, other, folder, options.pairs)
            low, median, high = statistics.quantiles(found, n=4)
            report[name] = {"median": median, "low": low, "high": high, "pairs": len(found)}
            told = f"{name:24} {median:.3f}  ({low:.3f} to {high:.3f})"
            print(told + ("  SLOWER" if median > options.most else ""), flush=True,
                  file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(report, indent=2))
    return 1 if any(r["median"] > options.most for r in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
