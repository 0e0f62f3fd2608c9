#!/usr/bin/env python3
"""How runs are stopped, go on and start again, as people and schedulers do it.

usage: stopping_test.py PROGRAM [unittest options]
"""
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import support
from support import SMALL_RUN, Case, main, run, unless_sanitized

LONG = ["--steps", "100000", "--save-every", "0", "--eval-every", "0"]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


AT_ONCE_S = 20.0  # on a busy machine; `./dev faults signals` holds an idle one to a second


def takes_signals(process):
    """Whether it has come so far that a signal is answered, not just obeyed; true when it is over."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return True
    blocked = re.search(r"SigBlk:\s*([0-9a-f]+)", status)
    return blocked is None or bool(int(blocked.group(1), 16) >> (signal.SIGTERM - 1) & 1)


def listen():
    """What runs in a shell's background ignores Ctrl-C: not here."""
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)


class Runs(Case):
    def command(self, out, *more, model=None):
        words = [support.PROGRAM, "train", "lm", "-m", model or self.start, "--train", self.text, "-o", out,
                 *SMALL_RUN, *more]
        return [str(word) for word in words]

    def begin(self, out, *more, **options):
        if "stderr" not in options:
            options["stderr"] = open(self.dir / "stderr.txt", "w")
            self.addCleanup(options["stderr"].close)
        options.setdefault("stdout", subprocess.DEVNULL)
        return subprocess.Popen(self.command(out, *more), preexec_fn=listen, **options)

    def wait_for(self, what):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if what():
                return
            time.sleep(0.01)
        self.fail("nothing happens for a minute")

    def steps_done(self, out):
        log = out / "metrics.jsonl"
        return log.read_text().count("\n") if log.exists() else 0

    def said(self):
        return (self.dir / "stderr.txt").read_text()

    def hidden(self, folder):
        return sorted(p.name for p in folder.rglob(".*")
                      if p.name not in (".longspan-lock", ".longspan-run.json"))

    def checkpoints(self, out):
        return sorted(int(p.name.split("-")[1]) for p in out.glob("checkpoint-*"))


