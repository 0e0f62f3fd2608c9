#!/usr/bin/env python3
"""Training and many texts under mpirun: the bits of one process, and what ends such a run.

usage: ranks_test.py PROGRAM [unittest options]
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import support
from support import SMALL_RUN, Case, main, run, unless_sanitized

ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "LONGSPAN_THREADS": "1"}
# What a shell around each rank leaves: what it said (mpirun would mix the ranks' lines), who it is and how it
# ended. mpirun's SIGTERM is for the rank.
WRAPPER = """trap : TERM
"$@" > "$RANKS/said.$OMPI_COMM_WORLD_RANK" 2>&1 &
echo $! > "$RANKS/pid.$OMPI_COMM_WORLD_RANK"
wait $!; status=$?
while kill -0 $! 2>/dev/null; do wait $!; status=$?; done
echo $status > "$RANKS/status.$OMPI_COMM_WORLD_RANK"
"""


LONG = ["--accumulate", 4, "--steps", 32, "--eval-every", 0]


def module_is_there():
    return shutil.which("mpirun") and (Path(support.PROGRAM).resolve().parent / "longspan_mpi.so").exists()


class Together(Case):
    def setUp(self):
        if not module_is_there():
            self.skipTest("no MPI")
        super().setUp()
        # Open MPI's sockets have short paths only.
        self.ranks = Path(self.folder.name) / "r"
        self.ranks.mkdir()
        (self.ranks / "wrapper.sh").write_text(WRAPPER)
        # A folder of its own for Open MPI: one mpirun removes the common folder while another one of the
        # same user makes its own in it.
        self.environment = {**ENVIRONMENT, "TMPDIR": str(self.ranks)}

    def command(self, count, *words, wrapped=False):
        shell = ["sh", self.ranks / "wrapper.sh"] if wrapped else []
        return [str(word) for word in ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", count,
                                       *shell, support.PROGRAM, *words]]

    def together(self, count, *words, code=0):
        """`code`: mpirun's, which is that of the first rank that ended."""
        result = subprocess.run(self.command(count, *words), capture_output=True, text=True, timeout=300,
                                env=self.environment)
        self.assertEqual(result.returncode, code, result.stderr)
        return result


