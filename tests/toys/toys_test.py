"""A mechanism and a family of models, each one folder and one row, go through the whole program."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))

import support  # noqa: E402
from support import ROOT, Case, run  # noqa: E402


class Mechanism(unittest.TestCase):
    """A mechanism is listed, checked, timed, drawn and trained like all others."""

    def ok(self, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def fails(self, code, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        return result.stderr

    def bench(self, *more):
        return json.loads(self.ok("bench", "attention", "--kind", "mean", "--tokens", "300",
                                  "--heads", "3", "--head-dim", "20", "--steps", "1", "--json",
                                  *more))

    def cells(self, *more):
        sheet = json.loads(self.ok("pattern", "--kind", "mean", "--tokens", "6", "--json", *more))
        self.assertEqual(len(sheet["panels"]), 1)
        return sheet["panels"][0]["visible"]

    def test_help_lists_it(self):
        page = " ".join(self.ok("bench", "attention", "--help").split())
        self.assertIn("Mechanism: full, window, chunked, lsh or mean", page)
        self.assertIn("Tokens of a chunk of chunked and lsh", page)
        page = " ".join(self.ok("pattern", "--help").split())
        self.assertIn("Mechanism: chunked, full, lsh, mean, window, longformer; or overview", page)
        self.assertIn("mean: mean attention: every token takes the mean of what it may see", page)
        self.assertIn("mean", self.fails(2, "bench", "attention", "--kind", "median"))
        self.assertIn("mean", self.fails(2, "pattern", "--kind", "median"))

    def test_bench_checks_it_in_double(self):
        for more in ([], ["--causal"], ["--pass", "forward"]):
            with self.subTest(more):
                result = self.bench(*more)
                self.assertEqual(result["kind"], "mean")
                self.assertGreater(result["seconds"], 0)
                self.assertLess(result["largest_error"], 1e-4)
                self.assertGreater(result["largest_error"], 0)

    def test_bench_saves_its_tensors(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "mean.safetensors")
            self.bench("--save", file)
            header = file.read_bytes()
            length = int.from_bytes(header[:8], "little")
            names = set(json.loads(header[8:8 + length])) - {"__metadata__"}
        self.assertEqual(names, {"q", "k", "v", "dout", "out", "dq", "dk", "dv"})

    def test_bench_knows_that_it_has_no_bf16(self):
        self.assertIn("--dtype f32 only", self.fails(2, "bench", "attention", "--kind", "mean",
                                                     "--tokens", "300", "--dtype", "bf16"))

    def test_pattern_draws_it(self):
        self.assertEqual(self.cells(), [[int(key <= query) for key in range(6)] for query in range(6)])
        self.assertEqual(self.cells("--no-causal"), [[1] * 6] * 6)
        self.assertEqual(self.cells("--no-causal", "--pad-left", "1", "--pad-right", "2"),
                         [[0, 1, 1, 1, 0, 0]] * 6)
        self.assertIn("#", self.ok("pattern", "--kind", "mean", "--tokens", "6"))
        self.assertIn("it has --tokens", self.fails(2, "pattern", "--kind", "mean", "--chunk", "4"))
        self.assertIn("Mean attention: every token takes the mean of what it may see",
                      self.ok("pattern"))  # among all
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "mean.svg")
            self.ok("pattern", "--kind", "mean", "-o", picture)
            self.assertGreater(picture.stat().st_size, 1000)

    def test_a_reformer_trains_with_it(self):
        with tempfile.TemporaryDirectory() as folder:
            start, run_folder, text = (Path(folder, name) for name in ("start", "run", "text.txt"))
            text.write_bytes((ROOT / "data/persuasion.txt").read_bytes()[:20000])
            self.ok("init", "--preset", "tiny", "--layers", "3", "-o", start)
            config = json.loads((start / "config.json").read_text())
            config["attn_layers"] = ["mean", "lsh", "mean"]
            (Path(folder) / "config.json").write_text(json.dumps(config))
            self.ok("init", "--config", Path(folder) / "config.json", "-o", start, "--overwrite")
            told = self.ok("info", start)
            self.assertIn("mean, lsh, mean", told)
            self.assertIn("mean layers", told)
            losses = {}
            for threads, dtype in ((1, "f32"), (2, "f32"), (2, "bf16")):
                self.ok("-t", threads, "train", "lm", "-m", start, "--train", text, "-o", run_folder,
                        "--tokens", 96, "--batch", 2, "--steps", 12, "--lr", 0.003, "--dtype", dtype,
                        "--progress", "none", "--overwrite")
                losses[threads, dtype] = json.loads(
                    self.ok("eval", "-m", run_folder, text, "--tokens", 96, "--json"))["loss"]
            self.assertEqual(losses[1, "f32"], losses[2, "f32"])
            self.assertAlmostEqual(losses[2, "bf16"], losses[2, "f32"], delta=0.05)
            before = json.loads(self.ok("eval", "-m", start, text, "--tokens", 96, "--json"))["loss"]
            self.assertLess(losses[1, "f32"], before - 0.5)
            written = self.ok("generate", "-m", run_folder, "-p", "She", "-n", 5, "--no-cache")
            self.assertTrue(written.startswith("She"))
            self.assertIn("--no-cache", self.fails(2, "generate", "-m", run_folder, "-p", "She"))
            plan = json.loads(self.ok("plan", "-m", start, "--tokens", 96, "--trial", 0, "--json"))
            self.assertEqual([row["attention"] for row in plan["steps"]], ["full", "local", "lsh"])

    def test_the_others_are_as_before(self):
        for kind in ("full", "window", "chunked", "lsh"):
            with self.subTest(kind):
                result = json.loads(self.ok("bench", "attention", "--kind", kind, "--tokens", "200",
                                            "--heads", "2", "--steps", "1", "--json"))
                self.assertLess(result["largest_error"], 1e-4)


TOKENIZER = ROOT / "tests/tokenizers/roberta"


class Family(Case):
    """Init, info, train, evaluate, plan, bench and ask a model of the family in tests/toys."""

    def setUp(self):
        super().setUp()
        self.model = self.dir / "words"
        self.ok("init", "--arch", "word-model", "--tokenizer", TOKENIZER, "-o", self.model)
        self.text_file = self.dir / "text.txt"
        self.text_file.write_text("the cat and the dog and the bird sat on the mat\n" * 200)

    def test_init_and_info(self):
        config = json.loads((self.model / "config.json").read_text())
        self.assertEqual(config["model_type"], "word-model")
        told = self.ok("info", self.model)
        self.assertIn("WordModelForMaskedLM", told)
        self.assertIn("longspan fill-mask", told)
        document = json.loads(self.ok("info", self.model, "--json"))
        self.assertEqual(document["word_width"], 32)
        # The family's own field names it where model_type is missing.
        del config["model_type"], config["architectures"]
        (self.model / "config.json").write_text(json.dumps(config))
        self.assertIn("WordModelForMaskedLM", self.ok("info", self.model))

    def test_help_and_messages_know_it(self):
        self.assertIn("word-model", self.ok("init", "--help"))
        self.fails(2, "init", "--arch", "nothing", "-o", self.dir / "x",
                   says=["reformer, longformer or word-model"])
        self.fails(2, "init", "--arch", "word-model", "--rotation-seed", 3, "-o", self.dir / "x",
                   says=["a WordModel has no such option"])
        self.fails(3, "qa", "-m", self.model, "--question", "who?", "--text", "a cat",
                   says=["WordModelForMaskedLM"])

    def test_train_evaluate_ask(self):
        run = self.dir / "run"
        self.ok("train", "mlm", "-m", self.model, "--train", self.text_file, "-o", run, "--tokens",
                64, "--batch", 4, "--steps", 60, "--lr", 0.05, "--progress", "none")
        before = json.loads(self.ok("eval", "-m", self.model, self.text_file, "--json"))
        after = json.loads(self.ok("eval", "-m", run, self.text_file, "--json"))
        self.assertLess(after["loss"], 0.6 * before["loss"])
        answer = json.loads(self.ok("fill-mask", "-m", run, "--text", "the <mask> sat", "--json"))
        self.assertEqual(len(answer["results"]), 1)

    def test_plan_and_bench(self):
        plan = json.loads(self.ok("plan", "-m", self.model, "--tokens", 64, "--trial", 0, "--json"))
        step = plan["steps"][0]
        self.assertEqual(step["attention"], "step")
        weights = json.loads(self.ok("info", self.model, "--json"))["weight_bytes"]
        self.assertAlmostEqual(step["bytes"]["weights"], weights, delta=4096)
        timed = json.loads(self.ok("bench", "train", "--arch", "word-model", "--preset", "tiny",
                                   "--tokens", 64, "--steps", 1, "--json"))
        self.assertGreater(timed["seconds"], 0.0)

    def test_convert_rewrites_it(self):
        self.ok("convert", self.model, self.dir / "again")
        self.assertIn("WordModelForMaskedLM", self.ok("info", self.dir / "again"))


if __name__ == "__main__":
    support.main()
