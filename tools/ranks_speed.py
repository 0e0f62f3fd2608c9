#!/usr/bin/env python3
"""What several ranks gain: processes that do not know each other beside ranks that train together, in turns.

usage: ranks_speed.py PROGRAM -n RANKS [--launcher WORDS] [--turns N] [--least RATIO] [--json] [-- WORDS...]

Both are started on the same hosts by the same launcher, "mpirun" by default. Words for its hosts belong to it:
    ranks_speed.py longspan -n 2 --launcher "mpirun --host a:1,b:1 --bind-to none" -- --preset base --tokens 16384
    ranks_speed.py longspan -n 4 --launcher "srun --mpi=pmix --cpu-bind=none" -- --arch longformer --row-ranks 4
The words after -- are those of `bench train`: the model, --tokens, --batch, --accumulate, --row-ranks, --steps.
All hosts need the same program. Nothing else should run on them.

A turn has two parts, the first one alternating: every process computes its share of an update alone, all at the
same time; and all ranks compute the whole update. If the micro-batches cannot be dealt evenly, because ranks
share rows, a process alone computes all of them. The efficiency is the time of a process alone, the slowest of
them, for its share of the work, divided by the time of the ranks: 1 means that nothing is lost by exchanges.
It is the median over the turns, as all figures are. --least ends with 1 if the efficiency is lower.
"""
import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

LAUNCHERS = ("mpirun", "mpiexec", "srun")
# Of a line of srun or Open MPI's mpirun: the process that has printed it.
LABELLED = re.compile(r"^(?:\s*(\d+): |\[\d+,(\d+)\]<stdout>:)(.*)$")
# What makes a launcher name it.
LABELS = {"srun": ["--label"], "mpirun": ["--tag-output"]}


def documents(output):
    """The JSON documents that processes have printed. Launchers mix what several of them print, and name each."""
    texts = {}
    for line in output.splitlines():
        found = LABELLED.match(line)
        process = int(found[1] or found[2]) if found else -1
        texts.setdefault(process, []).append(found[3] if found else line)
    found, decoder = [], json.JSONDecoder()
    for lines in texts.values():
        text = "\n".join(lines).strip()
        while text:
            document, end = decoder.raw_decode(text)
            found.append(document)
            text = text[end:].lstrip()
    return found


class Launcher:
    def __init__(self, words, ranks, program):
        self.words, self.ranks, self.program = shlex.split(words), ranks, program
        self.kind = Path(self.words[0]).name
        if self.kind not in LAUNCHERS:
            sys.exit(f"ranks_speed: --launcher '{self.words[0]}': need one of {', '.join(LAUNCHERS)}")

    def run(self, *words, knows_others):
        """What the processes print: one document if they know each other, else one each."""
        environment = {**os.environ, "LONGSPAN_MPI": "1" if knows_others else "0"}
        passed = [] if self.kind == "srun" else ["-x", "LONGSPAN_MPI"]
        command = [*self.words, *LABELS.get(self.kind, []), *passed, "-n", str(self.ranks), self.program,
                   *map(str, words), "--json"]
        print("$", shlex.join(command), "" if knows_others else "(each alone)", file=sys.stderr, flush=True)
        result = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE)
        if result.returncode != 0:
            sys.exit(f"ranks_speed: {self.words[0]} ended with status {result.returncode}")
        found = documents(result.stdout)
        if len(found) != (1 if knows_others else self.ranks):
            sys.exit(f"ranks_speed: {len(found)} processes have printed what they measured, of {self.ranks}")
        return found


def option(words, name, default):
    """The number after `name` in the words of bench train."""
    for i, word in enumerate(words):
        if word == name and i + 1 < len(words):
            return int(words[i + 1])
        if word.startswith(name + "="):
            return int(word.partition("=")[2])
    return default


