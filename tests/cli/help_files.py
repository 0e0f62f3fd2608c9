"""The folder that the examples of the help pages run in: the files and models that they name."""
import json
import shutil
import subprocess
import sys

from support import GOLDEN, ROOT, SENTENCES

sys.path.insert(0, str(ROOT / "tools"))

from stand_in import ROBERTA, roberta  # noqa: E402

TRAIN = ["--steps", "4", "--batch", "1", "--tokens", "64", "--progress", "none"]


def texts(folder):
    novel = (ROOT / "data" / "persuasion.txt").read_text(encoding="utf-8")
    for i, name in enumerate(("book", "my", "texts", "other", "a", "b", "c")):
        (folder / f"{name}.txt").write_text(novel[20000 * i:20000 * (i + 1)])
    short = "\n".join(SENTENCES) + "\n"
    for name in ("chapter", "letter", "letters", "story"):
        (folder / f"{name}.txt").write_text(short)
    for name in ("letters", "chapters"):
        (folder / name).mkdir()
        for i, sentence in enumerate(SENTENCES):
            (folder / name / f"{i}.txt").write_text(sentence + "\n")
    masked = folder / "masked"
    masked.mkdir()
    (masked / "0.txt").write_text("She had a very <mask> father.\n")


def tables(folder):
    rows = [(sentence, ("good", "bad")[i % 2]) for i, sentence in enumerate(SENTENCES * 4)]
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_text(
            "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    json_lines = {
        "train": [{"text": text} for text, _ in rows],
        "reviews": [{"text": text} for text, _ in rows],
        "questions": [{"question": "Who left?", "context": text,
                       "answers": [{"text": text.split()[0], "answer_start": 0}]} for text in SENTENCES],
        "choices": [{"question": "Who left?", "context": text, "choices": ["Anne", "Mary"], "label": i % 2}
                    for i, text in enumerate(SENTENCES)],
        "words": [{"tokens": text.split(), "tags": ["B-PER"] + ["O"] * (len(text.split()) - 1)}
                  for text in SENTENCES]}
    for name, values in json_lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(v) + "\n" for v in values))
    for name in ("train", "test"):
        (folder / f"{name}.conll").write_text("Anne B-PER\nwent O\n\nMary B-PER\nMusgrove I-PER\n")
        (folder / f"squad-{name}.json").write_text(json.dumps({"data": [{"paragraphs": [
            {"context": row["context"], "qas": [{"id": "q", **row}]} for row in json_lines["questions"]]}]}))


def prepare(folder, program):
    """Writes everything into `folder`. Returns nothing; raises when a command fails."""
    def longspan(*words):
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True,
                              cwd=folder, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stderr}")

    def long(name, head, *more):
        longspan("init", "--arch", "longformer", "--preset", "tiny", "--head", head,
                 "--tokenizer", ROBERTA, *more, "-o", name)

    texts(folder)
    tables(folder)
    (folder / "golden").symlink_to(GOLDEN.parent)
    roberta(folder / "roberta-base")
    shutil.copytree(ROOT / "tests" / "tokenizers" / "bert-uncased", folder / "bert")
    for name in ("old-model", "all-MiniLM-L6-v2"):
        shutil.copytree(folder / "roberta-base", folder / name)
    longspan("init", "--preset", "tiny", "-o", "start")
    (folder / "my").mkdir()
    shutil.copy(folder / "start" / "config.json", folder / "my" / "config.json")
    longspan("tokenize", "train", "book.txt", "--vocab-size", "400", "-o", "pieces")
    for run in ("run", "small", "large", "out"):
        longspan("train", "lm", "-m", "start", "--train", "book.txt", "-o", run, *TRAIN)
    long("long", "mlm")
    longspan("train", "mlm", "-m", "long", "--train", "texts.txt", "-o", "adapted", *TRAIN)
    for name in ("minilm-long", "e5-long"):
        long(name, "none")
    (folder / "pairs.jsonl").write_text("".join(
        json.dumps({"anchor": f"Which is {i}?", "positive": f"{i}: {SENTENCES[0]}"}) + "\n"
        for i in range(12)))
    (folder / "judged.jsonl").write_text("".join(
        json.dumps({"query": f"Who left {i}?", "text": SENTENCES[0], "label": i % 2}) + "\n"
        for i in range(12)))
    shutil.copytree(folder / "minilm-long", folder / "searcher")
    (folder / "questions.txt").write_text("Who went to sea?\nWho saw the ship?\n")
    shutil.copy(folder / "reviews.jsonl", folder / "passages.jsonl")
    for name in ("a", "b"):
        longspan("embed", "-m", "minilm-long", "letters.txt", "--lines", "-o", f"{name}.npy")
    (folder / "e5-long" / "modules.json").write_text(json.dumps(
        [{"idx": 0, "name": "0", "path": "",
          "type": "sentence_transformers.models.Transformer"},
         {"idx": 1, "name": "1", "path": "pool", "type": "sentence_transformers.models.Pooling"}]))
    (folder / "e5-long" / "pool").mkdir()
    (folder / "e5-long" / "pool" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    (folder / "e5-long" / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "query: "}}))
    long("judge", "classify", "--labels", "good,bad")
    long("reranker", "classify", "--labels", "score")
    long("ner", "token-classify", "--labels", "O,B-PER,I-PER")
    long("answer", "qa")
    long("choose", "multiple-choice")
