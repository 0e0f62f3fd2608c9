#!/usr/bin/env python3
"""Records what transformers and torch make of one update of each head: tests/steps.

usage: make_step_fixtures.py          writes tests/steps/*.json and the table of their PROVENANCE.md

Needs torch and transformers. The models are those of golden/. Each file has the rows of an update as
files of data have them, the vocabulary of the tokenizer that they are read with, and what comes out
in float64: the loss, the gradient's norm before clipping, and some of the weights after AdamW.
Epsilon is 1e-3, so that an update depends on its gradient smoothly. Rows of answers run one by one,
because transformers lets padding compete with answers. Rows of a Longformer have 16 tokens, its largest
window, because its gradients of padding are NaN there. Rows of a Reformer have the 128 tokens of its axial
positions, the one length that transformers trains.
"""
import hashlib
import itertools
import json
import math
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "steps"
OPTIONS = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-3, "weight_decay": 0.1, "clip": 1.0}
PIECE = "##a"  # the last word of a vocabulary: "w7a" is "w7" and "##a"


def vocabulary(config):
    words = [f"w{i}" for i in range(config.vocab_size)]
    words[-1] = PIECE
    cls = 1 if config.bos_token_id is None else config.bos_token_id
    sep = config.eos_token_id if getattr(config, "sep_token_id", None) is None else config.sep_token_id
    free = [i for i in range(6) if i not in (cls, sep, config.pad_token_id)]
    for name, place in (("[CLS]", cls), ("[SEP]", sep), ("[PAD]", config.pad_token_id),
                        ("[UNK]", free[0]), ("[MASK]", free[1])):
        words[place] = name
    return words


class Words:
    """A text's ids, as a WordPiece tokenizer makes them of such words."""

    def __init__(self, words):
        self.words = words

    def ids(self, text):
        found = []
        for word in text.split():
            found.append(self.words.index(word.rstrip("a")))
            if word.endswith("a"):
                found.append(self.words.index(PIECE))
        return found

    def row(self, *texts):
        cls, sep = self.words.index("[CLS]"), [self.words.index("[SEP]")]
        return [cls] + sum((self.ids(t) + sep for t in texts), [])


FILLERS = [f"w{i}" for i in range(60, 90)]


def least_tokens(config):
    """Tokens that a row has at least, so that it needs no padding where transformers cannot take any."""
    if config.model_type == "reformer":
        return math.prod(config.axial_pos_shape)
    return max(config.attention_window) if config.model_type == "longformer" else 0


def filled(model, words, *texts):
    """The last of the texts with words after it, so that the row needs no padding."""
    texts = list(texts)
    for word in itertools.cycle(FILLERS):
        if len(words.row(*texts)) >= least_tokens(model.config):
            return texts[-1]
        texts[-1] += " " + word


def is_longformer(model):
    return model.config.model_type == "longformer"


