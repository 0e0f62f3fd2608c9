"""attn_implementation="longspan": tiny random models of transformers against their eager code."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import longspan.hf  # noqa: E402
from longspan.hf import masks, registered  # noqa: E402

pytestmark = pytest.mark.full

TOKENS = 43  # longer than all windows below, and no multiple of anything

_SIZE = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
         "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GROUPS = {**_SIZE, "num_key_value_heads": 2, "head_dim": 8}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_MIXED = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
_MODERN = {**_SIZE, "cls_token_id": 1, "sep_token_id": 2}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

# For each class of config its arguments, and the windows of its layers.
MODELS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "ModernBERT": ("ModernBertConfig", {**_MODERN, "num_hidden_layers": 4, "local_attention": 15},
                   ["full", "window ±7"]),
    "Mistral": ("MistralConfig", {**_GROUPS, "num_hidden_layers": 2, "sliding_window": 9},
                ["window -8, causal"]),
    "Qwen3": ("Qwen3Config", {**_GROUPS, "num_hidden_layers": 2, "use_sliding_window": True,
                              "sliding_window": 7, "max_window_layers": 1},
              ["full, causal", "window -6, causal"]),
    "Gemma3": ("Gemma3TextConfig", {**_GROUPS, **_MIXED, "head_dim": 20, "sliding_window": 9},
               ["full, causal", "window -8, causal"]),
    "Gemma3Bidirectional": ("Gemma3TextConfig", {**_GROUPS, **_MIXED, "sliding_window": 9,
                                                 "use_bidirectional_attention": True},
                            ["full", "window ±4"]),
    "gpt-oss": ("GptOssConfig", {**_GROUPS, **_MIXED, **_EXPERTS, "sliding_window": 6},
                ["full, causal, sinks", "window -5, causal, sinks"]),
    "EmbeddingGemma2": ("EmbeddingGemma2TextConfig",
                        {**_GROUPS, **_MIXED, "hidden_size_per_layer_input": 8, "embedding_dim": 16,
                         "sliding_window": 5}, ["full", "window ±5"]),
    "OpenAIPrivacyFilter": ("OpenAIPrivacyFilterConfig",
                            {**_GROUPS, **_EXPERTS, "num_hidden_layers": 2, "sliding_window": 6},
                            ["window ±6, sinks"]),
    "Ultrabert": ("UltrabertConfig", {**_GROUPS, **_MIXED, "sliding_window": 5},
                  ["full", "window ±5"]),
    "EuroBERT": ("EuroBertConfig", {**_GROUPS, "num_hidden_layers": 2, "mask_token_id": 3},
                 ["full"]),
    "Phi3": ("Phi3Config", {**_SIZE, "num_key_value_heads": 2, "num_hidden_layers": 2,
                            "sliding_window": 8, "resid_pdrop": 0.0}, ["window -7, causal"]),
    "Olmo3": ("Olmo3Config", {**_GROUPS, **_MIXED, "sliding_window": 10},
              ["full, causal", "window -9, causal"]),
    "Cohere2": ("Cohere2Config", {**_GROUPS, **_MIXED, "sliding_window": 10},
                ["full, causal", "window -9, causal"]),
    "BERT": ("BertConfig", {**_SIZE, **_NO_DROPOUT, "num_hidden_layers": 2}, ["full"]),
    "ModernBertDecoder": ("ModernBertDecoderConfig",
                          {**_MODERN, **_MIXED, "local_attention": 14},
                          ["full, causal", "window -6, causal"]),
}


@pytest.fixture(autouse=True)
def _registered() -> Any:
    longspan.hf.register()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for busy cores would take most of the time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        registered._warned.clear()
        yield
    torch.set_num_threads(threads)


def build(name: str, auto: str = "AutoModel", **changes: Any) -> Any:
    """A random model in eager mode, the same each time."""
    kind, arguments, _ = MODELS[name]
    config = getattr(transformers, kind)(**{**arguments, **changes})
    torch.manual_seed(11)
    model = getattr(transformers, auto).from_config(config, attn_implementation="eager")
    for parameter in model.parameters():  # zeros and ones would hide faults
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def rows(padding: str, count: int = 3, tokens: int = TOKENS) -> tuple[Any, Any]:
    """Random tokens (B, T) and their mask: rows of several lengths."""
    torch.manual_seed(5)
    ids = torch.randint(4, 96, (count, tokens))
    seen = torch.ones_like(ids)
    for row in range(1, count):
        hidden = tokens // 4 * row
        if padding == "right":
            seen[row, tokens - hidden:] = 0
        elif padding == "left":
            seen[row, :hidden] = 0
    return ids * seen, seen


def outputs_and_gradients(model: Any, ids: Any, seen: Any) -> tuple[Any, dict[str, Any]]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    out = model(input_ids=ids, attention_mask=seen).last_hidden_state
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    visible = seen.bool()
    (out[visible] * weights[visible]).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()
                 if parameter.grad is not None}
    return out[visible].detach(), gradients


def compare(model: Any, padding: str, tolerance: float) -> Any:
    """The model's report after a step by longspan that must agree with a step of eager code."""
    ids, seen = rows(padding)
    model.set_attn_implementation("eager")
    wanted, wanted_gradients = outputs_and_gradients(model, ids, seen)
    model.set_attn_implementation("longspan")
    longspan.hf.report(model)
    out, gradients = outputs_and_gradients(model, ids, seen)
    assert (out - wanted).abs().max() <= tolerance
    assert gradients.keys() == wanted_gradients.keys() and gradients
    most = max(float(gradient.abs().max()) for gradient in wanted_gradients.values())
    for name, gradient in gradients.items():
        assert (gradient - wanted_gradients[name]).abs().max() <= 1e-4 * most, name
    return longspan.hf.report(model)


