#!/usr/bin/env python3
"""BERTs and RoBERTas that longspan writes, opened by `transformers`, and the other way round.

usage: bert_roundtrip.py PROGRAM

Needs an environment with torch and transformers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
For every head of every type, for settings away from the defaults, and for activations:
  written   `longspan init`, opened by Hugging Face's class with no missing or unexpected key; what
            it computes is recorded and `longspan verify` holds against it
  sharded   the same through `longspan convert --max-shard-size`
  read      a model that Hugging Face wrote, every parameter away from its initial value: verify
            holds; and what `longspan convert` makes of it has the same bits in transformers
The originals compute in float32. Prints one line a model with the largest difference of an output;
exits 1 when one is above 1e-4 or a key does not fit.
"""
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from modernbert_roundtrip import ACTIVATIONS, HEADS, LARGEST, read, written
from peers import quiet

TYPES = ["Bert", "Roberta", "XLMRoberta", "Camembert"]
SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3,
         "intermediate_size": 44, "vocab_size": 99, "max_position_embeddings": 70}
OTHERS = [{"tie_word_embeddings": False}, {"classifier_dropout": 0.3, "layer_norm_eps": 1e-3},
          {"type_vocab_size": 3, "pad_token_id": 7}]
LENGTH = 50


def config(kind, head, **changes):
    labels = 2 if head in ("ForQuestionAnswering", "Model", "ForMaskedLM") else 3
    own = {} if kind == "Bert" else {"type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0,
                                     "eos_token_id": 2}
    return getattr(transformers, kind + "Config")(
        **{**SIZES, **own, "num_labels": labels, "architectures": [kind + head], **changes})


def batch(settings, head):
    shape = (2, 3, LENGTH) if head == "ForMultipleChoice" else (3, LENGTH)
    ids = torch.randint(8, 99, shape)
    mask = torch.ones_like(ids)
    if head != "ForQuestionAnswering":
        ids[0, ..., -9:] = settings.pad_token_id
        mask[0, ..., -9:] = 0
    types = (torch.arange(LENGTH) > 20).long().clamp(max=settings.type_vocab_size - 1)
    return {"input_ids": ids, "attention_mask": mask,
            "token_type_ids": types.expand(shape).contiguous()}


def one_line(program, kind, head, changes):
    name, differences, bad = kind + head, [], {}
    for form in ("written", "sharded", "read"):
        with tempfile.TemporaryDirectory() as folder:
            settings = config(kind, head, **changes)
            given = (program, name, settings, batch(settings, head), Path(folder))
            if form == "read":
                difference, wrong = read(*given, False)
            else:
                difference, wrong = written(*given, form == "sharded")
        differences.append(difference)
        bad.update({f"{form}: {key}": value for key, value in wrong.items()})
    ok = max(differences) <= LARGEST and not bad
    what = " ".join([name, *(f"{key}={value}" for key, value in changes.items())])
    print(f"{what[:76]:76}", *(f"{d:8.1e}" for d in differences), "" if ok else "WRONG", bad or "",
          flush=True)
    return ok


def main():
    program = sys.argv[1]
    torch.manual_seed(1)
    quiet()
    models = [(kind, head, {}) for kind in TYPES for head in HEADS]
    models += [(kind, head, changes) for kind in TYPES[:2] for changes in OTHERS
               for head in ("ForMaskedLM", "ForSequenceClassification")]
    models += [(kind, "ForMaskedLM", {"hidden_act": activation}) for kind in TYPES[:2]
               for activation in ACTIVATIONS]
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"{'':76} {'written':>8} {'sharded':>8} {'read':>8}")
    results = [one_line(program, *model) for model in models]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
