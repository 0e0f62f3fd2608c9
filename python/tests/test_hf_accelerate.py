"""longspan.hf.accelerate beside the original modules of transformers."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch import nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from transformers.models.led import modeling_led  # noqa: E402
from transformers.models.longformer import modeling_longformer  # noqa: E402

import longspan  # noqa: E402
import longspan.hf  # noqa: E402
from longspan.hf import longformer as accelerated  # noqa: E402
from longspan.hf._modules import with_global  # noqa: E402
from hf_models import (GRADIENT, OUTPUT, attentions, far, gradients_far, led_config,  # noqa: E402
                       longformer_config, pair, reformer_config)

pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    torch.manual_seed(7)
    yield


def batch(tokens: int = 45, places: Any = ((0, 0), (0, 5), (1, 3), (0, 44)),
          hidden: int = 15) -> dict[str, Any]:
    """Three rows, of which the second has padding."""
    ids = torch.randint(3, 60, (3, tokens))
    mask = torch.ones(3, tokens, dtype=torch.long)
    if hidden:
        mask[1, -hidden:], ids[1, -hidden:] = 0, 1
    globals_ = torch.zeros_like(mask)
    for row, place in places:
        globals_[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask, "global_attention_mask": globals_}


def lora(linear: nn.Linear) -> nn.Module:
    """What adapters put into the place of a projection."""

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = linear.requires_grad_(False)
            self.down = nn.Linear(linear.in_features, 2, bias=False)
            self.up = nn.Linear(2, linear.out_features, bias=False)

        def forward(self, x: Any) -> Any:
            return self.base(x) + self.up(self.down(x))

    return Adapted()


# ---- Longformer ---------------------------------------------------------------------------------

PLACES = {"none": [], "one": [(0, 0)], "different": [(0, 0), (0, 5), (1, 3), (0, 44)],
          "many": [(0, i) for i in range(0, 40, 2)] + [(2, 1)]}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hidden", [0, 15, 45])
def test_longformer_computes_what_transformers_computes(places: str, training: bool,
                                                        hidden: int) -> None:
    original, model = pair(transformers.LongformerModel(longformer_config()).train(training))
    inputs = batch(places=PLACES[places], hidden=hidden)
    weights = torch.randn(3, 45, 32)
    states = []
    for each in (original, model):
        out = each(**inputs, output_hidden_states=True)
        (out.last_hidden_state * weights).sum().backward()
        states.append(out.hidden_states + (out.pooler_output,))
    for a, b in zip(*states):  # hidden rows, too
        assert far(a, b) < OUTPUT
    assert gradients_far(original, model) < GRADIENT


@pytest.mark.parametrize("count, ours", [(1, True), (20, False)])
def test_few_global_tokens_need_no_projections(monkeypatch: Any, count: int, ours: bool) -> None:
    model = longspan.hf.accelerate(transformers.LongformerModel(longformer_config()))
    calls = []
    apply = accelerated._FewGlobalTokens.apply
    monkeypatch.setattr(accelerated._FewGlobalTokens, "apply",
                        lambda *arguments: calls.append(1) or apply(*arguments))
    model(**batch(places=[(0, i) for i in range(count)]))
    assert bool(calls) == ours


@pytest.mark.parametrize("head, extra", [
    ("ForSequenceClassification", {"labels": (3,)}),
    ("ForTokenClassification", {"labels": (3, 45)}),
    ("ForMaskedLM", {"labels": (3, 45)}),
    ("ForQuestionAnswering", {"start_positions": (3,), "end_positions": (3,)}),
    ("ForMultipleChoice", {"labels": (1,)})])
def test_longformer_heads(head: str, extra: dict[str, Any]) -> None:
    kind = getattr(transformers, f"Longformer{head}")
    original, model = pair(kind(longformer_config()).eval())
    inputs = batch()
    inputs["input_ids"][:, [4, 9, 10]] = 2  # what parts a question from its text
    if head in ("ForSequenceClassification", "ForQuestionAnswering"):
        del inputs["global_attention_mask"]  # the model makes its own
    if head == "ForMultipleChoice":
        inputs = {name: tensor[None] for name, tensor in inputs.items()}
    inputs |= {name: torch.randint(0, 2, shape) for name, shape in extra.items()}
    outs = [each(**inputs) for each in (original, model)]
    for a, b in zip(*(out.to_tuple() for out in outs)):
        assert far(a, b) < OUTPUT
    for out in outs:
        out.loss.backward()
    assert gradients_far(original, model) < GRADIENT


def test_attention_weights_are_those_of_transformers() -> None:
    original, model = pair(transformers.LongformerModel(longformer_config()).eval())
    inputs = batch()
    outs = [each(**inputs, output_attentions=True) for each in (original, model)]
    for name in ("attentions", "global_attentions"):
        for a, b in zip(getattr(outs[0], name), getattr(outs[1], name)):
            assert far(a, b) < OUTPUT
    assert far(outs[0][0], outs[1][0]) < OUTPUT
    assert set(longspan.hf.report(model).fallbacks) == {"output_attentions"}


def test_rows_without_masks_and_any_number_of_tokens() -> None:
    original, model = pair(transformers.LongformerModel(longformer_config()).eval())
    for tokens in (1, 7, 8, 33):
        ids = torch.randint(3, 60, (2, tokens))
        assert far(original(ids)[0], model(ids)[0]) < OUTPUT


def test_layer_that_is_told_of_global_tokens_without_any() -> None:
    layer = modeling_longformer.LongformerSelfAttention(longformer_config(), 0).eval()
    x, mask = torch.randn(2, 16, 32), torch.zeros(2, 16)
    expected = layer(x, mask, mask < 0, mask > 0, False)[0]
    out = longspan.hf.accelerate(layer)(x, mask, mask < 0, mask > 0, True)[0]
    assert far(out, expected) < OUTPUT


def test_bf16_weights_and_autocast() -> None:
    exact = transformers.LongformerModel(longformer_config(attention_window=8)).eval()
    for places in ([], [(0, 0), (2, 2)], PLACES["many"]):
        inputs = batch(places=places)
        expected = exact(**inputs)[0]
        original, model = pair(copy.deepcopy(exact).bfloat16())
        theirs, ours = original(**inputs)[0], model(**inputs)[0]
        assert ours.dtype == torch.bfloat16
        assert (ours - expected).abs().max() < 2 * (theirs - expected).abs().max()
        original, model = pair(exact)
        weights, grads = torch.randn_like(expected), []
        for each in (original, model):
            each.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                out = each(**inputs)[0]
            (out * weights).sum().backward()
            grads.append((out, each.embeddings.word_embeddings.weight.grad.clone()))
        exact.zero_grad()
        (exact(**inputs)[0] * weights).sum().backward()
        right = (expected, exact.embeddings.word_embeddings.weight.grad)
        for theirs, ours, true in zip(*grads, right):
            assert (ours - true).norm() < 1.5 * (theirs - true).norm()


def test_dropout_has_the_distribution_of_transformers() -> None:
    config = longformer_config(attention_probs_dropout_prob=0.4, attention_window=[4, 4])
    original, model = pair(modeling_longformer.LongformerSelfAttention(config, 0).train())
    x = torch.randn(1, 16, 32).expand(1500, -1, -1)
    mask = torch.zeros(1500, 16)
    mask[:, 2], mask[:, 13:] = 1.0, -1.0
    masks = {"attention_mask": mask, "is_index_masked": mask < 0, "is_index_global_attn": mask > 0,
             "is_global_attn": True}
    with torch.no_grad():
        outs = [each(x, **masks)[0] for each in (original, model)]
        expected = original.eval()(x[:1], **masks | {
            name: value[:1] for name, value in masks.items() if name != "is_global_attn"})[0]
        first, second = model(x[:2], **{name: value[:2] if name != "is_global_attn" else value
                                        for name, value in masks.items()})[0]
    spreads = [out.std(0) for out in outs]
    for out, spread in zip(outs, spreads):
        assert bool(((out.mean(0) - expected[0]).abs() < 6 * spread / 1500**0.5 + 1e-6).all())
    shown = spreads[0] > 1e-3
    ratio = (spreads[1] / spreads[0])[shown]
    assert 0.98 < float(ratio.mean()) < 1.02
    assert 0.8 < float(ratio.min()) < float(ratio.max()) < 1.25
    assert far(first, second) > 0  # rows of a batch have their own


@pytest.mark.parametrize("only_global", [False, True])
@pytest.mark.parametrize("places", PLACES)
def test_dropout_of_the_backward_pass_is_that_of_the_forward_pass(places: str,
                                                                  only_global: bool) -> None:
    config = longformer_config(attention_probs_dropout_prob=0.3)
    model = longspan.hf.accelerate(modeling_longformer.LongformerSelfAttention(config, 0).train())
    masks = batch(places=PLACES[places])
    mask = masks["global_attention_mask"].float() + masks["attention_mask"].float() - 1
    x, weights = torch.randn(3, 45, 32, requires_grad=True), torch.randn(3, 45, 32)
    if only_global and PLACES[places]:
        weights[mask <= 0] = 0

    def loss() -> Any:
        torch.manual_seed(11)
        return (model(x, attention_mask=mask)[0] * weights).sum()

    loss().backward()
    leaves = [each for each in (x, *model.parameters()) if each.grad is not None]
    length = float(sum((each.grad**2).sum() for each in leaves)) ** 0.5
    step = 1e-3 / length
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for each in leaves:
                each += sign * step * each.grad
            values.append(float(loss()))
    assert abs((values[0] - values[1]) / (2 * step) / length**2 - 1) < 1e-2


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant: bool) -> None:
    config = longformer_config(attention_probs_dropout_prob=0.3, hidden_dropout_prob=0.1)
    plain = longspan.hf.accelerate(transformers.LongformerForMaskedLM(config).train())
    model = copy.deepcopy(plain)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    inputs = batch()
    for each in (plain, model):
        if reentrant:
            each.enable_input_require_grads()
        torch.manual_seed(3)
        each(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert gradients_far(plain, model) < 1e-6


@pytest.mark.parametrize("names", [("query", "value"), ("query_global", "key_global")])
def test_adapters_train(names: tuple[str, ...]) -> None:
    original = transformers.LongformerForSequenceClassification(longformer_config())
    original.requires_grad_(False)
    for module in attentions(original):
        for name in names:
            setattr(module, name, lora(getattr(module, name)))
    original, model = pair(original.train())
    inputs = batch()
    for each in (original, model):
        each(**inputs, labels=torch.tensor([0, 1, 0])).loss.backward()
    assert gradients_far(original, model) < GRADIENT
    trained = {name.split(".")[-2] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"down", "up"}


def test_hooks_of_global_projections_are_called() -> None:
    model = longspan.hf.accelerate(transformers.LongformerModel(longformer_config()).eval())
    inputs, calls = batch(), []
    before = model(**inputs)[0]
    attention = model.encoder.layer[0].attention.self
    handle = attention.key_global.register_forward_hook(lambda *_: calls.append(1))
    assert far(model(**inputs)[0], before) < OUTPUT and calls == [1]
    handle.remove()


@pytest.mark.parametrize("trained", ["query.weight", "value_global.bias", "key_global",
                                     "embeddings", "output.dense"])
@pytest.mark.parametrize("places", ["different", "many"])
def test_frozen_parameters(trained: str, places: str) -> None:
    original, model = pair(transformers.LongformerModel(longformer_config()))
    inputs, weights = batch(places=PLACES[places]), torch.randn(3, 45, 32)
    for each in (original, model):
        for name, parameter in each.named_parameters():
            parameter.requires_grad_(trained in name)
        (each(**inputs)[0] * weights).sum().backward()
    assert gradients_far(original, model) < (GRADIENT if trained != "key_global" else 1e-4)
    assert all((p.grad is None) == (trained not in name) for name, p in model.named_parameters())


def test_inputs_embeds_have_gradients() -> None:
    original, model = pair(transformers.LongformerModel(longformer_config()))
    inputs = batch()
    embeds = original.embeddings.word_embeddings(inputs.pop("input_ids")).detach()
    weights, grads = torch.randn(3, 45, 32), []
    for each in (original, model):
        leaf = embeds.clone().requires_grad_(True)
        (each(inputs_embeds=leaf, **inputs)[0] * weights).sum().backward()
        grads.append(leaf.grad)
    assert far(*grads) < GRADIENT * float(grads[0].abs().max())


class Largest(TorchDispatchMode):
    """Sees the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // 4)
        return out


