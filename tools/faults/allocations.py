"""The n-th allocation of loading, of a step and of a save fails, once or from then on."""
import ctypes
import mmap
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support import (Lost, Training, Untried, add_training_options, check_same_losses,
                     check_same_weights, compile_shim, litter, losses, make_model, say, sha256)

DESCRIPTION = ("Lets the n-th allocation of loading, a step and a save fail, once or from then on: "
               "one line and status 5, or the right result, and nothing of the run lost.")

PHASES = ("loading", "step", "save")
MARKS = ("/config.json", "/metrics.jsonl", "/.tmp-checkpoint-2")  # paths that begin them
STATUS = 5
NOTES = ("longspan: resumed at ", "saved ", "step ", "warning: ")  # of a training, not its end
LONGEST_S = 120
ALL_TO, THEN_EVERY = 2000, 97


class State(ctypes.Structure):
    """As failing_malloc.c has it."""
    _fields_ = [("fail_at", ctypes.c_uint64), ("for_ever", ctypes.c_uint64),
                ("count", ctypes.c_uint64), ("failed", ctypes.c_uint64),
                ("passed", ctypes.c_uint64 * 4), ("marks", (ctypes.c_char * 64) * 4)]


def add_options(parser):
    # Validation is off: a run is to be short, and its evaluations allocate what a step does.
    add_training_options(parser, steps=2,
                         extra="--log-every 1 --batch 2 --tokens 64 --held-out 0.01 --eval-every 0 "
                               "--progress none")
    parser.add_argument("--quick", action="store_true", help="about twenty allocations")
    parser.add_argument("--phase", choices=PHASES, help="this one only")
    parser.add_argument("--only", type=int, help="this allocation only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)


class Runner:
    """Runs that end with one allocation refused, each in a copy of a run that has one step behind it."""

    def __init__(self, options, scratch, log):
        self.scratch, self.log, self.options = scratch, log, options
        self.library = compile_shim("failing_malloc", scratch, log)
        self.training = Training(options, make_model(options, scratch, log))
        self.oracle = scratch / "oracle"
        self.training.finish(self.oracle, log)
        self.losses = losses(self.oracle)
        # As a kill in the second step leaves it.
        self.half = scratch / "half"
        shutil.copytree(self.oracle, self.half)
        shutil.rmtree(self.half / "checkpoint-2")
        (self.half / "model.safetensors").unlink()
        self.checkpoint = self.files(self.half / "checkpoint-1")

    @staticmethod
    def files(folder):
        return {path.name: sha256(path) for path in sorted(folder.iterdir())}

    def run(self, out, fail_at, for_ever):
        """(status, lines of stderr, counters) of a resumed run."""
        path = out.with_name(out.name + ".state")
        path.write_bytes(bytes(ctypes.sizeof(State)))
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            state = State.from_buffer(memory)
            state.fail_at, state.for_ever = fail_at, for_ever
            for i, mark in enumerate(MARKS):
                state.marks[i].value = mark.encode()
            process = self.training.start(
                out, self.log, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "LD_PRELOAD": str(self.library), "ALLOCATIONS_STATE": str(path)})
            try:
                told = process.communicate(timeout=LONGEST_S)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise Lost(f"no end within {LONGEST_S} s")
            finally:
                counters = (list(state.passed), state.count, state.failed)
                del state
        path.unlink()
        return process.returncode, [line for line in told.splitlines() if line.strip()], counters

    def phases(self):
        """{phase: (first allocation, last)} of an undisturbed run."""
        out = self.scratch / "counting"
        shutil.copytree(self.half, out)
        status, told, (passed, count, _) = self.run(out, 0, 0)
        if status != 0:
            raise Lost(f"the undisturbed run ended with status {status}: {told}")
        for phase, begin in zip(PHASES, passed):
            if begin == 0:
                raise Lost(f"the beginning of '{phase}' was not seen: has a file another name?")
        ends = [begin - 1 for begin in passed[1:len(PHASES)]] + [count]
        return {phase: (begin, end) for phase, begin, end in zip(PHASES, passed, ends)}

    def attempt(self, phase, number, for_ever, check_resume):
        name = f"{phase}-{number}-{'on' if for_ever else 'once'}"
        out = self.scratch / name
        shutil.copytree(self.half, out)
        try:
            status, told, (_, _, failed) = self.run(out, number, for_ever)
            self.check(out, status, told, failed, for_ever, check_resume)
        except Lost as lost:
            return "lost", f"{name}: {lost}"
        shutil.rmtree(out)
        return status, None

    def check(self, out, status, told, failed, for_ever, check_resume):
        if status == 0:
            check_same_losses(out, self.losses)
            check_same_weights(out, self.oracle)
        elif status != STATUS:
            raise Lost(f"status {status}: {' | '.join(told)}")
        elif [line for line in told if not line.startswith(NOTES)] != told[-1:]:
            raise Lost(f"more than a line: {' | '.join(told)}")
        elif failed == 0:
            raise Lost(f"status {status}, though nothing failed: {told[0]}")
        if status != 0 and self.files(out / "checkpoint-1") != self.checkpoint:
            raise Lost("the earlier checkpoint has changed")
        if not for_ever:
            self.check_litter(out)
        if check_resume:
            self.training.finish(out, self.log)
            check_same_losses(out, self.losses)
            check_same_weights(out, self.oracle)
            self.check_litter(out)

    @staticmethod
    def check_litter(out):
        if litter(out):
            raise Lost(f"it left {', '.join(litter(out))}")


def chosen(options, begin, end):
    count = end - begin + 1
    if options.only is not None:
        return [begin + options.only - 1]
    if options.quick:
        return range(begin, end + 1, max(count // 6, 1))
    return [*range(begin, min(begin + ALL_TO, end + 1)), *range(begin + ALL_TO, end + 1, THEN_EVERY)]


def run(options, scratch, log):
    if options.steps != 2:
        raise Untried("--steps: the second step is the disturbed one, it takes 2")
    runner = Runner(options, scratch, log)
    phases = runner.phases()
    lost, ended, tried = [], {}, []
    for phase, (begin, end) in phases.items():
        say(f"{phase}: {end - begin + 1} allocations")
        if options.phase in (None, phase):
            tried += [(phase, number, for_ever) for number in chosen(options, begin, end)
                      for for_ever in (0, 1)]
    with ThreadPoolExecutor(options.jobs) as pool:
        # Going on afterwards is tried behind each eleventh run.
        jobs = [pool.submit(runner.attempt, *one, i % 11 == 0) for i, one in enumerate(tried)]
        for done, job in enumerate(jobs, 1):
            status, why = job.result()
            ended[status] = ended.get(status, 0) + 1
            if why is not None:
                lost.append(why)
                say(why)
            if done % 500 == 0:
                say(f"{done} of {len(jobs)}")
    if lost:
        raise Lost(f"{len(lost)} of {len(jobs)} runs, the first: {lost[0]}")
    return (f"faults: {len(jobs)} runs with a refused allocation: "
            f"{ended.get(STATUS, 0)} ended with status {STATUS}, {ended.get(0, 0)} with the right "
            f"result")
