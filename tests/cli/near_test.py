#!/usr/bin/env python3
"""What is near: `similar`, `rerank`, and vectors of fewer bits, against plain Python.

usage: near_test.py PROGRAM [unittest options]
"""
import csv
import json
import math
import struct

from support import SENTENCES, Case, main, run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", "the", "letter", "was", "written",
         "by", "anne", "captain", "frederick", "to", "sea", "she", "he", "went", "saw", "a", "ship",
         "lady", "house", "very", "old", "who", "in", "?"]


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def array(path):
    """(type, rows) of a .npy file."""
    data = path.read_bytes()
    header = data[10:128].decode()
    kind = header.split("'descr': '")[1].split("'")[0]
    rows, width = (int(x) for x in header.split("(")[1].split(")")[0].split(","))
    code = {"<f4": "f", "|i1": "b", "|u1": "B"}[kind]
    values = struct.unpack(f"<{rows * width}{code}", data[128:])
    return kind, [list(values[i * width:(i + 1) * width]) for i in range(rows)]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


class Near(Case):
    """Longformers over a WordPiece vocabulary, 30 tokens at most."""

    def setUp(self):
        super().setUp()
        self.table = self.dir / "texts.csv"
        with open(self.table, "w", newline="") as out:
            csv.writer(out).writerows([("id", "text"), *(
                (f"t{i}", s) for i, s in enumerate(SENTENCES))])

    def embedder(self):
        return self.word_model("bare", "Model", WORDS)

    def lines(self, *arguments):
        return [line.split("\t") for line in self.ok(*arguments, "-q").splitlines()]

    def test_similar_by_vectors_of_files(self):
        model, npy, jsonl = self.embedder(), self.dir / "v.npy", self.dir / "v.jsonl"
        self.ok("embed", "-m", model, self.table, "-o", npy)
        self.ok("embed", "-m", model, self.table, "-o", jsonl)
        self.ok("embed", "-m", model, self.table, "-o", self.dir / "v.json")
        _, vectors = array(npy)
        _, (query,) = self.query_vector(model, "anne saw the sea")
        for kind, of in (("cosine", cosine), ("dot", lambda a, b: sum(x * y for x, y in zip(a, b)))):
            scores = [of(query, v) for v in vectors]
            order = sorted(range(5), key=lambda i: -scores[i])
            for file in (npy, jsonl, self.dir / "v.json"):
                report = json.loads(self.ok("similar", "-m", model, "--text", "anne saw the sea",
                                            "--vectors", file, "--top", 3, "--similarity", kind,
                                            "--json"))
                self.assertEqual(report["similarity"], kind)
                (result,) = report["results"]
                self.assertEqual([n["row"] for n in result["nearest"]], order[:3])
                for n in result["nearest"]:
                    self.assertEqual(n["name"], f"t{n['row']}")
                    self.assertAlmostEqual(n["score"], scores[n["row"]], places=6)
        shown = self.lines("similar", "-m", model, "--text", "anne saw the sea", "--vectors", npy)
        self.assertEqual(len(shown), 5)  # no more than there are
        self.assertEqual(shown[0][0], "anne saw the sea")

    def query_vector(self, model, text):
        self.ok("embed", "-m", model, "--text", text, "-o", self.dir / "q.npy")
        return array(self.dir / "q.npy")

    def test_similar_texts_are_as_their_vectors(self):
        model, npy = self.embedder(), self.dir / "v.npy"
        self.ok("embed", "-m", model, self.table, "-o", npy)
        texts = self.ok("similar", "-m", model, self.table, "--among", self.table, "-q")
        lines = [line.split("\t") for line in texts.splitlines()]
        passages = [row["text"] for row in csv.DictReader(self.table.read_text().splitlines())]
        self.assertEqual([line[3] for line in lines[::5]], [" ".join(p.split())[:100] for p in passages])
        found = json.loads(self.ok("similar", "-m", model, self.table, "--among", self.table, "--top", 1,
                                   "--json"))["results"]
        self.assertEqual([r["nearest"][0]["text"] for r in found], [line[3] for line in lines[::5]])
        self.assertEqual([r["text"] for r in found], [line[3] for line in lines[::5]])
        texts = "".join("\t".join(line[:3]) + "\n" for line in lines)
        self.assertEqual(texts, self.ok("similar", "-m", model, self.table, "--vectors", npy, "-q"))
        self.assertEqual(texts, self.ok("similar", "--queries", npy, "--vectors", npy))
        first = [line.split("\t") for line in texts.splitlines()[::5]]
        self.assertEqual([(a, b) for a, b, _ in first], [(f"t{i}", f"t{i}") for i in range(5)])
        # The same bits for any number of threads.
        for threads in (1, 3):
            self.assertEqual(texts, self.ok("-t", threads, "similar", "--queries", npy, "--vectors", npy))
        self.fails(2, "similar", "--queries", npy, "--vectors", npy, "--matrix", "--top", "2", says=["top: --matrix prints"])
        matrix = self.lines("similar", "--queries", npy, "--vectors", npy, "--matrix")
        self.assertEqual(matrix[0], ["", *(f"t{i}" for i in range(5))])
        _, vectors = array(npy)
        report = json.loads(self.ok("similar", "--queries", npy, "--vectors", npy, "--matrix",
                                    "--json"))
        self.assertEqual(report["names"], [f"t{i}" for i in range(5)])
        for i, row in enumerate(report["results"]):
            for j, score in enumerate(row["scores"]):
                self.assertAlmostEqual(score, cosine(vectors[i], vectors[j]), places=6)
                self.assertAlmostEqual(float(matrix[i + 1][j + 1]), score, places=5)
        # Texts that are searched may have another prompt.
        plain = self.ok("similar", "-m", model, "--text", "a ship", "--among", self.table, "-q")
        other = self.ok("similar", "-m", model, "--text", "a ship", "--among", self.table, "-q",
                        "--among-prompt", "the old ")
        self.assertNotEqual(plain, other)
        self.ok("embed", "-m", model, self.table, "--prompt", "the old ", "-o", npy)
        other = "".join(line.rpartition("\t")[0] + "\n" for line in other.splitlines())
        self.assertEqual(other, self.ok("similar", "-m", model, "--text", "a ship", "--vectors", npy,
                                        "-q"))

    def test_similar_cannot_be(self):
        model, npy = self.embedder(), self.dir / "v.npy"
        self.ok("embed", "-m", model, self.table, "-o", npy)
        text = ["--text", "a ship"]
        self.fails(2, "similar", *text, "--vectors", npy, says=["give it with -m"])
        self.fails(2, "similar", "-m", model, *text, says=["--vectors FILE", "--among FILE"])
        self.fails(2, "similar", "-m", model, *text, "--vectors", npy, "--among", self.table)
        self.fails(2, "similar", "-m", model, "--vectors", npy, says=["--queries FILE"])
        self.fails(2, "similar", "-m", model, *text, "--among", self.table, "--among-prompt", "x",
                   "--among-prompt-name", "y", says=["two prompts"])
        self.fails(2, "similar", "-m", model, *text, "--queries", npy, "--vectors", npy)
        self.fails(2, "similar", "-m", model, "--queries", npy, "--vectors", npy, says=["-m"])
        self.fails(2, "similar", "--queries", npy, "--vectors", npy, "--similarity", "l2")
        self.fails(2, "similar", "--queries", npy, "--vectors", npy, "--similarity", "hamming",
                   says=["hamming is not for float32"])
        self.fails(2, "similar", "--queries", npy, "--vectors", npy, "--top", 0)
        for words, says in ((["--pooling", "cls"], "pooling: has no effect where both sides are vectors"),
                            (["--tokens", "9"], "tokens: has no effect where both sides are vectors"),
                            (["--among-prompt", "a"], "among-prompt: has no effect where vectors are searched"),
                            (["--ranges", npy], "ranges: has no effect where no int8 vectors meet float32 ones"),
                            (["--lines"], "lines: has no effect without a file to read")):
            self.fails(2, "similar", "--queries", npy, "--vectors", npy, *words, says=[says])
        self.fails(2, "similar", "--queries", npy, "--vectors", self.table, says=[".npy, .jsonl"])
        self.fails(4, "similar", "--queries", npy, "--vectors", self.dir / "none.npy")
        self.ok("embed", "-m", model, self.table, "--truncate-dim", 7, "-o", self.dir / "7.npy")
        self.fails(2, "similar", "--queries", npy, "--vectors", self.dir / "7.npy",
                   says=["(5, 16)", "(5, 7)"])
        npy.write_bytes(npy.read_bytes()[:-3])
        self.fails(3, "similar", "--queries", npy, "--vectors", npy, says=["v.npy", "5 rows"])

    def test_precisions(self):
        model, plain = self.embedder(), self.dir / "f.npy"
        self.ok("embed", "-m", model, self.table, "-o", plain)
        _, vectors = array(plain)
        result = run("embed", "-m", model, self.table, "--precision", "int8", "-o", self.dir / "i.npy")
        self.assertIn("ranges of int8 come from 5 vectors alone", result.stderr)
        kind, small = array(self.dir / "i.npy")
        self.assertEqual(kind, "|i1")
        least = [min(column) for column in zip(*vectors)]
        most = [max(column) for column in zip(*vectors)]
        self.assertEqual(array(self.dir / "i.ranges.npy"), ("<f4", [least, most]))
        steps = [f32(f32(b - a) / 255) for a, b in zip(least, most)]
        expected = [[math.floor(f32(f32(x - a) / s)) - 128 for x, a, s in zip(v, least, steps)]
                    for v in vectors]
        self.assertEqual(small, [[min(127, x) for x in row] for row in expected])
        self.ok("embed", "-m", model, self.table, "--precision", "ubinary", "-o", self.dir / "u.npy")
        kind, bits = array(self.dir / "u.npy")
        self.assertEqual(kind, "|u1")
        packed = [[sum((x > 0) << (7 - i) for i, x in enumerate(v[at:at + 8])) for at in (0, 8)]
                  for v in vectors]
        self.assertEqual(bits, packed)
        # Every form carries the type.
        for name, rows in (("int8", small), ("ubinary", bits)):
            for file in (self.dir / "x.jsonl", self.dir / "x.json", self.dir / "x.csv"):
                self.ok("embed", "-m", model, self.table, "--precision", name, "-o", file)
            lines = [json.loads(x) for x in (self.dir / "x.jsonl").read_text().splitlines()]
            self.assertEqual([(x["precision"], x["embedding"]) for x in lines],
                             [(name, row) for row in rows])
            document = json.loads((self.dir / "x.json").read_text())
            self.assertEqual(document["precision"], name)
            self.assertEqual([x["embedding"] for x in document["results"]], rows)
            table = list(csv.reader((self.dir / "x.csv").read_text().splitlines()))
            self.assertEqual(table[0][2], {"int8": "i0", "ubinary": "b0"}[name])
            self.assertEqual([[int(x) for x in row[2:]] for row in table[1:]], rows)
            printed = json.loads(self.ok("embed", "-m", model, self.table, "--precision", name,
                                         "--json"))
            self.assertEqual([x["embedding"] for x in printed["results"]], rows)
        # Ranges of other vectors, and the ranges themselves: the same, and outside of them the ends.
        for ranges in (plain, self.dir / "i.ranges.npy"):
            self.ok("embed", "-m", model, self.table, "--precision", "int8", "--ranges", ranges,
                    "-o", self.dir / "again.npy")
            self.assertEqual(array(self.dir / "again.npy"), ("|i1", small))
        one = ["embed", "-m", model, "--text", "a ship", "--precision"]
        self.fails(2, *one, "int8", says=["ranges of 1 vectors"])
        self.fails(2, *one, "ubinary", "--ranges", plain, says=["int8"])
        self.fails(2, *one, "int4")
        self.fails(3, *one, "int8", "--ranges", self.dir / "u.npy", says=["ubinary"])
        self.fails(2, *one, "int8", "--ranges", plain, "-o", plain, says=["f.npy"])

    def test_similar_of_fewer_bits(self):
        model = self.embedder()
        for precision in ("float32", "int8", "ubinary"):
            self.ok("embed", "-m", model, self.table, "--precision", precision, "-q", "-o",
                    self.dir / f"{precision}.npy")
        _, bits = array(self.dir / "ubinary.npy")
        distance = [bin(a ^ c).count("1") + bin(b ^ d).count("1")
                    for a, b in bits for c, d in bits]
        for queries in ("ubinary", "float32"):  # numbers become bits
            report = json.loads(self.ok("similar", "--queries", self.dir / f"{queries}.npy", "--vectors",
                                        self.dir / "ubinary.npy", "--json"))
            self.assertEqual(report["similarity"], "hamming")
            for i, row in enumerate(report["results"]):
                own = distance[5 * i:5 * i + 5]
                self.assertEqual([n["distance"] for n in row["nearest"]], sorted(own))
                self.assertEqual([own[n["row"]] for n in row["nearest"]], sorted(own))
        # int8 against int8 as it stands, against numbers as numbers again.
        _, steps = array(self.dir / "int8.npy")
        dots = json.loads(self.ok("similar", "--queries", self.dir / "int8.npy", "--vectors",
                                  self.dir / "int8.npy", "--matrix", "--similarity", "dot", "--json"))
        self.assertEqual(dots["results"][1]["scores"],
                         [sum(x * y for x, y in zip(steps[1], v)) for v in steps])
        near = json.loads(self.ok("similar", "--queries", self.dir / "float32.npy", "--vectors",
                                  self.dir / "int8.npy", "--matrix", "--json"))
        _, vectors = array(self.dir / "float32.npy")
        for i, row in enumerate(near["results"]):
            for j, score in enumerate(row["scores"]):
                self.assertAlmostEqual(score, cosine(vectors[i], vectors[j]), places=3)
        (self.dir / "int8.ranges.npy").rename(self.dir / "moved.npy")
        against = ["similar", "--queries", self.dir / "float32.npy", "--vectors", self.dir / "int8.npy"]
        self.fails(2, *against, says=["--ranges"])
        self.ok(*against, "--ranges", self.dir / "moved.npy")

    def reranker(self, **fields):
        return self.word_model("reranker", "ForSequenceClassification", WORDS, num_labels=1,
                               id2label={"0": "LABEL_0"}, **fields)

    def test_rerank(self):
        model, query = self.reranker(), "who went to sea ?"
        pairs = self.dir / "pairs.csv"
        with open(pairs, "w", newline="") as out:
            csv.writer(out).writerows([("id", "text", "text_pair"), *(
                (f"t{i}", query, s) for i, s in enumerate(SENTENCES))])
        classified = json.loads(self.ok("classify", "-m", model, pairs, "--json"))
        logits = [r["labels"][0]["score"] for r in classified["results"]]
        order = sorted(range(5), key=lambda i: -logits[i])
        report = json.loads(self.ok("rerank", "-m", model, query, self.table, "--json"))
        self.assertEqual((report["query"], report["activation"]), (query, "Sigmoid"))
        self.assertEqual([r["id"] for r in report["results"]], [f"t{i}" for i in order])
        for r, i in zip(report["results"], order):
            self.assertAlmostEqual(r["logit"], logits[i], places=5)
            self.assertAlmostEqual(r["score"], sigmoid(logits[i]), places=5)
        shown = self.lines("rerank", "-m", model, query, self.table, "--top", 2, "--raw")
        self.assertEqual([name for name, _ in shown], [f"t{i}" for i in order[:2]])
        self.assertAlmostEqual(float(shown[0][1]), logits[order[0]], places=3)
        # The files name another activation.
        config = json.loads((model / "config.json").read_text())
        config["sbert_ce_default_activation_function"] = "torch.nn.modules.linear.Identity"
        (model / "config.json").write_text(json.dumps(config))
        raw = json.loads(self.ok("rerank", "-m", model, query, self.table, "--json"))
        self.assertEqual(raw["activation"], "Identity")
        self.assertEqual([r["score"] for r in raw["results"]],
                         [r["logit"] for r in report["results"]])
        config["sentence_transformers"] = {"activation_fn": "mine.Own"}
        (model / "config.json").write_text(json.dumps(config))
        self.fails(3, "rerank", "-m", model, query, self.table, says=["mine.Own", "Sigmoid"])

    def test_rerank_long_texts_by_their_best_window(self):
        model, text = self.reranker(), " ".join(SENTENCES)
        pairs = self.dir / "pairs.csv"
        with open(pairs, "w", newline="") as out:
            csv.writer(out).writerows([("text", "text_pair"), ("who ?", text)])
        classified = json.loads(self.ok("classify", "-m", model, pairs, "--windows", "--json"))
        windows = classified["results"][0]["window_scores"]
        self.assertGreater(len(windows), 1)
        best = max(windows, key=lambda w: w["labels"][0]["score"])
        report = json.loads(self.ok("rerank", "-m", model, "who ?", "--text", text, "--json"))
        (result,) = report["results"]
        self.assertEqual(result["chars"], best["chars"])
        self.assertAlmostEqual(result["logit"], best["labels"][0]["score"], places=5)
        self.assertIn("characters", self.ok("rerank", "-m", model, "who ?", "--text", text))
        cut = json.loads(self.ok("rerank", "-m", model, "who ?", "--text", text, "--json",
                                 "--overflow", "truncate"))
        self.assertEqual(cut["results"][0]["windows"], 1)
        self.fails(5, "rerank", "-m", model, "who ?", "--text", text, "--overflow", "error")

    def test_rerank_folders_of_a_cross_encoder(self):
        model, query = self.reranker(), "who went to sea ?"
        plain = self.ok("rerank", "-m", model, "the old " + query, self.table)
        (model / "modules.json").write_text(json.dumps(
            [{"idx": 0, "name": "0", "path": "",
              "type": "sentence_transformers.base.modules.transformer.Transformer"}]))
        (model / "sentence_bert_config.json").write_text(json.dumps(
            {"transformer_task": "sequence-classification", "module_output_name": "scores"}))
        (model / "config_sentence_transformers.json").write_text(json.dumps(
            {"model_type": "CrossEncoder", "prompts": {"q": "the old "}, "default_prompt_name": "q",
             "activation_fn": "torch.nn.modules.activation.Sigmoid"}))
        result = run("rerank", "-m", model, query, self.table)
        self.assertEqual(result.stdout, plain)
        self.assertIn('prompt stands before the query: "the old "', result.stderr)
        (model / "sentence_bert_config.json").write_text('{"transformer_task": "fill-mask"}')
        self.fails(3, "rerank", "-m", model, query, self.table, says=["transformer_task"])
        two = self.word_model("two", "ForSequenceClassification", WORDS, num_labels=2)
        self.fails(3, "rerank", "-m", two, query, self.table, says=["2 labels", "one label"])
        self.fails(3, "rerank", "-m", self.embedder(), query, self.table, says=["classify"])
        self.fails(2, "rerank", "-m", model, says=["QUERY"])


if __name__ == "__main__":
    main()