def without(words, *names):
    """The words without these options and their values."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in names:
            skip = True
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return kept


def measure(launcher, words, turns):
    """{"alone": seconds of the slowest process in each turn, "together": what rank 0 prints in each}"""
    ranks = launcher.ranks
    row_ranks = option(words, "--row-ranks", 1)
    micros = option(words, "--accumulate", ranks // row_ranks)
    own = micros // ranks if micros % ranks == 0 else micros
    alone_words = ["bench", "train", *without(words, "--row-ranks", "--accumulate"), "--accumulate", own]
    found = {"alone": [], "together": [], "micros": micros, "alone_micros": own}
    for turn in range(turns):
        for together in (False, True) if turn % 2 == 0 else (True, False):
            if together:
                found["together"] += launcher.run("bench", "train", *words, knows_others=True)
            else:
                alone = launcher.run(*alone_words, knows_others=False)
                found["alone"].append(max(one["seconds"] for one in alone))
    return found


def most_of(documents, kind, field):
    """Of the rank with most: the median over the turns."""
    return statistics.median(max(rank["exchanged"].get(kind, {}).get(field, 0) for rank in one["by_rank"])
                             for one in documents)


def summary(ranks, found):
    together = found["together"]
    seconds = statistics.median(one["seconds"] for one in together)
    share = found["micros"] / (found["alone_micros"] * ranks)
    ratios = [share * alone / one["seconds"] for alone, one in zip(found["alone"], together, strict=True)]
    kinds = dict.fromkeys(kind for one in together for rank in one["by_rank"] for kind in rank["exchanged"])
    return {"ranks": ranks, "row_ranks": together[0]["row_ranks"], "accumulate": found["micros"],
            "turns": len(ratios), "alone_accumulate": found["alone_micros"],
            "alone_seconds": statistics.median(found["alone"]), "seconds": seconds,
            "efficiency": statistics.median(ratios), "efficiencies": ratios,
            "waiting": statistics.median(max(rank["waiting"] for rank in one["by_rank"]) for one in together),
            "sent_bytes": statistics.median(max(rank["sent_bytes"] for rank in one["by_rank"]) for one in together),
            "exchanged": {kind: {"waited_s": most_of(together, kind, "waited_s"),
                                 "sent_bytes": most_of(together, kind, "sent_bytes")} for kind in kinds}}


def report(found):
    print(f"{found['ranks']} ranks, micro-batches an update: {found['accumulate']}, rows shared by {found['row_ranks']}; "
          f"medians of {found['turns']} turns, of the rank with most\n")
    print("| | |\n|---|---|")
    print(f"| each process alone, micro-batches: {found['alone_accumulate']} | {found['alone_seconds']:.3f} s |")
    print(f"| the ranks together | {found['seconds']:.3f} s |")
    print(f"| efficiency | {100.0 * found['efficiency']:.1f} % |")
    print(f"| least efficiency of a turn | {100.0 * min(found['efficiencies']):.1f} % |")
    print(f"| waiting | {100.0 * found['waiting']:.1f} % |")
    print(f"| sent | {found['sent_bytes'] * 1e-6:.1f} MB |")
    print("\n| exchange | waited | of the update | sent |\n|---|---|---|---|")
    for kind, one in found["exchanged"].items():
        print(f"| {kind} | {one['waited_s']:.3f} s | {100.0 * one['waited_s'] / found['seconds']:.1f} % | "
              f"{one['sent_bytes'] * 1e-6:.3f} MB |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="After --: words of bench train.")
    parser.add_argument("program")
    parser.add_argument("-n", "--ranks", type=int, required=True)
    parser.add_argument("--launcher", default="mpirun", metavar="WORDS")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--least", type=float, default=0.0, metavar="RATIO")
    parser.add_argument("--json", action="store_true")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    a = parser.parse_args(sys.argv[1:cut])
    words = sys.argv[cut + 1:] or ["--preset", "base"]
    if a.ranks < 2 or a.turns < 1:
        parser.error("need at least 2 ranks and 1 turn")
    found = summary(a.ranks, measure(Launcher(a.launcher, a.ranks, a.program), words, a.turns))
    if a.json:
        print(json.dumps(found, indent=2))
    else:
        report(found)
    return 1 if found["efficiency"] < a.least else 0


if __name__ == "__main__":
    sys.exit(main())
