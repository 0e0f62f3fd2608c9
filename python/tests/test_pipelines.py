"""longspan.pipeline: the keys and the nesting that transformers has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("longspan._models", reason="this build has the attention functions alone")

import longspan  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROBERTA = ROOT / "tests/tokenizers/roberta"

if not ROBERTA.is_dir():
    pytest.skip("the tokenizers are not in this tree", allow_module_level=True)


def make(folder: Path, **options: Any) -> Path:
    longspan.init_model(folder, preset="tiny", **options)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def classifier(base: Path) -> Path:
    return make(base / "classify", family="longformer", tokenizer=ROBERTA, head="classify",
                labels=["good", "bad", "ugly"])  # fmt: skip


@pytest.fixture(scope="module")
def masked(base: Path) -> Path:
    return make(base / "mlm", family="longformer", tokenizer=ROBERTA)


def test_text_classification(classifier: Path) -> None:
    pipe = longspan.pipeline("sentiment-analysis", classifier)
    one = pipe("a good day")
    assert len(one) == 1 and set(one[0]) == {"label", "score"}
    assert pipe(["a good day"]) == one
    all_labels = pipe("a good day", top_k=None)
    assert [set(row) for row in all_labels] == [{"label", "score"}] * 3
    assert all_labels[0] == one[0]
    assert [len(rows) for rows in pipe(["a", "b"], top_k=2)] == [2, 2]
    pair = pipe({"text": "a good day", "text_pair": "at the sea"})
    assert set(pair) == {"label", "score"}
    assert "text-classification" in repr(pipe)
    with pytest.raises(ValueError, match="function_to_apply"):
        pipe("a", function_to_apply="sigmoid")
    with pytest.raises(ValueError, match="text_pair"):
        pipe({"txt": "a"})


def test_token_classification(base: Path) -> None:
    folder = make(base / "ner", family="longformer", tokenizer=ROBERTA, head="token-classify",
                  labels=["O", "B-PER", "I-PER"])  # fmt: skip
    pipe = longspan.pipeline("ner", folder)
    text = "Anne Elliot saw the sea."
    for span in pipe(text):
        assert set(span) == {"entity", "score", "word", "start", "end"}
        assert text[span["start"] : span["end"]] == span["word"]
    grouped = longspan.pipeline("token-classification", folder, aggregation_strategy="simple")
    for span in grouped([text])[0]:
        assert set(span) == {"entity_group", "score", "word", "start", "end"}


def test_fill_mask(masked: Path) -> None:
    pipe = longspan.pipeline("fill-mask", masked)
    rows = pipe("The sea <mask> grey.")
    assert len(rows) == 5
    assert set(rows[0]) == {"score", "token", "token_str", "sequence"}
    assert rows[0]["sequence"].startswith("The sea") and "<mask>" not in rows[0]["sequence"]
    assert [len(of) for of in pipe("The <mask> was <mask>.", top_k=2)] == [2, 2]
    assert len(pipe(["a <mask>", "b <mask>"])) == 2


def test_feature_extraction(masked: Path) -> None:
    pipe = longspan.pipeline("feature-extraction", masked)
    array = pipe("The sea", return_tensors=True)
    assert array.shape[0] == 1 and array.shape[2] == 128 and array.dtype == np.float32
    assert pipe(["The sea"]) == [array.tolist()]


def test_text_generation(base: Path) -> None:
    pipe = longspan.pipeline("text-generation", make(base / "lm"))
    one = pipe("She had", max_new_tokens=4)
    assert list(one[0]) == ["generated_text"] and one[0]["generated_text"].startswith("She had")
    new = pipe(["She had", "He"], max_new_tokens=4, return_full_text=False, do_sample=False)
    assert len(new) == 2 and not new[0][0]["generated_text"].startswith("She had")
    assert pipe("She had", max_new_tokens=4, num_beams=2)[0]["generated_text"]
    with pytest.raises(ValueError, match="num_return_sequences"):
        pipe("a", num_return_sequences=3)


def test_question_answering(base: Path) -> None:
    folder = make(base / "qa", family="longformer", tokenizer=ROBERTA, head="qa")
    pipe = longspan.pipeline("question-answering", folder)
    context = "Anne was in Bath, and Lady Russell was there."
    one = pipe(question="Where was Anne?", context=context)
    assert set(one) == {"score", "start", "end", "answer"}
    assert context[one["start"] : one["end"]] == one["answer"]
    assert pipe({"question": "Where was Anne?", "context": context}) == one
    assert len(pipe(question="Who?", context=context, top_k=2)) == 2
    assert len(pipe(question=["Who?", "Where?"], context=context)) == 2
    with pytest.raises(ValueError, match="give question and context"):
        pipe(question="Who?")


def test_errors(masked: Path, classifier: Path) -> None:
    with pytest.raises(ValueError, match="zero-shot-classification.*natural language inference"):
        longspan.pipeline("zero-shot-classification", classifier)
    with pytest.raises(ValueError, match="no task 'dancing': there are text-classification"):
        longspan.pipeline("dancing", classifier)
    with pytest.raises(longspan.FormatError):
        longspan.pipeline("text-classification", masked)
    with pytest.raises(ValueError, match="device is 0"):
        longspan.pipeline("fill-mask", masked, device=0)
    with pytest.raises(TypeError, match="fill-mask: unknown option 'top'; did you mean 'top_k'"):
        longspan.pipeline("fill-mask", masked)("a <mask>", top=3)
    model = longspan.load(masked)
    assert longspan.pipeline("fill-mask", model).model is model
