"""Whether the cores lie near each other while something is measured.

Two cores that share their last cache pass a line to each other and back in some 80 ns, two that do
not in some 400. A virtual machine's cores may be moved between the two within seconds, and some
programs run a third slower in one of them: figures of different places do not compare.
"""
import json
import subprocess
import time

NEAR_NS = 250  # at most


def round_trip_ns(program, threads):
    """0 for one thread."""
    line = [program, "--threads", str(threads), "bench", "attention", "--tokens", "64", "--heads",
            "1", "--pass", "forward", "--steps", "1", "--json"]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["round_trip_ns"]


def place(ns):
    return "near" if ns <= NEAR_NS else "far"


def measure_in_place(program, threads, wanted, measure, most_seconds=900):
    """What measure() returns, and the round trips before and behind it. `wanted`: "near" or "far",
    measured again until the cores were there before and behind; or None."""
    give_up = time.monotonic() + most_seconds
    while True:
        before = round_trip_ns(program, threads)
        if wanted is None or place(before) == wanted:
            result = measure()
            trips = [before, round_trip_ns(program, threads)]
            if wanted is None or place(trips[1]) == wanted or "failed" in result:
                return {**result, "round_trips_ns": trips}
        else:
            time.sleep(2)
        if time.monotonic() > give_up:
            return {"failed": f"the cores were not {wanted} for long enough"}
