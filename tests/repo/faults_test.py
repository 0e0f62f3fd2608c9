"""tools/faults itself, on a stand-in for the program that keeps its promise or breaks it."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A "training" whose loss is a chain of hashes: a step that is lost or repeated changes all later
# ones. FAULT=forget loses the chain on resume; FAULT=weights ends with other weights; FAULT=exit
# cannot resume.
PROGRAM = r"""
import hashlib, json, os, sys, time
from pathlib import Path
words, fault = sys.argv, os.environ.get("FAULT", "")
out = Path(words[words.index("-o") + 1])
if words[1] == "init":
    out.mkdir()
    sys.exit(0)
steps, state, metrics = int(words[words.index("--steps") + 1]), out / "state", out / "metrics.jsonl"
out.mkdir(exist_ok=True)
step, chain = 0, "0"
if state.exists():
    step, chain = json.loads(state.read_text())
    if fault == "exit" and step < steps:
        sys.exit(3)
    if fault == "forget":
        chain = "0"
    kept = [line for line in metrics.read_text().splitlines(True)
            if line.endswith("\n") and json.loads(line)["step"] <= step]
    (out / "m").write_text("".join(kept))
    os.replace(out / "m", metrics)
resumed = step > 0
while step < steps:
    step, chain = step + 1, hashlib.sha256(chain.encode()).hexdigest()
    time.sleep(0.01)
    with open(metrics, "a") as file:
        file.write(json.dumps({"kind": "train", "step": step, "loss": int(chain[:8], 16) / 7}) + "\n")
    # Whole files only, and the weights first: a state that is there has its weights.
    (out / "w").write_text(chain + (" " if resumed and fault == "weights" else ""))
    os.replace(out / "w", out / "model.safetensors")
    (out / "s").write_text(json.dumps([step, chain]))
    os.replace(out / "s", state)
"""


class Faults(unittest.TestCase):
    def run_faults(self, fault):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder, "program")
            program.write_text(f"#!{sys.executable}\n{PROGRAM}")
            program.chmod(0o755)
            run = subprocess.run(
                [sys.executable, ROOT / "tools" / "faults", "--program", program, "--steps",
                 "25", "--kills", "25"], capture_output=True, text=True,
                env={**os.environ, "FAULT": fault})
            return run.returncode, run.stdout + run.stderr

    def test_kept_promise(self):
        status, output = self.run_faults("")
        self.assertEqual(status, 0, output)
        self.assertIn("25 kills", output)

    def test_broken_promises_are_found(self):
        for fault, message in (("forget", "undisturbed"), ("weights", "weights differ"),
                               ("exit", "ended with status 3")):
            with self.subTest(fault):
                status, output = self.run_faults(fault)
                self.assertEqual(status, 1, output)
                self.assertIn(message, output)

    def test_kinds_are_listed_and_others_refused(self):
        tool = [sys.executable, ROOT / "tools" / "faults"]
        listed = subprocess.run([*tool, "--help"], capture_output=True, text=True)
        self.assertEqual((listed.returncode, listed.stderr), (0, ""))
        self.assertIn("kills", listed.stdout)
        other = subprocess.run([*tool, "storms"], capture_output=True, text=True)
        self.assertEqual((other.returncode, other.stdout), (2, ""))
        self.assertIn("'storms' is no kind of fault", other.stderr)


if __name__ == "__main__":
    unittest.main()
