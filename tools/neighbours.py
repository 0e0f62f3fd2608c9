#!/usr/bin/env python3
"""How much slower training steps are beside a busy machine: pairs of one idle and one disturbed run.

usage: neighbours.py PROGRAM [--pairs N] [--loops N] [--only WORD...] [--spins N...] [--most RATIO]
                     [--json]

Beside N loops that compute without end (default: one a CPU) each of them and each thread of the
program may count on half a CPU, so a step should take about twice its idle time; what it takes above
that are threads that wait by spinning in time that others need. A pair is one run alone and one
beside the loops, the first one alternating; what is told are the medians of both and of the pairs'
ratios. Leaves with 1 when a median ratio is above --most (default 2.2). Nothing else should run.
Variables such as GOMP_SPINCOUNT or OMP_WAIT_POLICY reach the program as they are; --spins sets the
first of them to each of these numbers in turn, in each pair.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

MEASURES = {
    "steps": ["--preset", "small", "--tokens", "4096", "--steps", "3"],
    "short steps": ["--preset", "tiny", "--tokens", "256", "--steps", "15"],
}


@contextlib.contextmanager
def busy(loops):
    """Processes that do nothing but take time."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def seconds(program, words, loops, spin):
    """Of a step, as the program reports it."""
    environment = dict(os.environ) if spin is None else {**os.environ, "GOMP_SPINCOUNT": str(spin)}
    with busy(loops):
        out = subprocess.run([program, "bench", "train", *words, "--json"], check=True, text=True,
                             stdout=subprocess.PIPE, env=environment).stdout
    return json.loads(out)["seconds"]


def compare(program, words, options):
    """{number of --spins, or None: what was found}"""
    found = {spin: ([], []) for spin in options.spins or [None]}
    for pair in range(options.pairs):
        for loops in (0, options.loops) if pair % 2 == 0 else (options.loops, 0):
            for spin, (idle, beside) in found.items():
                (beside if loops else idle).append(seconds(program, words, loops, spin))
    return {spin: summary(*times) for spin, times in found.items()}


def summary(idle, beside):
    ratios = sorted(two / one for one, two in zip(idle, beside))
    return {"idle": statistics.median(idle), "beside": statistics.median(beside),
            "ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1],
            "idle_least": min(idle), "idle_most": max(idle), "pairs": len(idle)}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--loops", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--spins", nargs="*", type=int, default=[])
    parser.add_argument("--most", type=float, default=2.2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.pairs < 1 or options.loops < 1:
        parser.error("--pairs and --loops: at least 1")
    chosen = {name: words for name, words in MEASURES.items()
              if not options.only or name in options.only}
    if not chosen:
        parser.error(f"--only: one of {', '.join(MEASURES)}")
    report = {}
    for name, words in chosen.items():
        for spin, found in compare(str(options.program.resolve()), words, options).items():
            title = name if spin is None else f"{name}, {spin} turns"
            report[title] = found
            told = (f"{title:24} idle {found['idle']:.4f} s, beside {options.loops} loops "
                    f"{found['beside']:.4f} s: {found['ratio']:.2f} times ({found['least']:.2f} to "
                    f"{found['most']:.2f}; idle {found['idle_least']:.4f} to "
                    f"{found['idle_most']:.4f})")
            print(told + ("  SLOW" if found["ratio"] > options.most else ""), flush=True,
                  file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(report, indent=2))
    return 1 if any(found["ratio"] > options.most for found in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