@pytest.mark.parametrize("name", MODELS)
def test_equals_eager(name: str) -> None:
    model = build(name)
    tolerance = 5e-5 if name == "EmbeddingGemma2" else 2e-5
    for training in (False, True):
        model.train(training)
        for padding in ("none", "right", "left"):
            report = compare(model, padding, tolerance)
            assert sorted(report.runs) == MODELS[name][2]
            assert not report.fallbacks
            assert report.calls == model.config.num_hidden_layers


# ---- masks --------------------------------------------------------------------------------------


def record_masks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All that the mask function returns from now on."""
    found: list[Any] = []

    def mask(**arguments: Any) -> Any:
        found.append(masks.make_mask(**arguments))
        return found[-1]

    monkeypatch.setitem(transformers.AttentionMaskInterface._global_mapping, "longspan", mask)
    return found


def t5gemma(kind: str, **changes: Any) -> Any:
    """The encoder of T5Gemma or T5Gemma 2 in eager mode."""
    text = {**_GROUPS, **_MIXED, "sliding_window": 7, "query_pre_attn_scalar": 8}
    torch.manual_seed(11)
    if kind == "T5Gemma":
        module = transformers.T5GemmaConfig(encoder=text, decoder={**text, **changes})
        return transformers.AutoModelForSeq2SeqLM.from_config(
            module, attn_implementation="eager").eval().get_encoder()
    from transformers.models.t5gemma2 import modeling_t5gemma2
    config = modeling_t5gemma2.T5Gemma2TextConfig(**text, dropout_rate=0.0)
    config._attn_implementation = "eager"
    return modeling_t5gemma2.T5Gemma2TextEncoder(config).eval()


@pytest.mark.parametrize("name", [*MODELS, "T5Gemma", "T5Gemma2"])
def test_band_is_the_mask(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = t5gemma(name) if name.startswith("T5Gemma") else build(name)
    found = record_masks(monkeypatch)
    model.set_attn_implementation("longspan")
    ids, seen = rows("left")
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=seen)
    except ValueError as error:
        assert "softcap" in str(error)
    offsets = torch.arange(TOKENS)[None, :] - torch.arange(TOKENS)[:, None]
    assert found
    for mask in found:
        assert isinstance(mask, masks.WindowMask) and mask.reason is None
        window = (offsets >= -mask.left) & (offsets <= mask.right)
        wanted = mask.additive() == 0
        assert torch.equal(wanted, window[None, None] & mask.key_mask[:, None, None])
    windows = {(mask.left, mask.right) for mask in found}
    if name == "T5Gemma2":
        assert (3, 3) in windows
    if name == "T5Gemma":
        assert (7, 7) in windows


@pytest.mark.parametrize("window", [6, 7])
def test_asymmetric_window(window: int) -> None:
    model = t5gemma("T5Gemma2")
    model.config.sliding_window = window
    report = compare(model, "right", 2e-5)
    left, right = (window + 1) // 2 - 1, window // 2
    name = f"window ±{left}" if left == right else f"window -{left} +{right}"
    assert sorted(report.runs) == ["full", name] and not report.fallbacks


def test_band_of_closures() -> None:
    m = masks.masking
    everything = masks.ALL
    assert masks.band(m.causal_mask_function) == (everything, 0)
    assert masks.band(m.bidirectional_mask_function) == (everything, everything)
    assert masks.band(m.sliding_window_causal_mask_function(5)) == (4, 0)
    assert masks.band(m.sliding_window_bidirectional_mask_function(5)) == (5, 5)
    assert masks.band(m.sliding_window_overlay(5)) == (4, everything)
    assert masks.band(m.or_masks(m.sliding_window_causal_mask_function(5),
                                 m.sliding_window_bidirectional_overlay(2))) == (4, 2)
    assert masks.band(m.chunked_causal_mask_function(4, torch.zeros(1, dtype=torch.int64))) is None
    assert masks.band(m.and_masks(m.causal_mask_function, lambda b, h, q, k: k > q - 3)) is None
    assert masks.band(lambda *args: torch.tensor(False, dtype=torch.bool)) is None
    assert masks.band(m.or_masks(m.causal_mask_function,
                                 m.blockwise_overlay(torch.zeros(1, 9)))) is None
    assert masks.band(m.sliding_window_overlay(0)) is None  # a token does not see itself
    assert masks.band(torch.add) is None
    assert masks.band(None) is None


def test_closure_that_changed_its_meaning_is_not_trusted() -> None:
    def sliding_window_mask_function(sliding_window: int, is_causal: bool) -> Any:
        def inner_mask(batch: Any, head: Any, query: Any, key: Any) -> Any:
            return (abs(query - key) <= sliding_window) | is_causal
        return inner_mask

    function = sliding_window_mask_function(7, False)
    function.__qualname__ = "sliding_window_mask_function.<locals>.inner_mask"
    assert masks.band(function) is None


def test_mask_acts_as_a_tensor() -> None:
    arguments = {"batch_size": 2, "q_length": 9, "kv_length": 9, "q_offset": 0, "kv_offset": 0,
                 "mask_function": masks.masking.sliding_window_causal_mask_function(3),
                 "attention_mask": torch.ones(2, 9, dtype=torch.bool), "local_size": 3,
                 "dtype": torch.float32, "device": torch.device("cpu")}
    mask = masks.make_mask(**arguments)
    wanted = masks.masking.eager_mask(**arguments)
    scores = torch.randn(2, 4, 9, 9)
    assert torch.equal(scores + mask, scores + wanted)
    assert torch.equal(mask + scores, scores + wanted)
    assert torch.equal(torch.cat([mask, mask]), torch.cat([wanted, wanted]))
    assert torch.equal(mask[:, :, :, 2:], wanted[:, :, :, 2:])
    assert mask[:, :, :, :9] is mask and mask[:, :, :, :100] is mask
    assert mask.shape == wanted.shape and mask.ndim == 4 and mask.dtype == torch.float32
    assert mask.to("cpu") is mask and mask.to(torch.float64).dtype == torch.float64
    assert "left=2, right=0" in repr(mask)
    copy.copy(mask)


# ---- what falls back, and what is refused -------------------------------------------------------


def step_as_eager(model: Any, tolerance: float = 2e-5, **inputs: Any) -> Any:
    """The model's report after a forward pass that must agree with eager code."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = model(**inputs)[0]
        model.set_attn_implementation("longspan")
        longspan.hf.report(model)
        out = model(**inputs)[0]
    assert (out - wanted).abs().max() <= tolerance
    return longspan.hf.report(model)


