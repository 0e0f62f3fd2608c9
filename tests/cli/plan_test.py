#!/usr/bin/env python3
"""What a training step needs, as `plan` predicts it.

usage: plan_test.py PROGRAM [unittest options]
"""
import json
import os
import re
import subprocess
import sys

import support
from support import GOLDEN, Case, main, unless_sanitized


class Plan(Case):
    """What a training step needs, foretold."""

    # What a process holds beyond the plan: the text and weights it has mapped, and the last huge
    # pages of the arena, which are planned but may stay untouched.
    NEAR = 0.04

    def steps(self, *arguments, trial=0):
        plan = json.loads(self.ok("plan", *arguments, "--trial", trial, "--json"))
        return plan, {step["attention"]: step for step in plan["steps"]}

    def near(self, measured, step):
        total = step["bytes"]["total"]
        self.assertEqual(total, sum(step["bytes"].values()) - total)
        self.assertLess(abs(measured - total), self.NEAR * total, (measured, step))

    @unless_sanitized
    def test_memory_of_a_step(self):
        planned = {tokens: self.steps("-m", self.start, "--tokens", tokens)[1]
                   for tokens in (2048, 4096, 16384)}
        for tokens, attention in [(2048, "full"), (4096, "full"), (4096, "local"), (16384, "local"),
                                  (4096, "lsh"), (16384, "lsh")]:
            steps = planned[tokens]
            measured = json.loads(self.ok(
                "bench", "train", "--preset", "tiny", "--tokens", tokens, "--attention", attention,
                "--steps", "1", "--json"))
            self.near(measured["peak_rss_bytes"], steps[attention])
            self.assertAlmostEqual(measured["model_gflop"], steps[attention]["gflop"])

    def test_sums_of_gradients(self):
        def step(*words):
            return self.steps("-m", self.start, "--tokens", 64, *words)[1]["full"]["bytes"]
        one, eight, ranks = step(), step("--accumulate", 8), step("--accumulate", 8, "--ranks", 4)
        self.assertEqual((one["sums"], eight["sums"]), (0, 3 * one["gradients"]))
        self.assertEqual(eight["total"], sum(eight.values()) - eight["total"])
        # Two micro-batches a rank keep one gradient; slices of buckets are on their way.
        self.assertLess(one["gradients"], ranks["sums"])
        self.assertEqual((one["mpi"], eight["mpi"]), (0, 0))
        self.assertGreater(ranks["mpi"], 5e6)
        self.assertEqual(ranks["total"], sum(ranks.values()) - ranks["total"])
        self.assertGreater(step("--ranks", 4)["sums"], 0)
        self.fails(2, "plan", "-m", self.start, "--tokens", 64, "--accumulate", 2, "--ranks", 4,
                   says=["2 micro-batches", "4 ranks"])
        self.fails(5, "train", "lm", "-m", self.start, "--train", self.text, "-o", self.dir / "lean", "--memory", "40M",
                   "--batch", 1, "--accumulate", 8, says=["there are", "for sums of gradients", "--accumulate"])

    def test_a_refusal_counts_the_program(self):
        words = ["train", "lm", "-m", self.start, "--train", self.text, "-o", self.dir / "lean", "--batch", 8,
                 "--steps", 1, "--tokens", 512, "--progress", "none", "--memory"]
        message = support.run(*words, "50M").stderr
        numbers = [int(x) for x in re.findall(r"([0-9]+) MB", message)]
        self.assertEqual(len(numbers), 6, message)
        whole, *parts, given = numbers
        self.assertLess(abs(whole - sum(parts)), 4, message)  # each is rounded
        self.assertEqual(given, round(50 * 2 ** 20 * 1e-6))
        least = int(re.search(r"the least is --memory ([0-9]+)M$", message)[1])
        self.assertLess(abs(least * 2 ** 20 * 1e-6 - whole), 3, message)
        self.ok(*words, f"{least}M")

    @unless_sanitized
    def test_memory_of_a_training(self):
        process = subprocess.Popen(
            [support.PROGRAM, "train", "lm", "-m", str(self.start), "--train", str(self.text),
             "-o", str(self.dir / "run"), "--steps", "2", "--batch", "1", "--tokens", "8192",
             "--progress", "none"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        self.near(usage.ru_maxrss * 1024, self.steps("-m", self.start, "--tokens", 8192)[1]["lsh"])

    @unless_sanitized
    def test_memory_of_a_training_of_vectors(self):
        text = self.text.read_text()
        pairs = self.dir / "pairs.jsonl"
        pairs.write_text("".join(json.dumps({"anchor": text[i:i + 4000], "positive": text[i + 9:i + 4009]}) + "\n"
                                 for i in (0, 500)))
        process = subprocess.Popen(
            [support.PROGRAM, "train", "embed", "-m", str(self.start), "--train", str(pairs), "--eval", str(pairs),
             "-o", str(self.dir / "run"), "--steps", "1", "--negatives-batch", "2", "--batch", "1", "--tokens", "4096",
             "--progress", "none"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        plan, steps = self.steps("-m", self.start, "--task", "embed", "--tokens", 4096)
        self.assertEqual(plan["head"], "ReformerModel")
        self.near(usage.ru_maxrss * 1024, steps["lsh"])
        # Such a training fits itself into a memory, and refuses one that is too small.
        self.fails(5, "train", "embed", "-m", self.start, "--train", pairs, "--eval", pairs, "-o", self.dir / "no",
                   "--tokens", "4096", "--memory", "20M", "--progress", "none", says=["memory"])

    @unless_sanitized
    def test_texts_that_a_training_holds_count(self):
        big, small = self.dir / "big", self.dir / "small"
        big.write_text("Twelve megabytes of text.\n" * 480_000)
        small.write_text("held out\n" * 8)
        process = subprocess.Popen(
            [support.PROGRAM, "train", "lm", "-m", str(self.start), "--train", str(big), "--eval", str(small), "-o",
             str(self.dir / "run"), "--steps", "1", "--batch", "1", "--tokens", "4096", "--progress", "none"],
            stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        words = ["-m", self.start, "--tokens", 4096, "--train", big]
        step = self.steps(*words)[1]["lsh"]
        self.assertEqual(step["bytes"]["texts"], big.stat().st_size)
        self.near(usage.ru_maxrss * 1024, step)
        self.assertIn("with 12 MB of texts", self.ok("plan", *words, "--trial", 0))
        # Ids of bytes take two bytes each; what is above 16 MiB lies in a file.
        for file, size in ((small, 2 * small.stat().st_size), (big, 0)):
            step = self.steps(*words[:-1], file, "--task", "classify")[1]["lsh"]
            self.assertEqual(step["bytes"]["texts"], size)
        with open(big, "ab") as more:
            more.truncate(17 << 20)
        self.assertEqual(self.steps(*words)[1]["lsh"]["bytes"]["texts"], 0)
        self.fails(2, "plan", *words[:-1], "-", says=["--train -", "name a file"])
        self.fails(4, "plan", *words[:-1], self.dir / "none", says=["none"])

    def test_tasks_of_all_trainings(self):
        long = self.dir / "long"
        self.ok("init", "--arch", "longformer", "--preset", "tiny", "-o", long)
        found = {}
        for task, head in {"token-classify": "TokenClassification", "qa": "QuestionAnswering",
                           "multiple-choice": "MultipleChoice", "classify": "SequenceClassification",
                           "rerank": "SequenceClassification", "embed": "Model"}.items():
            plan, steps = self.steps("-m", long, "--task", task, "--tokens", "256")
            self.assertIn(head, plan["head"])
            found[task] = steps["window"]
            self.assertGreater(steps["window"]["gflop"], 0)
        # Without a trial the second forward pass of vectors costs a third more time.
        ratio = found["embed"]["estimated_seconds"] / found["token-classify"]["estimated_seconds"]
        self.assertAlmostEqual(ratio, 4 / 3, delta=0.1)
        self.fails(2, "plan", "-m", self.start, "--task", "multiple-choice", "--tokens", "256",
                   says=["multiple-choice", "embed, rerank"])

    def test_task_of_a_model_without_a_head(self):
        bare = self.dir / "bare"
        self.ok("init", "--preset", "tiny", "--head", "none", "-o", bare)
        heads = {"lm": "ReformerModelWithLMHead", "mlm": "ReformerForMaskedLM",
                 "classify": "ReformerForSequenceClassification"}
        for task, head in heads.items():
            plan, steps = self.steps("-m", bare, "--task", task, "--tokens", "1024")
            self.assertEqual(plan["head"], head)
            self.assertEqual(set(steps), {"full", "local", "lsh"})
        # The same as of a model that has the head.
        judge = self.dir / "judge"
        self.ok("init", "--preset", "tiny", "--head", "classify", "-o", judge)
        plan, of_bare = self.steps("-m", bare, "--task", "classify", "--tokens", "1024")
        own, of_judge = self.steps("-m", judge, "--tokens", "1024")
        self.assertEqual(own["parameters"], plan["parameters"])
        self.assertNotIn("head", own)
        for attention, step in of_bare.items():
            own = of_judge[attention]
            for part in set(step["bytes"]) - {"program", "total"}:
                self.assertEqual(step["bytes"][part], own["bytes"][part], part)
            self.assertEqual(step["gflop"], own["gflop"])
        self.assertIn("as `train classify` makes", self.ok(
            "plan", "-m", judge.parent / "start", "--task", "classify", "--tokens", "512", "--trial",
            "0.01"))
        long = self.dir / "long"
        self.ok("init", "--arch", "longformer", "--preset", "tiny", "--head", "none", "-o", long)
        plan, _ = self.steps("-m", long, "--task", "classify", "--tokens", "512")
        self.assertEqual(plan["head"], "LongformerForSequenceClassification")
        self.fails(2, "plan", "-m", long, "--task", "lm", "--tokens", "512", says=["lm", "mlm, classify"])
        self.fails(2, "plan", "-m", bare, "--task", "sing", "--tokens", "512", says=["sing", "lm, mlm"])

    def test_longest(self):
        plan, steps = self.steps("--preset", "tiny", "--memory", "1G")
        self.assertEqual((plan["memory_bytes"], plan["memory_source"]), (1 << 30, "given"))
        self.assertEqual(list(steps), ["full", "local", "lsh"])
        for step in steps.values():
            self.assertEqual(step["limited_by"], "memory")
            self.assertFalse(step["positions_suffice"])
            self.assertLessEqual(step["bytes"]["total"], 1 << 30)
            self.assertGreater(step["bytes"]["total"], 0.98 * (1 << 30))
        self.assertGreater(steps["full"]["estimated_seconds"],
                           10 * steps["lsh"]["estimated_seconds"])
        half = self.steps("--preset", "tiny", "--memory", 1 << 30, "--batch", "2")[1]["lsh"]
        self.assertAlmostEqual(half["tokens"] / steps["lsh"]["tokens"], 0.5, delta=0.02)
        self.assertEqual(self.steps("-m", GOLDEN)[0]["memory_source"], "available")
        table = self.ok("plan", "--preset", "tiny", "--memory", "0.5G", "--trial", 0.01)
        for word in ("full", "lsh", "537 MB", "short steps", "positions for 16384 tokens"):
            self.assertIn(word, table)
        self.assertNotIn("lsh", self.ok("plan", "-m", GOLDEN, "--tokens", "10"))

    def test_longest_of_a_model_ends_at_its_positions(self):
        positions = 16384  # of the preset tiny
        plan, steps = self.steps("-m", self.start, "--memory", "1G")
        self.assertEqual(plan["positions"], positions)
        for step in steps.values():
            self.assertEqual((step["tokens"], step["limited_by"]), (positions, "positions"))
        for step in self.steps("-m", self.start, "--memory", "1G", "--any-length")[1].values():
            self.assertGreater(step["tokens"], positions)
        for step in self.steps("-m", self.start, "--memory", "100M")[1].values():
            self.assertEqual(step["limited_by"], "memory")
            self.assertLess(step["tokens"], positions)
            self.assertGreater(step["bytes"]["total"], 97 * (1 << 20))
        self.assertIn("--any-length looks beyond", self.ok("plan", "-m", self.start, "--memory", "1G",
                                                           "--trial", 0))

    @unless_sanitized
    def test_a_row_is_printed_as_soon_as_it_is_known(self):
        process = subprocess.Popen(
            [support.PROGRAM, "plan", "-m", str(self.start), "--tokens", "512", "--trial", "3"],
            stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.startswith("full "):
                break
        self.assertIsNone(process.poll())  # trials of local and LSH attention take seconds
        self.assertIn("\nlsh ", process.communicate(timeout=200)[0])
        self.assertEqual(process.returncode, 0)

    def test_a_busy_machine_is_told(self):
        words = ("--preset", "tiny", "--tokens", 512)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
                for _ in os.sched_getaffinity(0)]
        try:
            plan, _ = self.steps(*words, trial=0.1)
            text = self.ok("plan", *words, "--trial", 0.1)
        finally:
            for process in busy:
                process.kill()
                process.wait()
        if plan["cores_busy_with_others"] == 0:
            self.skipTest("/proc/stat does not tell")
        self.assertEqual(plan["cores"], len(busy))
        self.assertGreater(plan["cores_busy_with_others"], 0.2 * len(busy))
        self.assertIn("The machine was busy: other processes took", text)

    def test_an_update_of_several_ranks(self):
        words = ["-m", self.start, "--tokens", 64, "--accumulate", 8]
        plan, steps = self.steps(*words, "--ranks", 4, "--link", "1Gbit")
        for step in steps.values():
            update = step["update"]
            self.assertEqual((update["ranks"], update["micro_batches"], update["largest_share"]), (4, 8, 2))
            # Each rank sends three quarters of the gradients, and as much of the weights.
            self.assertAlmostEqual(update["exchange_seconds"], 1.5 * step["bytes"]["gradients"] / 125e6)
            self.assertEqual(update["sent_bytes"], 1.5 * step["bytes"]["gradients"])
            self.assertGreater(update["exchange_seconds"], update["hidden_seconds"])
            self.assertAlmostEqual(update["seconds"], update["computing_seconds"] + update["exchange_seconds"]
                                   - update["hidden_seconds"])
            self.assertAlmostEqual(update["one_process_seconds"], 4 * update["computing_seconds"])
            self.assertAlmostEqual(update["efficiency"], update["computing_seconds"] / update["seconds"])
        # On a link without end nothing but the last layer and the embeddings is left to wait for.
        fast = self.steps(*words, "--ranks", 4, "--link", "1000000 GB/s")[1]["full"]["update"]
        self.assertAlmostEqual(fast["efficiency"], 1.0, places=3)
        alone = self.steps(*words)[1]["full"]["update"]
        self.assertEqual((alone["ranks"], alone["efficiency"]), (1, 1.0))
        self.assertNotIn("exchange_seconds", self.steps(*words, "--ranks", 4)[1]["full"]["update"])
        text = self.ok("plan", *words, "--ranks", 4, "--link", "31.3 MB/s", "--trial", 0)
        self.assertRegex(text, r"\n          4 ranks, 2 of 8 micro-batches: \S+ s of computing and \S+ s of exchange, "
                               r"\S+ s hidden: \S+ s an update, \d+% of 4 processes; each sends \S+ MB\n")
        for rate in ("fast", "5", "-1Gbit", "infMbit", "10 parsec"):
            self.fails(2, "plan", *words, "--ranks", 4, "--link", rate, says=["--link", rate, "200Mbit"])
        self.fails(2, "plan", *words, "--link", "1Gbit", says=["--link", "--ranks"])
        # Half of the machine's peak is assumed for each of two ranks that share it: none is timed.
        pair = self.steps(*words, "--ranks", 4, "--ranks-here", 2)[1]["full"]["update"]
        self.assertEqual((pair["ranks_here"], pair["efficiency"]), (2, 1.0))
        self.fails(2, "plan", *words, "--ranks", 4, "--ranks-here", 5, says=["--ranks-here 5", "1 to 4"])

    def test_seconds(self):
        """Where they come from; that they are right is for an idle machine: tools/plan_check.py."""
        words = ("--preset", "tiny", "--tokens", 1024)
        timed = self.steps(*words, trial=0.01)[1]
        half = self.steps(*words)[1]
        for step in [*timed.values(), *half.values()]:
            self.assertGreater(step["estimated_seconds"], 0.0)
        self.assertEqual({step["seconds_from"] for step in timed.values()}, {"trial"})
        self.assertEqual({step["seconds_from"] for step in half.values()}, {"peak"})
        self.assertEqual(half["lsh"]["gflop"], timed["lsh"]["gflop"])
        self.assertIn("short steps", self.ok("plan", *words))
        self.assertIn("0.5 of this machine", self.ok("plan", *words, "--trial", 0))
        self.fails(2, "plan", *words, "--trial", -1, says=["trial"])

    @unless_sanitized
    def test_refusals(self):
        self.fails(2, "plan", says=["--preset"])
        self.fails(2, "plan", "--preset", "tiny", "-m", self.start)
        self.fails(2, "plan", "--preset", "huge", says=["huge"])
        for memory in ("", "x", "4X", "-4G", "4GB", "nan", "inf", "1e3", "9" * 30):
            self.fails(2, "plan", "--preset", "tiny", f"--memory={memory}", says=["memory"])
        for tokens in ("0", "-1", "x", str(1 << 40)):
            self.fails(2, "plan", "--preset", "tiny", f"--tokens={tokens}", says=["tokens"])
        self.fails(2, "plan", "--preset", "tiny", "--tokens", "64", "--memory", "4G")
        self.fails(5, "plan", "--preset", "base", "--memory", "100M", says=["weights"])
        self.fails(5, "plan", "--preset", "tiny", "--memory", "1K", says=["1024"])
        self.fails(4, "plan", "--config", self.dir / "none.json", says=["none.json"])
        self.fails(3, "plan", "--config", self.text, says=["text.txt"])


if __name__ == "__main__":
    main()
