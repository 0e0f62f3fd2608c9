"""What the kinds of faults share: the promise, the tiny training, what a run has left behind."""
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Lost(Exception):
    """The promise does not hold."""


class Untried(Exception):
    """This machine cannot try it."""


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


def check_same_losses(out, expected):
    """Every step of `expected` was logged with its loss, and no other."""
    found = losses(out)
    for step in sorted(set(expected) | set(found)):
        if expected.get(step) != found.get(step):
            raise Lost(f"{out.name}, step {step}: loss {found.get(step)}, undisturbed "
                       f"{expected.get(step)}")


def check_same_weights(out, oracle):
    if sha256(out / "model.safetensors") != sha256(oracle / "model.safetensors"):
        raise Lost(f"{out.name}: the final weights differ")


def add_training_options(parser, steps, extra):
    """What is trained. `extra` are options of `longspan train` beside those that Training gives."""
    parser.add_argument("--model", type=Path, help="start from this folder")
    parser.add_argument("--init", default="--arch reformer --preset tiny",
                        help="without --model: options of `longspan init` (%(default)s)")
    parser.add_argument("--task", default="lm", help="lm, mlm or classify (%(default)s)")
    parser.add_argument("--text", type=Path, default=ROOT / "data" / "persuasion.txt",
                        help="what it learns from")
    parser.add_argument("--extra", help="options of `longspan train` (%(default)s)", default=extra)
    parser.add_argument("--steps", type=int, default=steps)


def make_model(options, scratch, log):
    """The folder to start from: --model, or a new one of --init."""
    if options.model is not None:
        return options.model
    model = scratch / "model"
    command = [options.program, "init", *options.init.split(), "-o", str(model)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode != 0:
        raise Lost(f"no model to train: {' '.join(command)}")
    return model


class Training:
    """The program on the options of add_training_options, saving after every step."""

    def __init__(self, options, model):
        self.command = [options.program, "train", options.task, "-m", str(model), "--train",
                        str(options.text), "--steps", str(options.steps), "--save-every", "1"]
        self.command += options.extra.split()

    def start(self, out, log, **how):
        """A process of it; what is in `out` already is resumed. `how` goes to Popen."""
        command = self.command + ["-o", str(out)] + (["--resume"] if out.exists() else [])
        how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **how}
        return subprocess.Popen(command, **how)

    def finish(self, out, log, **how):
        """Runs it to its end; seconds."""
        begin = time.monotonic()
        status = self.start(out, log, **how).wait()
        if status != 0:
            raise Lost(f"the training of {out.name} ended with status {status}")
        return time.monotonic() - begin
