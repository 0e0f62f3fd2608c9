"""Reformer's layers after longspan.hf.accelerate, beside those of transformers.

transformers adds log(n) to -1e5 and to -1e9 in float32, where it is lost: tokens that see nothing
but themselves (the first ones of causal models) get weights that do not add up to 1, and so do
tokens of the padding. So the original is computed in double here, with the buckets of float32.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.reformer import modeling_reformer  # noqa: E402

import longspan.hf  # noqa: E402
from hf_models import OUTPUT, attentions, far, gradients_far, pair, reformer_config  # noqa: E402

pytestmark = pytest.mark.full

KINDS = {"lsh": modeling_reformer.LSHSelfAttention, "local": modeling_reformer.LocalSelfAttention}


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    torch.manual_seed(7)
    yield


def mask_of(rows: int, tokens: int, hidden: int) -> Any:
    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[-1, tokens - hidden:] = 0
    return mask


def in_double(model: Any, recorded: list[Any]) -> Any:
    """The original in double, with the buckets that an accelerated model has returned."""
    model = copy.deepcopy(model).double()
    layers = [each for each in model.modules() if type(each) is KINDS["lsh"]]
    for layer, buckets in zip(layers, recorded):
        layer._hash_vectors = lambda *_, buckets=buckets: buckets.flatten(2)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tokens", [5, 8, 16, 104])
@pytest.mark.parametrize("hidden", [0, 3])
def test_layer(kind: str, causal: bool, tokens: int, hidden: int) -> None:
    config = reformer_config(is_decoder=causal, num_buckets=[2, 4] if tokens == 104 else 8)
    original, model = pair(KINDS[kind](config, layer_idx=0))
    exact = copy.deepcopy(original).double()
    x, weights = torch.randn(2, tokens, 32), torch.randn(2, tokens, 32)
    mask = mask_of(2, tokens, hidden) if hidden else None
    theirs, leaf = original(x, attention_mask=mask), x.clone().requires_grad_(True)
    given = {"buckets": theirs.buckets} if kind == "lsh" else {}
    ours = model(leaf, attention_mask=mask, **given)
    wide = x.double().requires_grad_(True)
    expected = exact(wide, attention_mask=mask, **given)
    assert far(ours.hidden_states, expected.hidden_states.float()) < OUTPUT
    for out in (ours, expected):
        (out.hidden_states * weights).sum().backward()
    assert gradients_far(exact, model) < 1e-6
    assert far(leaf.grad, wide.grad.float()) < 1e-6 * float(wide.grad.abs().max())
    assert type(ours) is type(theirs) and ours.attention_probs == ()
    if kind == "lsh":
        again = model(x, attention_mask=mask).buckets
        for buckets in (ours.buckets, again):
            assert (buckets is None) == (theirs.buckets is None)
            assert buckets is None or torch.equal(buckets, theirs.buckets)
            assert buckets is None or buckets.dtype == theirs.buckets.dtype


@pytest.mark.parametrize("changes", [
    {"is_decoder": False}, {}, {"hash_seed": None}, {"num_buckets": None}, {"num_hashes": 1},
    {"lsh_num_chunks_before": 0, "lsh_num_chunks_after": 2, "local_num_chunks_after": 1,
     "is_decoder": False}])
@pytest.mark.parametrize("hidden", [0, 40])
def test_whole_model_trains(monkeypatch: Any, changes: dict[str, Any], hidden: int) -> None:
    original = transformers.ReformerModel(reformer_config(**changes)).train()
    if original.config.num_buckets is None:
        original(torch.ones(1, 128, dtype=torch.long))  # sets it
    original, model = pair(original)
    ids, weights = torch.randint(1, 60, (2, 128)), torch.randn(2, 128, 64)
    inputs = {"attention_mask": mask_of(2, 128, hidden)} if hidden else {}
    recorded: list[Any] = []
    for layer in attentions(model):
        layer.register_forward_hook(
            lambda layer, _, out: None if torch.is_grad_enabled() or not hasattr(out, "buckets")
            else recorded.append(out.buckets))
    out = model(ids, **inputs)[0]
    exact = in_double(original, recorded)
    expected = exact(ids, **inputs)[0]
    assert far(out, expected.float()) < 2e-5
    for each in (out, expected):
        (each * weights).sum().backward()
    assert gradients_far(exact, model) < 1e-5


def test_rotations_are_drawn_as_transformers_draws_them() -> None:
    for hash_seed in (3, None):
        config = reformer_config(hash_seed=hash_seed)
        original, model = pair(transformers.ReformerModel(config).eval())
        ids, mask, caches, next_numbers = torch.randint(1, 60, (2, 90)), mask_of(2, 90, 20), [], []
        for each in (original, model):
            torch.manual_seed(5)
            out = each(ids, attention_mask=mask, use_cache=True)
            caches.append(out.past_buckets_states)
            next_numbers.append(torch.randn(3))
        assert torch.equal(*next_numbers)
        for a, b in zip(caches[0].buckets_cache, caches[1].buckets_cache):
            if not a.numel():
                assert not b.numel()  # a local layer
                continue
            assert a.dtype == b.dtype and a.shape == b.shape
            assert float((a != b).float().mean()) < 0.01  # the last bit of a sum may decide
        for a, b in zip(caches[0].states_cache, caches[1].states_cache):
            assert a.shape == b.shape


def test_number_of_buckets_is_set_once_and_saved() -> None:
    original, model = pair(transformers.ReformerModel(reformer_config(num_buckets=None)).eval())
    ids = torch.randint(1, 60, (1, 128))
    for each in (original, model):
        each(ids)
    assert model.config.num_buckets == original.config.num_buckets == [4, 8]
    assert [layer.num_buckets for layer in attentions(model)[::2]] == [[4, 8]] * 2


def test_rounds_of_one_call(monkeypatch: Any) -> None:
    model = longspan.hf.accelerate(transformers.ReformerModel(reformer_config()).train())
    ids, shapes = torch.randint(1, 60, (2, 128)), []
    attentions(model)[0].register_forward_hook(lambda *a: shapes.append(a[2].buckets.shape))
    # Its backward pass names no rounds: it gives the buckets.
    model(ids, num_hashes=3)[0].sum().backward()
    assert [shape[2] for shape in shapes] == [3, 3]


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("hash_seed", [3, None])
def test_backward_pass_recomputes_what_the_forward_pass_computed(hash_seed: int | None,
                                                                     weights: bool) -> None:
    model = transformers.ReformerModel(reformer_config(
        hash_seed=hash_seed, hidden_dropout_prob=0.2, lsh_attention_probs_dropout_prob=0.3,
        local_attention_probs_dropout_prob=0.3)).train()
    longspan.hf.accelerate(model)
    passes: dict[bool, list[Any]] = {False: [], True: []}
    for layer in model.encoder.layers:
        layer.attention.register_forward_hook(
            lambda _, __, out: passes[torch.is_grad_enabled()].append(out.hidden_states.detach()))
    model(torch.randint(1, 60, (2, 128)), output_attentions=weights)[0].sum().backward()
    assert len(passes[False]) == len(passes[True]) == 3
    for forward, backward in zip(passes[False], reversed(passes[True])):
        assert far(forward, backward) < 1e-5
        assert float((forward == 0).float().mean()) > 0.1
    first, second = (model(torch.ones(1, 128, dtype=torch.long))[0] for _ in range(2))
    assert far(first, second) > 1e-3


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"num_hashes": 4}])
@pytest.mark.parametrize("tokens", [5, 21, 40])
def test_generates_the_same_tokens(options: dict[str, Any], tokens: int) -> None:
    original, model = pair(transformers.ReformerModelWithLMHead(reformer_config()).eval())
    ids = torch.randint(1, 60, (2, tokens))
    expected, continued = (each.generate(ids, max_new_tokens=10, do_sample=False, **options)
                           for each in (original, model))
    assert torch.equal(expected, continued)
    if not options:
        report = longspan.hf.report(model)
        assert report.fallbacks == {"steps with a cache": 9 * 3}
        assert sum(report.runs.values()) == 3


def test_attention_weights_are_those_of_transformers() -> None:
    original, model = pair(transformers.ReformerModel(reformer_config()).eval())
    ids = torch.randint(1, 60, (2, 48))
    outs = [each(ids, output_attentions=True) for each in (original, model)]
    for a, b in zip(outs[0].attentions, outs[1].attentions):
        assert far(a, b) < 1e-3


def test_heads_train_in_float32_and_bf16() -> None:
    exact = transformers.ReformerForSequenceClassification(reformer_config(is_decoder=False)).eval()
    ids = torch.randint(1, 60, (3, 128))
    expected = exact(ids).logits
    for kind in (torch.float32, torch.bfloat16):
        model = longspan.hf.accelerate(copy.deepcopy(exact)).to(kind)
        far_off = float((model(ids).logits - expected).detach().abs().max())
        assert far_off < (1e-4 if kind == torch.float32 else 0.2)
        model.train()(ids, labels=torch.tensor([0, 1, 0])).loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_many_buckets_are_left_to_transformers() -> None:
    layer = KINDS["lsh"](reformer_config(num_buckets=[256, 256]), layer_idx=0).eval()
    original, model = pair(layer)
    x = torch.randn(1, 16, 32)
    assert far(original(x).hidden_states, model(x).hidden_states) == 0
    assert list(itertools.chain(longspan.hf.report(model).fallbacks)) == ["more than 65534 buckets"]
