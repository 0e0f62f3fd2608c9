"""What happens to one rank of a training under mpirun, and what the others make of it."""
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from hosts import Hosts
from support import (Lost, Training, Untried, add_training_options, check_same_losses, check_same_weights,
                     compile_shim, litter, losses, make_model, say)

DESCRIPTION = ("Kills, stops and cuts off ranks of a training under mpirun at random moments, gives them other "
               "texts, another program or a full disk, resumes, and compares with one undisturbed process.")
LIMIT_S = 30.0      # from the fault to the end of every rank
PATIENCE_S = 120.0  # of what is not disturbed
PEER, IO, FORMAT = 8, 4, 3

# Around each rank: it has a folder with its text, what it says, who it is and how it ended. mpirun's SIGTERM is
# for the rank alone, which decides when it ends.
WRAPPER = """#!/bin/sh
trap : TERM
rank=$OMPI_COMM_WORLD_RANK
cd "$RANKS/$rank" || exit 99
if [ -f odd.sh ]; then . ./odd.sh; fi
program=${PROGRAM:-$1}
shift
"$program" "$@" 2> said &
echo $! > pid
wait $!; status=$?
while kill -0 $! 2>/dev/null; do wait $!; status=$?; done
echo $status > status
"""
# mpirun would kill a wrapper a second after the first rank ended, on a slow machine before it wrote.
ENVIRONMENT = {"OMPI_MCA_odls_base_sigkill_timeout": "2", "OMPI_MCA_rmaps_base_oversubscribe": "1",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "LONGSPAN_THREADS": "1"}


def add_options(parser):
    # Dropout is on: its masks must come back too. A micro-batch for each of up to four ranks.
    add_training_options(parser, steps=24,
                         extra="--log-every 1 --batch 1 --accumulate 4 --tokens 128 --dropout 0.1 "
                               "--held-out 0.01 --progress none")
    parser.add_argument("--moments", type=int, default=50, help="random faults (%(default)s)")
    parser.add_argument("--links", type=int, default=3, help="cables that are pulled, as root (%(default)s)")
    parser.add_argument("--ranks", type=int, default=3, help="processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--quick", action="store_true", help="five quick faults, for a test")