@pytest.mark.parametrize("name", ["Mistral", "gpt-oss"])
def test_unknown_mask_falls_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = masks.masking.sliding_window_causal_mask_function

    def renamed(window: int) -> Any:
        def unknown(batch: Any, head: Any, query: Any, key: Any) -> Any:
            return key > query - window
        return masks.masking.and_masks(unknown, masks.masking.causal_mask_function)

    model = build(name)
    monkeypatch.setattr(masks.masking, "sliding_window_causal_mask_function", renamed)
    with pytest.warns(UserWarning, match="no window") as caught:
        warnings.simplefilter("always")
        report = step_as_eager(model, input_ids=rows("none")[0])
    assert len([entry for entry in caught if "no window" in str(entry.message)]) == 1
    layers = 2 if name == "Mistral" else 1
    assert report.fallbacks == {"a mask that is no window": layers}
    assert "fallback: a mask that is no window" in str(report)
    monkeypatch.setattr(masks.masking, "sliding_window_causal_mask_function", original)


@pytest.mark.parametrize("name", ["Mistral", "gpt-oss"])
def test_tensor_as_mask(name: str) -> None:
    model = build(name, **({"sliding_window": None} if name == "Mistral" else {}))
    ids, _ = rows("none")
    seen = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    seen[30:, 5:9] = False
    mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min).expand(3, 1, TOKENS, TOKENS)
    report = step_as_eager(model, input_ids=ids, attention_mask=mask)
    assert report.fallbacks == {"a mask tensor of the model's own": 2}


