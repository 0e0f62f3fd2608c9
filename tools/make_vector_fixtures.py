#!/usr/bin/env python3
"""Records one training step of each loss of sentence-transformers, for src/train/recorded_vectors_test.cc.

usage: make_vector_fixtures.py [FOLDER]      (default: tests/vectors)
needs: torch, transformers, sentence-transformers

FOLDER/start is a tiny Longformer with a tokenizer of words and files of sentence-transformers. For
each case FOLDER/cases.json has what was asked for, the loss and the gradient's norm, and
FOLDER/NAME.safetensors the weights after one step of AdamW (learning rate 0.01, no weight decay,
epsilon 1, so that a step is as smooth as its gradient). All of them are computed in double.
"f32_error" is how far torch's own fp32 is from that: for the norm, the norm of the difference.
FOLDER/PROVENANCE.md lists the files.
"""
import hashlib
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as L
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from sentence_transformers import __version__ as sentence_transformers_version
from transformers import LongformerConfig, LongformerModel
from transformers import __version__ as transformers_version

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrst"]
# With two special tokens each has the length of the widest window: transformers pads to whole windows,
# and its gradients are NaN where a token of padding sees padding alone.
PAIRS = [("a b a c a d", "c d e a b a"), ("f a f b f c", "g h i j a b"),
         ("k l m a b c", "n o n o a b"), ("p q a b p q", "r s t a b c")]
NEGATIVES = ["c d f a b a", "g h a b c d", "n a n b n c", "r s a b t t"]
SCORES = [0.9, -0.2, 0.4, 0.1]
RATE = 0.01


def start(folder):
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(1)
    config = LongformerConfig(
        attention_window=[4, 8], vocab_size=len(WORDS), hidden_size=8, num_attention_heads=2,
        num_hidden_layers=2, intermediate_size=16, max_position_embeddings=24, type_vocab_size=1,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, sep_token_id=3, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, initializer_range=0.4, layer_norm_eps=1e-5)
    model = LongformerModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 23}))


def cases():
    def triplet(distance):
        return lambda model: L.TripletLoss(
            model, distance_metric=distance,
            triplet_margin=5 if distance == L.TripletDistanceMetric.EUCLIDEAN else 0.5)
    yield "in-batch", "mean", "pairs", {}, L.MultipleNegativesRankingLoss
    yield "in-batch-negatives", "max", "triplets", {}, lambda model: (
        L.CachedMultipleNegativesRankingLoss(model, mini_batch_size=2))
    yield "triplet", "cls", "triplets", {"loss": "triplet"}, triplet(
        L.TripletDistanceMetric.EUCLIDEAN)
    yield "triplet-cosine", "mean", "triplets", {"loss": "triplet", "cosine_distance": True}, (
        triplet(L.TripletDistanceMetric.COSINE))
    yield "cosine", "mean", "scored", {}, L.CosineSimilarityLoss
    yield "cosent", "mean", "scored", {"loss": "cosent"}, L.CoSENTLoss
    yield "matryoshka", "mean", "pairs", {"matryoshka": [8, 4, 2]}, lambda model: (
        L.MatryoshkaLoss(model, L.MultipleNegativesRankingLoss(model), [8, 4, 2]))


def step(folder, pooling, data, make, dtype):
    """The loss, the gradient and the weights after one step, all computed in dtype."""
    transformer = Transformer(str(folder / "start"))
    model = SentenceTransformer(modules=[transformer, Pooling(8, pooling_mode=pooling)],
                                device="cpu").to(dtype)
    model.train()
    columns = [[a for a, _ in PAIRS], [b for _, b in PAIRS]]
    if data == "triplets":
        columns.append(NEGATIVES)
    labels = torch.tensor(SCORES, dtype=dtype) if data == "scored" else None
    loss = make(model)([model.preprocess(texts) for texts in columns], labels)
    loss.backward()
    encoder = transformer.auto_model
    gradient = torch.cat([p.grad.double().flatten()
                          for p in encoder.parameters() if p.grad is not None])
    torch.optim.AdamW(encoder.parameters(), lr=RATE, betas=(0.9, 0.999), eps=1.0,
                      weight_decay=0.0).step()
    # The files have no pooler, and no vector reads the one that is drawn.
    return float(loss.detach()), gradient, {n: p.detach() for n, p in encoder.named_parameters()
                                            if not n.startswith("pooler.")}


def record(folder, name, pooling, data, options, make):
    loss, gradient, weights = step(folder, pooling, data, make, torch.float64)
    loss32, gradient32, weights32 = step(folder, pooling, data, make, torch.float32)
    save_file({n: w.float().contiguous() for n, w in weights.items()},
              folder / f"{name}.safetensors")
    return {"name": name, "pooling": pooling, "data": data, "loss": loss,
            "gradient_norm": float(gradient.norm()),
            "f32_error": {"loss": abs(loss32 - loss),
                          "gradient_norm": float((gradient32 - gradient).norm()),
                          "weights": max(float((weights32[n].double() - w).abs().max())
                                         for n, w in weights.items())},
            **({"options": options} if options else {})}


def provenance(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "PROVENANCE.md")
    rows = "".join(f"| `{p.relative_to(folder)}` | `{hashlib.sha256(p.read_bytes()).hexdigest()}` |\n"
                   for p in files)
    (folder / "PROVENANCE.md").write_text(
        "# Where these files come from\n"
        f"`tools/make_vector_fixtures.py` wrote them with sentence-transformers "
        f"{sentence_transformers_version}, transformers\n{transformers_version} and torch "
        f"{torch.__version__}. Its texts are invented, and its model has random weights.\n\n"
        "| file | SHA-256 |\n|---|---|\n" + rows)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else
                  Path(__file__).resolve().parents[1] / "tests" / "vectors")
    folder.mkdir(parents=True, exist_ok=True)
    start(folder / "start")
    lines = {"pairs": [{"anchor": a, "positive": b} for a, b in PAIRS],
             "triplets": [{"anchor": a, "positive": b, "negative": n}
                          for (a, b), n in zip(PAIRS, NEGATIVES)],
             "scored": [{"sentence1": a, "sentence2": b, "score": s}
                        for (a, b), s in zip(PAIRS, SCORES)]}
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recorded = [record(folder, *case) for case in cases()]
    (folder / "cases.json").write_text(json.dumps(
        {"made_by": "tools/make_vector_fixtures.py", "torch": torch.__version__,
         "transformers": transformers_version,
         "sentence_transformers": sentence_transformers_version, "cases": recorded}, indent=1) + "\n")
    provenance(folder)


if __name__ == "__main__":
    main()
