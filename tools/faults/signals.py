"""Ctrl-C, SIGTERM and SIGHUP, once and twice, at random moments of everything that takes time."""
import random
import re
import shutil
import signal
import subprocess
import time

from support import (Lost, Training, add_training_options, check_same_losses, check_same_weights,
                     litter, losses, make_model, say)

DESCRIPTION = ("Stops trainings, evaluations, plans and conversions by signals, once and twice, and "
               "checks what is said, what is saved, that nothing is left behind and that resuming "
               "is exact.")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE_S = 1.0  # how long a stop may take that does not wait for an update
PATIENCE_S = 60.0


def add_options(parser):
    # Evaluations take about as long as the updates between them.
    add_training_options(parser, steps=40,
                         extra="--log-every 1 --batch 2 --tokens 128 --dropout 0.1 "
                               "--held-out 0.05 --eval-every 8 --progress none")
    parser.add_argument("--moments", type=int, default=100, help="signals, over all commands")
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--quick", action="store_true", help="12 moments, for a test")


def listen():
    """A shell ignores Ctrl-C for what it runs in the background: not for us."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def stop(process, after_s, number, second_s=None):
    """Sends one signal or two. Returns (what was sent, seconds from the last one to the end)."""
    sent = 0
    for wait_s in [after_s] + ([] if second_s is None else [second_s]):
        try:
            process.wait(wait_s)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            sent += 1
    begin = time.monotonic()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Lost(f"{sent} x {number.name}: still running after {PATIENCE_S} s")
    return sent, time.monotonic() - begin


class Watched:
    """A process, and what it says on stderr."""

    def __init__(self, command, scratch):
        self.path = scratch / "stderr.txt"
        self.stream = open(self.path, "w")
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.stream,
                                        preexec_fn=listen)

    def said(self):
        self.stream.close()
        return self.path.read_text()


def check_end(status, number, said, allowed):
    if status not in allowed:
        raise Lost(f"{number.name}: ended with status {status}, not {sorted(allowed)}; it said: "
                   f"{said[-400:]!r}")


def stop_training(training, out, scratch, luck, run_s, twice):
    number = luck.choice(SIGNALS)
    command = training.command + ["-o", out] + (["--resume"] if out.exists() else [])
    watched = Watched(command, scratch)
    sent, seconds = stop(watched.process, luck.uniform(0.0, run_s), number,
                         luck.uniform(0.0, 0.2) if twice else None)
    status, said = watched.process.returncode, watched.said()
    saves = re.search(number.name + r": stops .* the last checkpoint is \S*/checkpoint-(\d+);", said)
    at_once = number.name + ": stopped; no file is left half written" in said
    # Status 0: the run was at its end. A signal before the first instruction finds nobody to speak.
    check_end(status, number, said, {0, 128 + number, -number})
    early = status == -number and not said.strip()
    if sent and status != 0 and not (saves or at_once or early):
        raise Lost(f"{number.name}: nothing was said of what happens; it said: {said[-400:]!r}")
    if (sent == 2 or at_once) and status == -number and seconds > AT_ONCE_S:
        raise Lost(f"{number.name}: it took {seconds:.2f} s to end at once")
    if out.exists() and litter(out):
        raise Lost(f"{number.name} x {sent}: left behind {litter(out)}")
    if saves:
        steps = [int(path.name.split("-")[1]) for path in out.glob("checkpoint-*")]
        if not steps or max(steps) < int(saves.group(1)):
            raise Lost(f"{number.name}: checkpoint-{saves.group(1)} was promised, {steps} are there")
    return sent


def stop_command(options, words, number, after_s, scratch, log, target=None):
    """A command that has nothing to save: it ends at once and leaves no half of its output."""
    watched = Watched([options.program, *words], scratch)
    sent, seconds = stop(watched.process, after_s, number)
    status, said = watched.process.returncode, watched.said()
    check_end(status, number, said, {0, -number})
    if status != 0 and seconds > AT_ONCE_S:
        raise Lost(f"{words[0]}: {number.name}: took {seconds:.2f} s to end")
    if status != 0 and said.strip() and f"{number.name}: stopped" not in said:
        raise Lost(f"{words[0]}: {number.name}: nothing was said of it, but {said[-400:]!r}")
    if target is not None:
        if litter(target.parent):
            raise Lost(f"{words[0]}: left behind {litter(target.parent)}")
        if status == 0 and subprocess.run([options.program, "info", target], stdout=log,
                                          stderr=log).returncode != 0:
            raise Lost(f"{words[0]}: {target} is no model")
        if status != 0 and target.exists():
            raise Lost(f"{words[0]}: ended by {number.name}, but {target.name} is there")
        shutil.rmtree(target, ignore_errors=True)
    return sent


def timed(command, log):
    begin = time.monotonic()
    if subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                      stderr=log).returncode != 0:
        raise Lost(f"does not run undisturbed: {' '.join(map(str, command))}")
    return time.monotonic() - begin


def run(options, scratch, log):
    if options.quick:
        options.moments, options.steps = 12, 16
    model = make_model(options, scratch, log)
    training = Training(options, model)
    at = training.command.index("--save-every")
    training.command[at + 1] = str(options.save_every)
    oracle = scratch / "oracle"
    run_s = training.finish(oracle, log)
    expected = losses(oracle)
    converted = scratch / "converted" / "model"
    converted.parent.mkdir(exist_ok=True)
    others = [(["eval", "-m", oracle, options.text, "--tokens", "128", "--held-out", "0.3"], None),
              (["plan", "-m", oracle, "--memory", "512M", "--trial", "0.1"], None),
              (["convert", oracle, converted], converted)]
    lengths = []
    for words, target in others:
        lengths.append(timed([options.program, *words], log))
        if target is not None:
            shutil.rmtree(target)
    say(f"undisturbed: training {run_s:.1f} s, " + ", ".join(
        f"{words[0]} {seconds:.1f} s" for (words, _), seconds in zip(others, lengths)))

    luck = random.Random(options.seed)
    sent = {"training": 0, "eval": 0, "plan": 0, "convert": 0}
    rounds = 0
    while sum(sent.values()) < options.moments:
        rounds += 1
        out = scratch / f"stopped-{rounds}"
        # Until it is through, or has been stopped often enough for one run.
        for attempt in range(6):
            sent["training"] += stop_training(training, out, scratch, luck, 0.7 * run_s,
                                              attempt % 2 == 1)
        training.finish(out, log)
        check_same_losses(out, expected)
        check_same_weights(out, oracle)
        shutil.rmtree(out)
        for (words, target), seconds in zip(others, lengths):
            number = luck.choice(SIGNALS)
            sent[words[0]] += stop_command(options, words, number, luck.uniform(0.0, seconds),
                                           scratch, log, target)
        say(f"{sum(sent.values())} signals, {rounds} trainings resumed to their ends")
    told = ", ".join(f"{count} in {name}" for name, count in sent.items())
    return (f"{sum(sent.values())} signals ({told}): each said what happens, left nothing behind, "
            f"and {rounds} resumed trainings ended with the undisturbed losses and weights")
