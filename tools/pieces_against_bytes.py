#!/usr/bin/env python3
"""Is a language model on pieces better than one on bytes, in the same time?

usage: pieces_against_bytes.py PROGRAM TEXT... [--minutes M] [--vocab-size V] [--kind bpe|unigram]
                               [--tokens T] [--batch B] [--steps N] [-o DIR] [--json]

Learns a vocabulary (320 pieces, no bytes, as google/reformer-crime-and-punishment has) on all but the
last tenth of the last text, then trains two Reformers of six layers (local and LSH in turn, 256
channels, 2 heads of 64) with the same options but the vocabulary: one on the pieces, one on bytes. Each
gets M minutes of training: the time of a step is measured first, and the number of steps follows. Both
are judged by bits per byte on the same held-out tenth. --steps N trains both for N steps instead.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

CONFIG = {
    "model_type": "reformer", "architectures": ["ReformerModelWithLMHead"],
    "attn_layers": ["local", "lsh"] * 3, "is_decoder": True, "hidden_size": 256,
    "num_attention_heads": 2, "attention_head_size": 64, "feed_forward_size": 512,
    "hidden_act": "relu", "axial_pos_embds": True, "axial_pos_shape": [64, 64],
    "axial_pos_embds_dim": [64, 192], "max_position_embeddings": 4096, "axial_norm_std": 0.1,
    "initializer_range": 0.05, "local_attn_chunk_length": 64, "local_num_chunks_before": 1,
    "local_num_chunks_after": 0, "lsh_attn_chunk_length": 64, "lsh_num_chunks_before": 1,
    "lsh_num_chunks_after": 0, "num_hashes": 1, "num_buckets": None, "hash_seed": None,
    "hidden_dropout_prob": 0.05, "local_attention_probs_dropout_prob": 0.05,
    "lsh_attention_probs_dropout_prob": 0.0, "vocab_size": 258, "pad_token_id": 0,
    "eos_token_id": 1, "tie_word_embeddings": False,
}
TIMED_STEPS = 12


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--vocab-size", type=int, default=320)
    parser.add_argument("--kind", default="bpe")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("pieces-against-bytes"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Experiment:
    def __init__(self, a):
        self.a = a
        a.output.mkdir(parents=True, exist_ok=True)
        # The same split for both, and for the vocabulary: the text is parted at a character.
        last = a.texts[-1].read_bytes()
        cut = len(last) - len(last) // 10
        while cut < len(last) and last[cut] & 0xC0 == 0x80:
            cut += 1
        (a.output / "train-last.txt").write_bytes(last[:cut])
        (a.output / "held-out.txt").write_bytes(last[cut:])
        self.train_files = [*a.texts[:-1], a.output / "train-last.txt"]

    def run(self, *words):
        print("$ longspan", *words, file=sys.stderr, flush=True)
        return subprocess.run([self.a.program, *map(str, words)], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def start(self, name, tokenizer):
        config = self.a.output / "config.json"
        config.write_text(json.dumps(CONFIG, indent=2))
        more = ["--tokenizer", tokenizer] if tokenizer else []
        self.run("init", "--config", config, *more, "-o", self.a.output / f"{name}-start",
                 "--overwrite")

    def fit(self, name, run, steps, evaluate):
        a = self.a
        out = self.run("train", "lm", "-m", a.output / f"{name}-start", "--train",
                       *self.train_files, "--eval", a.output / "held-out.txt", "-o", a.output / run,
                       "--overwrite", "--tokens", a.tokens, "--batch", a.batch, "--lr", a.lr,
                       "--steps", steps, "--warmup", min(50, max(1, steps // 10)), "--eval-every",
                       max(1, steps // 6) if evaluate else 0, "--save-every", 0, "--log-every", 1,
                       "--progress", "none", "--json")
        lines = (a.output / run / "metrics.jsonl").read_text().splitlines()
        return json.loads(out), [json.loads(line) for line in lines]

    def model(self, name, tokenizer):
        a = self.a
        self.start(name, tokenizer)
        steps = a.steps
        if steps == 0:
            _, lines = self.fit(name, f"{name}-timing", TIMED_STEPS, False)
            seconds = [line["seconds"] for line in lines if line["kind"] == "train"]
            each = (seconds[-1] - seconds[1]) / (len(seconds) - 2)
            steps = max(10, int(60.0 * a.minutes / each))
        result, lines = self.fit(name, name, steps, True)
        spent = sum(step_seconds(lines))
        curve = [(line["step"], line["bits_per_byte"]) for line in lines if line["kind"] == "eval"]
        return {"name": name, "steps": steps, "bits_per_byte": result["bits_per_byte"],
                "training_seconds": spent, "curve": curve}


def step_seconds(lines):
    """Of each update: a line has the tokens a second of its own."""
    before = 0
    for line in lines:
        if line["kind"] == "train":
            yield (line["tokens"] - before) / line["tokens_per_s"]
            before = line["tokens"]


def main():
    a = arguments()
    e = Experiment(a)
    pieces = a.output / "vocabulary"
    learnt = json.loads(e.run("tokenize", "train", *e.train_files, "--kind", a.kind, "--vocab-size",
                              a.vocab_size, "--no-byte-fallback", "-o", pieces, "--overwrite",
                              "--json"))
    stats = json.loads(e.run("data", "stats", a.output / "held-out.txt", "-m", pieces,
                             "--documents", "file", "--json"))
    rows = [e.model("pieces", pieces), e.model("bytes", None)]
    if a.json:
        print(json.dumps({"tokenizer": learnt, "held_out": stats, "models": rows}, indent=2))
        return
    print(f"{learnt['vocabulary']} pieces, {learnt['bytes_per_token']:.3f} bytes each; held out: "
          f"{stats['bytes']} bytes, {stats['token_lengths']['total']} pieces, "
          f"{stats['unknown_tokens']} unknown")
    for row in rows:
        print(f"{row['name']:>7}: {row['bits_per_byte']:.4f} bits per byte after {row['steps']} steps, "
              f"{row['training_seconds'] / 60.0:.1f} min of training   "
              + " ".join(f"{step}:{bits:.3f}" for step, bits in row["curve"]))


if __name__ == "__main__":
    main()