def make_longformer() -> Any:
    return transformers.LongformerModel(longformer_config(
        hidden_size=8, num_attention_heads=1, intermediate_size=8, attention_window=16,
        max_position_embeddings=2100)).eval()


def make_led_encoder() -> Any:
    return transformers.LEDModel(led_config(
        d_model=8, encoder_attention_heads=1, decoder_attention_heads=1, encoder_ffn_dim=8,
        attention_window=16, max_encoder_position_embeddings=2048)).encoder.eval()


@pytest.mark.parametrize("make", [make_longformer, make_led_encoder])
def test_nothing_is_tokens_times_tokens(make: Callable[[], Any]) -> None:
    tokens, sizes = 2048, []
    original, model = pair(make())
    ids = torch.randint(3, 60, (1, tokens))
    outs = []
    for each in (original, model):
        with torch.no_grad(), Largest() as largest:
            outs.append(each(ids, global_attention_mask=(ids == ids[0, 0]).long())[0])
        sizes.append(largest.elements)
    assert far(*outs) < OUTPUT
    assert sizes[0] >= tokens**2 and sizes[1] <= 100 * tokens


def test_other_models_and_threads_are_not_touched() -> None:
    functions = (modeling_longformer.LongformerModel.forward,
                 modeling_longformer.create_bidirectional_mask,
                 modeling_led._prepare_4d_attention_mask_inverted)
    original, model = pair(make_longformer())
    ids = torch.randint(3, 60, (1, 512))
    expected, sizes = [each(ids)[0] for each in (original, model)], {0: set(), 1: set()}

    def run(which: int) -> None:
        for _ in range(10):
            with torch.no_grad(), Largest() as largest:
                assert far((original, model)[which](ids)[0], expected[which]) < 1e-6
            sizes[which].add(largest.elements >= 512**2)

    threads = [threading.Thread(target=run, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == {0: {True}, 1: {False}}
    assert functions == (modeling_longformer.LongformerModel.forward,
                         modeling_longformer.create_bidirectional_mask,
                         modeling_led._prepare_4d_attention_mask_inverted)


def test_a_function_with_another_global_is_a_copy() -> None:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*arguments: Any, **named: Any) -> Any:
            return ("decorated", *function(*arguments, **named))

        return inner

    def plain(a: int, b: int = 2, *, c: int = 3) -> Any:
        """Its text."""
        return a, b, c, far

    for function, before in ((plain, ()), (decorate(decorate(plain)), ("decorated",) * 2)):
        changed = with_global(function, "far", "here")
        assert changed(1) == (*before, 1, 2, 3, "here") and function(1, c=4)[-1] is far
        assert changed.__doc__ == "Its text." and changed.__name__ == "plain"
        assert inspect.signature(changed) == inspect.signature(function)
    assert with_global(plain, "nothing", 1) is plain and with_global(len, "far", 1) is len


def test_part_of_a_model_first() -> None:
    model = make_longformer()
    longspan.hf.accelerate(model.encoder)
    longspan.hf.accelerate(model)
    assert type(model) is accelerated.LongformerModel


def test_compiled_model() -> None:
    model = longspan.hf.accelerate(transformers.LongformerModel(longformer_config()))
    inputs, results = batch(), []
    for each in (model, torch.compile(model, backend="aot_eager")):
        for places in ([], [(0, 0)]):
            inputs["global_attention_mask"].zero_()
            for place in places:
                inputs["global_attention_mask"][place] = 1
            model.zero_grad()
            out = each(**inputs)[0]
            out.square().sum().backward()
            results.append((out.detach(), model.embeddings.word_embeddings.weight.grad.clone()))
    for eager, compiled in zip(results[:2], results[2:]):
        for a, b in zip(eager, compiled):
            assert far(a, b) < 1e-5 * float(a.abs().max())


# ---- LED ----------------------------------------------------------------------------------------


def test_led_encoder_changes_and_decoder_stays() -> None:
    original, model = pair(transformers.LEDForConditionalGeneration(led_config()))
    decoders = [type(module) for module in model.led.decoder.modules()]
    assert decoders == [type(module) for module in original.led.decoder.modules()]
    assert len(attentions(model)) == 2
    inputs = batch()
    labels, outs = torch.randint(3, 60, (3, 9)), []
    for each in (original, model):
        out = each(**inputs, labels=labels, output_hidden_states=True)
        out.loss.backward()
        outs.append((out.logits, *out.encoder_hidden_states))
    for a, b in zip(*outs):
        assert far(a, b) < OUTPUT
    assert gradients_far(original, model) < GRADIENT
    outs = [each.eval()(**inputs, labels=labels, output_attentions=True)
            for each in (original, model)]
    for name in ("encoder_attentions", "encoder_global_attentions"):
        for a, b in zip(getattr(outs[0], name), getattr(outs[1], name)):
            assert far(a, b) < OUTPUT


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
def test_led_generates_the_same_tokens(options: dict[str, Any]) -> None:
    original, model = pair(transformers.LEDForConditionalGeneration(led_config()).eval())
    inputs = batch()
    expected, tokens = (each.generate(**inputs, max_new_tokens=12, do_sample=False, **options)
                        for each in (original, model))
    assert torch.equal(expected, tokens)


# ---- models as objects --------------------------------------------------------------------------


def classifier() -> Any:
    return transformers.LongformerForSequenceClassification(longformer_config()).eval()


def kinds(model: Any) -> list[type]:
    return [type(module) for module in model.modules()]


@pytest.mark.parametrize("make", [
    classifier, lambda: transformers.LEDModel(led_config()),
    lambda: transformers.ReformerModel(reformer_config())])
def test_twice_is_once_and_restore_undoes(make: Callable[[], Any]) -> None:
    model = make()
    before, state, names = kinds(model), model.state_dict(), [n for n, _ in model.named_modules()]
    assert longspan.hf.restore(model) is model and kinds(model) == before
    assert longspan.hf.accelerate(model) is model
    once = kinds(model)
    assert once != before and sum(a is not b for a, b in zip(once, before)) > 1
    assert [kind.__name__ for kind in once] == [kind.__name__ for kind in before]
    assert longspan.hf.accelerate(model) is model and kinds(model) == once
    assert [name for name, _ in model.named_modules()] == names
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values()))
    assert longspan.hf.restore(model) is model and kinds(model) == before