@unless_sanitized
class Ranks(Together):
    def words(self, out, *more):
        return ["train", "lm", "-m", self.start, "--train", self.text, "-o", out, *SMALL_RUN, *more]

    def assert_same(self, out, other):
        self.assertEqual(self.losses(out), self.losses(other))
        for name in ("model.safetensors", "config.json"):
            self.assertEqual((out / name).read_bytes(), (other / name).read_bytes())

    def test_two_and_four_ranks_have_the_bits_of_one_process(self):
        one, two, four = (self.dir / name for name in ("one", "two", "four"))
        self.ok(*self.words(one, "--accumulate", 4))
        result = self.together(2, *self.words(two, "--accumulate", 4))
        self.assert_same(one, two)
        # Rank 0 alone prints.
        self.assertEqual(result.stdout.count("held out: "), 1, result.stdout)
        self.assertEqual(result.stderr.count("2 ranks, 2 on this host"), 1, result.stderr)
        line = json.loads((two / "metrics.jsonl").read_text().splitlines()[1])  # the first one gets no weights
        self.assertEqual(line["ranks"], 2)
        self.assertGreater(line["sent_bytes"], 0)
        self.assertEqual(set(line["exchanged"]), {"gradients", "weights", "together"})
        self.assertEqual(sum(kind["sent_bytes"] for kind in line["exchanged"].values()), line["sent_bytes"])
        # Without a number: one micro-batch a rank. The run goes on alone, with its number.
        self.together(4, *self.words(four))
        self.assert_same(one, four)
        self.assertIn("accumulate = 4", (four / "run.toml").read_text())
        self.ok(*self.words(four, "--extend", "--steps", 13))
        self.assertEqual(json.loads(run("env", "--json").stdout)["mpi"]["ranks"], 1)
        found = json.loads(self.together(2, "env", "--json").stdout)["mpi"]
        self.assertEqual((found["ranks"], found["ranks_here"]), (2, 2))
        self.assertIn("Open MPI", found["library"])

    def test_ranks_that_share_rows_have_the_losses_of_one_process(self):
        letters = "abcdefghij"
        model = self.word_model("long", "ForMaskedLM", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters])
        text = self.dir / "letters.txt"
        text.write_text("".join(letters[i % 10] + ("\n" if i % 40 == 39 else " ") for i in range(2000)))
        losses = {}
        for name, ranks, shared in (("one", 1, 1), ("two", 2, 2), ("four", 4, 2)):
            out = self.dir / name
            words = ["train", "mlm", "-m", model, "--train", text, "-o", out, "--steps", 3, "--tokens", 23,
                     "--accumulate", 2, "--log-every", 1, "--held-out", 0.05, "--progress", "none"]
            if ranks == 1:
                self.ok(*words)
            else:
                said = self.together(ranks, *words, "--row-ranks", shared).stderr
                self.assertIn(f"each row is shared by 2 neighbouring ranks: {ranks // 2} group", said)
            losses[name] = self.losses(out)
        self.assertEqual(losses["two"], losses["four"])
        for (_, _, one), (_, _, two) in zip(losses["one"], losses["two"], strict=True):
            self.assertAlmostEqual(one, two, delta=1e-4 * one)
        self.fails(2, "train", "lm", "-m", self.start, "--train", self.text, "-o", self.dir / "no", "--row-ranks", 2,
                   says=["row-ranks: 2 does not divide the number of ranks, 1"])

    def test_a_benchmark_says_what_ranks_wait_for(self):
        words = ["bench", "train", "--arch", "longformer", "--preset", "tiny", "--tokens", 128, "--steps", 1]
        found = json.loads(self.together(2, *words, "--row-ranks", 2, "--json").stdout)
        self.assertEqual((found["ranks"], found["row_ranks"], found["accumulate"]), (2, 2, 1))
        self.assertEqual(len(found["by_rank"]), 2)
        self.assertEqual(found["peak_rss_bytes"], max(rank["peak_rss_bytes"] for rank in found["by_rank"]))
        for rank in found["by_rank"]:
            sent = sum(kind["sent_bytes"] for kind in rank["exchanged"].values())
            self.assertAlmostEqual(sent, rank["sent_bytes"], delta=1)
            self.assertLess(rank["waiting"], 1.0)
        self.assertLess({"gradients", "weights", "rows", "together"}, set(found["exchanged"]))
        text = self.together(2, *words).stdout
        self.assertRegex(text, r"\n2 ranks, 2 micro-batches an update; memory is that of the rank with most\n")
        self.assertRegex(text, r"\nexchange +least waited, s +most waited, s +% of the step +most sent, MB\n"
                               r"gradients( +[0-9.]+){4}\nweights( +[0-9.]+){4}\ntogether( +[0-9.]+){4}\nall ")
        self.fails(2, *words, "--row-ranks", 2, says=["row-ranks: 2 does not divide the number of ranks, 1"])

    def tool(self, name, *words):
        """What a tool measures with the smallest models: whether it runs, not how fast."""
        return subprocess.run([sys.executable, support.ROOT / "tools" / name, support.PROGRAM, *map(str, words)],
                              capture_output=True, text=True, timeout=300, env=self.environment)

    def test_plans_are_compared_with_updates_of_ranks(self):
        result = self.tool("plan_check.py", "--ranks", 2, "--cases", 2, "--tiny", "--json")
        self.assertIn(result.returncode, (0, 1), result.stderr)
        row, = json.loads(result.stdout)
        self.assertEqual((row["model"], row["ranks"], row["row_ranks"]), ("longformer tiny", 2, 2))
        self.assertLess(abs(row["planned_bytes"] / row["bytes"] - 1.0), 0.25, row)
        self.assertLess({"gradients", "weights"}, set(row["exchanged"]))
        self.assertNotIn("seconds", row)

    def test_ranks_are_compared_with_processes_alone(self):
        words = ["-n", 2, "--launcher", "mpirun --oversubscribe --bind-to none", "--turns", 1, "--least", 50]
        bench = ["--", "--preset", "tiny", "--tokens", 128, "--steps", 1, "--accumulate", 4]
        result = self.tool("ranks_speed.py", *words, "--json", *bench)
        self.assertEqual(result.returncode, 1, result.stderr)  # as --least says
        found = json.loads(result.stdout)
        self.assertEqual((found["accumulate"], found["alone_accumulate"]), (4, 2))
        self.assertAlmostEqual(found["efficiency"], found["alone_seconds"] / found["seconds"])
        self.assertEqual(set(found["exchanged"]), {"gradients", "weights", "together"})

    def test_ranks_share_an_evaluation(self):
        model = self.word_model("judge", "ForSequenceClassification",
                                ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"], num_labels=2)
        rows = self.dir / "rows.csv"
        lines = [f"{'a b c d e f g h '[:2 * n]},LABEL_{n % 2}" for n in range(1, 9)]
        rows.write_text("text,label\n" + "\n".join(lines) + "\n")
        one, two = self.dir / "one.csv", self.dir / "two.csv"
        words = ["eval", "-m", model, rows, "--json"]
        alone = self.ok(*words, "--predictions", one)
        result = self.together(2, *words, "--predictions", two)
        self.assertEqual(result.stdout, alone)  # rank 0 alone prints
        self.assertEqual(two.read_bytes(), one.read_bytes())

    def test_ranks_share_the_rows_of_a_reformer(self):
        one, two = self.dir / "one", self.dir / "two"
        words = ["train", "lm", "-m", self.start, "--train", self.text, "--steps", 2, "--batch", 1, "--tokens", 128,
                 "--warmup", 1, "--log-every", 1, "--progress", "none"]
        self.ok(*words, "-o", one)
        self.together(2, *words, "-o", two, "--row-ranks", 2)
        for (_, _, alone), (_, _, shared) in zip(self.losses(one), self.losses(two), strict=True):
            self.assertAlmostEqual(alone, shared, delta=1e-4 * alone)

    def test_processes_that_cannot_find_each_other_are_refused(self):
        lost = {**self.environment, "OMPI_COMM_WORLD_SIZE": "2", "LONGSPAN_MPI_MODULE": "/nowhere.so"}
        self.fails(2, *self.words(self.dir / "run"), says=["/nowhere.so"], env=lost)
        self.assertFalse((self.dir / "run").exists())
        # mpirun of another MPI: this one sees itself alone.
        other = {**self.environment, "PMI_SIZE": "2", "PMI_RANK": "0"}
        self.fails(2, *self.words(self.dir / "run"), says=["mpirun has started 2 processes", "sees 1"], env=other)
        # srun that was not told how its processes find each other. One of them tells it.
        step = {**self.environment, "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
        for words in (self.words(self.dir / "run"), ["env"]):
            self.fails(2, *words, says=["srun has started 2 processes that cannot find each other: "
                                        "start them with srun --mpi=pmix"], env=step)
        second = run("env", env={**step, "SLURM_PROCID": "1"})
        self.assertEqual((second.returncode, second.stdout, second.stderr), (2, "", ""))
        self.assertFalse((self.dir / "run").exists())
        # A batch script has the number too, and runs once.
        self.ok("env", env={**self.environment, "SLURM_NTASKS": "2", "SLURM_PROCID": "0"})
        self.ok(*self.words(self.dir / "run"), env={**lost, "LONGSPAN_MPI": "0"})

    def begin(self, count, out):
        words = self.words(out, *LONG)
        log = open(self.dir / "log", "w")
        self.addCleanup(log.close)
        # mpirun would kill a wrapper a second after the first rank ended, on a loaded machine before it wrote.
        patient = {"OMPI_MCA_odls_base_sigkill_timeout": "3", "RANKS": str(self.ranks)}
        return subprocess.Popen(self.command(count, *words, wrapped=True), stdout=log, stderr=log,
                                env={**self.environment, **patient})

    def disturb(self, count, out, number):
        """The end of a run whose rank 1 got this signal after the second checkpoint: mpirun's status, and the
        seconds since then. A run that was over before, on a loaded machine, is begun anew."""
        for _ in range(5):
            for path in self.ranks.glob("*.[0-9]"):
                path.unlink()
            shutil.rmtree(out, ignore_errors=True)
            process = self.begin(count, out)
            self.wait_for(lambda: self.saved(out) >= 8)
            begin = time.monotonic()
            try:
                os.kill(self.pid(1), number)
            except ProcessLookupError:
                pass
            code = process.wait(timeout=60)
            if not (out / "model.safetensors").exists():
                return code, time.monotonic() - begin
        self.fail("the runs were over before the signal: " + self.said())

    def wait_for(self, done):
        for _ in range(6000):
            if done():
                return
            time.sleep(0.01)
        self.fail("nothing comes: " + self.said())

    def saved(self, out):
        """The step of the last checkpoint; 0: none."""
        return max((int(path.name.split("-")[1]) for path in out.glob("checkpoint-*")), default=0)

    def said(self):
        """What all ranks have said, rank by rank, and mpirun last."""
        said = [*sorted(self.ranks.glob("said.*")), self.dir / "log"]
        return "".join(path.read_text() for path in said if path.exists())

    def pid(self, rank):
        return int((self.ranks / f"pid.{rank}").read_text())

    def status(self, rank):
        path = self.ranks / f"status.{rank}"
        self.wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
        return int(path.read_text())

    def test_a_rank_that_is_killed_ends_the_others_and_the_run_goes_on(self):
        out, whole = self.dir / "run", self.dir / "whole"
        _, seconds = self.disturb(3, out, signal.SIGKILL)
        self.assertLess(seconds, 30)
        statuses = [self.status(rank) for rank in (0, 2)]
        log = self.said()
        self.assertEqual(statuses, [8, 8], log)
        for rank in (0, 2):
            self.assertRegex(log, rf"longspan: rank {rank} on \S+: rank 1 on \S+, after update \d+, "
                                  "has ended without a word; all ranks end, and --resume goes on")
        self.together(2, *self.words(out, *LONG, "--resume"))
        self.ok(*self.words(whole, *LONG))
        self.assert_same(out, whole)

    def test_a_stop_of_one_rank_saves_the_run_of_all(self):
        out = self.dir / "run"
        code, _ = self.disturb(2, out, signal.SIGTERM)
        self.assertEqual(code, 0)
        statuses = [self.status(rank) for rank in (0, 1)]
        log = self.said()
        self.assertEqual(statuses, [143, 143], log)
        self.assertIn("stopped and saved at step", log)

    def test_a_mistake_of_one_rank_ends_all_with_its_status(self):
        # Rank 1 reads another text, or none.
        (self.dir / "other.txt").write_text("other words " * 2000)
        script = self.ranks / "different.sh"
        words = " ".join(str(word) for word in self.words(self.dir / "run", "--accumulate", 4))
        script.write_text(f"""text={self.text}
[ $OMPI_COMM_WORLD_RANK = 1 ] && text=$OTHER
exec {support.PROGRAM} {words.replace(str(self.text), '$text')} 2> $RANKS/said.$OMPI_COMM_WORLD_RANK
""")
        for other, code, says in ((self.dir / "other.txt", 3, "rank 0 on .*: rank 1 on .*: the texts' fingerprint is"),
                                  (self.dir / "none.txt", 4, "rank 1 on .*: .*none.txt: cannot open")):
            shutil.rmtree(self.dir / "run", ignore_errors=True)
            result = subprocess.run(["mpirun", "--oversubscribe", "-n", "2", "sh", str(script)],
                                    capture_output=True, text=True, timeout=120,
                                    env={**self.environment, "OTHER": str(other), "RANKS": str(self.ranks)})
            said = self.said() + result.stderr
            self.assertEqual(result.returncode, code, said)
            self.assertRegex(said, says)
            told = [line for line in said.splitlines() if line.startswith("longspan: ")]
            self.assertLessEqual(len(told), code - 2, said)  # and rank 0 repeats what rank 1 alone has found

    def test_a_mistake_that_all_ranks_find_is_told_once(self):
        for more, code, says in ((["--row-ranks", 2], 2, "row-ranks: 2 does not divide the number of ranks, 3"),
                                 (["--eval", self.dir / "none"], 4, "none: cannot open")):
            result = self.together(3, *self.words(self.dir / "run", *more), code=code)
            self.assertIn(says, result.stderr)
            self.assertIn("longspan: rank 0 on ", result.stderr)


@unless_sanitized
class Corpus(Together):
    """Texts that ranks share. Three parts: 1,100 rows of a file and a folder's files."""

    def setUp(self):
        super().setUp()
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "the", "sea", "ship"]
        self.model = self.word_model("model", "ForSequenceClassification", words, num_labels=2)
        self.rows = self.dir / "rows.jsonl"
        lines = [json.dumps({"id": i, "text": f"the {'abcdefgh'[i % 8]} sea " + "a " * (i % 20)})
                 for i in range(1100)]
        lines[700] = '{"id": 700, "text": 3}'
        self.rows.write_text("\n".join(lines) + "\n")
        self.inputs = [self.rows, self.sentences()]

    def litter(self):
        return sorted(path.name for path in self.dir.iterdir() if path.name.startswith("."))

    def test_the_output_has_the_bytes_of_one_process(self):
        for words, name, beside in ((["embed", "--precision", "int8"], "v.npy", "v.ids.jsonl"),
                                    (["classify"], "classes.json", None)):
            one, many = self.dir / "one" / name, self.dir / "many" / name
            for file in (one, many):
                file.parent.mkdir(exist_ok=True)
            alone = run(*words, "-m", self.model, *self.inputs, "-o", one)
            self.assertEqual(alone.returncode, 3, alone.stderr)
            result = self.together(3 if beside else 2, *words, "-m", self.model, *self.inputs, "-o", many, code=3)
            self.assertEqual(one.read_bytes(), many.read_bytes())
            if beside:
                self.assertEqual((one.parent / beside).read_bytes(), (many.parent / beside).read_bytes())
            self.assertEqual(result.stderr.count("rows.jsonl:701: "), 1, result.stderr)
            self.assertEqual(result.stderr.count("1104 texts, 1104 rows"), 1, result.stderr)
            self.assertEqual(list(many.parent.glob(".*")), [])

    def test_a_run_that_a_text_ended_goes_on(self):
        words = ["classify", "-m", self.model, *self.inputs, "--skip-bad", "--overflow", "error", "--json"]
        good = self.rows.read_text()
        one, out = self.dir / "one.json", self.dir / "out.json"
        self.ok(*words, "-o", one)
        for count, goes_on in ((1, 1), (2, 3)):
            self.rows.write_text(good.replace('{"id": 1090, "text": "', '{"id": 1090, "text": "' + "a " * 40))
            if count == 1:
                self.fails(5, *words, "-o", out, "--resume", says=["rows.jsonl:1091"])
            else:
                failed = self.together(count, *words, "-o", out, code=5)
                self.assertIn("rows.jsonl:1091", failed.stderr)
            self.assertEqual(self.litter(), [".out.json.longspan-parts"])
            self.assertFalse(out.exists())
            self.rows.write_text(good)
            self.fails(2, *words, "-o", out, "--resume", "--top", 1, says=["remove that folder to start again"])
            if goes_on == 1:
                result = run(*words, "-o", out, "--resume")
                self.assertEqual(result.returncode, 0, result.stderr)
            else:
                result = self.together(goes_on, *words, "-o", out, "--resume")
            self.assertIn("were there before", result.stderr)
            self.assertEqual(out.read_bytes(), one.read_bytes())
            self.assertEqual(self.litter(), [])
            out.unlink()

    def test_what_cannot_be_shared_is_refused(self):
        model = ["-m", self.model]
        for words, says in ((["embed", *model, *self.inputs], "embed: 2 ranks write one file together"),
                            (["embed", *model, "-", "-o", self.dir / "v.npy"], "stdin cannot be read twice"),
                            (["classify", *model, *self.inputs, "-o", self.dir / "c", "--html",
                              self.dir / "why.html"], "html: the page is written by one process")):
            self.assertIn(says, self.together(2, *words, code=2).stderr)
        started = {**self.environment, "OMPI_COMM_WORLD_SIZE": "2"}
        for words in (["init", "--preset", "tiny", "-o", self.dir / "new"], ["convert", self.model, self.dir / "new"],
                      ["demo"], ["similar", *model, "--text", "a", "--among", *self.inputs],
                      ["rerank", "a", *model, *self.inputs], ["generate", "-m", self.start, "-p", "a"],
                      ["puzzle", "duplication", "-o", self.dir / "new"], ["bench", "bf16"]):
            self.fails(2, *words, says=[words[0] + ": mpirun or srun has started it 2 times, and it knows no ranks"],
                       env=started)
        self.assertFalse((self.dir / "new").exists())
        # Rank 0 tells it, and it alone looks something up.
        result = self.together(2, "rerank", "a", *model, *self.inputs, code=2)
        self.assertEqual((result.stdout, result.stderr.count("knows no ranks")), ("", 1), result.stderr)
        self.assertEqual(self.together(2, "info", self.model).stdout, self.ok("info", self.model))
        self.assertEqual(run("info", self.model, env={**started, "OMPI_COMM_WORLD_RANK": "1"}).stdout, "")
        self.fails(2, "embed", *model, *self.inputs, "--resume", says=["resume", "-o FILE"])
        self.ok("info", self.model, env=started)
        self.ok("rerank", "--help", env=started)


if __name__ == "__main__":
    main()
