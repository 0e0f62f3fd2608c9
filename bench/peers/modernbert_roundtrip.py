#!/usr/bin/env python3
"""ModernBERTs that longspan writes, opened by `transformers`, and the other way round.

usage: modernbert_roundtrip.py PROGRAM [--long]

Needs an environment with torch and transformers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
For every head, for settings away from the defaults, and for activations:
  written   `longspan init`, opened by Hugging Face's class with no missing or unexpected key; what
            it computes is recorded and `longspan verify` holds against it
  sharded   the same through `longspan convert --max-shard-size`
  read      a model that Hugging Face wrote, every parameter away from its initial value: verify
            holds; and what `longspan convert` makes of it has the same bits in transformers
  legacy    the same model with the config.json that `transformers` 4 wrote: verify holds
The originals compute in float32. Rows of padding are left out: they mean something else in each of
the original's attention implementations. Prints one line a model with the largest difference of an
output; exits 1 when one is above 1e-4 or a key does not fit. --long adds a text of 8,192 tokens.
"""
import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from peers import open_all, perturb, quiet, record, run, verify

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification",
         "ForQuestionAnswering", "ForMultipleChoice"]
ACTIVATIONS = ["gelu_new", "gelu_pytorch_tanh", "silu", "relu", "tanh", "mish"]
SIZES = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3,
         "intermediate_size": 44, "vocab_size": 99, "max_position_embeddings": 256,
         "local_attention": 16, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2,
         "cls_token_id": 1, "sep_token_id": 2}
OTHERS = [
    {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True},
    {"tie_word_embeddings": False, "decoder_bias": False},
    {"classifier_pooling": "mean"},
    {"layer_types": ["sliding_attention", "full_attention", "full_attention",
                     "sliding_attention"]},
    {"rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 80000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 160000.0}}},
]
LENGTH = 90
OUTPUTS = ["last_hidden_state", "logits", "start_logits", "end_logits"]
LARGEST = 1e-4


def config(head, **changes):
    labels = 2 if head in ("ForQuestionAnswering", "Model", "ForMaskedLM") else 3
    return transformers.ModernBertConfig(**{**SIZES, "num_labels": labels,
                                            "architectures": ["ModernBert" + head], **changes})


def batch(head, length=LENGTH):
    shape = (2, 3, length) if head == "ForMultipleChoice" else (3 if length < 1000 else 1, length)
    ids = torch.randint(5, 99, shape)
    mask = torch.ones_like(ids)
    if head != "ForQuestionAnswering":
        ids[0, ..., -9:] = 3
        mask[0, ..., -9:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def compare(program, folder, case, model, inputs):
    """The largest difference between the model and longspan on `folder`."""
    with torch.no_grad():
        result = model(**inputs)
    outputs = {n: result[n].clone() for n in OUTPUTS if result.get(n) is not None}
    mask = inputs["attention_mask"]
    for value in outputs.values():
        if value.shape[:2] == mask.shape:
            value[mask == 0] = float("nan")
    record(case, inputs, outputs)
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


def old_config(folder):
    """config.json as `transformers` 4 wrote it; None if it could not say the order of layers."""
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    types, rope = fields.pop("layer_types"), fields.pop("rope_parameters")
    full = [kind == "full_attention" for kind in types]
    every = next((n for n in range(1, len(full) + 1)
                  if full == [i % n == 0 for i in range(len(full))]), None)
    if every is None:
        return False
    fields.update(global_attn_every_n_layers=every, layer_norm_eps=1e-12,
                  global_rope_theta=rope["full_attention"]["rope_theta"],
                  local_rope_theta=rope["sliding_attention"]["rope_theta"])
    path.write_text(json.dumps(fields))
    return True


def read(program, name, settings, inputs, folder, legacy):
    model = getattr(transformers, name)(settings).eval()
    perturb(model)
    model.save_pretrained(folder / "theirs", max_shard_size="60KB")
    if legacy and not old_config(folder / "theirs"):
        return 0.0, {}
    run(program, "convert", folder / "theirs", folder / "ours")
    again, bad = open_all(name, folder / "ours")
    for key, tensor in model.state_dict().items():
        if not torch.equal(again.state_dict()[key], tensor):
            bad[key] = ["other bits"]
    difference, worse = compare(program, folder / "theirs", folder / "case.safetensors", model,
                                inputs)
    return difference, {**bad, **worse}


def one_line(program, head, changes, length=LENGTH):
    name, differences, bad = "ModernBert" + head, [], {}
    for form in ("written", "sharded", "read", "legacy"):
        with tempfile.TemporaryDirectory() as folder:
            given = (program, name, config(head, **changes), batch(head, length), Path(folder))
            if form in ("read", "legacy"):
                difference, wrong = read(*given, form == "legacy")
            else:
                difference, wrong = written(*given, form == "sharded")
        differences.append(difference)
        bad.update({f"{form}: {key}": value for key, value in wrong.items()})
    ok = max(differences) <= LARGEST and not bad
    what = " ".join([name, *(v if isinstance(v, str) else k if v else "no " + k
                             for k, v in changes.items())])
    print(f"{what[:76]:76}", *(f"{d:8.1e}" for d in differences), "" if ok else "WRONG", bad or "",
          flush=True)
    return ok


def main():
    program = sys.argv[1]
    torch.manual_seed(1)
    quiet()
    models = [(head, {}) for head in HEADS]
    models += [(head, changes) for changes in OTHERS
               for head in ("ForMaskedLM", "ForSequenceClassification")]
    models += [("ForMaskedLM", {"hidden_activation": a, "classifier_activation": a})
               for a in ACTIVATIONS]
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"{'':76} {'written':>8} {'sharded':>8} {'read':>8} {'legacy':>8}")
    results = [one_line(program, head, changes) for head, changes in models]
    if "--long" in sys.argv[2:]:
        longer = {"max_position_embeddings": 8192, "num_hidden_layers": 3, "local_attention": 128,
                  "hidden_size": 128, "num_attention_heads": 2}
        results.append(one_line(program, "ForMaskedLM", longer, 8192))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
