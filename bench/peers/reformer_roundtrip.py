#!/usr/bin/env python3
"""Reformers that longspan writes, opened by `transformers`, and the other way round.

usage: reformer_roundtrip.py PROGRAM [--record FOLDER]

--record: writes the recorded cases of golden/ that RECORDED names, and compares nothing else.
Needs an environment with torch and transformers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
For every head, as encoder and decoder, for lengths of one to thirteen chunks and lengths that are no
whole chunks, for padding on either side and in the middle, for positions, embeddings and rounds of
hashing that the call gives:
  written   `longspan init`, opened by Hugging Face's class with no missing or unexpected key; what
            it computes is recorded and `longspan verify` holds against it
  read      a model that Hugging Face wrote, every parameter away from its initial value: verify
            holds, gradients included where the original trains at this length; and what
            `longspan convert` makes of it has the same bits in transformers
Each once with a hash_seed, where longspan draws the rotations that torch draws, and once with
hash_seed null, where those that torch drew are in the case. The originals compute in float64 with
rotations of float32. "plain" is the first one as it comes, in float32: outputs at tokens that are not
hidden. (There the original rounds the weights of tokens that see only themselves, in several rounds,
to 1/128, and gives hidden tokens that see nobody a sum where it means a mean. Bare models show the
former: they may be 5e-3 apart there.) Then the bias of language models, and a model of bytes beside
`longspan eval`. Prints one line a model with the largest difference of an output or gradient; exits 1
when one is above 1e-4 or a key does not fit.
"""
import json
import math
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from transformers.models.reformer import modeling_reformer

from peers import open_all, perturb, quiet, record, run, verify

SIZES = {"vocab_size": 70, "hidden_size": 32, "num_attention_heads": 2, "attention_head_size": 12,
         "feed_forward_size": 40, "attn_layers": ["local", "lsh", "local", "lsh"],
         "local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8, "num_hashes": 2,
         "num_buckets": 8, "axial_pos_shape": (8, 13), "axial_pos_embds_dim": (8, 24),
         "max_position_embeddings": 104, "hidden_dropout_prob": 0.0,
         "local_attention_probs_dropout_prob": 0.0, "lsh_attention_probs_dropout_prob": 0.0,
         "use_cache": False}
FULL = 104  # the axial product: the one length at which the original trains
OUTPUTS = ["last_hidden_state", "logits", "start_logits", "end_logits", "loss"]
LARGEST, LARGEST_PLAIN = 1e-4, {"Model": 5e-3}
SEED = 20

# class, changes of the config, what the call gives
ENCODER, BOTH_SIDES = {"is_decoder": False}, {"is_decoder": False, "local_num_chunks_after": 1,
                                              "lsh_num_chunks_after": 1}
CASES = [
    ("Model", {"is_decoder": True}, {}),
    ("Model", BOTH_SIDES, {"mask": "holes"}),
    ("Model", BOTH_SIDES, {"mask": "left"}),
    ("Model", ENCODER, {"tokens": 16}),
    ("Model", {"is_decoder": True, "axial_pos_embds": False}, {"positions": True}),
    ("Model", {"is_decoder": True}, {"embedded": True, "tokens": 51}),
    ("Model", {"is_decoder": True, "attn_layers": ["lsh"] * 3, "num_buckets": [2, 4],
               "num_hashes": 4}, {"mask": "right"}),
    ("Model", {"is_decoder": True, "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 26,
               "local_num_chunks_before": 2}, {"tokens": 9}),
    ("ModelWithLMHead", {"is_decoder": True}, {}),
    ("ModelWithLMHead", {"is_decoder": True}, {"mask": "left"}),
    ("ModelWithLMHead", {"is_decoder": True}, {"tokens": 61}),
    ("ModelWithLMHead", {"is_decoder": True}, {"tokens": 7}),
    ("ModelWithLMHead", {"is_decoder": True}, {"rounds": 4}),
    ("ModelWithLMHead", {"is_decoder": True, "num_buckets": None}, {}),
    ("ModelWithLMHead", {"is_decoder": True, "hidden_act": "gelu_new",
                         "attn_layers": ["local"] * 2, "local_num_chunks_before": 3}, {}),
    ("ForMaskedLM", BOTH_SIDES, {"mask": "right"}),
    ("ForMaskedLM", ENCODER, {"mask": "left", "tokens": 45}),
    ("ForSequenceClassification", BOTH_SIDES, {"mask": "right", "labels": 3}),
    ("ForSequenceClassification", {"is_decoder": True, "classifier_dropout": 0.0}, {"labels": 4}),
    ("ForSequenceClassification", ENCODER, {"labels": 1, "mask": "left"}),
    ("ForSequenceClassification", {**ENCODER, "problem_type": "regression"}, {"labels": 3}),
    ("ForSequenceClassification", {**ENCODER, "problem_type": "multi_label_classification"},
     {"labels": 5, "mask": "holes"}),
    ("ForSequenceClassification", ENCODER, {"labels": 2, "tokens": 30}),
    ("ForQuestionAnswering", BOTH_SIDES, {"mask": "right"}),
    ("ForQuestionAnswering", {"is_decoder": True}, {"tokens": 33}),
]


