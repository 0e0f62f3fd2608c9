#!/usr/bin/env python3
"""Vectors of many texts, `longspan embed` beside `sentence-transformers`: texts a second, memory.

usage: embedding_speed.py PROGRAM [--preset tiny|small|base|large | --model FOLDER] [--texts 400]
                          [--our-model FOLDER] [--tokens 20 4000] [--words LEAST MOST]
                          [--batch 1 4 16 32] [--pairs 5] [--threads N] [--dtype f32|bf16]
                          [--json FILE]

Needs an environment with torch, transformers and sentence-transformers:
  python3 -m venv venv && venv/bin/pip install torch transformers sentence-transformers
Run it on an idle machine with a release build, in the root of the repository.

  --preset  a ModernBERT of that size (base) with random weights and a small tokenizer. Texts have
            20 to 4,000 tokens (--tokens), about: their lengths are log-normal, with a median of
            a tenth of the longest. Preset base takes minutes.
  --model   a folder with its tokenizer: `--model MiniLM --texts 800 --words 20 150` are 800 texts
            of 20 to 150 words, every number equally likely. Texts that are too long are cut.
            --our-model is what `longspan convert` made of it, where longspan cannot read it as it
            is.
Texts are pieces of data/persuasion.txt, drawn from a seed: the same ones in every run.

First both embed all texts once, and the vectors are compared: the largest distance of two vectors
of a text, divided by their length, must not exceed 1e-4 (bf16: 5e-2), or the script ends with 1. In
that round sentence-transformers tries each --batch. It sorts texts by length itself, and its
fastest batch is the one that is timed. Its bf16 is weights in bf16, without autocast.

Then the two take turns, --pairs times, each first in every other pair. Each measurement is a whole
process, from its start to its file of vectors: longspan's is the program, the other one's is Python
with its imports. `encode` is the part of the latter without imports, loading and writing: a server
would pay no more. Seconds are medians with quartiles, `times` is the median of the pairs' ratios,
memory is the largest resident set of a process. Prints a table; --json writes all figures.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from turns import cpu, quartiles

NOVEL = Path("data/persuasion.txt")
TOKENIZER = Path("tests/tokenizers/roberta")
SEED = 1
DEVIATION = 1.0  # of the logarithm of a text's length
LARGEST = {"f32": 1e-4, "bf16": 5e-2}


def whole_process(command, threads):
    """Seconds, peak resident bytes and output of a process; ends with its words if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "LONGSPAN_THREADS": str(threads),
                   "TOKENIZERS_PARALLELISM": "true"}
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        said.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"{command[0]} ended with {process.returncode}: {said.read()}")
        return {"seconds": seconds, "bytes": usage.ru_maxrss * 1024, "stdout": printed.read(),
                "stderr": said.read()}


# ---- models and texts ---------------------------------------------------------------------------


def make_model(options, folder):
    """A ModernBERT with random weights. Its small tokenizer is another model's, whose rows are
    shorter."""
    subprocess.run([options.program, "init", "--arch", "modernbert", "--preset", options.preset,
                    "--head", "none", "--tokenizer", str(TOKENIZER), "-o", str(folder)],
                   check=True, capture_output=True)
    file = folder / "tokenizer_config.json"
    fields = json.loads(file.read_text())
    positions = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    file.write_text(json.dumps({**fields, "model_max_length": positions}))


def tokens_a_word(program, folder, words):
    done = subprocess.run([program, "tokenize", "-m", str(folder), "--ids", "--no-special",
                           " ".join(words)], check=True, capture_output=True, text=True)
    return len(done.stdout.split()) / len(words)


def draw_texts(options, folder):
    """Pieces of the novel. Of each the number of words is drawn, or that of tokens divided by the
    tokens that a word has."""
    words = NOVEL.read_text(encoding="utf-8").split()
    rng = random.Random(SEED)
    if options.words:
        lengths = [rng.randint(*options.words) for _ in range(options.texts)]
    else:
        least, most = options.tokens
        each = tokens_a_word(options.program, folder, words[:2000])
        # The special tokens beside a text count too.
        drawn = [rng.lognormvariate(0.0, DEVIATION) * most / 10 for _ in range(options.texts)]
        lengths = [max(1, int((min(max(n, least), most) - 2) / each)) for n in drawn]
    texts = []
    for length in lengths:
        begin = rng.randrange(max(1, len(words) - length))
        texts.append(" ".join(words[begin:begin + length]))
    return texts


# ---- the two ------------------------------------------------------------------------------------


def measure_theirs(options):
    """In a process of its own."""
    import numpy
    import sentence_transformers
    import torch

    torch.set_num_threads(options.threads)
    texts = [json.loads(line)["text"] for line in Path(options.file).read_text().splitlines()]
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    model = sentence_transformers.SentenceTransformer(
        options.model, device="cpu", model_kwargs={"dtype": kind, "attn_implementation": "sdpa"})
    begin = time.perf_counter()
    vectors = model.encode(texts, batch_size=options.batch[0], show_progress_bar=False,
                           convert_to_tensor=True).float().numpy()
    seconds = time.perf_counter() - begin
    numpy.save(options.child, vectors)
    print(json.dumps({"encode_seconds": seconds, "torch": torch.__version__,
                      "sentence_transformers": sentence_transformers.__version__}))