def test_copies_and_files(tmp_path: Path) -> None:
    model = longspan.hf.accelerate(classifier())
    inputs = batch()
    expected = model(**inputs).logits
    assert far(copy.deepcopy(model)(**inputs).logits, expected) == 0
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert kinds(loaded) == kinds(model) and far(loaded(**inputs).logits, expected) == 0
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(again) is type(model) and kinds(again) == kinds(classifier())
    assert far(again(**inputs).logits, expected) < OUTPUT
    base = model.longformer
    base.save_pretrained(tmp_path / "base")
    again = transformers.AutoModel.from_pretrained(tmp_path / "base")
    assert again.config.architectures == ["LongformerModel"]
    assert type(again) is transformers.LongformerModel


def test_report_tells_of_accelerated_layers() -> None:
    model = classifier()
    assert not longspan.hf.report(model).reached
    longspan.hf.accelerate(model)(**batch())
    report = longspan.hf.report(model)
    assert report.runs == {"window ±4, global tokens": 1, "window ±2, global tokens": 1}
    assert [layer.kind for layer in report.layers] == ["LongformerSelfAttention"] * 2
    model.longformer(torch.randint(3, 60, (1, 30)))
    runs = longspan.hf.report(model).runs
    assert runs["window ±4"] == runs["window ±2"] == 1