class Stopping(Runs):
    def test_the_first_says_what_happens_and_saves(self):
        for number in STOPS:
            out = self.dir / number.name
            process = self.begin(out, *LONG)
            self.wait_for(lambda: self.steps_done(out) >= 3)
            process.send_signal(number)
            self.assertEqual(process.wait(timeout=60), 128 + number)
            self.assertRegex(self.said(), number.name + r": stops after this update and saves; the "
                             r"last checkpoint is \S*/checkpoint-0; a second signal leaves at once")
            self.assertGreaterEqual(max(self.checkpoints(out)), 3)
            self.assertEqual(self.hidden(out), [])

    def test_two_at_the_same_moment_are_one(self):
        out = self.dir / "run"
        process = self.begin(out, *LONG)
        self.wait_for(lambda: self.steps_done(out) >= 3)
        process.send_signal(signal.SIGINT)  # as timeout(1) does: to the process and to its group
        process.send_signal(signal.SIGTERM)
        self.assertIn(process.wait(timeout=60), (128 + signal.SIGINT, 128 + signal.SIGTERM))
        self.assertGreaterEqual(max(self.checkpoints(out)), 3)

    def test_the_second_leaves_at_once(self):
        out = self.dir / "run"
        # An update that takes long: the first signal waits for it.
        process = self.begin(out, *LONG, "--batch", "64", "--accumulate", "64")
        self.wait_for(lambda: (out / "metrics.jsonl").exists())
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.wait_for(lambda: "stops after this update" in self.said())
        self.assertIsNone(process.poll())
        time.sleep(0.2)  # closer together they would count as one
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        self.assertEqual(process.wait(timeout=60), -signal.SIGINT)
        self.assertLess(time.monotonic() - begin, AT_ONCE_S)
        self.assertRegex(self.said(), r"left at once, .* given up; --resume goes on from "
                         r"\S*/checkpoint-0")
        self.assertEqual(self.checkpoints(out), [0])
        self.assertEqual(self.hidden(out), [])

    def test_an_evaluation_is_stopped_at_once_and_done_again(self):
        self.text.write_bytes((support.ROOT / "data" / "persuasion.txt").read_bytes())
        out = self.dir / "run"
        more = ["--steps", "4", "--save-every", "0", "--eval-every", "2", "--held-out", "0.5"]
        process = self.begin(out, *more, "--progress", "plain")
        self.wait_for(lambda: "held out" in self.said())
        process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        self.assertEqual(process.wait(timeout=60), 143)
        self.assertLess(time.monotonic() - begin, AT_ONCE_S)
        self.assertIn("stops this evaluation", self.said())
        self.assertEqual(self.checkpoints(out)[-1], 2)
        self.assertNotIn("eval", [kind for kind, _, _ in self.losses(out)])

    def test_reading_is_stopped_at_once(self):
        big = self.dir / "big.txt"
        with open(big, "w") as file:
            for _ in range(40):
                file.write(self.text.read_text(errors="replace") * 40)
        roberta = support.ROOT / "tests" / "tokenizers" / "roberta"
        model, out = self.dir / "pieces", self.dir / "run"
        self.ok("init", "--preset", "tiny", "--tokenizer", roberta, "-o", model)
        words = [support.PROGRAM, "train", "lm", "-m", model, "--train", big, "-o", out]
        process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True,
                                   preexec_fn=listen)
        self.wait_for(lambda: takes_signals(process))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT, said)
        self.assertIn("SIGINT: stopped; no file is left half written", said)

    def test_user_signal_saves_now(self):
        out = self.dir / "run"
        process = self.begin(out, *LONG)
        self.wait_for(lambda: self.steps_done(out) >= 3)
        process.send_signal(signal.SIGUSR1)
        self.wait_for(lambda: max(self.checkpoints(out)) > 0)
        self.assertIsNone(process.poll())
        before = self.steps_done(out)
        self.wait_for(lambda: self.steps_done(out) > before)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 143)

    def test_a_reader_that_goes_away_ends_nothing(self):
        out = self.dir / "run"
        process = self.begin(out, "--steps", "60", "--progress", "plain", stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        process.stderr.readline()  # as `head -1` does
        process.stderr.close()
        process.stdout.close()
        self.assertEqual(process.wait(timeout=120), 0)
        self.assertTrue((out / "model.safetensors").exists())
        self.assertEqual(self.checkpoints(out)[-1], 60)

    def test_a_background_run_survives_the_closed_terminal(self):
        out = self.dir / "run"
        words = ["nohup", *self.command(out, *LONG)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for(lambda: self.steps_done(out) >= 2)
        process.send_signal(signal.SIGHUP)
        before = self.steps_done(out)
        self.wait_for(lambda: self.steps_done(out) > before + 2)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 143)

    def test_a_process_that_is_frozen_goes_on(self):
        whole, out = self.dir / "whole", self.dir / "run"
        more = ["--steps", "100", "--save-every", "0", "--eval-every", "0"]
        self.train(whole, *more)
        process = self.begin(out, *more)
        self.wait_for(lambda: self.steps_done(out) >= 3)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        self.assertLess(self.steps_done(out), 100)  # it was stopped on its way
        before = self.steps_done(out)
        time.sleep(0.5)
        self.assertEqual(self.steps_done(out), before)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(timeout=120), 0)
        self.assertEqual(self.losses(out), self.losses(whole))

    @unless_sanitized
    def test_a_long_run_takes_no_more_and_more(self):
        out = self.dir / "run"
        process = self.begin(out, "--steps", "1500", "--save-every", "500", "--eval-every", "0",
                             "--batch", "1", "--tokens", "32")
        open_files = {}
        while process.poll() is None:
            try:
                now = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
                open_files[self.steps_done(out)] = now
            except OSError:
                break  # it has just ended
            time.sleep(0.2)
        self.assertEqual(process.wait(timeout=120), 0, self.said())
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        taken = {row["step"]: row["rss_bytes"] for row in rows if row["kind"] == "train"}
        grown = taken[1500] - taken[550]  # behind a save, which books its buffers once
        self.assertLess(grown / 950, 1024)
        # Behind the last step the process closes what it has.
        late = [count for step, count in open_files.items() if 100 < step < 1500]
        self.assertLessEqual(max(late) - min(late), 3)  # a checkpoint that is being written

    def test_other_commands_end_at_once_and_leave_nothing(self):
        base = self.dir / "base"
        self.ok("init", "--preset", "small", "-o", base)
        novel = support.ROOT / "data" / "persuasion.txt"
        target = self.dir / "converted"
        for words in (["eval", "-m", base, novel, "--tokens", "512"],
                      ["plan", "-m", base, "--memory", "4G"],
                      ["convert", base, target]):
            process = subprocess.Popen([support.PROGRAM, *map(str, words)], stderr=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, text=True, preexec_fn=listen)
            self.wait_for(lambda: takes_signals(process))
            time.sleep(0.0 if words[0] == "convert" else 0.3)
            process.send_signal(signal.SIGTERM)
            begin = time.monotonic()
            _, said = process.communicate(timeout=60)
            self.assertLess(time.monotonic() - begin, AT_ONCE_S, words[0])
            self.assertIn(process.returncode, (-signal.SIGTERM, 0), said)
            if process.returncode != 0:
                self.assertIn("SIGTERM: stopped", said)
                self.assertFalse(target.exists())
            self.assertEqual(self.hidden(self.dir), [])

    def test_evaluations_show_how_far_they_are(self):
        novel = support.ROOT / "data" / "persuasion.txt"
        base = self.dir / "base"
        self.ok("init", "--preset", "small", "-o", base)
        process = subprocess.Popen([support.PROGRAM, "eval", "-m", str(base), str(novel)],
                                   stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.assertRegex(process.stderr.readline(), r"evaluated \d+/\d+ (rows|tokens) \d+%.* left")
        process.kill()
        process.communicate()


class Starting(Runs):
    def test_extend(self):
        constant = ["--schedule", "constant", "--warmup", "2"]
        self.train(self.dir / "long", "--steps", "20", *constant)
        out = self.dir / "run"
        self.train(out, "--steps", "12", *constant)
        refused = self.train(out, "--steps", "20", *constant, "--resume", code=2)
        self.assertIn("--extend", refused.stderr)
        told = self.train(out, "--steps", "20", *constant, "--extend").stderr
        self.assertIn("extended from 12 to 20 updates: the bits are those of one long run", told)
        self.assertEqual((out / "model.safetensors").read_bytes(),
                         (self.dir / "long" / "model.safetensors").read_bytes())
        cosine = self.dir / "cosine"
        self.train(cosine, "--steps", "8")
        told = self.train(cosine, "--steps", "12", "--extend").stderr
        self.assertIn("had the learning rates of a shorter run", told)
        self.train(cosine, "--steps", "6", "--extend", code=2)
        self.train(self.dir / "nothing", "--extend", code=2)

    def test_a_run_whose_time_is_over(self):
        out = self.dir / "run"
        result = self.train(out, "--log-every", "10", "--eval-every", "0", "--max-time", "0.001s")
        self.assertEqual([line[:2] for line in self.losses(out)], [("train", 1), ("eval", 1)])
        self.assertIn("ended at step 1 of 12; --resume with more --max-time", self.ok("info", out))
        # What measures the model on the text that was held out stands in the last line.
        (last,) = [line for line in result.stdout.splitlines() if line.startswith("next: ")]
        words = last.split("longspan ")[-1].split()
        self.assertEqual(words[:3], ["eval", "-m", str(out)])
        measured = json.loads(self.ok(*words, "--json"))
        self.assertEqual(measured["tokens"], 64)
        self.assertLess(measured["bytes"], len(self.text.read_bytes()) / 5)
        self.train(out, "--log-every", "10", "--eval-every", "0", "--resume")
        self.assertEqual([line[:2] for line in self.losses(out)],
                         [("eval", 1), ("train", 10), ("train", 12), ("eval", 12)])
        self.assertNotIn("ended at", self.ok("info", out))

    def test_resume_wants_the_model_and_a_checkpoint(self):
        out, other = self.dir / "run", self.dir / "other"
        self.train(out)
        self.ok("init", "--preset", "tiny", "--seed", "7", "-o", other)
        result = run(*self.command(out, "--resume", model=other)[1:])
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("is not the model that the run", result.stderr)
        for folder in out.glob("checkpoint-*"):
            subprocess.run(["rm", "-r", folder], check=True)
        log = (out / "metrics.jsonl").read_bytes()
        result = self.train(out, "--resume", code=3)
        self.assertIn("no checkpoint is left", result.stderr)
        self.assertEqual((out / "metrics.jsonl").read_bytes(), log)

    def test_overwrite_takes_what_runs_wrote(self):
        out = self.dir / "run"
        self.train(out)
        before = {p: p.read_bytes() for p in self.start.rglob("*") if p.is_file()}
        (self.dir / "link").symlink_to(self.start)
        for spelt in (f"{self.start}/", f"{self.start}/.", self.dir / "link"):
            result = run("train", "lm", "-m", self.start, "--train", self.text, "-o", spelt,
                         *SMALL_RUN, "--overwrite")
            self.assertEqual(result.returncode, 2, result.stderr)
        for path, held in before.items():
            self.assertEqual(path.read_bytes(), held)
        result = run("train", "lm", "-m", out / "checkpoint-12", "--train", self.text, "-o", out,
                     *SMALL_RUN, "--overwrite")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("the model to start from", result.stderr)
        result = run("train", "lm", "-m", self.start, "--train", out / "metrics.jsonl", "-o", out,
                     *SMALL_RUN, "--overwrite", "--format", "text")
        self.assertEqual(result.returncode, 2, result.stderr)
        (out / "notes.txt").write_text("mine")
        result = self.train(out, "--overwrite", code=2)
        self.assertIn("notes.txt", result.stderr)
        (out / "notes.txt").unlink()
        self.assertEqual(self.checkpoints(out)[-1], 12)
        self.train(out, "--overwrite")

    def test_what_a_save_needs_is_tried_before_the_first_update(self):
        out = self.dir / "run"
        # Room for the model, not for its checkpoint with the optimiser's moments.
        size = (self.start / "model.safetensors").stat().st_size * 3 // 2
        words = " ".join(f"'{word}'" for word in self.command(out))
        result = subprocess.run(["bash", "-c", f"ulimit -f {size // 1024}; exec {words}"],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertIn("File too large", result.stderr)
        self.assertFalse((out / "metrics.jsonl").exists())
        self.assertEqual(self.hidden(out), [])

    def test_learning_rates_that_cannot_be(self):
        for rate in ("1e38", "-1", "nan", "inf"):
            result = self.train(self.dir / "run", "--lr", rate, code=2)
            self.assertIn("learning-rate", result.stderr)
        self.train(self.dir / "zero", "--lr", "0")
        # One that a run cannot bear: no crash, no weights that are no numbers.
        result = run(*self.command(self.dir / "hot", "--lr", "100", "--clip", "0", "--steps",
                                   "40")[1:])
        self.assertIn(result.returncode, (0, 6), result.stderr)
        for folder in (self.dir / "hot").glob("checkpoint-*"):
            self.ok("info", folder)

    def test_resume_names_an_option_that_differs(self):
        out = self.dir / "run"
        self.train(out)
        told = self.train(out, "--resume", "--dtype", "bf16", code=2).stderr
        self.assertIn("started with --dtype f32, this command goes on with --dtype bf16; give", told)
        half = self.dir / "half"
        self.train(half, "--dtype", "bf16")
        told = self.train(half, "--resume", code=2).stderr
        self.assertIn("started with --dtype bf16, this command goes on with --dtype f32", told)

    def test_updates_that_are_not_finite_are_told(self):
        # Numbers so large that the first loss overflows: no update is applied, three end the run.
        model = self.dir / "huge"
        subprocess.run(["cp", "-r", self.start, model], check=True)
        weights = model / "model.safetensors"
        whole = weights.read_bytes()
        head = 8 + int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8:head])
        begin, end = header["reformer.embeddings.word_embeddings.weight"]["data_offsets"]
        huge = b"\x00\x00\x00\x7f" * ((end - begin) // 4)
        weights.write_bytes(whole[:head + begin] + huge + whole[head + end:])
        out = self.dir / "run"
        result = run(*self.command(out, model=model)[1:])
        self.assertEqual(result.returncode, 6, result.stderr)
        lines = result.stderr.splitlines()
        named = [line for line in lines if re.search(r"its rows: bytes \d+ to \d+ of \S*text.txt", line)]
        self.assertEqual(len(named), 3, result.stderr)
        self.assertIn("checkpoint-0 is whole", lines[-1])
        self.assertEqual(self.checkpoints(out), [0])


if __name__ == "__main__":
    main()