class Together:
    """One start of the training on several ranks."""

    def __init__(self, bench, out, count, odd=None, launcher=None):
        """`odd`: a rank and the lines of shell that make it another one."""
        self.folder, self.count = bench.scratch / "r", count
        shutil.rmtree(self.folder, ignore_errors=True)
        for rank in range(count):
            (self.folder / str(rank)).mkdir(parents=True)
            shutil.copy(bench.text, self.folder / str(rank) / "text.txt")
        if odd is not None:
            (self.folder / str(odd[0]) / "odd.sh").write_text(odd[1] + "\n")
        self.said = bench.scratch / "said.txt"
        command = launcher or ["mpirun", "--oversubscribe"]
        command = [*command, "-n", str(count), "--bind-to", "none", "-x", "RANKS", "-x", "LONGSPAN_THREADS",
                   "sh", str(bench.wrapper), *bench.training.command, "-o", str(out)]
        if out.exists():
            command.append("--resume")
        with open(self.said, "w") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                # One mpirun removes the folder of Open MPI while another one makes its own in it.
                env={**os.environ, **ENVIRONMENT, "RANKS": str(self.folder), "TMPDIR": str(self.folder)})

    def text(self):
        """What all have said, mpirun last: whoever ends it loses nothing of the ranks. A rank that
        was killed may have left half a line."""
        said = [self.folder / str(rank) / "said" for rank in range(self.count)] + [self.said]
        return "\n".join(path.read_text(errors="replace") for path in said if path.exists())

    def number(self, rank, what):
        """What the wrapper of a rank wrote; None: nothing yet."""
        path = self.folder / str(rank) / what
        return int(path.read_text()) if path.exists() and path.read_text().strip() else None

    def send(self, rank, number):
        try:
            os.kill(self.number(rank, "pid"), number)
        except ProcessLookupError:
            pass

    def begun(self):
        """Waits until the ranks know each other; False: they ended before."""
        return self.wait(lambda: f"{self.count} ranks," in self.text(), PATIENCE_S)

    def wait(self, done, seconds):
        """Until done() or, False, until mpirun is at its end."""
        begin = time.monotonic()
        while not done():
            if self.process.poll() is not None:
                return bool(done())
            if time.monotonic() - begin > seconds:
                return False
            time.sleep(0.005)
        return True

    def end(self, victims=(), limit_s=LIMIT_S):
        """Waits for all ranks but `victims`; then nothing of them is left. Statuses, by rank."""
        others = [rank for rank in range(self.count) if rank not in victims]
        begin = time.monotonic()
        self.wait(lambda: all(self.number(rank, "status") is not None for rank in others), limit_s)
        late = [rank for rank in others if self.number(rank, "status") is None and self.lives(rank)]
        seconds = time.monotonic() - begin
        self.clear()
        if late:
            raise Lost(f"ranks {late} still ran {seconds:.0f} s after the fault; they said: {self.text()[-600:]!r}")
        return {rank: self.number(rank, "status") for rank in range(self.count)}

    def lives(self, rank):
        pid = self.number(rank, "pid")
        return pid is not None and Path(f"/proc/{pid}").exists()

    def clear(self):
        """Ends what is left, mpirun too: a host that is cut off may keep it waiting."""
        for rank in range(self.count):
            if self.lives(rank):
                self.send(rank, signal.SIGKILL)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Bench:
    """What all faults share: the training, its undisturbed twin, and where the moments come from."""

    def __init__(self, options, scratch, log):
        module = Path(options.program).parent / "longspan_mpi.so"
        if not shutil.which("mpirun") or not module.exists():
            raise Untried(f"no mpirun, or no {module}")
        self.options, self.scratch, self.log = options, scratch, log
        self.luck = random.Random(options.seed)
        self.text = scratch / "text.txt"
        self.text.write_bytes(options.text.read_bytes()[:60000])
        self.wrapper = scratch / "wrapper.sh"
        self.wrapper.write_text(WRAPPER)
        self.calls, self.cut = compile_shim("calls", scratch, log), compile_shim("cut", scratch, log)
        options.text = Path("text.txt")  # of the folder that a process starts in
        self.training = Training(options, make_model(options, scratch, log))
        self.oracle = scratch / "oracle"
        self.alone(self.oracle)
        self.expected = losses(self.oracle)
        self.rounds = 0
        self.out = None

    def alone(self, out):
        self.training.finish(out, self.log, cwd=self.scratch, env={**os.environ, "LONGSPAN_THREADS": "1"})

    def measure(self):
        """Seconds that the ranks train, undisturbed."""
        out = self.scratch / "measured"
        run = Together(self, out, self.options.ranks)
        run.begun()
        begin = time.monotonic()
        statuses = run.end(limit_s=PATIENCE_S)
        if set(statuses.values()) != {0}:
            raise Lost(f"undisturbed ranks ended with {statuses}; they said: {run.text()[-600:]!r}")
        self.train_s = time.monotonic() - begin
        self.check(out)
        shutil.rmtree(out)

    def check(self, out):
        check_same_losses(out, self.expected)
        check_same_weights(out, self.oracle)
        if litter(out):
            raise Lost(f"{out.name}: left behind {litter(out)}")

    def folder(self):
        """The run that the next fault meets: one that is not at its end yet."""
        if self.out is None:
            self.rounds += 1
            self.out = self.scratch / f"disturbed-{self.rounds}"
        return self.out

    def finish(self):
        """Whatever the faults left of the run goes on, and ends like the undisturbed one."""
        if self.out is None:
            return
        if self.luck.random() < 0.5 or not self.out.exists():
            self.alone(self.out)
        else:
            run = Together(self, self.out, self.luck.choice((2, 4)))
            statuses = run.end(limit_s=PATIENCE_S)
            if set(statuses.values()) != {0}:
                raise Lost(f"a resume ended with {statuses}; it said: {run.text()[-600:]!r}")
        self.check(self.out)
        shutil.rmtree(self.out)
        self.out = None

    def is_over(self):
        return self.out is not None and (self.out / "model.safetensors").exists()

    def moment(self):
        return self.luck.uniform(0.0, 0.8 * self.train_s)