def theirs(options, folder, file, vectors, batch):
    command = [sys.executable, sys.argv[0], options.program, "--child", str(vectors), "--model",
               str(folder), "--file", str(file), "--batch", str(batch), "--threads",
               str(options.threads), "--dtype", options.dtype]
    result = whole_process(command, options.threads)
    result.pop("stderr")
    return {**result, **json.loads(result.pop("stdout").splitlines()[-1])}


def ours(options, folder, file, vectors):
    command = [options.program, "embed", "-m", options.our_model or str(folder), str(file), "-o",
               str(vectors), "--overflow", "truncate", "--dtype", options.dtype]
    result = whole_process(command, options.threads)
    result.pop("stdout")
    return {**result, "said": result.pop("stderr").splitlines()[-1]}


def compare(first, second):
    """The largest distance of two vectors of a text, divided by their length."""
    import numpy

    a, b = numpy.load(first).astype("f8"), numpy.load(second).astype("f8")
    if a.shape != b.shape:
        raise SystemExit(f"vectors are {a.shape} and {b.shape}")
    lengths = numpy.maximum(numpy.linalg.norm(a, axis=1), numpy.linalg.norm(b, axis=1))
    apart = numpy.linalg.norm(a - b, axis=1)
    # Vectors that were all alike would agree with anything.
    spread = numpy.linalg.norm(a - a.mean(axis=0), axis=1)
    if len(a) > 1 and (spread / lengths).max() < 10 * LARGEST["f32"]:
        raise SystemExit("all texts have one vector: there is nothing to compare")
    return float((apart / lengths).max())


def try_batches(options, folder, file, scratch):
    """The fastest of their batches, after all vectors were compared."""
    print(ours(options, folder, file, scratch / "ours.npy")["said"], flush=True)
    seconds = {}
    for batch in options.batch:
        result = theirs(options, folder, file, scratch / "theirs.npy", batch)
        seconds[batch] = result["encode_seconds"]
        distance = compare(scratch / "theirs.npy", scratch / "ours.npy")
        print(f"batches of {batch}: {seconds[batch]:.2f} s, vectors at most {distance:.1e} apart",
              flush=True)
        if not distance <= LARGEST[options.dtype]:
            raise SystemExit(f"that is more than {LARGEST[options.dtype]}")
    return min(seconds, key=seconds.get), seconds, distance


def take_turns(options, folder, file, scratch, batch):
    runs = {"theirs": [], "ours": []}
    sides = [("theirs", lambda path: theirs(options, folder, file, path, batch)),
             ("ours", lambda path: ours(options, folder, file, path))]
    for _ in range(options.pairs):
        for name, measure in sides:
            runs[name].append(measure(scratch / f"{name}.npy"))
        sides.reverse()
    return runs


def report_on(options, runs):
    seconds = {name: [run["seconds"] for run in runs[name]] for name in runs}
    rows = {"theirs": (seconds["theirs"], runs["theirs"]),
            "theirs, encode": ([run["encode_seconds"] for run in runs["theirs"]], runs["theirs"]),
            "ours": (seconds["ours"], runs["ours"])}
    report = {}
    print(f"{'':15} {'seconds':>8} {'quartiles':>16} {'texts/s':>8} {'MB':>7} {'times':>6} "
          f"{'quartiles':>14}")
    for name, (values, all_runs) in rows.items():
        low, middle, high = quartiles(values)
        times = quartiles([a / b for a, b in zip(values, seconds["ours"])])
        report[name] = {"seconds": middle, "seconds_quartiles": [low, high], "all_seconds": values,
                        "texts_per_second": options.texts / middle,
                        "bytes": max(run["bytes"] for run in all_runs),
                        "times": times[1], "times_quartiles": [times[0], times[2]]}
        print(f"{name:15} {middle:8.2f} {low:7.2f} to {high:5.2f} {options.texts / middle:8.1f} "
              f"{report[name]['bytes'] / 1e6:7.0f} {times[1]:6.2f} {times[0]:6.2f} to "
              f"{times[2]:4.2f}", flush=True)
    return report


# ---- the script ---------------------------------------------------------------------------------


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--preset", choices=["tiny", "small", "base", "large"], default="base")
    parser.add_argument("--model", help="folder, instead of a preset")
    parser.add_argument("--our-model", help="folder, if longspan's is another one")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--tokens", type=int, nargs=2, default=[20, 4000])
    parser.add_argument("--words", type=int, nargs=2, help="instead of tokens")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    if options.child:
        measure_theirs(options)
        return
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = Path(options.model or scratch / "model")
        if not options.model:
            make_model(options, folder)
        texts = draw_texts(options, options.our_model or folder)
        file = scratch / "texts.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        words = [len(text.split()) for text in texts]
        what = options.model or f"ModernBERT {options.preset}"
        print(f"{cpu()}, {options.threads} threads; {what}, {options.dtype}; {len(texts)} texts of "
              f"{min(words)} to {max(words)} words, median {statistics.median(words):.0f}",
              flush=True)
        batch, tried, distance = try_batches(options, folder, file, scratch)
        print(f"{options.pairs} pairs, batches of {batch}")
        runs = take_turns(options, folder, file, scratch, batch)
        report = {"cpu": cpu(), "threads": options.threads, "model": what, "dtype": options.dtype,
                  "texts": len(texts), "words": words, "batch": batch,
                  "seconds_of_batches": tried, "largest_distance": distance,
                  "rows": report_on(options, runs), "torch": runs["theirs"][0]["torch"],
                  "sentence_transformers": runs["theirs"][0]["sentence_transformers"]}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
