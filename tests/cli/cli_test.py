#!/usr/bin/env python3
"""The program as its users and their scripts see it: results, exit codes, messages, signals.

usage: cli_test.py PROGRAM [unittest options]
"""
import json
import math
import os
import random
import resource
import signal
import struct
import subprocess
import time

import support
from support import GOLDEN, SMALL_RUN, Case, main, run, unless_other_openmp, unless_sanitized


class Results(Case):
    def test_from_init_to_a_text(self):
        run_dir = self.dir / "run"
        self.assertIn("bits per byte", self.train(run_dir).stdout)
        info = json.loads(self.ok("info", run_dir, "--json"))
        self.assertEqual(info["vocab_size"], 258)
        self.assertEqual(info["positions"]["numbers"],
                         sum(a * b for a, b in info["positions"]["tables"]))
        self.assertIn("instead of", self.ok("info", run_dir))
        value = json.loads(self.ok("eval", "-m", run_dir, self.text, "--held-out", "0.1",
                                   "--tokens", "64", "--json"))
        last = [loss for kind, _, loss in self.losses(run_dir) if kind == "eval"][-1]
        self.assertAlmostEqual(value["bits_per_byte"], last / math.log(2), places=12)
        self.assertTrue(self.ok("plot", run_dir).strip())
        for name in ("loss.svg", "loss.png"):
            self.ok("plot", run_dir, "-o", self.dir / name)
            self.assertGreater((self.dir / name).stat().st_size, 1000)
        document = json.loads(self.ok("generate", "-m", run_dir, "-p", "It", "-n", "40", "--json"))
        self.assertEqual(document["tokens"], 40)
        again = json.loads(self.ok("generate", "-m", run_dir, "-p", "It", "-n", "40", "--json"))
        self.assertEqual(document, again)
        piped = self.ok("generate", "-m", run_dir, "-f", "-", "-n", "5", input="It")
        self.assertTrue(piped.startswith("It"))

    def test_thread_counts_give_the_same_model(self):
        weights = set()
        for threads in (1, 2, 3):
            out = self.dir / f"run{threads}"
            self.train(out, "-t", threads)
            weights.add((out / "model.safetensors").read_bytes())
        self.assertEqual(len(weights), 1)

    def test_verify(self):
        case = GOLDEN / "case.safetensors"
        report = json.loads(self.ok("verify", GOLDEN, "--case", case, "--json"))
        self.assertTrue(report["ok"])
        self.assertTrue(all(t["ok"] for t in report["tensors"]))
        self.assertIn("the case holds", self.ok("verify", GOLDEN, "--case", case))
        self.fails(4, "verify", GOLDEN, "--case", self.dir / "none", says=["none"])
        (self.dir / "bad").write_bytes(b"no tensors")
        self.fails(3, "verify", GOLDEN, "--case", self.dir / "bad", says=["bad"])
        self.fails(3, "verify", self.start, "--case", case)

    def test_verify_names_what_differs(self):
        data = bytearray((GOLDEN / "model.safetensors").read_bytes())
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + size])
        begin, end = header["lm_head.decoder.weight"]["data_offsets"]
        for at in range(8 + size + begin, 8 + size + end, 4):
            struct.pack_into("<f", data, at, struct.unpack_from("<f", data, at)[0] * 1.01)
        bad = self.dir / "bad"
        bad.mkdir()
        (bad / "model.safetensors").write_bytes(data)
        (bad / "config.json").write_bytes((GOLDEN / "config.json").read_bytes())
        result = run("verify", bad, "--case", GOLDEN / "case.safetensors")
        self.assertEqual(result.returncode, 1)
        self.assertIn("logits", [line.split()[0] for line in result.stdout.splitlines()
                                 if line.endswith("DIFFERS")])

    @unless_sanitized
    def test_bench(self):
        result = json.loads(self.ok("bench", "train", "--preset", "tiny", "--tokens", "512",
                                    "--steps", "1", "--json"))
        for field in ("seconds", "tokens_per_s", "peak_rss_bytes", "model_gflop", "gflops",
                      "peak_gflops", "fraction"):
            self.assertGreater(result[field], 0, field)


    def test_bench_longformer(self):
        for step, head in (("train", "MaskedLM"), ("train", "SequenceClassification"),
                           ("forward", "QuestionAnswering")):
            config = self.dir / f"{head}.json"
            config.write_text(json.dumps({
                "model_type": "longformer", "architectures": [f"LongformerFor{head}"],
                "attention_window": 32, "num_hidden_layers": 2, "hidden_size": 64,
                "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 300}))
            result = json.loads(self.ok("bench", step, "--config", config, "--tokens", "200",
                                        "--batch", "2", "--steps", "1", "--json"))
            self.assertGreater(result["model_gflop"], 0)
            self.assertGreater(result["fraction"], 0)
            half = json.loads(self.ok("bench", step, "--config", config, "--tokens", "200",
                                      "--steps", "1", "--dtype", "bf16", "--json"))
            self.assertEqual(half["dtype"], "bf16")
            self.assertIn(half["bf16_path"], ("widen", "pairs", "tiles"))
            self.assertGreater(half["fraction"], 0)
        self.fails(2, "bench", "train", "--config", config, "--tokens", "511", says=["510"])
        self.fails(2, "bench", "train", "--config", config, "--dtype", "f16", says=["f16", "bf16"])
        reformer = json.loads(self.ok("bench", "train", "--preset", "tiny", "--tokens", "256",
                                      "--steps", "1", "--dtype", "bf16", "--memory", "1G", "--json"))
        self.assertEqual(reformer["dtype"], "bf16")
        self.fails(2, "bench", "train", "--preset", "tiny", "--tokens", "256", "--memory", "much",
                   says=["much", "512M"])
        self.fails(2, "bench", "train", "--config", config, "--attention", "full",
                   says=["Longformer"])

    def test_bench_attention(self):
        window = ["window", "--window", "40"]
        for kind in (["full"], ["chunked"], ["lsh"], window, [*window, "--dilation", "3"],
                     [*window, "--globals", "1"],    # its row re-associated
                     [*window, "--globals", "100"]):  # too many for that
            result = json.loads(self.ok("bench", "attention", "--tokens", "300", "--heads", "2",
                                        "--head-dim", "16", "--steps", "1", "--causal", "--json",
                                        "--kind", *kind))
            self.assertTrue(0 < result["fraction"] <= 1)
            self.assertTrue(0 < result["largest_error"] < 1e-4)
        self.fails(2, "bench", "attention", "--kind", "ring", says=["ring", "full"])
        for kind in (["full"], ["window"], ["chunked"], ["lsh"], [*window, "--globals", "1"],
                     [*window, "--globals", "100"]):
            result = json.loads(self.ok("bench", "attention", "--tokens", "300", "--heads", "2",
                                        "--head-dim", "16", "--steps", "1", "--json", "--dtype",
                                        "bf16", "--kind", *kind))
            self.assertTrue(0 < result["fraction"] <= 1)
            self.assertTrue(1e-5 < result["largest_error"] < 2e-2)
            self.assertIn(result["bf16_path"], ("widen", "pairs", "tiles"))
        self.fails(2, "bench", "attention", "--dtype", "f16", says=["f16"])

    def test_bench_attention_of_many_texts(self):
        small = ["--texts", "6", "--heads", "2", "--head-dim", "16", "--steps", "1"]
        for kind in (["full"], ["window", "--window", "40"], ["window", "--causal"]):
            for dtype in ("f32", "bf16"):
                result = json.loads(self.ok("bench", "attention", *small, "--dtype", dtype,
                                            "--json", "--kind", *kind))
                self.assertEqual(result["texts"], 6)
                self.assertTrue(20 <= result["shortest"] <= result["longest"] <= 4000)
                self.assertTrue(0 < result["fraction"] <= 1)
                # Pairs of bf16 round weights beside maxima of other blocks than one call a text has.
                bound = 1e-4 if dtype == "f32" else 2e-2
                self.assertTrue(0 <= result["largest_error"] < bound)
        text = self.ok("bench", "attention", *small, "--kind", "window", "--pass", "forward")
        self.assertIn("one call a text: ", text)
        self.fails(2, "bench", "attention", *small, "--kind", "lsh",
                   says=["lsh", "full and window"])
        self.fails(2, "bench", "attention", *small, "--kind", "window", "--globals", "1",
                   says=["--globals"])
        self.fails(2, "bench", "attention", "--texts", "-1", says=["--texts -1"])
        self.fails(5, "bench", "attention", "--kind", "full", "--texts", "9000000",
                   says=["needs ", "9000000 texts"])

    def test_bench_bf16(self):
        result = json.loads(self.ok("bench", "bf16", "--tokens", "300", "--steps", "1", "--json"))
        self.assertIn(result["rule"], result["seconds"])
        self.assertIn(result["fastest"], result["seconds"])
        self.assertGreater(min(result["seconds"].values()), 0)
        for option, value in (("--window", "-1"), ("--dilation", "0"), ("--globals", "301"),
                              ("--globals", "-1")):
            self.fails(2, "bench", "attention", "--kind", "window", "--tokens", "300", option, value,
                       says=[option, value])

    def test_a_puzzle_says_what_guessing_gets(self):
        small = ["puzzle", "duplication", "--tokens", "16", "--symbols", "8", "--hidden", "16", "--heads", "1",
                 "--steps", "1", "--rows", "2"]
        self.assertRegex(self.ok(*small, "-o", self.dir / "shown"), r"\nchance +12\.50 %\n$")
        self.assertEqual(json.loads(self.ok(*small, "-o", self.dir / "document", "--json"))["chance"], 0.125)

    @unless_sanitized
    def test_a_comparison_that_is_stopped_shows_what_it_has(self):
        out = self.dir / "stopped"
        process = subprocess.Popen(
            [support.PROGRAM, "compare", str(self.text), "--from", "128", "--to", "256",
             "--minutes", "5", "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("full attention, 128 tokens"):
                process.send_signal(signal.SIGINT)
                break
        table, rest = process.communicate(timeout=200)
        self.assertEqual(process.returncode, 130, rest)
        self.assertIn("SIGINT: the comparison ends", rest)
        self.assertIn("| 128 |", table)
        self.assertIn("Stopped before the end. Not measured: ", table)
        self.assertIn("steps with lsh attention", table)
        self.assertIn("learning with full attention", table)
        self.assertEqual((out / "table.md").read_text(), table)
        results = json.loads((out / "results.json").read_text())
        self.assertIn("learning with lsh attention", results["missing"])
        self.assertGreaterEqual(len(results["steps"]), 1)

    @unless_sanitized
    def test_compare(self):
        out = self.dir / "comparison"
        self.text.write_bytes(self.text.read_bytes()[:6000])  # its evaluations take most of the time
        table = self.ok("compare", self.text, "--from", "128", "--to", "256", "--max-time", "0.6s",
                        "--train-tokens", "128", "-o", out)
        learned = json.loads((out / "results.json").read_text())["learning"]
        self.assertEqual([figure["attention"] for figure in learned], ["full", "local", "lsh"])
        for figure in learned:
            self.assertEqual(figure["ended_by"], "time")
            self.assertGreaterEqual(figure["seconds"], 0.6)
            self.assertGreaterEqual(figure["steps"], 1)
            self.assertRegex(table, rf"\n\| {figure['attention']} \| [^|]+ \| {figure['steps']} \|")
        for word in ("| 256 |", "| lsh |", "bits per byte", "The time decides how many updates there are"):
            self.assertIn(word, table)
        for name in ("table.md", "results.json", "seconds.svg", "memory.svg", "learning.svg"):
            self.assertGreater((out / name).stat().st_size, 100)
        self.assertNotIn("Not measured", table)
        self.fails(2, "compare", self.text, "--from", "256", "--to", "128", says=["256"])
        self.fails(2, "compare", self.text, "--max-time", "3", says=["--max-time", "'3'", "30m"])
        self.fails(2, "compare", self.text, "--max-time", "3s", "--minutes", "1", says=["--minutes"])
        self.fails(2, "compare", self.text, "-o", self.start, says=["start"])


class LshReport(Case):
    """What the LSH layers of a model see of a text."""

    def setUp(self):
        super().setUp()
        self.model = self.dir / "lsh"
        self.ok("init", "--preset", "tiny", "-o", self.model)
        self.command = ["lsh-report", "-m", self.model, self.text]

    def test_numbers(self):
        picture = self.dir / "recall.svg"
        options = ["--tokens", "512", "--windows", "2", "--rows", "100", "--rounds", "1,2,4"]
        text = self.ok(*self.command, *options, "--json", "-o", picture)
        self.assertEqual(text, self.ok(*self.command, *options, "--json", "-t", "1"))
        report = json.loads(text)
        kinds = json.loads(self.ok("info", self.model, "--json"))["attention"]
        self.assertEqual([layer["layer"] for layer in report["layers"]],
                         [i for i, kind in enumerate(kinds) if kind == "lsh"])
        self.assertEqual((report["windows"], report["tokens"]), (2, 512))
        for layer in report["layers"]:
            self.assertEqual(layer["rows"], 200 * report["heads"])
            self.assertEqual(len(layer["heads"]), report["heads"])
            for part in [layer, *layer["heads"]]:
                top = [share["mean"] for share in part["top"]]
                self.assertEqual(top, sorted(top))
                self.assertEqual([r["rounds"] for r in part["rounds"]], [1, 2, 4])
                for r in part["rounds"]:
                    self.assertLessEqual(r["seen"]["mean"], r["best"]["mean"] + 1e-6)
                    for name in ("seen", "local", "random", "best"):
                        self.assertTrue(0 < r[name]["tenth"] <= r[name]["mean"] <= 1 + 1e-6, r)
        drawn = picture.read_text()
        for word in ("layer 1", "nearest keys", "random buckets", "rounds of hashing"):
            self.assertIn(word, drawn)
        table = self.ok(*self.command, *options)
        for word in ("top 64", "layer 1", "4 rounds", "2 windows of 512 tokens"):
            self.assertIn(word, table)

    def test_other_ways(self):
        shown = [json.loads(self.ok(*self.command, "--tokens", "200", "--rounds", "1", "--json",
                                    *more))
                 for more in ([], ["--attention", "full"], ["--held-out", "0.5"])]
        self.assertEqual([r["attention"] for r in shown], ["config", "full", "config"])
        self.assertEqual(shown[2]["text_bytes"], shown[0]["text_bytes"] // 2)

    def test_refusals(self):
        for rounds in ("0", "-1", "2,1", "1,1", "1,", "x", "1;2", "2000", "1,2,x", "9" * 30):
            self.fails(2, *self.command, f"--rounds={rounds}", says=["rounds"])
        self.fails(2, *self.command, "--tokens", "99999", says=["99999"])
        self.fails(2, *self.command, "--tokens", "64", says=["64", "chunk"])
        self.fails(2, *self.command, "--held-out", "0", says=["held-out"])
        self.fails(2, *self.command, "--rows", "0")
        self.fails(2, *self.command, "-o", "x.jpeg")
        self.fails(4, *self.command[:-1], self.dir / "none.txt", says=["none.txt"])
        short = self.dir / "short.txt"
        short.write_bytes(self.text.read_bytes()[:100])
        self.fails(2, *self.command[:-1], short, "--tokens", "256", says=["100", "256"])
        short.write_bytes(b"too short")
        self.fails(2, *self.command[:-1], short, says=["chunk"])
        self.fails(3, "lsh-report", "-m", GOLDEN, self.text, says=["lsh"])
        (self.dir / "short.txt").write_text("Anne saw the ship.\n")
        self.fails(2, "lsh-report", "-m", self.model, self.dir / "short.txt", "--held-out", "1",
                   says=["so nothing is hashed; give a text of more than"])
        self.fails(2, "lsh-report", "-m", self.model, self.text, "--tokens", "32",
                   says=["give --tokens above"])



class BadInput(Case):
    def test_usage(self):
        self.fails(2, "nonsense")
        self.fails(2, "train", "lm")
        self.fails(2, "init", "--preset", "huge", "-o", self.dir / "x", says=["huge", "small"])
        self.fails(2, "generate", "-m", self.start, "-p", "", says=["prompt"])
        self.fails(2, "generate", "-m", self.start, "-p", "a", "--top-p", "2", says=["2"])
        self.fails(2, "plot", self.start, "-o", "x.jpeg")

    def test_texts(self):
        out = self.dir / "run"
        command = ["train", "lm", "-m", self.start, "-o", out, *SMALL_RUN, "--train"]
        self.fails(4, *command, self.dir / "none.txt", says=["none.txt"])
        empty = self.dir / "empty.txt"
        empty.touch()
        self.fails(3, *command, empty, says=["empty"])
        short = self.dir / "short.txt"
        short.write_text("too short")
        self.fails(2, *command, short)
        self.fails(2, *command, self.text, "--tokens", "99999", says=["99999"])
        folder = self.dir / "folder"
        folder.mkdir()
        self.fails(3, *command, folder, says=["has no file to read"])
        self.fails(4, "eval", "-m", self.start, self.dir / "none.txt")

    def test_outputs(self):
        out = self.dir / "run"
        self.train(out)
        before = (out / "model.safetensors").read_bytes()
        self.fails(2, "train", "lm", "-m", self.start, "--train", self.text, "-o", out, *SMALL_RUN,
                   says=["--resume", "--overwrite"])
        self.assertEqual(before, (out / "model.safetensors").read_bytes())
        self.fails(4, "train", "lm", "-m", self.start, "--train", self.text, "-o",
                   "/proc/longspan", *SMALL_RUN)
        self.fails(4, "train", "lm", "-m", self.start, "--train", self.text, "-o", self.text,
                   *SMALL_RUN)
        self.fails(4, "plot", out, "-o", "/proc/x.svg")
        self.fails(2, "init", "-o", out)

    @unless_other_openmp
    def test_full_disk(self):
        """A file size limit stands for the full disk: the error is the system's either way."""
        out = self.dir / "run"
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        result = run("train", "lm", "-m", self.start, "--train", self.text, "-o", out, *SMALL_RUN,
                     preexec_fn=limit)
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertEqual([], [p.name for p in out.iterdir() if p.name.startswith("checkpoint")])
        self.assertEqual([], list(out.glob("*.safetensors")))
        self.train(out, "--resume")  # with room again, it goes on

    def test_damaged_weights(self):
        weights = self.start / "model.safetensors"
        whole = weights.read_bytes()
        rng = random.Random(1)
        for length in [0, 1, 7, 8, 9, 100, len(whole) - 1] + rng.choices(range(len(whole)), k=10):
            weights.write_bytes(whole[:length])
            self.fails(3, "info", self.start, says=["model.safetensors"])
        (size,) = struct.unpack_from("<Q", whole)
        for _ in range(30):  # in the header: refused, or read as the same numbers
            damaged = bytearray(whole)
            damaged[rng.randrange(8 + size)] ^= 1 << rng.randrange(8)
            weights.write_bytes(damaged)
            self.assertIn(run("generate", "-m", self.start, "-p", "a", "-n", "1").returncode,
                          (0, 3))
        damaged = bytearray(whole)
        struct.pack_into("<f", damaged, len(whole) - 4, math.nan)
        weights.write_bytes(damaged)
        self.fails(3, "generate", "-m", self.start, "-p", "a", "-n", "1")

    def test_damaged_checkpoints(self):
        out = self.dir / "run"
        self.train(out)
        newest = sorted(out.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        for checkpoint in newest:
            victim = checkpoint / "model.safetensors"
            data = bytearray(victim.read_bytes())
            data[len(data) // 2] ^= 4
            victim.write_bytes(data)
        result = run("train", "lm", "-m", self.start, "--train", self.text, "-o", out, *SMALL_RUN,
                     "--resume")
        self.assertEqual(result.returncode, 3, result.stderr)

    def test_configs(self):
        config = self.start / "config.json"
        good = json.loads(config.read_text())
        for field, value in [("hidden_size", -1), ("attn_layers", []), ("hidden_act", "nope"),
                             ("axial_pos_shape", [0, 4]), ("local_attn_chunk_length", 0),
                             ("layer_norm_eps", 0), ("vocab_size", 10 ** 30)]:
            config.write_text(json.dumps({**good, field: value}))
            self.fails(3, "info", self.start, says=[field])
        config.write_text("{")
        self.fails(3, "info", self.start, says=["config.json"])
        config.unlink()
        self.fails(4, "info", self.start, says=["config.json"])

    def test_isa(self):
        environment = {**os.environ, "LONGSPAN_ISA": "mmx"}
        self.fails(2, "verify", GOLDEN, "--case", "x", env=environment, says=["LONGSPAN_ISA", "mmx"])


class Signals(Case):
    def interrupted(self, out, number, after):
        process = subprocess.Popen(
            [support.PROGRAM, "train", "lm", "-m", str(self.start), "--train", str(self.text),
             "-o", str(out), *SMALL_RUN, "--steps", "400", "--resume", "--save-every", "0",
             "--eval-every", "0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = out / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if metrics.exists() and metrics.read_text().count("\n") >= after:
                break
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(timeout=60)

    def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(self):
        more = ["--steps", "400", "--save-every", "0", "--eval-every", "0"]
        self.train(self.dir / "whole", *more)
        out = self.dir / "run"
        self.assertEqual(self.interrupted(out, signal.SIGINT, 3), 130)
        self.assertTrue(list(out.glob("checkpoint-*")))
        self.assertEqual(self.interrupted(out, signal.SIGTERM, 40), 143)
        self.train(out, *more, "--resume")
        self.assertEqual(self.losses(out), self.losses(self.dir / "whole"))
        self.assertEqual((out / "model.safetensors").read_bytes(),
                         (self.dir / "whole" / "model.safetensors").read_bytes())


if __name__ == "__main__":
    main()