@pytest.mark.parametrize("change, error, text", [
    (lambda model: model.half(), TypeError, "float16"),
    (lambda model: model.double(), TypeError, "float64"),
    (lambda model: model.to("meta"), TypeError, "'meta'; load the weights")])
def test_what_cannot_be_computed_is_refused(change: Any, error: type, text: str) -> None:
    model = change(classifier())
    before = kinds(model)
    with pytest.raises(error, match=text) as caught:
        longspan.hf.accelerate(model)
    assert "longformer.encoder.layer.0.attention.self.query.weight" in str(caught.value)
    assert isinstance(caught.value, longspan.Error) and kinds(model) == before


def test_changes_after_accelerate_are_refused() -> None:
    model = longspan.hf.accelerate(classifier()).double()
    with pytest.raises(longspan.DTypeError, match="float64.*restore"):
        model(**batch())
    with pytest.raises(longspan.DTypeError, match="'meta'"):
        attentions(model.float().to("meta"))[0](torch.ones(1, 8, 32, device="meta"))


def test_models_without_such_layers_are_refused() -> None:
    config = transformers.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
                                     num_attention_heads=1, intermediate_size=8)
    for model in (transformers.BertModel(config), nn.Linear(2, 2)):
        text = rf"{type(model).__name__}.*longspan\.hf\.register\(\)"
        with pytest.raises(ValueError, match=text):
            longspan.hf.accelerate(model)


