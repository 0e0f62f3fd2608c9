"""System calls of a resume and its saves that fail, are interrupted, or are the process's last."""
import errno
import os
import shutil
import signal
from collections import Counter

from support import (SMALLEST, Lost, Resumed, Training, add_training_options,
                     check_is_the_same, compile_shim, copy_until, in_parallel, litter, make_model, say)

DESCRIPTION = ("Lets the n-th write, fsync, rename, unlink, open, read, ... of a resumed training "
               "fail with EIO, ENOSPC or EINTR, or kill it, for every n.")

FAMILIES = ("write", "fsync", "rename", "unlink", "open", "read", "mkdir", "truncate", "lock")
ACTIONS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR, "short": "short",
           "kill": "kill", "full": errno.ENOSPC}
GROWING = ("write", "open", "mkdir", "truncate")  # what a full disk refuses
FROM = 2  # the step that is resumed


def add_options(parser):
    # Step 3 is evaluated and saved; step 4 is saved, evaluated as the last one, and saved again in
    # the place of the first.
    add_training_options(parser, steps=4,
                         extra="--log-every 1 --eval-every 3 --batch 1 --tokens 64 --dropout 0.1 "
                               "--held-out 0.002 --progress none --keep 2", init=SMALLEST)
    parser.add_argument("--quick", action="store_true", help="the calls 1, 4, 16, 64, ... only")
    parser.add_argument("--only", help="one family and what it meets, such as write:EIO")


class Injection:
    def __init__(self, scratch, family, action, n):
        self.name = f"{family}-{action}-{n}"
        self.family, self.action = family, action
        self.out, self.told = scratch / self.name, scratch / f"{self.name}.told"
        self.environment = {"FAULT_CALL": family, "FAULT_N": str(n),
                            "FAULT_DO": str(ACTIONS[action]), "FAULT_BELOW": str(self.out),
                            "FAULT_TOLD": str(self.told), "LD_PRELOAD": str(scratch / "calls.so")}
        if action == "full":
            self.environment["FAULT_STAYS"] = "1"

    def check_end(self, run):
        """How the disturbed run may end. Only a kill, and what cannot remove, may leave litter."""
        if self.action == "kill":
            if run.status != -signal.SIGKILL:
                raise Lost(f"{self.name}: ended with status {run.status}: {run.said}")
            return
        if run.status not in ((0,) if self.action in ("EINTR", "short") else (0, 4)):
            raise Lost(f"{self.name}: ended with status {run.status}: {run.said}")
        if run.status == 4:
            if len(run.errors()) != 1 or not run.said.splitlines()[-1].startswith("longspan: "):
                raise Lost(f"{self.name}: not one line in the end: {run.said}")
            if os.strerror(ACTIONS[self.action]) not in run.errors()[0]:
                raise Lost(f"{self.name}: another reason than its own: {run.said}")
        if self.family not in ("unlink", "open") and litter(self.out):
            raise Lost(f"{self.name}: left {litter(self.out)}")

    def run(self, training, base, oracle):
        """Whether there was an n-th call."""
        shutil.copytree(base, self.out)
        run = Resumed(training, self.out, self.environment)
        if not self.told.exists():
            if run.status != 0:
                raise Lost(f"{self.name}: without a fault it ended with {run.status}: {run.said}")
            shutil.rmtree(self.out)
            return False
        self.check_end(run)
        if run.status != 0:
            again = Resumed(training, self.out)
            if again.status != 0:
                raise Lost(f"{self.name}: cannot be resumed: {again.said}")
            if again.step is None or again.step < max(run.saved, FROM):
                raise Lost(f"{self.name}: step {max(run.saved, FROM)} was saved, it went on from "
                           f"{again.step}: {run.said}{again.said}")
        check_is_the_same(self.out, oracle)
        shutil.rmtree(self.out)
        return True


def run(options, scratch, log):
    compile_shim("calls", scratch, log)
    training = Training(options, make_model(options, scratch, log))
    oracle, base = scratch / "oracle", scratch / "base"
    training.finish(oracle, log, more=["--keep", str(options.steps)])
    copy_until(oracle, FROM, base)

    def all_of(pair):
        family, action = pair
        done, n = 0, 1
        while Injection(scratch, family, action, n).run(training, base, oracle):
            done += 1
            n = 4 * n if options.quick else n + 1
        say(f"{family} {action}: {done} injections")
        return done

    pairs = [(family, action) for family in FAMILIES for action in ACTIONS
             if (action != "short" or family == "write") and
             (action != "full" or family in GROWING)]
    if options.only:
        pairs = [pair for pair in pairs if ":".join(pair) == options.only]
    done = Counter()
    for (family, action), count in zip(pairs, in_parallel(all_of, pairs, log)):
        if count == 0:
            raise Lost(f"there was no {family} to disturb")
        done[family] += count
        done[action] += count
    counts = ", ".join(f"{done[name]} {name}" for name in (*FAMILIES, *ACTIONS) if done[name])
    total = sum(done[family] for family in FAMILIES)
    return (f"{total} injections ({counts}): each run went on or ended in one line, and gave the "
            f"undisturbed run's losses and weights, bit for bit")