def test_softcap_is_refused() -> None:
    config = transformers.Gemma2Config(**{**_GROUPS, **_MIXED, "sliding_window": 8})
    ids, _ = rows("none")
    for model in (transformers.AutoModel.from_config(config), t5gemma("T5Gemma")):
        model.set_attn_implementation("longspan")
        with pytest.raises(ValueError, match='softcap.*attn_implementation="eager"'):
            model(input_ids=ids)


def test_other_arguments() -> None:
    class Layer(torch.nn.Module):
        is_causal = False

    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 12, 8) for _ in range(3))
    with pytest.raises(ValueError, match="sinks"):
        registered.attention(Layer(), q, k, v, None, sinks=torch.zeros(2, 4, 12, 1))
    with pytest.raises(ValueError, match="3 sinks for 4 heads"):
        registered.attention(Layer(), q, k, v, None, s_aux=torch.zeros(3))
    bias = torch.randn(1, 4, 12, 12)
    out, weights = registered.attention(Layer(), q, k, v, None, position_bias=bias, scaling=0.3)
    wanted = torch.softmax(0.3 * q @ k.transpose(2, 3) + bias, dim=-1) @ v
    assert weights is None and torch.allclose(out.transpose(1, 2), wanted, atol=1e-5)
    # Without a mask the argument sliding_window counts: it names one token more than each side has.
    out, _ = registered.attention(Layer(), q, k, v, None, sliding_window=3)
    near = (torch.arange(12)[:, None] - torch.arange(12)).abs() <= 2
    scores = (q @ k.transpose(2, 3) / 8**0.5).masked_fill(~near, -1e30)
    assert torch.allclose(out.transpose(1, 2), torch.softmax(scores, -1) @ v, atol=1e-5)
    half, _ = registered.attention(Layer(), q.double(), k.double(), v.double(), None)
    assert half.dtype == torch.float64
    with pytest.warns(UserWarning, match="output_attentions"):
        warnings.simplefilter("always")
        assert registered.attention(Layer(), q, k, v, None, output_attentions=True)[1] is None


def test_sinks_without_mask_and_with_dropout() -> None:
    layer = torch.nn.Identity()  # is_causal is taken to be True
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 9, 8, dtype=torch.float64) for _ in range(3))
    sinks = torch.randn(2)
    slow, _ = registered.attention(layer, q, k, v, None, s_aux=sinks)
    fast, _ = registered.attention(layer, q.float(), k.float(), v.float(), None, s_aux=sinks)
    assert torch.allclose(slow.float(), fast, atol=1e-5)
    dropped, _ = registered.attention(layer, q, k, v, None, s_aux=sinks, dropout=0.5)
    assert not torch.allclose(slow, dropped)


def test_packed_rows() -> None:
    ids, _ = rows("none", count=2)
    lengths = [[20, 3, 20], [1, 42]]
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in lengths])
    for name in ("Mistral", "ModernBertDecoder"):
        model = build(name)
        report = step_as_eager(model, input_ids=ids, position_ids=positions, use_cache=False)
        assert not report.fallbacks
        assert all("packed rows" in kind for kind in report.runs)


