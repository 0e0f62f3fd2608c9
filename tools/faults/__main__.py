"""python3 tools/faults [KIND] [options]: lets something fail and checks that nothing was lost.

An undisturbed run is the oracle. The disturbed one must end with its losses and weights, bit for
bit, or say in one line why not and leave what it had saved. Without KIND: kills.

Exits 0 when all of it holds, 1 when something was lost or changed, 2 when it cannot be tried.
"""
import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from support import ROOT, Lost, Untried, say

# One file each, with DESCRIPTION, add_options(parser) and run(options, scratch, log), which returns
# the line to print when all is well and raises Lost when a promise does not hold.
KINDS = ("kills", "signals", "ranks", "calls", "damage", "allocations")


def parse(words):
    kind = words.pop(0) if words and not words[0].startswith("-") else None
    listed = "\n".join(f"  {name:12} {importlib.import_module(name).DESCRIPTION}" for name in KINDS)
    if kind is None and ("-h" in words or "--help" in words):
        print(f"{__doc__}\nKinds, each with options of its own (KIND --help):\n{listed}")
        sys.exit(0)
    kind = kind or KINDS[0]
    if kind not in KINDS:
        say(f"'{kind}' is no kind of fault; these are:\n{listed}")
        sys.exit(2)
    module = importlib.import_module(kind)
    parser = argparse.ArgumentParser(prog=f"faults {kind}", description=module.DESCRIPTION)
    parser.add_argument("--program", default=str(ROOT / "build" / "release" / "longspan"))
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    module.add_options(parser)
    return module, parser.parse_args(words)


def main():
    module, options = parse(sys.argv[1:])
    options.program = str(Path(options.program).resolve())
    if not Path(options.program).is_file():
        say(f"{options.program} does not exist")
        return 2
    with tempfile.TemporaryDirectory(prefix="longspan-faults-") as temporary:
        scratch = (options.keep or Path(temporary)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        with open(scratch / "log.txt", "w+") as log:
            try:
                print(module.run(options, scratch, log))
            except Untried as reason:
                say(f"cannot be tried: {reason}")
                return 2
            except Lost as lost:
                say(f"FAILED: {lost}")
                log.seek(0)
                print("".join(log.readlines()[-20:]), file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