def test_config_that_asks_for_weights_is_warned_of() -> None:
    model = classifier()
    model.config.output_attentions = True
    with pytest.warns(UserWarning, match="output_attentions"):
        longspan.hf.accelerate(model)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trainer(tmp_path: Path, checkpointing: bool) -> None:
    pytest.importorskip("accelerate")
    rows = [{"input_ids": torch.randint(3, 60, (20 + 5 * i,)).tolist(), "label": i % 2}
            for i in range(6)]

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        length = max(len(example["input_ids"]) for example in examples)
        ids = torch.ones(len(examples), length, dtype=torch.long)
        for row, example in zip(ids, examples):
            row[:len(example["input_ids"])] = torch.tensor(example["input_ids"])
        return {"input_ids": ids, "attention_mask": (ids != 1).long(),
                "labels": torch.tensor([example["label"] for example in examples])}

    losses = []
    for model in pair(classifier()):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=2, use_cpu=True,
            logging_steps=1, report_to=[], save_strategy="no", disable_tqdm=True, seed=5,
            learning_rate=1e-3, gradient_checkpointing=checkpointing, remove_unused_columns=False)
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows,
                                       data_collator=collate)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], abs=2e-4)


def test_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("accelerate")
    path = Path(__file__).resolve().parents[2] / "examples/python/longformer_trainer.py"
    if not path.exists():
        pytest.skip("the examples are not in this tree")
    main = runpy.run_path(str(path))["main"]
    assert main([]) == 2
    assert main([str(tmp_path), "2"]) == 0
    assert "window ±32, global tokens" in capsys.readouterr().out
    transformers.LongformerForSequenceClassification.from_pretrained(tmp_path)