def padded(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([r + [fill] * (width - len(r)) for r in rows])


def token_rows(model, words):
    rows = [{"tokens": ["w9", "w10a", "w30", "w11a"], "tags": ["LABEL_0", "LABEL_3", "LABEL_1", "LABEL_3"]},
            {"tokens": ["w40a", "w20"], "tags": ["LABEL_4", "LABEL_2"]}]
    ids, labels = [], []
    for row in rows:
        row["tokens"] = filled(model, words, " ".join(row["tokens"])).split()
        row["tags"] += ["LABEL_0"] * (len(row["tokens"]) - len(row["tags"]))
        ids.append(words.row(" ".join(row["tokens"])))
        own = [-100]
        for token, tag in zip(row["tokens"], row["tags"]):
            own += [int(tag[-1])] + [-100] * token.endswith("a")
        labels.append(own + [-100])
    pad = model.config.pad_token_id
    given = {"input_ids": padded(ids, pad), "labels": padded(labels, -100)}
    given["attention_mask"] = padded([[1] * len(r) for r in ids], 0)
    if is_longformer(model):
        given["global_attention_mask"] = torch.zeros_like(given["input_ids"])
    return rows, [given], 1


def answer_rows(model, words):
    rows, calls = [], []
    for question, context, answer in (("w9 w10", "w30 w31a w32 w33", "w31a w32"),
                                      ("w12", "w40 w41 w9a w50 w51 w13", "w51"),
                                      ("w11 w12", "w20 w21a", None)):
        context = filled(model, words, question, context)
        texts = [answer] if answer else []
        rows.append({"question": question, "context": context,
                     "answers": {"text": texts, "answer_start": [context.index(t) for t in texts]}})
        ids = words.row(question, context)
        begin = 2 + len(words.ids(question))
        start = end = 0
        if answer:
            start = begin + len(words.ids(context[:context.index(answer)]))
            end = start + len(words.ids(answer)) - 1
        given = {"input_ids": torch.tensor([ids]), "start_positions": torch.tensor([start]),
                 "end_positions": torch.tensor([end])}
        if is_longformer(model):
            given["global_attention_mask"] = torch.tensor([[int(t < begin - 1) for t in range(len(ids))]])
        calls.append(given)
    return rows, calls, len(rows)


def choice_rows(model, words):
    rows, calls = [], []
    for context, question, choices, label in (("w9 w10 w11", "w12", ["w30 w35", "w31a", "w33 w34"], 1),
                                              ("w40", "w41 w42", ["w50 w51", "w52a", "w53 w54"], 0)):
        while len(words.row(f"{context} {question}", choices[0])) < least_tokens(model.config):
            context += " w60"
        rows.append({"context": context, "question": question, "choices": choices, "label": label})
        ids = [words.row(f"{context} {question}", choice) for choice in choices]
        first = ids[0].index(words.words.index("[SEP]"))
        given = {"input_ids": padded(ids, model.config.pad_token_id)[None], "labels": torch.tensor([label]),
                 "attention_mask": padded([[1] * len(r) for r in ids], 0)[None]}
        if is_longformer(model):
            marks = [[int(t >= first + 2) for t in range(len(r))] for r in ids]
            given["global_attention_mask"] = padded(marks, 0)[None]
        calls.append(given)
    return rows, calls, len(rows)


CASES = {"longformer-tokencls": (transformers.LongformerForTokenClassification, token_rows),
         "longformer-qa": (transformers.LongformerForQuestionAnswering, answer_rows),
         "longformer-multichoice": (transformers.LongformerForMultipleChoice, choice_rows),
         "modernbert-tokencls": (transformers.ModernBertForTokenClassification, token_rows),
         "modernbert-qa": (transformers.ModernBertForQuestionAnswering, answer_rows),
         "modernbert-multichoice": (transformers.ModernBertForMultipleChoice, choice_rows),
         "reformer-qa": (transformers.ReformerForQuestionAnswering, answer_rows)}


# Of the five classes, by which the words of another update count.
WEIGHTS = {"longformer-tokencls": [0.25, 2.0, 1.0, 3.0, 0.5]}


def decays(name, parameter):
    return parameter.dim() == 2 and "embeddings" not in name


def draw_rotations_in_fp32():
    """A model in double draws other numbers from its hash_seed than the fp32 model that people have."""
    drawn = torch.randn
    torch.randn = lambda *size, dtype=torch.float32, **given: drawn(*size, **given).to(dtype)


def record(name, weights=None):
    """`weights`: of the classes of words."""
    kind, make = CASES[name]
    model = kind.from_pretrained(ROOT / "golden" / name, attn_implementation="eager").double()
    model.train()  # every dropout is 0
    words = Words(vocabulary(model.config))
    rows, calls, mean_over = make(model, words)
    if weights:
        logits = model(**calls[0]).logits.flatten(0, 1)
        weight = torch.tensor(weights, dtype=torch.float64)
        loss = torch.nn.functional.cross_entropy(logits, calls[0]["labels"].flatten(), weight=weight)
    else:
        loss = sum(model(**given).loss for given in calls) / mean_over
    loss.backward()
    used = {n: p for n, p in model.named_parameters() if p.grad is not None}
    norm = torch.nn.utils.clip_grad_norm_(used.values(), OPTIONS["clip"])
    before = {n: p.detach().clone() for n, p in used.items()}
    groups = [{"params": [p for n, p in used.items() if decays(n, p) == flag], "weight_decay": decay}
              for flag, decay in ((True, OPTIONS["weight_decay"]), (False, 0.0))]
    torch.optim.AdamW(groups, lr=OPTIONS["learning_rate"], betas=(OPTIONS["beta1"], OPTIONS["beta2"]),
                      eps=OPTIONS["epsilon"]).step()
    changes = {}
    for n, p in used.items():
        change = (p.detach() - before[n]).flatten()
        places = sorted({int(change.abs().argmax()), 0, change.numel() // 3, change.numel() - 1})
        changes[n] = {"change": float(change.norm()), "places": places,
                      "changes": [float(change[i]) for i in places]}
    return {"model": name, "options": OPTIONS, "class_weights": weights or [], "vocabulary": words.words, "rows": rows,
            "loss": float(loss), "gradient_norm": float(norm), "weights": changes}


def main():
    OUT.mkdir(exist_ok=True)
    draw_rotations_in_fp32()
    recorded = {name: record(name) for name in CASES}
    recorded |= {f"{name}-weighted": record(name, weights) for name, weights in WEIGHTS.items()}
    for name, case in recorded.items():
        (OUT / f"{name}.json").write_text(json.dumps(case, separators=(",", ":")) + "\n", encoding="utf-8")
    lines = "".join(f"| `{p.name}` | `{hashlib.sha256(p.read_bytes()).hexdigest()}` |\n"
                    for p in sorted(OUT.glob("*.json")))
    (OUT / "PROVENANCE.md").write_text(
        "# Recorded updates\n"
        "Written by `tools/make_step_fixtures.py`: rows that the tool lists, and what one update of a model of `golden/` makes of them in\n"
        f"float64, by `transformers` {transformers.__version__} and `torch` {torch.__version__.split('+')[0]}. "
        "Nothing here comes from anybody's data. The table is checked: a test\n"
        "compares every file's sha256 with it.\n\n| file | sha256 |\n|---|---|\n" + lines, encoding="utf-8")


if __name__ == "__main__":
    main()
