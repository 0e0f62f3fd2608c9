#!/usr/bin/env python3
"""Longformers that longspan writes, opened by `transformers`, and the other way round.

usage: longformer_roundtrip.py PROGRAM

Needs an environment with torch and transformers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
For every head, for an untied masked LM and for every activation:
  written   `longspan init`, opened by Hugging Face's class with no missing or unexpected key; what
            it computes is recorded and `longspan verify` holds against it
  sharded   the same through `longspan convert --max-shard-size`
  read      a model that Hugging Face wrote, every parameter away from its initial value: verify
            holds; and what `longspan convert` makes of it has the same bits in transformers
The originals compute in float64. Prints one line a model with the largest difference of an output;
exits 1 when one is above 1e-4 or a key does not fit.
"""
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from peers import open_all, perturb, quiet, record, run, verify

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification",
         "ForQuestionAnswering", "ForMultipleChoice"]
ACTIVATIONS = ["gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python",
               "gelu_pytorch_tanh", "laplace", "leaky_relu", "linear", "mish", "quick_gelu",
               "relu", "relu2", "relu6", "sigmoid", "silu", "swish", "tanh"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 48, "vocab_size": 99, "max_position_embeddings": 130,
         "type_vocab_size": 1, "attention_window": [8, 16, 64], "layer_norm_eps": 1e-5,
         "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LENGTH = 90
OUTPUTS = ["last_hidden_state", "pooler_output", "logits", "start_logits", "end_logits"]
LARGEST = 1e-4


def config(head, **changes):
    labels = 2 if head in ("ForQuestionAnswering", "Model", "ForMaskedLM") else 3
    return transformers.LongformerConfig(**{**SIZES, "num_labels": labels,
                                            "architectures": ["Longformer" + head], **changes})


def batch(head):
    shape = (2, 3, LENGTH) if head == "ForMultipleChoice" else (3, LENGTH)
    ids = torch.randint(5, 99, shape)
    mask, where = torch.ones_like(ids), torch.zeros_like(ids)
    where[..., 0] = 1
    where[..., 17] = 1
    ids[0, ..., -9:] = 1
    mask[0, ..., -9:] = 0
    if head == "ForQuestionAnswering":  # three separators a row; the question is global by itself
        ids[:, [7, 8, LENGTH - 15]] = 2
        return {"input_ids": ids, "attention_mask": mask}
    return {"input_ids": ids, "attention_mask": mask, "global_attention_mask": where}


def compare(program, folder, case, model, inputs):
    """The largest difference between the model and longspan on `folder`."""
    with torch.no_grad():
        result = model.double()(**inputs)
    record(case, inputs, {n: result[n] for n in OUTPUTS if result.get(n) is not None})
    ok, differences = verify(program, folder, case)
    return max(differences.values()), {} if ok else {"verify": ["does not hold"]}


def written(program, name, settings, inputs, folder, sharded):
    settings.save_pretrained(folder)
    run(program, "init", "--config", folder / "config.json", "-o", folder / "made")
    made = folder / "made"
    if sharded:
        run(program, "convert", made, folder / "shards", "--max-shard-size", "50KB")
        made = folder / "shards"
    model, bad = open_all(name, made)
    difference, worse = compare(program, made, folder / "case.safetensors", model, inputs)
    return difference, {**bad, **worse}


def read(program, name, settings, inputs, folder):
    model = getattr(transformers, name)(settings).eval()
    perturb(model)
    model.save_pretrained(folder / "theirs", max_shard_size="60KB")
    run(program, "convert", folder / "theirs", folder / "ours")
    again, bad = open_all(name, folder / "ours")
    for key, tensor in model.state_dict().items():
        if not torch.equal(again.state_dict()[key], tensor):
            bad[key] = ["other bits"]
    difference, worse = compare(program, folder / "theirs", folder / "case.safetensors", model,
                                inputs)
    return difference, {**bad, **worse}


def main():
    program = sys.argv[1]
    torch.manual_seed(1)
    quiet()
    models = [(head, {}) for head in HEADS]
    models += [("ForMaskedLM", {"tie_word_embeddings": False})]
    models += [("ForMaskedLM", {"hidden_act": activation}) for activation in ACTIVATIONS]
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"{'':44} {'written':>8} {'sharded':>8} {'read':>8}")
    failed = 0
    for head, changes in models:
        name, differences, bad = "Longformer" + head, [], {}
        for form in ("written", "sharded", "read"):
            with tempfile.TemporaryDirectory() as folder:
                given = (program, name, config(head, **changes), batch(head), Path(folder))
                difference, wrong = read(*given) if form == "read" else written(
                    *given, form == "sharded")
            differences.append(difference)
            bad.update({f"{form}: {key}": value for key, value in wrong.items()})
        ok = max(differences) <= LARGEST and not bad
        failed += not ok
        what = " ".join([name, *map(str, changes.values())]).replace("False", "untied")
        print(f"{what:44}", *(f"{d:8.1e}" for d in differences), "" if ok else "WRONG", bad or "")
    print(f"{len(models) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