def lines_of(run, rank):
    return re.findall(rf"^longspan: rank {rank} on \S+: .*$", run.text(), re.MULTILINE)


def check_survivors(run, statuses, victim, what):
    """Each other rank ended with a line and the status of a lost peer."""
    for rank, status in statuses.items():
        if rank == victim:
            continue
        if status != PEER:
            raise Lost(f"{what} of rank {victim}: rank {rank} ended with status {status}, not {PEER}; it said: "
                       f"{run.text()[-600:]!r}")
        if len(lines_of(run, rank)) != 1:
            raise Lost(f"{what} of rank {victim}: rank {rank} has not one line; it said: {run.text()[-600:]!r}")


def disturb(bench, what, act, odd=None, launcher=None):
    """A start, and act(it) at a random moment of its training. None: it was at its end before."""
    count = bench.options.ranks
    run = Together(bench, bench.folder(), count, odd, launcher)
    if not run.begun():
        statuses = run.end()
        raise Lost(f"{what}: the ranks did not begin, {statuses}; they said: {run.text()[-600:]!r}")
    # Rank 0 tells the result when all have computed: what is cut then meets MPI's own end.
    over = "held out: "
    run.wait(lambda: over in run.text(), bench.moment())
    if run.process.poll() is not None or over in run.text():
        run.end()
        return None
    act(run)
    return run


def after(bench, run, victim, what):
    """The end of a run with a fault in it; False: all had ended well before."""
    statuses = run.end(victims=(victim,))
    if all(status == 0 for rank, status in statuses.items() if rank != victim) and bench.is_over():
        return False
    check_survivors(run, statuses, victim, what)
    return True


def lose(bench, what):
    """A rank that is killed, stopped, or whose connections are reset."""
    victim = bench.luck.randrange(bench.options.ranks)
    cue = bench.scratch / "cut"
    cue.unlink(missing_ok=True)
    odd = (victim, f"export LD_PRELOAD={bench.cut} FAULT_CUT={cue}") if what == "cut" else None
    act = {"kill": lambda run: run.send(victim, signal.SIGKILL), "stop": lambda run: run.send(victim, signal.SIGSTOP),
           "cut": lambda run: cue.touch()}[what]
    run = disturb(bench, what, act, odd)
    return run is not None and after(bench, run, victim, what)


def pull(bench, what):
    """The cable of a host, with what is on its way."""
    victim = bench.luck.randrange(1, bench.options.ranks)
    with Hosts(bench.options.ranks, bench.scratch, bench.log) as hosts:
        run = disturb(bench, what, lambda _: hosts.link(victim, "down"), launcher=hosts.launcher())
        if run is None:
            return False
        # The host that is cut off ends too: it sees the others fall silent, or MPI gives up first.
        statuses = run.end()
        if all(status == 0 for status in statuses.values()) and bench.is_over():
            return False
        check_survivors(run, statuses, victim, what)
    return True


def terminate(bench, what):
    """A batch system's SIGTERM for all: they stop after one update, and save it."""
    def send(run):
        for rank in range(bench.options.ranks):
            run.send(rank, signal.SIGTERM)
    run = disturb(bench, what, send)
    if run is None:
        return False
    statuses = run.end()
    if set(statuses.values()) == {0} and bench.is_over():
        return False
    if set(statuses.values()) != {128 + signal.SIGTERM}:
        raise Lost(f"SIGTERM of all: ended with {statuses}; they said: {run.text()[-600:]!r}")
    return True


