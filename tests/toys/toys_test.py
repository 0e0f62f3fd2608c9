"""A mechanism of one folder and one row is listed, checked, timed and drawn like all others."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))

import support  # noqa: E402
from support import run  # noqa: E402


class Toys(unittest.TestCase):
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

    def test_the_others_are_as_before(self):
        for kind in ("full", "window", "chunked", "lsh"):
            with self.subTest(kind):
                result = json.loads(self.ok("bench", "attention", "--kind", kind, "--tokens", "200",
                                            "--heads", "2", "--steps", "1", "--json"))
                self.assertLess(result["largest_error"], 1e-4)


if __name__ == "__main__":
    support.main()
