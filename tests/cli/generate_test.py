#!/usr/bin/env python3
"""Generation, as users of the program meet it.

usage: generate_test.py PROGRAM [unittest options]
"""
import json

from support import Case, main, run


class Generate(Case):
    def write(self, *arguments, **options):
        return json.loads(self.ok("generate", "-m", self.start, *arguments, "--json", **options))

    def test_several_prompts_are_each_as_alone(self):
        both = self.write("-p", "She had", "-p", "Captain Wentworth was", "-n", "30")["texts"]
        self.assertEqual([t["prompt"] for t in both], ["She had", "Captain Wentworth was"])
        self.assertEqual(self.write("-p", "She had", "-n", "30")["text"], both[0]["text"])
        lines = self.dir / "lines.txt"
        lines.write_text("She had\n\nCaptain Wentworth was\n")
        for batch in ("1", "8"):
            again = self.write("-f", lines, "--lines", "--batch", batch, "-n", "30")["texts"]
            self.assertEqual(again, both)
        shown = self.ok("generate", "-m", self.start, "-p", "She had", "-p", "x", "-n", "3")
        self.assertTrue(shown.startswith("She had"))

    def test_threads_and_cache_do_not_change_a_short_text(self):
        texts = {self.write("-p", "It was", "-n", "40", "-t", t, *more)["text"]
                 for t in ("1", "2", "3") for more in ((), ("--no-cache",))}
        self.assertEqual(len(texts), 1)

    def test_stop_strings(self):
        whole = self.write("-p", "a", "-n", "60", "--seed", "3")
        text = whole["text"]
        self.assertEqual(whole["finish"], "length")
        if len(text) > 4 and text.isascii():
            stop = text[3:5]
            cut = self.write("-p", "a", "-n", "60", "--seed", "3", "--stop", stop)
            self.assertEqual(cut["text"], text[:text.index(stop)])
            self.assertEqual(cut["finish"], "stop")
        # Every byte a stop string: nothing is left, streaming or not.
        stops = [f"--stop={chr(c)}" for c in range(1, 127)]
        nothing = run("generate", "-m", self.start, "-p", "a", "-n", "60", "--temp", "0", *stops)
        self.assertEqual(nothing.returncode, 0, nothing.stderr)

    def test_beams(self):
        found = self.write("-p", "She", "-n", "12", "--beams", "3")
        self.assertEqual(len(found["beams"]), 3)
        scores = [b["score"] for b in found["beams"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(found["text"], found["beams"][0]["text"])
        greedy = self.write("-p", "She", "-n", "12", "--temp", "0")
        one = self.write("-p", "She", "-n", "12", "--beams", "1")
        self.assertEqual(one["text"], greedy["text"])
        self.assertGreaterEqual(found["score"], one["score"])

    def test_prompts_and_positions(self):
        long = self.dir / "long.txt"
        long.write_text("word " * 4000)  # more than 16,384 positions
        self.fails(2, "generate", "-m", self.start, "-f", long, "-n", "1",
                   says=["20000", "16384", "--context"])
        result = run("generate", "-m", self.start, "-f", long, "-n", "2", "--context", "300",
                     "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("300", result.stderr)
        self.assertEqual(json.loads(result.stdout)["tokens"], 2)

    def test_what_cannot_be(self):
        for words, says in (((), "prompt"), (("-p", ""), "empty"), (("-p", "a", "-n", "-1"), "-1"),
                            (("-p", "a", "--beams", "0"), "beams"),
                            (("-p", "a", "--beams", "2", "--temp", "1"), "--temp"),
                            (("-p", "a", "--length-penalty", "2"), "--beams"),
                            (("-p", "a", "--stop", ""), "stop"),
                            (("-p", "a", "--repetition-penalty", "0"), "repetition"),
                            (("-p", "a", "--context", "99999"), "16384"),
                            (("-p", "a", "--lines"), "lines: has no effect without a file to read"),
                            (("-p", "a", "--format", "csv"), "format: has no effect without a file"),
                            (("-p", "a", "--temp", "0", "--top-k", "5"), "top-k: has no effect with --temp 0"),
                            (("-p", "a", "--temp", "0.0", "--top-p", "0.5"), "top-p: has no effect with --temp 0"),
                            (("-p", "a", "--seed", "2", "--temp", "0"), "seed: has no effect with --temp 0"),
                            (("-p", "a", "--beams", "2", "-n", "16384"), "positions")):
            self.fails(2, "generate", "-m", self.start, *words, says=[says])
        # What says the same as --temp 0 is no contradiction.
        self.write("-p", "a", "-n", "1", "--temp", "0", "--top-k", "0", "--top-p", "1")

    def test_decode_report(self):
        report = json.loads(self.ok("decode-report", "-m", self.start, self.text, "--tokens", "200",
                                    "--prompt", "60", "--windows", "2", "--json"))
        self.assertEqual(report["tokens"], 2 * (200 - 60 - 1))
        self.assertAlmostEqual(report["forward"]["loss"], report["cached"]["loss"], delta=0.2)
        self.assertGreater(report["most_difference"], report["mean_difference"])
        same = json.loads(self.ok("decode-report", "-m", self.start, self.text, "--tokens", "200",
                                  "--attention", "full", "--windows", "1", "--json"))
        self.assertLess(same["most_difference"], 1e-3)
        self.assertEqual(same["same_first"], 1.0)
        self.assertIn("likeliest", self.ok("decode-report", "-m", self.start, self.text,
                                           "--tokens", "100", "--windows", "1"))
        self.fails(2, "decode-report", "-m", self.start, self.text, "--tokens", "2", says=["2"])
        self.fails(2, "decode-report", "-m", self.start, self.text, "--tokens", "50", "--prompt",
                   "49", says=["49"])

    def test_bench(self):
        report = json.loads(self.ok("bench", "generate", "--preset", "tiny", "--contexts",
                                    "100,300", "--tokens", "4", "--batch", "2", "--json"))
        self.assertEqual([c["tokens"] for c in report["contexts"]], [100, 300])
        for context in report["contexts"]:
            for field in ("forward_seconds", "prefill_seconds", "step_seconds", "tokens_per_s", "of_first",
                          "cache_bytes"):
                self.assertGreater(context[field], 0, field)
        self.fails(2, "bench", "generate", "--preset", "tiny", "--contexts", "10", "--tokens", "10",
                   says=["10"])
        self.fails(2, "bench", "generate", says=["--config"])


if __name__ == "__main__":
    main()