def test_packed_rows_gradient() -> None:
    model = build("Mistral").train()
    ids, _ = rows("none", count=2)
    positions = torch.cat([torch.arange(30), torch.arange(13)])[None]
    gradients = []
    for implementation in ("eager", "longspan"):
        model.set_attn_implementation(implementation)
        model.zero_grad()
        model(input_ids=ids, position_ids=positions, use_cache=False)[0].square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    most = max(float(gradient.abs().max()) for gradient in gradients[0])
    for wanted, gradient in zip(*gradients):
        assert (gradient - wanted).abs().max() <= 1e-4 * most


# ---- models without the hook --------------------------------------------------------------------


def hookless(name: str) -> Any:
    if name == "Longformer":
        return transformers.LongformerConfig(
            **{**_SIZE, **_NO_DROPOUT, "num_hidden_layers": 2, "attention_window": [8, 12]})
    if name == "LED":
        return transformers.LEDConfig(
            vocab_size=96, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32,
            encoder_attention_heads=4, decoder_attention_heads=4, decoder_ffn_dim=32, dropout=0.0,
            attention_window=8, max_encoder_position_embeddings=128, pad_token_id=0)
    if name == "BigBird":
        return transformers.BigBirdConfig(**{**_SIZE, **_NO_DROPOUT, "num_hidden_layers": 2,
                                             "attention_type": "original_full"})
    return transformers.ReformerConfig(
        attention_head_size=8, hidden_size=32, num_attention_heads=2, feed_forward_size=32,
        vocab_size=96, attn_layers=["local"], num_hidden_layers=1, axial_pos_embds=False,
        max_position_embeddings=256, local_attn_chunk_length=8, is_decoder=False, pad_token_id=0,
        hidden_dropout_prob=0.0, local_attention_probs_dropout_prob=0.0)


@pytest.mark.parametrize("name", ["Longformer", "LED", "BigBird", "Reformer"])
def test_models_with_attention_of_their_own(name: str) -> None:
    ids, seen = rows("right", tokens=48)
    inputs = {"input_ids": ids, "attention_mask": seen}
    results = []
    for implementation in (None, "longspan"):
        torch.manual_seed(11)
        model = transformers.AutoModel.from_config(
            hookless(name), **({"attn_implementation": implementation} if implementation else {}))
        with warnings.catch_warnings(record=True) as caught, torch.no_grad():
            warnings.simplefilter("always")
            results.append(model.eval()(**inputs)[0])
        told = [str(entry.message) for entry in caught if "longspan" in str(entry.message)]
        assert len(told) == (implementation is not None and name != "Reformer")
    assert torch.equal(*results)
    report = longspan.hf.report(model)
    assert not report.reached and report.calls == 0
    assert "not reached" in str(report) and "longspan.hf.accelerate" in str(report)
    model.set_attn_implementation("longspan")  # transformers warns, nothing else happens
    with torch.no_grad():
        assert torch.equal(model(**inputs)[0], results[0])


# ---- generation, checkpoints, types -------------------------------------------------------------


@pytest.mark.parametrize("name", ["Mistral", "Gemma3", "gpt-oss"])
def test_generate(name: str) -> None:
    model = build(name, auto="AutoModelForCausalLM")
    ids, seen = rows("left", tokens=24)
    texts = {}
    for implementation in ("eager", "longspan"):
        model.set_attn_implementation(implementation)
        for cache in ("dynamic", "static"):
            texts[implementation, cache] = model.generate(
                ids, attention_mask=seen, max_new_tokens=16, do_sample=False,
                cache_implementation=cache, eos_token_id=None, disable_compile=True)
    for cache in ("dynamic", "static"):
        assert torch.equal(texts["eager", cache], texts["longspan", cache])
    report = longspan.hf.report(model)
    assert report.runs and list(report.fallbacks) == [masks.DECODING]


@pytest.mark.parametrize("reentrant", [False, True])
def test_dropout_is_replayed_by_checkpoints(reentrant: bool) -> None:
    model = build("ModernBERT", attention_dropout=0.4).train()
    model.set_attn_implementation("longspan")
    ids, seen = rows("right")
    plain = outputs_and_gradients(model, ids, seen)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    again = outputs_and_gradients(model, ids, seen)
    model.gradient_checkpointing_disable()
    assert torch.equal(plain[0], again[0])
    for name, gradient in plain[1].items():
        assert torch.allclose(gradient, again[1][name], atol=1e-6), name
    model.eval()
    assert not torch.allclose(plain[0], outputs_and_gradients(model, ids, seen)[0], atol=1e-3)


