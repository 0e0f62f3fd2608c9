"""What the kinds of faults share: the promise, the tiny training, what a run has left behind."""
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
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


def events(out):
    """Every line of metrics.jsonl as (kind, step, loss)."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_float=str) for line in lines]
    return [(record["kind"], record["step"], record["loss"]) for record in records]


def litter(out):
    """Hidden names in a run's folder that are not to be there when nothing runs."""
    return sorted(str(path.relative_to(out)) for path in out.rglob(".*")
                  if path.name not in (".longspan-lock", ".longspan-run.json"))


def compile_shim(name, scratch, log):
    """The library to load before others: name.c of this folder. It is C: whatever compiles the
    program compiles it."""
    if os.environ.get("LONGSPAN_SANITIZED"):
        raise Untried("a sanitizer must be loaded first")
    source, shim = Path(__file__).with_name(f"{name}.c"), scratch / f"{name}.so"
    known = (shutil.which(word) for word in (os.environ.get("CC"), "cc", "gcc", "clang") if word)
    compiler = next(filter(None, known), None)
    if compiler is None:
        raise Untried("there is no C compiler")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"]
    if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
        raise Untried(f"{source.name} does not compile: {' '.join(command)}")
    return shim


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


def check_is_the_same(out, oracle):
    """A finished run has the log, line by line, and the weights of the other, and no litter."""
    if events(out) != events(oracle):
        raise Lost(f"{out.name}: metrics.jsonl has {events(out)}, undisturbed {events(oracle)}")
    check_same_weights(out, oracle)
    if litter(out):
        raise Lost(f"{out.name}: there is still {litter(out)}")


def copy_until(run, step, to):
    """What the finished run `run` was after `step`, with the two newest checkpoints of then."""
    to.mkdir()
    for kept in (step - 1, step):
        shutil.copytree(run / f"checkpoint-{kept}", to / f"checkpoint-{kept}")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    (to / "metrics.jsonl").write_text("".join(kept))


stopping = threading.Event()  # something was lost: what still runs in other threads may end


# What a training says beside the error that it ends with.
NOTE = re.compile("^longspan: resumed at |the training goes on, and ends when|it is tried again$")


class Resumed:
    """One resume of a run, to its end: status, what it said, the step it went on from."""

    def __init__(self, training, out, environment=None):
        if stopping.is_set():
            raise Lost("not tried: another one was lost")
        process = training.start(out, subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                 errors="replace",
                                 env={**os.environ, "LONGSPAN_THREADS": "1", **(environment or {})})
        try:
            self.said = process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Lost(f"{out.name}: no end in 60 s")
        self.status = process.returncode
        found = re.search(r"^longspan: resumed at step (\d+)$", self.said, re.MULTILINE)
        self.step = int(found.group(1)) if found else None
        saved = re.findall(r"^saved checkpoint-(\d+)$", self.said, re.MULTILINE)
        self.saved = max(map(int, saved), default=0)

    def errors(self):
        return [line for line in self.said.splitlines()
                if line.startswith("longspan: ") and not NOTE.search(line)]


def in_parallel(work, items, log):
    """work(item) on every CPU; the results. The first Lost ends it, with its text logged."""
    lost = []

    def one(item):
        try:
            return work(item)
        except Lost as error:
            stopping.set()
            lost.append(error)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(one, items))
    if lost:
        print(lost[0], file=log)
        raise lost[0]
    return results


# A model whose run takes a fifth of a second: where there are thousands of them.
SMALLEST = f"--config {shlex.quote(str(Path(__file__).with_name('smallest.json')))}"


def add_training_options(parser, steps, extra, init="--arch reformer --preset tiny"):
    """What is trained. `extra` are options of `longspan train` beside those that Training gives."""
    parser.add_argument("--model", type=Path, help="start from this folder")
    parser.add_argument("--init", default=init,
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
    command = [options.program, "init", *shlex.split(options.init), "-o", str(model)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode != 0:
        raise Lost(f"no model to train: {' '.join(command)}")
    return model


class Training:
    """The program on the options of add_training_options, saving after every step."""

    def __init__(self, options, model):
        self.command = [options.program, "train", options.task, "-m", str(model), "--train",
                        str(options.text), "--steps", str(options.steps), "--save-every", "1"]
        self.command += options.extra.split()

    def start(self, out, log, more=(), **how):
        """A process of it; what is in `out` already is resumed. `more` are options of it, `how`
        goes to Popen."""
        command = self.command + [*more, "-o", str(out)] + (["--resume"] if out.exists() else [])
        how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **how}
        return subprocess.Popen(command, **how)

    def finish(self, out, log, more=(), **how):
        """Runs it to its end; seconds."""
        begin = time.monotonic()
        status = self.start(out, log, more, **how).wait()
        if status != 0:
            raise Lost(f"the training of {out.name} ended with status {status}")
        return time.monotonic() - begin
