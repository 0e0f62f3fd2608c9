#!/usr/bin/env python3
"""Writes tests/metrics/: predictions, and what other packages measure on them.

usage: make_metric_fixtures.py EVALUATE      needs `pip install scikit-learn scipy seqeval torchmetrics`

EVALUATE is a checkout of https://github.com/huggingface/evaluate, whose metrics/squad and
metrics/squad_v2 hold the official programs of SQuAD. src/metrics/recorded_metrics_test.cc replays
the files. A value that is not a number is null; "refused" says that the package raises an error.

  classes.json    scikit-learn: one class a row, and sets of labels
  numbers.json    scipy and scikit-learn: correlations
  rankings.json   scikit-learn and torchmetrics: scores and gains of one query
  answers.json    the programs of SQuAD 1.1 and 2.0, and torchmetrics where it says the same
  entities.json   seqeval in its default mode
  losses.json     torch: cross-entropy with class weights and label smoothing, in double, with the
                  gradient of the mean; src/model/head_losses_test.cc replays it
"""
import hashlib
import importlib.util
import json
import math
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from seqeval.metrics import sequence_labeling
from sklearn import metrics
from torchmetrics.functional import retrieval
from torchmetrics.functional.text import squad as torch_squad

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "metrics"
PACKAGES = ("scikit-learn", "scipy", "seqeval", "torchmetrics", "torch", "numpy")
warnings.filterwarnings("ignore")


