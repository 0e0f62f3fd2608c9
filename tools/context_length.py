#!/usr/bin/env python3
"""What length buys: held-out bits per byte of one byte Reformer against the bytes of context.

usage: context_length.py PROGRAM TEXT... [--contexts 512 1024 ...] [--scored BYTES]
                         [--stages 512x8:3000@5e-3 ...] [--layers local,local,lsh,local] [--rounds R]
                         [-o DIR] [--json]

The texts are one; its end is held out: the last --scored bytes, and before them as many as the longest
context has. A model (128 channels, 4 heads of 32, local chunks of 8, LSH chunks of 16) learns in stages
TOKENSxROWS:STEPS@RATE, each from where the one before ended: short rows teach bytes, long ones what is
far away. A stage that is there is not trained again; one that was interrupted goes on.

Every context T is judged on the same bytes, the last --scored ones, in two ways. "cut": the text falls into
pieces of T bytes, as in most trainings, so that a byte is predicted from 0 to T bytes before it. "behind it":
windows of T bytes advance by T/4, so that a byte is predicted from 3/4 T to T bytes before it; what the first
window foresees, which a text has no context for, is subtracted: `eval` of the text less `eval` of its first
window alone. Tables in DIR/context.md, figures in context.json, the curves in context.svg.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

STAGES = ["512x8:3000@5e-3", "4096x1:1500@3e-3", "16384x1:400@2e-3", "65536x1:120@1.5e-3"]
CONTEXTS = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
CONFIG = {
    "model_type": "reformer", "architectures": ["ReformerModelWithLMHead"], "is_decoder": True,
    "hidden_size": 128, "num_attention_heads": 4, "attention_head_size": 32, "feed_forward_size": 256,
    "hidden_act": "relu", "axial_pos_embds": True, "axial_pos_embds_dim": [16, 112],
    "axial_norm_std": 0.1, "initializer_range": 0.06, "local_attn_chunk_length": 8,
    "local_num_chunks_before": 1, "local_num_chunks_after": 0, "lsh_attn_chunk_length": 16,
    "lsh_num_chunks_before": 1, "lsh_num_chunks_after": 0, "num_buckets": None, "hash_seed": None,
    "hidden_dropout_prob": 0.0, "local_attention_probs_dropout_prob": 0.0,
    "lsh_attention_probs_dropout_prob": 0.0, "vocab_size": 258, "pad_token_id": 0, "eos_token_id": 1,
    "tie_word_embeddings": False,
}


def stage(text):
    match = re.fullmatch(r"(\d+)x(\d+):(\d+)@([0-9.e-]+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not TOKENSxROWS:STEPS@RATE")
    return int(match[1]), int(match[2]), int(match[3]), match[4]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS)
    parser.add_argument("--scored", type=int, default=131072)
    parser.add_argument("--stages", nargs="+", type=stage, default=[stage(s) for s in STAGES])
    parser.add_argument("--layers", default="local,local,lsh,local")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--title", default="Held-out bits per byte against context")
    parser.add_argument("-o", "--output", type=Path, default=Path("context-length"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class Experiment:
    def __init__(self, a):
        self.a = a
        self.longest = max([*a.contexts, *(tokens for tokens, *_ in a.stages)])
        a.output.mkdir(parents=True, exist_ok=True)
        text = b"\n".join(file.read_bytes() for file in a.texts)
        held_out = a.scored + self.longest
        if len(text) < 2 * held_out:
            sys.exit(f"context_length: {len(text)} bytes of text; {held_out} are held out, and as many "
                     "are wanted to learn from")
        self.train, self.held_out = a.output / "train.txt", text[-held_out:]
        self.train.write_bytes(text[:-held_out])
        (a.output / "held-out.txt").write_bytes(self.held_out)

    def run(self, *words):
        print("$ longspan", *words, file=sys.stderr, flush=True)
        return subprocess.run([self.a.program, *map(str, words)], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def start(self):
        file = self.a.output / "config.json"
        positions = -(-self.longest // 8) * 8
        file.write_text(json.dumps({**CONFIG, "attn_layers": self.a.layers.split(","),
                                    "num_hashes": self.a.rounds, "max_position_embeddings": positions,
                                    "axial_pos_shape": [positions // 8, 8]}, indent=2))
        self.run("init", "--config", file, "-o", self.a.output / "start", "--overwrite")
        return self.a.output / "start"

    def learn(self, number, model, tokens, rows, steps, rate, last):
        """(folder, seconds of training)"""
        run, done = self.a.output / f"stage-{number}", self.a.output / f"stage-{number}.json"
        if not done.exists():
            going_on = run.exists() and any(run.glob("checkpoint-*"))
            if not going_on:
                shutil.rmtree(run, ignore_errors=True)
            out = self.run("train", "lm", "-m", model, "--train", self.train, "--held-out", 0.004,
                           "-o", run, *(["--resume"] if going_on else []), "--tokens", tokens,
                           "--batch", rows, "--steps", steps, "--lr", rate, "--warmup",
                           min(50, max(1, steps // 10)), "--final-rate", 0.05 if last else 0.5,
                           "--weight-decay", 0.02, "--eval-every", 0, "--save-every",
                           max(1, steps // 5), "--progress", "none", "--json")
            done.write_text(out)
        return run, json.loads(done.read_text())["seconds"]

    def summed(self, model, part, tokens, stride):
        """Bits of all bytes of `part` but the first."""
        file = self.a.output / "scored.txt"
        file.write_bytes(part)
        row = json.loads(self.run("eval", "-m", model, file, "--tokens", tokens, "--step", stride,
                                  "--json"))
        return row["bits_per_byte"] * (len(part) - 1)

    def bits(self, model, tokens):
        """Bits per byte of the scored bytes, each with 3/4 of `tokens` to `tokens` bytes before it."""
        scored, stride = self.a.scored, max(1, tokens // 4)
        text = self.held_out[-(scored + tokens):]
        first = self.summed(model, text[:tokens + 1], tokens, stride)
        return (self.summed(model, text, tokens, stride) - first) / (scored - 1)

    def bits_cut(self, model, tokens):
        """Bits per byte of the scored bytes in pieces of `tokens`, each read for itself."""
        text = self.held_out[-(self.a.scored + 1):]
        return self.summed(model, text, tokens, tokens) / self.a.scored


def write(e, report):
    a = e.a
    lines = ["| bytes of context | cut into pieces of it | 3/4 of it and more behind each byte |",
             "|---|---|---|"]
    lines += [f"| {row['context']:,} | {row['bits_per_byte_cut']:.4f} | {row['bits_per_byte']:.4f} |"
              for row in report["contexts"]]
    lines += ["", "| stage | updates of rows x bytes | rate | seconds | bits per byte at its length |",
              "|---|---|---|---|---|"]
    for i, row in enumerate(report["stages"]):
        lines.append(f"| {i + 1} | {row['steps']} of {row['rows']} x {row['tokens']:,} | {row['rate']} | "
                     f"{row['seconds']:.0f} | {row['bits_per_byte']:.4f} |")
    (a.output / "context.md").write_text("\n".join(lines) + "\n")
    (a.output / "context.json").write_text(json.dumps(report, indent=2) + "\n")
    curves = {"cut": "bits_per_byte_cut", "behind-it": "bits_per_byte"}
    for name, figure in curves.items():
        (a.output / name).mkdir(exist_ok=True)
        (a.output / name / "metrics.jsonl").write_text("".join(
            json.dumps({"kind": "eval", "step": row["context"], "bits_per_byte": row[figure]}) + "\n"
            for row in report["contexts"]))
    e.run("plot", *(a.output / name for name in curves), "--log-x", "--x-label", "bytes of context",
          "--title", a.title, "-o", a.output / "context.svg")
    return "\n".join(lines)


def main():
    a = arguments()
    a.contexts = sorted(a.contexts)
    e = Experiment(a)
    model, stages = e.start(), []
    for number, (tokens, rows, steps, rate) in enumerate(a.stages, 1):
        model, seconds = e.learn(number, model, tokens, rows, steps, rate, number == len(a.stages))
        stages.append({"tokens": tokens, "rows": rows, "steps": steps, "rate": rate, "seconds": seconds,
                       "bits_per_byte": e.bits(model, tokens)})
    report = {"train_bytes": e.train.stat().st_size, "scored_bytes": a.scored - 1, "stages": stages,
              "contexts": [{"context": t, "bits_per_byte": e.bits(model, t),
                            "bits_per_byte_cut": e.bits_cut(model, t)} for t in a.contexts]}
    table = write(e, report)
    print(json.dumps(report, indent=2) if a.json else table)


if __name__ == "__main__":
    main()