def fill_disk(bench, what):
    """The disk of rank 0 is full from some write of the run's folder on: its saves fail."""
    told = bench.scratch / "told"
    told.unlink(missing_ok=True)
    out = bench.folder()
    shim = {"LD_PRELOAD": bench.calls, "FAULT_CALL": "write", "FAULT_N": bench.luck.randrange(1, 40),
            "FAULT_DO": 28, "FAULT_STAYS": 1, "FAULT_BELOW": out, "FAULT_TOLD": told}
    run = Together(bench, out, bench.options.ranks,
                   (0, "export " + " ".join(f"{name}={value}" for name, value in shim.items())))
    statuses = run.end(limit_s=PATIENCE_S)
    if not told.exists() or (set(statuses.values()) == {0} and bench.is_over()):
        return False
    if statuses[0] != IO or "No space left on device" not in "".join(lines_of(run, 0)):
        raise Lost(f"{what}: rank 0 ended with {statuses[0]}; it said: {run.text()[-600:]!r}")
    # Its status is that of all, and it has told why.
    if set(statuses.values()) != {IO} or any(lines_of(run, rank) for rank in statuses if rank != 0):
        raise Lost(f"{what}: ended with {statuses}; they said: {run.text()[-600:]!r}")
    return True


def differ(bench, what):
    """A rank with other texts, or another program: all end before they compute anything. What a
    checkpoint says of the texts is that rank's to find, and the others name it."""
    victim = bench.luck.randrange(1, bench.options.ranks)
    if what == "other texts":
        odd, named = "tr a-y b-z < text.txt > t && mv t text.txt", "(fingerprint|data are not those)"
    else:
        folder = bench.scratch / "other"
        if not folder.exists():
            folder.mkdir()
            program = Path(bench.options.program)
            shutil.copy(program, folder / program.name)
            with open(folder / program.name, "ab") as file:
                file.write(b"\0")
            (folder / "longspan_mpi.so").symlink_to(program.parent / "longspan_mpi.so")
        odd, named = f"PROGRAM={folder / Path(bench.options.program).name}", "checksum"
    run = Together(bench, bench.folder(), bench.options.ranks, (victim, odd))
    statuses = run.end(limit_s=PATIENCE_S)
    if set(statuses.values()) != {FORMAT} or not re.search(rf"rank {victim} on \S+: .*{named}", run.text()):
        raise Lost(f"{what}: ended with {statuses}; they said: {run.text()[-600:]!r}")
    return True


FAULTS = {"kill": lose, "cut": lose, "stop": lose, "SIGTERM of all": terminate, "full disk": fill_disk,
          "other texts": differ, "other program": differ, "pulled cable": pull}
# Of the random ones: a stop takes the 20 s that a silent rank has.
WEIGHTS = {"kill": 22, "cut": 11, "stop": 5, "SIGTERM of all": 5, "full disk": 3, "other texts": 2, "other program": 2}
QUICK = ("kill", "cut", "SIGTERM of all", "full disk", "other texts")


def run(options, scratch, log):
    if options.quick:
        options.steps, options.links = 8, 0
    bench = Bench(options, scratch, log)
    bench.measure()
    say(f"undisturbed: {options.ranks} ranks train {bench.train_s:.1f} s")
    plan = list(QUICK) if options.quick else bench.luck.choices(list(WEIGHTS), list(WEIGHTS.values()),
                                                                k=options.moments)
    can_pull = os.geteuid() == 0 and shutil.which("ip")
    for _ in range(options.links if can_pull else 0):
        plan.insert(bench.luck.randrange(len(plan) + 1), "pulled cable")
    done, trained = Counter(), 0
    for number, what in enumerate(plan, 1):
        if bench.is_over():
            bench.finish()
            trained += 1
        # A run that was at its end before the fault is one more that must be right.
        while not FAULTS[what](bench, what):
            bench.finish()
            trained += 1
        done[what] += 1
        log.write(f"{number}: {what}\n")
        if bench.luck.random() < 0.3 or number == len(plan):
            bench.finish()
            trained += 1
        if number % 10 == 0:
            say(f"{number} of {len(plan)} faults, {trained} trainings at their ends")
    told = ", ".join(f"{count} x {what}" for what, count in sorted(done.items()))
    pulled = "" if can_pull or options.quick else "; no cable was pulled, which takes root and iproute2"
    return (f"{sum(done.values())} faults ({told}): every other rank ended within {LIMIT_S:.0f} s with its line and "
            f"status, and {trained} trainings went on to the undisturbed losses and weights, bit for bit{pulled}")