@pytest.mark.parametrize("name", ["ModernBERT", "Mistral", "gpt-oss"])
@pytest.mark.parametrize("autocast", [False, True])
def test_bf16(name: str, autocast: bool) -> None:
    model = build(name)
    ids, seen = rows("right")
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=seen)[0][seen.bool()]
        if not autocast:
            model.to(torch.bfloat16)
        errors = []
        for implementation in ("eager", "longspan"):
            model.set_attn_implementation(implementation)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                out = model(input_ids=ids, attention_mask=seen)[0][seen.bool()].float()
            errors.append(float((out - wanted).norm() / wanted.norm()))
    report = longspan.hf.report(model)
    assert not report.fallbacks and report.runs
    assert errors[1] <= 1.5 * errors[0] + 1e-3  # no worse than eager code in bf16


@pytest.mark.parametrize("name", ["ModernBERT", "gpt-oss"])
def test_compiled_model(name: str) -> None:
    model = build(name, num_hidden_layers=2)
    model.set_attn_implementation("longspan")
    ids, seen = rows("right", count=2)
    masks._verified.clear()  # as in a process that begins with compiled code
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(model, backend="aot_eager")(input_ids=ids, attention_mask=seen)[0]
        wanted = model(input_ids=ids, attention_mask=seen)[0]
    visible = seen.bool()
    assert torch.allclose(compiled[visible], wanted[visible], atol=1e-5)
    torch.compiler.reset()


# ---- Trainer ------------------------------------------------------------------------------------


def train_losses(implementation: str, checkpointing: bool, folder: Any) -> list[float]:
    model = build("ModernBERT", auto="AutoModelForSequenceClassification", num_labels=3)
    model.set_attn_implementation(implementation)
    torch.manual_seed(7)
    data = []
    for _ in range(40):
        tokens = int(torch.randint(20, TOKENS, ()))
        ids = torch.zeros(TOKENS, dtype=torch.int64)
        ids[:tokens] = torch.randint(4, 96, (tokens,))
        data.append({"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": ids[0] % 3})
    arguments = transformers.TrainingArguments(
        str(folder), use_cpu=True, report_to=[], max_steps=20, logging_steps=1, seed=1,
        per_device_train_batch_size=4, learning_rate=1e-3, save_strategy="no", disable_tqdm=True,
        gradient_checkpointing=checkpointing, dataloader_pin_memory=False)
    trainer = transformers.Trainer(model, arguments, train_dataset=data)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_trainer(tmp_path: Any) -> None:
    pytest.importorskip("accelerate")
    wanted = train_losses("sdpa", False, tmp_path)
    assert len(wanted) == 20 and wanted[-1] != wanted[0]
    for checkpointing in (False, True):
        losses = train_losses("longspan", checkpointing, tmp_path)
        assert max(abs(a - b) for a, b in zip(wanted, losses)) <= 1e-5


# ---- report -------------------------------------------------------------------------------------


def test_report() -> None:
    model = build("ModernBERT")
    report = longspan.hf.report(model)
    assert report.reached and report.calls == 0 and len(report.layers) == 4
    assert "not called yet" in str(report) and "set_attn_implementation" in str(report)
    model.set_attn_implementation("longspan")
    ids, seen = rows("right")
    for _ in range(3):
        model(input_ids=ids, attention_mask=seen)
    report = longspan.hf.report(model)
    assert report.runs == {"full": 6, "window ±7": 6} and report.fallbacks == {}
    assert [layer.what for layer in report.layers] == ["full", "window ±7", "window ±7", "full"]
    assert "window ±7" in report._repr_html_() and "<table>" in report._repr_html_()
    assert "set_attn" not in str(report)
    assert longspan.hf.report(model).calls == 0  # counts began anew, kinds are known
    assert "window ±7" in str(longspan.hf.report(model))
    other = copy.deepcopy(model)
    assert "not called yet" in str(longspan.hf.report(other))


def test_register_is_idempotent_and_survives_saving(tmp_path: Any) -> None:
    longspan.hf.register()
    longspan.hf.register()
    model = build("ModernBERT")
    model.set_attn_implementation("longspan")
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="longspan")
    ids, seen = rows("right")
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids, attention_mask=seen)[0],
                           model(input_ids=ids, attention_mask=seen)[0])