# Kept in golden/: heads and inputs that no other case there has.
RECORDED = {
    "reformer-leftpad": ("ModelWithLMHead", {"is_decoder": True}, {"mask": "left"}),
    "reformer-positions": ("ForMaskedLM", {**ENCODER, "axial_pos_embds": False,
                                           "attn_layers": ["lsh", "local"]},
                           {"positions": True, "rounds": 3, "tokens": 48}),
    "reformer-embeds": ("Model", {"is_decoder": True, "local_attn_chunk_length": 4,
                                  "lsh_attn_chunk_length": 26, "attn_layers": ["local", "lsh"]},
                        {"embedded": True, "tokens": 9}),
    "reformer-sets": ("ForSequenceClassification",
                      {**BOTH_SIDES, "problem_type": "multi_label_classification",
                       "attn_layers": ["lsh", "local"]}, {"labels": 5, "mask": "holes"}),
    "reformer-regression": ("ForSequenceClassification",
                            {"is_decoder": True, "classifier_dropout": 0.0,
                             "attn_layers": ["local", "lsh"]}, {"labels": 1}),
}


def config(head, changes, call, hash_seed):
    return transformers.ReformerConfig(**{
        **SIZES, "hash_seed": hash_seed, "num_labels": call.get("labels", 2),
        "architectures": ["Reformer" + head], **changes})


