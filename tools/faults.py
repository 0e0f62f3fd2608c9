#!/usr/bin/env python3
"""Kills a training at random moments, resumes it each time, and checks that nothing was lost.

A run without disturbance is the oracle. The disturbed run saves after every step and dies by
SIGKILL again and again: in a step, in a save, at the start. In the end every loss in its
metrics.jsonl and the final weights must be the oracle's, bit for bit.

Exits 0 when all of it holds, 1 when something was lost or changed, 2 when it cannot be tried.
"""
import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Lost(Exception):
    """The promise does not hold."""


def say(text):
    print(f"faults: {text}", file=sys.stderr, flush=True)


def losses(out):
    """{step: loss as it is written}; a step that was done twice must have given the same loss."""
    found = {}
    lines = (out / "metrics.jsonl").read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line, parse_float=str)
        except ValueError as error:
            raise Lost(f"{out.name}/metrics.jsonl:{number} is no JSON ({error}): {line!r}")
        if record.get("kind") != "train":
            continue
        loss = found.setdefault(record["step"], record["loss"])
        if loss != record["loss"]:
            raise Lost(f"step {record['step']} was done twice: losses {loss} and {record['loss']}")
    return found


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Training:
    def __init__(self, options, model):
        self.command = [options.program, "train", options.task, "-m", str(model), "--train",
                        str(options.text), "--steps", str(options.steps), "--save-every", "1"]
        self.command += options.extra.split()

    def start(self, out, log):
        command = self.command + ["-o", str(out)] + (["--resume"] if out.exists() else [])
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def finish(self, out, log):
        begin = time.monotonic()
        status = self.start(out, log).wait()
        if status != 0:
            raise Lost(f"the training of {out.name} ended with status {status}")
        return time.monotonic() - begin


def disturb(options, training, scratch, step_s, start_s, log, luck):
    """Kills `options.kills` trainings; yields each folder once it is finished."""
    kills = rounds = 0
    while kills < options.kills:
        rounds += 1
        out = scratch / f"disturbed-{rounds}"
        while True:
            process = training.start(out, log)
            try:
                # From the first instruction on to a few steps behind the start.
                status = process.wait(luck.uniform(0.0, start_s + 3.0 * step_s))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                status = process.wait()
            if status == 0:
                break
            if status != -signal.SIGKILL:
                raise Lost(f"after {kills} kills the training ended with status {status}")
            kills += 1
            if kills % 10 == 0:
                done = max(losses(out), default=0) if (out / "metrics.jsonl").exists() else 0
                say(f"{kills} kills, step {done} of {options.steps}")
            if kills == options.kills:
                training.finish(out, log)
                break
        yield out


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "release" / "longspan"))
    parser.add_argument("--model", type=Path, help="start from this folder")
    parser.add_argument("--init", default="--arch reformer --preset tiny",
                        help="without --model: options of `longspan init` (%(default)s)")
    parser.add_argument("--task", default="lm", help="lm, mlm or classify (%(default)s)")
    parser.add_argument("--text", type=Path, default=ROOT / "data" / "persuasion.txt",
                        help="what it learns from")
    # Dropout is on: its masks must come back too. The rest keeps a step short.
    parser.add_argument("--extra", help="options of `longspan train` (%(default)s)",
                        default="--log-every 1 --batch 2 --tokens 128 --dropout 0.1 "
                                "--held-out 0.01 --progress none")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    options = parser.parse_args()
    options.program = str(Path(options.program).resolve())
    if not Path(options.program).is_file():
        say(f"{options.program} does not exist")
        return 2

    with tempfile.TemporaryDirectory(prefix="longspan-faults-") as temporary:
        scratch = options.keep or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        with open(scratch / "log.txt", "w+") as log:
            try:
                return check(options, scratch, log)
            except Lost as lost:
                say(f"FAILED: {lost}")
                log.seek(0)
                print("".join(log.readlines()[-20:]), file=sys.stderr)
                return 1


def check(options, scratch, log):
    model = options.model
    if model is None:
        model = scratch / "model"
        command = [options.program, "init", *options.init.split(), "-o", str(model)]
        if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
            raise Lost(f"no model to train: {' '.join(command)}")
    training = Training(options, model)
    oracle = scratch / "oracle"
    total_s = training.finish(oracle, log)
    # A finished run that is resumed has nothing to do: what that costs is the start.
    start_s = training.finish(oracle, log)
    step_s = max(total_s - start_s, 0.0) / options.steps
    expected = losses(oracle)
    if sorted(expected) != list(range(1, options.steps + 1)):
        raise Lost(f"the undisturbed run logged the steps {sorted(expected)}")
    say(f"undisturbed: {options.steps} steps of {step_s:.3f} s, start {start_s:.3f} s")

    rounds = 0
    luck = random.Random(options.seed)
    for out in disturb(options, training, scratch, step_s, start_s, log, luck):
        rounds += 1
        found = losses(out)
        for step in sorted(set(expected) | set(found)):
            if expected.get(step) != found.get(step):
                raise Lost(f"{out.name}, step {step}: loss {found.get(step)}, undisturbed "
                           f"{expected.get(step)}")
        if sha256(out / "model.safetensors") != sha256(oracle / "model.safetensors"):
            raise Lost(f"{out.name}: the final weights differ")
    print(f"{options.kills} kills over {rounds} trainings of {options.steps} steps: every loss and "
          f"the final weights are the undisturbed run's, bit for bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
