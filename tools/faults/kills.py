"""SIGKILL at random moments of a training that saves after every step."""
import random
import signal
import subprocess

from support import (Lost, Training, add_training_options, check_same_losses, check_same_weights,
                     losses, make_model, say)

DESCRIPTION = ("Kills a training at random moments, resumes it each time, and compares every loss "
               "and the final weights with an undisturbed run.")


def add_options(parser):
    # Dropout is on: its masks must come back too. The rest keeps a step short.
    add_training_options(parser, steps=100,
                         extra="--log-every 1 --batch 2 --tokens 128 --dropout 0.1 "
                               "--held-out 0.01 --progress none")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")


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


def run(options, scratch, log):
    training = Training(options, make_model(options, scratch, log))
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
        check_same_losses(out, expected)
        check_same_weights(out, oracle)
    return (f"{options.kills} kills over {rounds} trainings of {options.steps} steps: every loss "
            f"and the final weights are the undisturbed run's, bit for bit")