def plain(value):
    """JSON of a result: floats as they are, NaN as null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(value)
    return value


def refused(call):
    try:
        return plain(call())
    except ValueError:
        return "refused"


# ---- classes ------------------------------------------------------------------------------------

def averages(truth, predicted, labels):
    made = {}
    for average in ("macro", "micro", "weighted"):
        found = metrics.precision_recall_fscore_support(truth, predicted, labels=labels,
                                                        average=average, zero_division=0)
        made[average] = found[:3]
    return made


def of_classes(name, truth, scores):
    """One class a row. Macro and weighted means are over the classes that occur or are predicted."""
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=float)
    predicted = scores.argmax(axis=1)
    names = list(range(scores.shape[1]))
    each = metrics.precision_recall_fscore_support(truth, predicted, labels=names, zero_division=0)
    case = {"name": name, "problem": "single", "classes": len(names), "truth": truth,
            "predicted": predicted, "scores": scores, "precision": each[0], "recall": each[1],
            "f1": each[2], "support": each[3],
            "accuracy": metrics.accuracy_score(truth, predicted),
            "mcc": metrics.matthews_corrcoef(truth, predicted)}
    case.update(averages(truth, predicted, None))
    if len(names) == 2:
        case["auc"] = metrics.roc_auc_score(truth, scores[:, 1])
        case["average_precision"] = metrics.average_precision_score(truth, scores[:, 1])
    else:
        hot = np.eye(len(names), dtype=int)[truth]
        case["auc"] = metrics.roc_auc_score(hot, scores, average="macro")
        case["average_precision"] = metrics.average_precision_score(hot, scores, average="macro")
        if len(set(truth)) == len(names):
            same = metrics.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
            assert abs(same - case["auc"]) < 1e-12
    return plain(case)


def of_sets(name, truth, scores):
    truth, scores = np.asarray(truth), np.asarray(scores, dtype=float)
    predicted = (scores > 0.5).astype(int)
    each = metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    used = [k for k in range(truth.shape[1]) if truth[:, k].any() or predicted[:, k].any()]
    case = {"name": name, "problem": "multi", "classes": truth.shape[1], "truth": truth,
            "predicted": predicted, "scores": scores, "precision": each[0], "recall": each[1],
            "f1": each[2], "support": each[3],
            "auc": metrics.roc_auc_score(truth, scores, average="macro"),
            "average_precision": metrics.average_precision_score(truth, scores, average="macro")}
    case.update(averages(truth, predicted, used))
    return plain(case)


def class_cases(rng):
    def drawn(rows, classes, digits):
        truth = rng.integers(0, classes, rows)
        logits = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[truth]
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scores = scores.round(digits)
        scores[:, -1] = (1 - scores[:, :-1].sum(axis=1)).round(digits)
        return truth, scores

    two, four = drawn(24, 2, 4), drawn(30, 4, 4)
    ties = drawn(24, 3, 1)  # one digit: many equal scores
    lonely = np.array([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    sets = (rng.random((18, 4)) < 0.4).astype(int)
    said = np.clip(0.5 * sets + rng.random((18, 4)) * 0.7, 0, 1).round(3)
    empty = sets.copy()
    empty[:, 2] = 0
    quiet = said.copy()
    quiet[:, 2] *= 0.4
    return [of_classes("two classes", *two), of_classes("four classes", *four),
            of_classes("ties", *ties),
            of_classes("a class that is neither true nor predicted", [0, 1, 0, 1], lonely),
            of_classes("a class that is never predicted", [0, 1, 2, 2], lonely),
            of_classes("one true class", [1, 1, 1, 1], lonely),
            of_classes("one predicted class", [0, 1, 0, 1], [[0.6, 0.4]] * 4),
            of_classes("all wrong", [1, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]),
            of_classes("one row", [1], [[0.3, 0.7]]),
            of_sets("sets", sets, said), of_sets("a label that nobody has or gets", empty, quiet)]


# ---- numbers ------------------------------------------------------------------------------------

def of_numbers(name, a, b):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return {"name": name, "a": plain(a), "b": plain(b),
            "pearson": refused(lambda: stats.pearsonr(a, b).statistic),
            "spearman": refused(lambda: stats.spearmanr(a, b).statistic),
            "ranks": None if np.isnan(a).any() else plain(stats.rankdata(a))}


def number_cases(rng):
    x = rng.normal(size=15).round(4)
    y = (0.6 * x + rng.normal(size=15)).round(4)
    return [of_numbers("drawn", x, y), of_numbers("ties", x.round(0), y.round(0)),
            of_numbers("constant", [0.1] * 7, x[:7]), of_numbers("both constant", [2, 2], [3, 3]),
            of_numbers("two pairs", [1, 2], [5, 3]), of_numbers("one pair", [1], [2]),
            of_numbers("huge", x * 1e200, y * 1e180), of_numbers("tiny", x * 1e-200, y * 1e-180),
            of_numbers("far from 0", x + 1e8, y), of_numbers("a line", x, 3 * x + 2),
            of_numbers("monotonous", x, np.exp(x)),
            of_numbers("not a number", [1, math.nan, 3, 4], [1, 2, 3, 4])]


# ---- rankings -----------------------------------------------------------------------------------

def of_ranking(name, scores, gains, k):
    scores, gains = np.asarray(scores, dtype=float), np.asarray(gains, dtype=float)
    relevant = torch.tensor(gains > 0)
    guess = torch.tensor(scores)
    case = {"name": name, "scores": scores, "gains": gains, "k": k,
            "ndcg": metrics.ndcg_score([gains], [scores], k=k, ignore_ties=True),
            "mrr": float(retrieval.retrieval_reciprocal_rank(guess, relevant, top_k=k)),
            "recall": float(retrieval.retrieval_recall(guess, relevant, top_k=k)),
            "map": metrics.average_precision_score(gains > 0, scores)}
    return plain(case)


def ranking_cases(rng):
    scores = (rng.permutation(12) + 1) / 13.0
    graded = rng.integers(0, 4, 12)
    binary = (rng.random(12) < 0.3).astype(int)
    cases = [of_ranking("graded gains", scores, graded, k) for k in (1, 3, 10, 20)]
    cases += [of_ranking("relevant or not", scores, binary, k) for k in (1, 5, 12)]
    return cases + [of_ranking("nothing is relevant", scores, [0] * 12, 5),
                    of_ranking("all are relevant", scores, [1] * 12, 5),
                    of_ranking("the last is relevant", [0.9, 0.8, 0.7], [0, 0, 1], 2)]


# ---- answers ------------------------------------------------------------------------------------

ANSWERS = [
    ("Denver Broncos", ["Denver Broncos", "the Denver Broncos", "Broncos"]),
    ("The  Denver\tBroncos!", ["Denver Broncos"]), ("Carolina Panthers", ["Denver Broncos"]),
    ("the the cat", ["a cat cat"]), ("cat", ["the cat sat on the mat", "a dog"]),
    ("", ["something"]), ("something", [""]), ("", [""]), ("the", ["a"]), ("a.", ["!"]),
    ("$1.5 million", ["1.5 million dollars", "$1.5million"]), ("U.S.A.", ["USA", "U S A"]),
    ("well-known", ["well known", "wellknown"]), ("don't", ["dont"]), ("A", ["a", "an apple"]),
    ("theatre", ["the atre"]), ("ana", ["an a"]), ("a_b", ["ab"]), ("an\u00e9", ["ane"]),
    ("the\u00a0end", ["end"]), ("a\u3000b", ["b"]), ("x\x1cy", ["x y"]), ("\u2019the\u2019", ["\u2019 \u2019"]),
    ("\u00abthe\u00bb end", ["\u00ab \u00bb end"]), ("\u00c9COLE the", ["\u00e9cole"]),
    ("\u039f\u0394\u039f\u03a3", ["\u03bf\u03b4\u03bf\u03c2"]), ("\u03a3\u0391\u03a3 \u03a3", ["\u03c3\u03b1\u03c2 \u03c3"]),
    ("\u0391\u03a3'\u0391 \u0391\u03a3\u0301", ["\u03b1\u03c3\u03b1"]), ("\u0130stanbul", ["i\u0307stanbul"]),
    ("a\u0301 b", ["b"]), ("\u0432 a \u0433", ["\u0432 \u0433"]), ("\u5317\u4eac a", ["\u5317\u4eac"]), ("\u00bd a cup", ["\u00bd cup"]),
    ("one two two three", ["two two four", "three two one"]), ("two", ["two two"]),
    ("x", ["The", "x"]), ("the", ["The", "x"]),
]
WITHOUT = ["", "the", "something", "."]


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer_cases(evaluate):
    one = module_of(evaluate / "metrics" / "squad" / "compute_score.py")
    two = module_of(evaluate / "metrics" / "squad_v2" / "compute_score.py")

    def of(answer, right):
        dataset = [{"paragraphs": [{"qas": [{"id": "q", "answers": {"text": right}}]}]}]
        exact, f1 = two.get_raw_scores(dataset, {"q": answer})
        case = {"answer": answer, "right": right, "normalized": one.normalize_answer(answer),
                "exact_2": exact["q"], "f1_2": f1["q"]}
        if right:
            dataset[0]["paragraphs"][0]["qas"][0]["answers"] = [{"text": t} for t in right]
            scores = one.compute_score(dataset, {"q": answer})
            case.update(exact_1=scores["exact_match"] / 100, f1_1=scores["f1"] / 100)
            torch_scores = torch_squad([{"prediction_text": answer, "id": "q"}],
                                       [{"answers": {"text": right}, "id": "q"}])
            assert abs(float(torch_scores["exact_match"]) / 100 - case["exact_1"]) < 1e-6, case
            both_empty = not case["normalized"] and any(not one.normalize_answer(t) for t in right)
            if not both_empty:  # where torchmetrics follows 2.0
                assert abs(float(torch_scores["f1"]) / 100 - case["f1_1"]) < 1e-6, case
        return plain(case)

    questions = ANSWERS + [(answer, []) for answer in WITHOUT]
    cases = [of(answer, right) for answer, right in questions]
    ids = {str(i): pair for i, pair in enumerate(questions)}
    dataset = [{"paragraphs": [{"qas": [{"id": i, "answers": {"text": pair[1]}} for i, pair in ids.items()]}]}]
    exact, f1 = two.get_raw_scores(dataset, {i: pair[0] for i, pair in ids.items()})
    has = [i for i, pair in ids.items() if pair[1]]
    total = {"all": two.make_eval_dict(exact, f1),
             "has_answer": two.make_eval_dict(exact, f1, has),
             "no_answer": two.make_eval_dict(exact, f1, [i for i in ids if i not in has])}
    return {"cases": cases, "total": plain(total)}


# ---- entities -----------------------------------------------------------------------------------

def of_entities(name, truth, predicted):
    case = {"name": name, "truth": truth, "predicted": predicted,
            "found": [sequence_labeling.get_entities(tags) for tags in truth]}
    each = sequence_labeling.precision_recall_fscore_support(truth, predicted, average=None)
    types = {e[0] for tags in truth + predicted for e in sequence_labeling.get_entities(tags)}
    case.update(types=sorted(types), precision=each[0], recall=each[1], f1=each[2], support=each[3])
    for average in ("micro", "macro", "weighted"):
        if types:
            case[average] = sequence_labeling.precision_recall_fscore_support(
                truth, predicted, average=average)[:3]
    return plain(case)


def entity_cases(rng):
    def drawn(tags, sentences, length):
        return [[str(rng.choice(tags)) for _ in range(length)] for _ in range(sentences)]

    bio = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    all_tags = bio + ["E-PER", "S-PER", "E-LOC", "S-LOC", "I-MISC"]
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "I-ORG", "I-ORG"]]
    return [of_entities("by hand", truth, [["B-PER", "I-PER", "O", "O"], ["O", "B-ORG", "I-ORG", "O"]]),
            of_entities("the same", truth, truth),
            of_entities("IOB1", [["I-PER", "I-PER", "B-PER", "I-LOC", "O", "I-LOC"]],
                        [["B-PER", "I-PER", "B-PER", "B-LOC", "O", "I-LOC"]]),
            of_entities("nothing is found", truth, [["O"] * 4, ["O"] * 4]),
            of_entities("nothing is there", [["O", "O", "O"]], [["O", "B-PER", "I-PER"]]),
            of_entities("neither", [["O", "O"]], [["O", "O"]]),
            of_entities("tags without types", [["B", "I", "O", "I"]], [["B", "I", "O", "B"]]),
            of_entities("types with dashes", [["B-A-B", "I-A-B", "B-A"]], [["B-A-B", "I-A-B", "I-A"]]),
            of_entities("across sentences", [["O", "B-PER"], ["I-PER", "O"]],
                        [["O", "B-PER"], ["I-PER", "I-PER"]]),
            of_entities("drawn BIO", drawn(bio, 6, 9), drawn(bio, 6, 9)),
            of_entities("drawn BIOES", drawn(all_tags, 8, 10), drawn(all_tags, 8, 10))]


# ---- losses -------------------------------------------------------------------------------------

def of_loss(rng, rows, classes, weighted, smoothing, ignored=0):
    logits = rng.normal(scale=3, size=(rows, classes)).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    labels[:ignored] = -100
    weights = rng.uniform(0.2, 4, classes).astype(np.float32) if weighted else None
    given = torch.tensor(logits.astype(np.float64), requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        given, torch.tensor(labels), label_smoothing=float(np.float32(smoothing)),
        weight=None if weights is None else torch.tensor(weights.astype(np.float64)))
    loss.backward()
    return plain({"classes": classes, "labels": labels, "logits": logits, "smoothing": smoothing,
                  "weights": [] if weights is None else weights, "loss": loss.item(),
                  "gradient": given.grad.numpy()})


def loss_cases(rng):
    return [of_loss(rng, 5, 3, False, 0.0), of_loss(rng, 5, 3, True, 0.0),
            of_loss(rng, 5, 3, False, 0.1), of_loss(rng, 6, 4, True, 0.25, ignored=1),
            of_loss(rng, 1, 2, True, 0.9)]


# ---- files --------------------------------------------------------------------------------------

def provenance(evaluate, names):
    commit = subprocess.run(["git", "-C", evaluate, "rev-parse", "HEAD"], capture_output=True,
                            text=True, check=True).stdout.strip()
    packages = ", ".join(f"`{name}` {version(name)}" for name in PACKAGES)
    lines = ["# Recorded measures", "Written by `tools/make_metric_fixtures.py`: small predictions that the tool "
             "draws or lists, and what other packages measure on them:", f"{packages}.",
             "SQuAD's programs are those of https://github.com/huggingface/evaluate at", f"`{commit}`. Nothing here "
             "comes from anybody's data. The table is checked: a test", "compares every file's sha256 with it.", "",
             "| file | sha256 |", "|---|---|"]
    for name in names:
        lines.append(f"| `{name}` | `{hashlib.sha256((OUT / name).read_bytes()).hexdigest()}` |")
    (OUT / "PROVENANCE.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(evaluate):
    OUT.mkdir(exist_ok=True)
    made = {"classes.json": class_cases(np.random.default_rng(1)),
            "numbers.json": number_cases(np.random.default_rng(2)),
            "rankings.json": ranking_cases(np.random.default_rng(3)),
            "answers.json": answer_cases(evaluate),
            "entities.json": entity_cases(np.random.default_rng(4)),
            "losses.json": loss_cases(np.random.default_rng(5))}
    for name, content in made.items():
        text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
        (OUT / name).write_text(text.replace('},{"', '},\n{"') + "\n", encoding="utf-8")
    provenance(evaluate, sorted(made))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
