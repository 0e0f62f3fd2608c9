"""What the tests of the program share: running it, and a scratch folder with a model and a text."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "golden" / "reformer-local"
PROGRAM = None
SMALL_RUN = ["--steps", "12", "--batch", "2", "--tokens", "64", "--warmup", "2", "--log-every",
             "1", "--save-every", "4", "--eval-every", "6", "--progress", "none"]


# A program with sanitizers in it has other memory and another speed.
SANITIZED = bool(os.environ.get("LONGSPAN_SANITIZED"))
unless_sanitized = unittest.skipIf(SANITIZED, "sanitized")
# LLVM's OpenMP, which the thread sanitizer needs, begins with a shared file of its own.
unless_other_openmp = unittest.skipIf(os.environ.get("LONGSPAN_SANITIZED") == "thread",
                                      "another OpenMP library")


def run(*arguments, **options):
    options.setdefault("timeout", 900 if SANITIZED else 300)
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True,
                          errors="replace", **options)


SENTENCES = ["The letter was written by Captain Frederick.", "She went to the sea, to a very old house.",
             "Anne saw the ship.", "He was a captain, she was a lady.", "Who went to sea?"]


class Case(unittest.TestCase):
    """A scratch folder with a tiny start model and a text."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="longspan-cli-")
        self.dir = Path(self.folder.name)
        self.text = self.dir / "text.txt"
        self.text.write_bytes((ROOT / "data" / "persuasion.txt").read_bytes()[:20000])
        self.start = self.dir / "start"
        self.ok("init", "--preset", "tiny", "-o", self.start)

    def tearDown(self):
        self.folder.cleanup()

    def ok(self, *arguments, **options):
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def fails(self, code, *arguments, says=(), **options):
        """The program leaves with this code, one line on stderr and nothing on stdout. With --json
        the line is an object."""
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        lines = result.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertEqual(result.stdout, "")
        message = lines[0]
        if "--json" in arguments:
            error = json.loads(message)["error"]
            self.assertEqual(error["code"], code)
            message = error["message"]
        else:
            self.assertTrue(message.startswith("longspan: "), result.stderr)
        for word in says:
            self.assertIn(str(word), message)

    def word_model(self, name, kind, words, **fields):
        """A small Longformer of a class over a WordPiece vocabulary, 30 tokens at most."""
        folder = self.dir / name
        config = {"model_type": "longformer", "architectures": [f"Longformer{kind}"],
                  "attention_window": [8, 8], "vocab_size": len(words), "hidden_size": 16,
                  "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
                  "max_position_embeddings": 31, "type_vocab_size": 2, "pad_token_id": 0,
                  "bos_token_id": None, "eos_token_id": None, "sep_token_id": 3,
                  "initializer_range": 0.3, **fields}
        source = self.dir / (name + ".json")
        source.write_text(json.dumps(config))
        self.ok("init", "--config", source, "-o", folder)
        (folder / "vocab.txt").write_text("\n".join(words) + "\n")
        return folder

    def sentences(self):
        """A folder with a file for each sentence."""
        folder = self.dir / "texts"
        folder.mkdir()
        for i, sentence in enumerate(SENTENCES):
            (folder / f"{i}.txt").write_text(sentence + "\n")
        return folder

    def train(self, out, *more, code=0, **options):
        result = run("train", "lm", "-m", self.start, "--train", self.text, "-o", out, *SMALL_RUN,
                     *more, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def losses(self, out):
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [(r["kind"], r["step"], r["loss"]) for r in records]


def main():
    """Runs the calling file's tests on the program that its first argument names."""
    global PROGRAM
    PROGRAM = str(Path(sys.argv.pop(1)).resolve())
    unittest.main()
