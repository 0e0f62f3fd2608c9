"""longspan.load and the methods of a Model."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402
from longspan.models import Model  # noqa: E402
from longspan.tokenizer import Tokenizer  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROBERTA = ROOT / "tests/tokenizers/roberta"
GOLDEN = ROOT / "golden"
LONG = "She walked to the sea, and the sea was grey. " * 150  # some 1,600 tokens

if not GOLDEN.is_dir():
    pytest.skip("the recorded cases are not in this tree", allow_module_level=True)


# ---- what a model is ----------------------------------------------------------------------------


def test_info(models: dict[str, Model], folders: dict[str, Path]) -> None:
    model = models["classify"]
    assert model.head == "classify" and model.labels == ["good", "bad", "ugly"]
    assert model.info["longest"] == 1024 and model.max_seq_length == 512  # as the tokenizer says
    assert model.info["parameters"] > 100_000
    assert model.path == str(folders["classify"])
    assert model.config["model_type"] == "longformer"
    assert "LongformerForSequenceClassification" in repr(model)
    assert "<table>" in model._repr_html_()


def test_errors_are_classes_of_python(tmp_path: Path, models: dict[str, Model]) -> None:
    with pytest.raises(longspan.IoError, match="nowhere"):
        longspan.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="dtype is 'float16'"):
        longspan.load(models["mlm"].path, dtype="float16")
    with pytest.raises(TypeError, match="load: path is int"):
        longspan.load(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unknown option 'max_len'; did you mean 'max_length'"):
        models["mlm"].encode("a", max_len=3)  # type: ignore[call-overload]
    with pytest.raises(longspan.FormatError):
        longspan.load(models["mlm"].path, head="qa")
    with pytest.raises(ValueError):
        models["mlm"].classify("a text")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(longspan.FormatError) as caught:
        longspan.load(tmp_path)
    assert "\n" not in str(caught.value) and caught.value.code == 3


def test_pickle_copy_save(models: dict[str, Model], tmp_path: Path) -> None:
    model = models["classify"]
    again = pickle.loads(pickle.dumps(model))
    assert again.classify("a text") == model.classify("a text")
    assert copy.copy(model) is model and copy.deepcopy(model) is model
    model.save(tmp_path / "saved")
    saved = longspan.load(tmp_path / "saved")
    assert saved.classify("a text") == model.classify("a text")


def test_memory_limit(folders: dict[str, Path]) -> None:
    model = longspan.load(folders["mlm"], memory_limit="100K")
    with pytest.raises(MemoryError, match="the limit is"):
        model.encode("She walked to the sea.")
    with pytest.raises(longspan.UsageError, match="memory_limit: '4X'"):
        longspan.load(folders["mlm"], memory_limit="4X")


# ---- vectors ------------------------------------------------------------------------------------


def test_encode_shapes(models: dict[str, Model]) -> None:
    model = models["mlm"]
    one, two = model.encode("a text"), model.encode(["a text", LONG])
    assert one.shape == (128,) and two.shape == (2, 128)
    assert one.dtype == two.dtype == np.float32
    # Texts side by side share dense products, whose form follows from the number of rows.
    np.testing.assert_allclose(one, two[0], rtol=1e-5, atol=1e-5)
    assert model.encode([]).shape == (0, 128)
    assert model.get_embedding_dimension() == 128
    assert np.array_equal(model.encode(np.array(["a text"])), one[None])


def test_long_texts_are_never_cut(models: dict[str, Model]) -> None:
    model = models["mlm"]
    whole, cut = model.encode(LONG), model.encode(LONG, overflow="truncate")
    assert not np.allclose(whole, cut, atol=1e-4)
    with pytest.raises(longspan.LimitError):
        model.encode(LONG, overflow="error")


def test_encode_options(models: dict[str, Model]) -> None:
    model = models["mlm"]
    texts = ["a", "a longer text", "b", "the sea was grey"]
    plain = model.encode(texts)
    assert np.allclose(plain, model.encode(texts, batch_size=2), atol=1e-6)
    unit = model.encode(texts, normalize_embeddings=True)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)
    short = model.encode(texts, normalize_embeddings=True, truncate_dim=16)
    assert short.shape == (4, 16)
    assert np.allclose(np.linalg.norm(short, axis=1), 1.0, atol=1e-6)
    assert np.array_equal(model.encode(texts, truncate_dim=16), plain[:, :16])
    bits = model.encode(texts, precision="ubinary")
    assert bits.shape == (4, 16) and bits.dtype == np.uint8
    assert np.array_equal(np.unpackbits(bits, axis=1), (plain > 0).astype(np.uint8))
    signed = model.encode(texts, precision="binary").astype(int)
    assert np.array_equal(signed, bits.astype(int) - 128)
    cls = model.encode(texts, pooling="cls")
    assert not np.allclose(plain, cls)
    prompted = model.encode("a", prompt="query: ")
    assert np.array_equal(prompted, model.encode("query: a"))


def test_encode_to_steps(models: dict[str, Model]) -> None:
    """Steps of 256, by the formula of sentence-transformers' quantize_embeddings."""
    model = models["mlm"]
    texts = ["a", "a longer text", "b", "the sea was grey"]
    plain = model.encode(texts)
    with pytest.warns(RuntimeWarning, match="the ranges of int8 come from 4 vectors alone") as told:
        steps = model.encode(texts, precision="int8")
    assert told[0].filename == __file__
    least, largest = plain.min(0), plain.max(0)
    step = (largest - least) / np.float32(255)
    assert steps.dtype == np.int8
    # The division is rounded as NumPy or as C++ does it: a step apart at most, and hardly ever.
    expected = np.floor((plain - least) / step) - 128
    assert np.abs(steps - expected).max() <= 1 and (steps != expected).mean() < 0.01
    assert steps.min() == -128 and steps.max() == 127
    with pytest.warns(RuntimeWarning, match="the ranges of uint8 come from 4 vectors") as told:
        unsigned = longspan.quantize_embeddings(plain, "uint8")
    assert told[0].filename == __file__
    assert unsigned.dtype == np.uint8
    assert np.array_equal(unsigned, steps.astype(int) + 128)
    other = model.encode("b", precision="int8", ranges=[least, largest])
    alone = longspan.quantize_embeddings(
        model.encode("b")[None], "int8", calibration_embeddings=plain
    )
    assert other.shape == (128,) and np.array_equal(other, alone[0])
    assert model.encode([], precision="ubinary").shape == (0, 16)
    odd = model.encode(texts, precision="ubinary", truncate_dim=12)  # the last byte is not full
    assert odd.shape == (4, 2)
    assert np.array_equal(np.unpackbits(odd, axis=1)[:, :12], plain[:, :12] > 0)