def batch(head, settings, call):
    tokens = call.get("tokens", FULL)
    ids = torch.randint(3, settings.vocab_size, (3, tokens))
    inputs = {"input_ids": ids}
    if "mask" in call:
        mask = torch.ones_like(ids)
        if call["mask"] == "right":
            mask[0, -9:], mask[1, -tokens // 2:] = 0, 0
        elif call["mask"] == "left":
            mask[0, :9], mask[1, :tokens // 2] = 0, 0
        else:
            mask[0, 5:12], mask[2, 20:21], mask[1, -3:] = 0, 0, 0
        inputs["attention_mask"] = mask
        ids[mask == 0] = settings.pad_token_id
    if "positions" in call:
        inputs["position_ids"] = torch.stack([torch.randperm(tokens) for _ in range(3)])
    if "rounds" in call:
        inputs["num_hashes"] = call["rounds"]
    if "embedded" in call:
        del inputs["input_ids"]
        inputs["inputs_embeds"] = torch.randn(3, tokens, settings.hidden_size)
    if head in ("ModelWithLMHead", "ForMaskedLM"):
        hidden = inputs.get("attention_mask", torch.ones_like(ids)) == 0
        inputs["labels"] = ids.masked_fill((torch.rand(ids.shape) < 0.3) | hidden, -100)
    elif head == "ForSequenceClassification":
        labels = settings.num_labels
        if labels == 1:
            inputs["labels"] = torch.randn(3)
        elif settings.problem_type == "regression":
            inputs["labels"] = torch.randn(3, labels)
        elif settings.problem_type == "multi_label_classification":
            inputs["labels"] = (torch.rand(3, labels) < 0.5).float()
        else:
            inputs["labels"] = torch.randint(0, labels, (3,))
    elif head == "ForQuestionAnswering":
        inputs["start_positions"] = torch.tensor([3, -2, tokens + 5])
        inputs["end_positions"] = torch.tensor([9, tokens - 1, 0])
    return inputs


class Rotations:
    """What each LSH layer draws, in the layout (heads, head size, rounds, rotations / 2): numbers of
    float32, whatever the model computes in, and the same in every call."""

    def __init__(self, model):
        self.drawn = {}
        encoder = getattr(model, "reformer", model).encoder
        for i, layer in enumerate(encoder.layers):
            attention = layer.attention.self_attention
            if isinstance(attention, modeling_reformer.LSHSelfAttention):
                attention._hash_vectors = self.watch(attention._hash_vectors, i)

    def watch(self, original, layer):
        real = torch.randn

        def draw(*shape, dtype=torch.float32, **options):
            if layer not in self.drawn:
                self.drawn[layer] = real(*shape, dtype=torch.float32, **options)
            return self.drawn[layer].to(dtype)

        def hashed(*arguments, **options):
            torch.randn = draw
            try:
                return original(*arguments, **options)
            finally:
                torch.randn = real
        return hashed


def call_of(inputs, dtype):
    return {name: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in inputs.items()}


def tensors_of(inputs):
    return {n: v if torch.is_tensor(v) else torch.tensor(v) for n, v in inputs.items()}


def outputs_of(model, inputs, dtype):
    with torch.no_grad():
        result = model(**call_of(inputs, dtype), output_hidden_states=True)
    return result, {n: result[n] for n in OUTPUTS if result.get(n) is not None}


def plain_difference(program, folder, case, model, inputs):
    """The largest difference of an output in float32, hidden tokens left out."""
    _, expected = outputs_of(model.float(), inputs, torch.float32)
    expected.pop("loss", None)  # a question's counts hidden tokens
    mask = inputs.get("attention_mask")
    for name, value in expected.items():
        if mask is not None and value.shape[:2] == mask.shape:
            value[mask == 0] = float("nan")  # nothing to compare with
    record(case, tensors_of(inputs), expected)
    return max(verify(program, folder, case)[1].values())


def compare(program, folder, case, model, inputs, injected, with_gradients):
    """The largest difference between the model and longspan on `folder`, in float64."""
    model = model.double()
    rotations = Rotations(model)
    result, expected = outputs_of(model, inputs, torch.float64)
    expected.update({f"hidden_states.{i}": x for i, x in enumerate(result.hidden_states)})
    others = {f"rotations.{i}": r for i, r in rotations.drawn.items()} if injected else {}
    if with_gradients:
        model.train()
        result = model(**call_of(inputs, torch.float64))
        result.loss.backward()
        expected["train_loss"] = result.loss.detach()
        others.update({"grad." + n: p.grad for n, p in model.named_parameters()
                       if p.grad is not None})
        model.eval()
    record(case, tensors_of(inputs), expected, others)
    ok, differences = verify(program, folder, case)
    bad = {} if ok else {"verify": [n for n, d in differences.items() if d is None or d > 1e-5]}
    return max(differences.values()), bad


def adds_bias(model):
    """transformers 5.24 adds the decoder's bias; from 5.0 on it had none, and lm_head.bias is unused."""
    return hasattr(model, "lm_head") and model.lm_head.decoder.bias is not None


def one_bias(model):
    """Makes lm_head.bias, which transformers 5 leaves out and longspan uses, what is added."""
    if adds_bias(model):
        with torch.no_grad():
            model.lm_head.bias.copy_(model.lm_head.decoder.bias)
    elif hasattr(model, "lm_head"):
        torch.nn.init.zeros_(model.lm_head.bias)
    return model


def written(program, name, settings, inputs, folder, injected):
    settings.save_pretrained(folder)
    run(program, "init", "--config", folder / "config.json", "-o", folder / "made")
    model, bad = open_all("Reformer" + name, folder / "made")
    case = folder / "case.safetensors"
    plain = [] if injected else [plain_difference(program, folder / "made", case, model, inputs)]
    difference, worse = compare(program, folder / "made", case, model, inputs, injected, False)
    return [*plain, difference], {**bad, **worse}


def read(program, name, settings, inputs, folder, injected):
    model = getattr(transformers, "Reformer" + name)(settings).eval()
    perturb(model)
    one_bias(model)
    model.save_pretrained(folder / "theirs", max_shard_size="30KB")
    run(program, "convert", folder / "theirs", folder / "ours")
    again, bad = open_all("Reformer" + name, folder / "ours")
    for key, tensor in model.state_dict().items():
        if not torch.equal(again.state_dict()[key], tensor):
            bad[key] = ["other bits"]
    tokens = next(v.shape[1] for n, v in inputs.items() if n in ("input_ids", "inputs_embeds"))
    # The original trains at one length only, and its backward pass knows the config's rounds alone.
    gradients = tokens == FULL and name != "Model" and "num_hashes" not in inputs
    difference, worse = compare(program, folder / "theirs", folder / "case.safetensors", model,
                                inputs, injected, gradients)
    return [difference], {**bad, **worse}


def record_cases(program, target):
    for name, (head, changes, call) in RECORDED.items():
        settings = config(head, changes, call, SEED)
        model = getattr(transformers, "Reformer" + head)(settings).eval()
        perturb(model)
        one_bias(model)
        folder = target / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        inputs = batch(head, settings, call)
        gradients = call.get("tokens", FULL) == FULL and head != "Model"
        print(name, *compare(program, folder, folder / "case.safetensors", model, inputs, True,
                             gradients))


def bias(program, folder):
    """A language model's bias: unused by transformers 5.0 to 5.23, used here unless --no-lm-bias says so.
    Of two biases it is the decoder's, which 5.24 adds."""
    model = transformers.ReformerModelWithLMHead(config("ModelWithLMHead", {"is_decoder": True}, {},
                                                        SEED)).eval()
    perturb(model)
    torch.nn.init.normal_(model.lm_head.bias, std=0.5)
    model.save_pretrained(folder)
    inputs = {"input_ids": torch.randint(3, 70, (1, 64))}
    model = model.double()
    Rotations(model)
    with torch.no_grad():
        logits = model(**inputs).logits
        own = model.lm_head.decoder.bias
        if own is None:
            added = logits + model.lm_head.bias
        else:
            logits, added = logits - own, logits
    for name, value in (("five.safetensors", logits),
                        ("four.safetensors", added)):
        record(folder / name, inputs, {"logits": value})
    results = [verify(program, folder, folder / name, *options)[0]
               for name in ("five.safetensors", "four.safetensors")
               for options in ((), ("--no-lm-bias",))]
    return results == [False, True, True, False]


def bytes_model(program, folder):
    """The loss of a text of bytes: `longspan eval` and the original on the same ids."""
    settings = config("ModelWithLMHead", {"is_decoder": True, "vocab_size": 258}, {}, SEED)
    model = transformers.ReformerModelWithLMHead(settings).eval()
    perturb(model)
    one_bias(model)
    model.save_pretrained(folder)
    text = "Sir Walter Elliot, of Kellynch Hall, in Somersetshire, was a man who, for his own amuse"
    (folder / "text").write_text(text)
    ids = torch.tensor([[byte + 2 for byte in text.encode()]])
    model = model.double()
    Rotations(model)
    with torch.no_grad():  # the last byte is predicted and not read
        logits = model(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).item()
    report = json.loads(run(program, "eval", "-m", folder, folder / "text", "--tokens", "104",
                            "--strict", "--json"))
    more = run(program, "generate", "-m", folder, "-p", text[:20], "-n", "30", "--temp", "0")
    return abs(report["loss"] - loss) < LARGEST and more.startswith(text[:20])


def main():
    program = sys.argv[1]
    torch.manual_seed(1)
    quiet()
    if "--record" in sys.argv:
        return record_cases(program, Path(sys.argv[sys.argv.index("--record") + 1]))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"{'':74} {'hash_seed':^26} {'injected':^17}")
    print(f"{'':74} {'plain':>8} " + f"{'written':>8} {'read':>8} " * 2)
    failed = 0
    for head, changes, call in CASES:
        differences, bad = [], {}
        for hash_seed in (SEED, None):
            for form in (written, read):
                settings = config(head, changes, call, hash_seed)
                with tempfile.TemporaryDirectory() as folder:
                    some, wrong = form(program, head, settings, batch(head, settings, call),
                                       Path(folder), hash_seed is None)
                differences += some
                bad.update({f"{form.__name__} {hash_seed}: {k}": v for k, v in wrong.items()})
        ok = all(math.isfinite(d) and d <= LARGEST for d in differences[1:]) and not bad
        ok = ok and differences[0] <= LARGEST_PLAIN.get(head, LARGEST)
        failed += not ok
        what = " ".join([head, *(f"{k}={v}" for k, v in {**changes, **call}.items())])
        print(f"{what[:74]:74}", *(f"{d:8.1e}" for d in differences), "" if ok else "WRONG",
              bad or "", flush=True)
    for check in (bias, bytes_model):
        with tempfile.TemporaryDirectory() as folder:
            ok = check(program, Path(folder))
        failed += not ok
        print(f"{check.__name__:74} {'holds' if ok else 'WRONG'}")
    print(f"{len(CASES) + 2 - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
