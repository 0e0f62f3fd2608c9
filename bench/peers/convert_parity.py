#!/usr/bin/env python3
"""Random BERTs and RoBERTas of every head and form of file, converted, against `transformers`.

usage: convert_parity.py PROGRAM

Needs an environment with torch and transformers (pip install torch transformers). For each model:
`longspan convert --to longformer`, opened by Hugging Face's class with no missing or unexpected key,
window >= length: outputs within 1e-5 of the original's. Then plain `convert` of each form, opened by
the original class: the same bits. Prints one line a model; exits 1 when one does not hold.
"""
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from peers import open_all, perturb, quiet, run

HEADS = ["Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification",
         "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "vocab_size": 99, "num_labels": 3, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0}
LENGTH = 60
OUTPUTS = ["last_hidden_state", "pooler_output", "logits", "prediction_logits", "start_logits",
           "end_logits"]


def make(family, head):
    """A model whose every parameter is away from its initial value."""
    config_class = getattr(transformers, family + "Config")
    extra = {"max_position_embeddings": 66, "type_vocab_size": 1} if family == "Roberta" else {
        "max_position_embeddings": 64}
    if head == "ForQuestionAnswering":
        extra["num_labels"] = 2
    model = getattr(transformers, family + head)(config_class(**{**SIZES, **extra})).eval()
    perturb(model)
    return model


def save(model, folder, form):
    folder.mkdir()
    model.config.architectures = [type(model).__name__]
    if form == "safetensors":
        model.save_pretrained(folder)
        return
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin",
               _use_new_zipfile_serialization=form == "zip")


def batch(model, head):
    pad = model.config.pad_token_id
    shape = (2, 3, LENGTH) if head == "ForMultipleChoice" else (3, LENGTH)
    ids = torch.randint(5, 99, shape)
    mask = torch.ones_like(ids)
    ids[..., 0, -7:] = pad
    mask[..., 0, -7:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def outputs(model, inputs):
    with torch.no_grad():
        result = model(**inputs)
    return {name: result[name] for name in OUTPUTS if result.get(name) is not None}


def longformer(program, model, family, head, form, folder):
    """Largest difference where the text counts, and keys that do not fit."""
    save(model, folder / "in", form)
    run(program, "convert", folder / "in", folder / "long", "--to", "longformer", "--max-pos", 128,
        "--window", 64)
    name = "LongformerForMaskedLM" if head == "ForPreTraining" else "Longformer" + head
    long, bad = open_all(name, folder / "long")
    inputs = batch(model, head)
    expected = outputs(model, inputs)
    if "prediction_logits" in expected:
        expected["logits"] = expected.pop("prediction_logits")
    expected = {k: v for k, v in expected.items() if k != "pooler_output" or head == "Model"}
    mask = torch.zeros_like(inputs["input_ids"])
    mask[..., 0] = head in ("ForSequenceClassification", "Model")
    got = outputs(long, {**inputs, "global_attention_mask": mask})
    difference = 0.0
    for key, value in expected.items():
        counts = torch.ones_like(value, dtype=torch.bool)
        if value.shape[:2] == inputs["input_ids"].shape[:2] and value.ndim == 3:
            counts = inputs["attention_mask"].bool().unsqueeze(-1).expand_as(value)
        elif value.shape == inputs["input_ids"].shape:
            counts = inputs["attention_mask"].bool()
        difference = max(difference, (got[key] - value)[counts].abs().max().item())
    old = model.base_model.embeddings.position_embeddings.weight
    new = long.base_model.embeddings.position_embeddings.weight
    first = 2 if family == "Roberta" else 0
    begin = long.config.pad_token_id + 1
    rows = torch.cat([old[first:]] * 3)[:128]
    if not torch.equal(new[begin:], rows) or (first and not torch.equal(new[:2], old[:2])):
        bad["positions"] = ["wrong rows"]
    return difference, bad


def rewritten(program, model, folder):
    run(program, "convert", folder / "in", folder / "same", "--max-shard-size", "20KB")
    again, bad = open_all(type(model).__name__, folder / "same")
    state = again.state_dict()
    for name, tensor in model.state_dict().items():
        if not torch.equal(state[name], tensor):
            bad[name] = ["differs"]
    return bad


def main():
    program = sys.argv[1]
    torch.manual_seed(1)
    quiet()
    failed = 0
    for family in ("Bert", "Roberta"):
        for head in HEADS:
            if family == "Roberta" and head == "ForPreTraining":
                continue
            for form in ("safetensors", "zip", "legacy"):
                with tempfile.TemporaryDirectory() as folder:
                    model = make(family, head)
                    difference, bad = longformer(program, model, family, head, form, Path(folder))
                    bad.update(rewritten(program, model, Path(folder)))
                ok = difference <= 1e-5 and not bad
                failed += not ok
                print(f"{family + head:32} {form:12} {difference:.1e} {'' if ok else 'WRONG'}",
                      bad or "")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