def test_enough_vectors_do_not_warn() -> None:
    vectors = np.random.default_rng(1).random((100, 4), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longspan.quantize_embeddings(vectors, "int8")
        longspan.quantize_embeddings(vectors[:3], "int8", [[0] * 4, [1] * 4])
        with pytest.raises(RuntimeWarning, match="99 vectors"):
            longspan.quantize_embeddings(vectors[:99], "int8")


def test_encode_tokens(models: dict[str, Model]) -> None:
    model = models["mlm"]
    ids = model.tokenizer.encode("a longer text").ids
    one = model.encode("a longer text", output_value="token_embeddings")
    assert one.shape == (len(ids), 128) and one.dtype == np.float32
    np.testing.assert_allclose(one, model.hidden(ids), rtol=1e-5, atol=1e-5)
    texts = ["a longer text", LONG, "b"]
    many = model.encode(texts, output_value="token_embeddings", batch_size=2)
    np.testing.assert_allclose(many[0], one, rtol=1e-5, atol=1e-5)
    assert len(many) == 3 and len(many[1]) > model.max_seq_length
    means = np.stack([vectors.mean(0) for vectors in many])
    np.testing.assert_allclose(means, model.encode(texts, pooling="mean"), rtol=1e-4, atol=1e-5)
    assert model.encode([], output_value="token_embeddings") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_value": "sentences"}, "output_value is 'sentences', need"),
        ({"output_value": "token_embeddings", "pooling": "cls"}, "no pooling"),
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"precision": "int8"}, "precision 'int8' needs ranges"),
        ({"precision": "int8", "ranges": [[0.0], [1.0]]}, "ranges"),
        ({"precision": "int8", "ranges": [0.0, 1.0]}, "ranges has the shape"),
        ({"precision": "ubinary", "ranges": [[0.0], [1.0]]}, "ranges belong to"),
        ({"device": "cuda"}, "device is 'cuda'"),
        ({"truncate_dim": 0}, "truncate_dim is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"pooling": "median"}, "median"),
        ({"prompt_name": "query"}, "query"),
        ({"overflow": "drop"}, "overflow is 'drop'"),
    ],
)
def test_encode_refuses(models: dict[str, Model], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models["mlm"].encode("a text", **options)


def test_encode_names_the_text(models: dict[str, Model]) -> None:
    with pytest.raises(TypeError, match=r"inputs\[1\] is int, need str"):
        models["mlm"].encode(["a", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"inputs\[0\]: .*surrogate"):
        models["mlm"].encode(["\ud800"])
    with pytest.raises(TypeError, match="inputs is int"):
        models["mlm"].encode(3)  # type: ignore[call-overload]


def test_prompts_of_the_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    model = longspan.load(folders["mlm"])
    model.save(tmp_path)
    prompts = {"query": "ask: ", "passage": "read: "}
    config = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "dot"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    prompted = longspan.load(tmp_path)
    assert prompted.prompts == prompts
    assert np.array_equal(prompted.encode_query("sea"), model.encode("ask: sea"))
    assert np.array_equal(prompted.encode_document(["sea"]), model.encode(["read: sea"]))
    a, b = np.eye(3)[:2] * 2, np.eye(3)
    assert np.array_equal(prompted.similarity(a, b), a @ b.T)
    assert np.allclose(model.similarity(a, b), np.eye(3)[:2])
    assert np.allclose(model.similarity_pairwise(a, b[:2]), [1, 1])
    with pytest.raises(ValueError, match="do not fit"):
        model.similarity(a, np.eye(4))


# ---- tasks --------------------------------------------------------------------------------------


def test_classify(models: dict[str, Model]) -> None:
    model = models["classify"]
    one = model.classify("a good day")
    assert set(one.scores) == {"good", "bad", "ugly"}
    assert one.score == max(one.scores.values()) and one.label == next(iter(one.scores))
    assert abs(sum(one.scores.values()) - 1) < 1e-6 and one.labels() == [one.label]
    many = model.classify(["a good day", ("a pair", "of texts"), LONG])
    assert many[0].label == one.label and len(many[2].windows) > 2
    assert many[0].scores == pytest.approx(one.scores, abs=1e-6)
    assert many[2].windows[0].start == 0 and many[2].windows[-1].end == len(LONG)
    assert "<table>" in one._repr_html_()


def test_explain(models: dict[str, Model]) -> None:
    text = "It was good. It was bad. She wept."
    why = models["classify"].explain(text)
    assert [s.text.strip() for s in why.sentences] == ["It was good.", "It was bad.", "She wept."]
    assert abs(sum(why.sentences[0].influence.values())) < 1e-6
    assert len(why.most_influential(k=2)) == 2
    assert "<mark" in why._repr_html_()


def test_token_classify(models: dict[str, Model]) -> None:
    text = "Ärger: Anne Elliot saw Élise."
    spans = models["ner"].token_classify(text, aggregation="none")
    for span in spans:
        assert text[span.start : span.end] == span.word and span.label != "O"
    assert models["ner"].token_classify([text], aggregation="none") == [spans]
    assert "white-space" in spans._repr_html_()
    with pytest.raises(ValueError, match="median"):
        models["ner"].token_classify(text, aggregation="median")


def test_qa(models: dict[str, Model]) -> None:
    context = "Anne was in Bath. " * 30
    answer = models["qa"].qa("Where was Anne?", context)
    assert context[answer.start : answer.end] == answer.text and 0 <= answer.score <= 1
    several = models["qa"].qa("Where was Anne?", context, top_k=3)
    assert several[0] == answer and len(several) == 3
    both = models["qa"].qa(["Where was Anne?", "Who?"], context)
    assert both[0].text == answer.text and len(both) == 2
    with pytest.raises(ValueError, match="2 questions and 1 contexts"):
        models["qa"].qa(["a", "b"], ["c"])


def test_rerank(models: dict[str, Model], tmp_path: Path) -> None:
    longspan.init_model(
        tmp_path / "pairs",
        family="longformer",
        preset="tiny",
        tokenizer=ROBERTA,
        head="classify",
        labels=["score"],
    )
    model = longspan.load(tmp_path / "pairs")
    texts = ["She went to sea.", "A house.", LONG, "The sea was grey."]
    ranked = model.rerank("who went to sea?", texts)
    assert sorted(r.index for r in ranked) == [0, 1, 2, 3]
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)
    for r in ranked:
        assert r.text == texts[r.index]
        windows = model.classify(("who went to sea?", r.text)).windows
        best = max(windows, key=lambda w: w.scores["score"])
        assert r.logit == pytest.approx(best.scores["score"], abs=1e-5)
        assert r.score == pytest.approx(1 / (1 + np.exp(-r.logit)), abs=1e-6)
        assert (r.start, r.end) == (best.start, best.end)
    assert model.rerank("who?", texts, top_k=2) == model.rerank("who?", texts)[:2]
    assert model.rerank("who?", []) == []
    with pytest.raises(ValueError, match="top_k is 0"):
        model.rerank("who?", texts, top_k=0)
    with pytest.raises(TypeError, match=r"texts\[1\] is int"):
        model.rerank("who?", ["a", 3])  # type: ignore[list-item]
    with pytest.raises(longspan.FormatError, match="one label"):
        models["classify"].rerank("who?", texts)


def test_multiple_choice(models: dict[str, Model]) -> None:
    choice = models["choice"].multiple_choice("The sea is", ["grey", "a chair", "loud"])
    assert choice.text == ["grey", "a chair", "loud"][choice.index]
    assert abs(sum(choice.scores) - 1) < 1e-6 and choice.score == max(choice.scores)
    assert models["choice"].multiple_choice(["The sea is"], [["grey", "a chair", "loud"]]) == [
        choice
    ]


def test_fill_mask(models: dict[str, Model]) -> None:
    model = models["mlm"]
    mask = model.tokenizer.mask_token
    filled = model.fill_mask(f"The sea {mask} grey, she {mask}.", top_k=3)
    assert len(filled) == 2 and [len(m.guesses) for m in filled] == [3, 3]
    assert filled.text[filled[0].start : filled[0].end].strip() == mask
    assert mask is not None and mask not in filled.best
    with pytest.raises(ValueError, match="mask"):
        model.fill_mask("nothing is missing")


def test_filled_texts_have_their_spaces() -> None:
    from longspan.results import Filled, FilledMask, Guess

    filled = Filled("The sea <mask> grey.", (FilledMask(8, 14, ()),))
    assert filled.fill([Guess(" was", 0.5, 1, "\u0120was", False)]) == "The sea was grey."
    assert filled.fill([Guess("'s", 0.5, 1, "'s", True)]) == "The sea's grey."
    assert filled.fill([Guess("was", 0.5, 1, "was", False)]) == "The sea was grey."
    assert filled.fill([Guess("##s", 0.5, 1, "##s", True, "s")]) == "The seas grey."
    accents = Filled("\u00c9l\u00e9onore  <mask>.", (FilledMask(10, 16, ()),))
    assert accents.fill([Guess("##s", 0.5, 1, "##s", True, "s")]) == "\u00c9l\u00e9onores."
    with pytest.raises(longspan.UsageError, match="0 guesses for 1 masks"):
        filled.fill([])
    first = Filled("<mask> was grey.", (FilledMask(0, 6, ()),))
    assert first.fill([Guess(" It", 0.5, 1, "\u0120It", False)]) == "It was grey."


def test_scores_are_those_of_the_program(models: dict[str, Model], tmp_path: Path) -> None:
    program = ROOT / "build/release/longspan"
    if not program.is_file():
        pytest.skip("the program is not built")
    run = subprocess.run(
        [program, "classify", "-m", models["classify"].path, "--text", LONG, "--json", "-q"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = {l["label"]: l["score"] for l in json.loads(run.stdout)["results"][0]["labels"]}
    ours = models["classify"].classify(LONG).scores
    assert ours == pytest.approx(theirs, abs=1e-6)


# ---- texts --------------------------------------------------------------------------------------


def test_generate(models: dict[str, Model]) -> None:
    model = models["lm"]
    one = model.generate("She had", tokens=12, seed=3)
    assert len(one.ids) <= 12 and one.ending == "length" and str(one) == one.text
    assert model.generate("She had", tokens=12, seed=3) == one
    many = model.generate(["She had", "He was"], tokens=12, seed=3)
    assert many[0] == one and many[1].prompt == "He was"
    beams = model.generate("She had", tokens=4, beams=3)
    assert len(beams.beams) == 3 and beams.text == beams.beams[0].text
    with pytest.raises(ValueError, match="prompt"):
        model.generate("")
    with pytest.raises(TypeError, match="unknown option 'max_tokens'"):
        model.generate("a", max_tokens=3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="length_penalty needs beams"):
        model.generate("a", length_penalty=2.0)


def test_stream(models: dict[str, Model]) -> None:
    model = models["lm"]
    whole = model.generate("She had", tokens=40)
    stream = model.generate("She had", tokens=40, stream=True)
    with pytest.raises(ValueError, match="not finished"):
        stream.result
    pieces = list(stream)
    assert "".join(pieces) == whole.text and len(pieces) > 3
    assert stream.result == whole and list(stream) == []


def test_stream_stops(models: dict[str, Model]) -> None:
    begin = time.monotonic()
    with models["lm"].generate("She had", tokens=100_000, context=64, stream=True) as stream:
        next(stream)
    assert time.monotonic() - begin < 5
    stream = models["lm"].generate("She had", tokens=100_000, context=64, stream=True)
    thread = stream._thread
    del stream  # nobody reads it any more
    thread.join(5)
    assert not thread.is_alive()
    with pytest.raises(ValueError):
        list(models["lm"].generate("", stream=True))


def test_on_text(models: dict[str, Model]) -> None:
    model = models["lm"]
    whole = model.generate("She had", tokens=30)
    pieces: list[str] = []
    assert model.generate("She had", tokens=30, on_text=pieces.append) == whole
    assert "".join(pieces) == whole.text
    ended = model.generate("She had", tokens=30, on_text=lambda piece: False)
    assert ended.ending == "caller"
    got: list[tuple[int, str]] = []
    model.generate(["She", "He"], tokens=5, on_text=lambda i, piece: got.append((i, piece)))
    assert {i for i, _ in got} == {0, 1}


def test_exceptions_of_callbacks_are_unchanged(models: dict[str, Model]) -> None:
    class Own(Exception):
        pass

    error = Own("mine")

    def fail(piece: str) -> None:
        raise error

    with pytest.raises(Own) as caught:
        models["lm"].generate("She had", tokens=30, on_text=fail)
    assert caught.value is error
    caller = threading.current_thread()
    seen: list[threading.Thread] = []
    models["lm"].generate(
        "She", tokens=3, on_text=lambda piece: seen.append(threading.current_thread())
    )
    assert set(seen) == {caller}


def test_calls_inside_of_callbacks(models: dict[str, Model]) -> None:
    lengths = []

    def ask(piece: str) -> None:
        lengths.append(models["mlm"].encode(piece or "a").shape)

    models["lm"].generate("She had", tokens=4, on_text=ask)
    assert set(lengths) == {(128,)}


# ---- ids ----------------------------------------------------------------------------------------


def test_hidden_and_logits(models: dict[str, Model]) -> None:
    model = models["mlm"]
    ids = model.tokenizer.encode("The sea was grey.").ids
    states = model.hidden(ids)
    assert states.shape == (len(ids), 128)
    assert np.allclose(model.hidden([ids, ids])[1], states, atol=1e-5)
    padded = np.array([ids + [1, 1]])
    mask = np.array([[1] * len(ids) + [0, 0]])
    hidden = model.hidden(padded, attention_mask=mask)[0, : len(ids)]
    assert np.allclose(hidden, states, atol=1e-5)
    logits = model.logits(ids)
    assert logits.shape == (len(ids), model.info["vocabulary"])
    ragged = model.logits([ids, ids[:4]])
    assert [r.shape[0] for r in ragged] == [len(ids), 4]
    assert np.allclose(ragged[0], logits, atol=1e-5)
    assert models["classify"].logits([ids, ids]).shape == (2, 3)
    with pytest.raises(TypeError, match="ids has elements of type float64"):
        model.hidden([0.5])
    with pytest.raises(ValueError, match="attention_mask has the shape"):
        model.hidden(ids, attention_mask=[1])
    with pytest.raises(longspan.FormatError):
        model.hidden([10**6])


@pytest.mark.parametrize("name", ["longformer-mlm", "reformer-lm", "reformer-lsh"])
def test_recorded_cases(name: str) -> None:
    from longspan.training import verify

    parity = verify(GOLDEN / name, GOLDEN / name / "case.safetensors")
    assert parity.ok and parity.tensors


def test_bfloat16(models: dict[str, Model]) -> None:
    model = longspan.load(models["mlm"].path, dtype="bfloat16")
    a, b = model.encode(LONG), models["mlm"].encode(LONG)
    assert not np.array_equal(a, b) and model.similarity(a, b)[0, 0] > 0.99


# ---- tokenizers ---------------------------------------------------------------------------------


def test_tokenizer() -> None:
    tokenizer = Tokenizer(ROBERTA)
    text = "Ärger at the sea."
    row = tokenizer.encode(text)
    assert len(row) == len(row.tokens) == len(row.offsets) == sum(row.attention_mask)
    assert row.special_tokens_mask[0] == row.special_tokens_mask[-1] == 1
    assert row.sequence_ids[0] is None and row.sequence_ids[1] == 0
    assert tokenizer.decode(row.ids) == text
    assert {text[start:end] for start, end in row.offsets} >= {"Ä", ".", ""}
    assert tokenizer.decode_batch([row.ids, np.array(row.ids)]) == [text, text]
    assert tokenizer.token_to_id("<mask>") == tokenizer.special_ids["mask"]
    assert tokenizer.token_to_id("no such token") is None
    pair = tokenizer.encode("one", "two")
    assert set(pair.sequence_ids) == {None, 0, 1}
    windows = tokenizer.encode(LONG, max_length=100, overflow="window", stride=10)
    assert len(windows.overflowing) > 10 and len(windows) == 100
    with pytest.raises(longspan.LimitError):
        tokenizer.encode(LONG, max_length=100)
    cut = tokenizer.encode("one", LONG, max_length=100, overflow="truncate")
    assert cut.dropped[0] == 0 < cut.dropped[1]
    cut = tokenizer.encode(LONG, "two", max_length=100, overflow="truncate-first")
    assert cut.dropped[0] > 0 == cut.dropped[1]
    with pytest.raises(longspan.FormatError):
        tokenizer.decode([10**6])
    assert "ids" in repr(tokenizer)
