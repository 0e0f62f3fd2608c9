// longspan._models.TaskModel, Embedder, Reranker and quantize: questions about texts.
//
// Results are tuples, lists and floats. python/longspan/results.py has the classes that people see.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "longspan/tasks.h"
#include "longspan/vectors.h"
#include "models.h"
#include "models_tokenizer.h"
#include "models_values.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

TaskModel MakeTaskModel(const Model& model, nb::dict given) {
  Options options("load", std::move(given));
  TaskOptions task;
  options.ReadName("global_tokens", task.global,
                   [](const std::string& text) { return GlobalRule::Parse(text); });
  options.ReadName("overflow", task.overflow, ParseRowOverflow);
  options.Read("max_length", task.max_length);
  options.Read("stride", task.stride);
  options.Read("batch_tokens", task.batch_tokens);
  const nb::gil_scoped_release release;
  return TaskModel(model, std::move(task));
}

// ---- vectors ------------------------------------------------------------------------------------

Embedder MakeEmbedder(const TaskModel& model, nb::dict given) {
  Options options("encode", std::move(given));
  EmbedOptions embed;
  options.ReadName("pooling", embed.pooling,
                   [](const std::string& name) { return ParsePooling(name); });
  options.Read("normalize", embed.normalize);
  options.Read("prompt", embed.prompt);
  options.Read("prompt_name", embed.prompt_name);
  return ComputeAlone([model, embed] { return Embedder(model, embed); });
}

// (texts, width), fp32.
nb::object EmbedTexts(const Embedder& embedder, const nb::list& list, nb::dict call) {
  const std::vector<std::string> texts = TextsOf(list, "inputs");
  Tensor vectors = Compute(ReadCall({"encode", std::move(call)}),
                           [&](Context& context) { return embedder.Embed(context, texts); });
  return ArrayObject(std::move(vectors), {static_cast<idx_t>(texts.size()), embedder.width()});
}

// One (tokens, width of the model), fp32, for each text.
nb::list EmbedTokens(const Embedder& embedder, const nb::list& list, nb::dict call) {
  const std::vector<std::string> texts = TextsOf(list, "inputs");
  std::vector<Tensor> vectors =
      Compute(ReadCall({"encode", std::move(call)}),
              [&](Context& context) { return embedder.EmbedTokens(context, texts); });
  nb::list made;
  for (Tensor& of_text : vectors) {
    const std::vector<idx_t> shape = of_text.shape();
    made.append(ArrayObject(std::move(of_text), shape));
  }
  return made;
}

// ---- fewer bits ---------------------------------------------------------------------------------

// Vectors (N, width), or ranges (2, width).
using VectorArray = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Over the array's memory, which is only read.
Tensor TensorOver(const VectorArray& array) {
  std::vector<idx_t> shape = {static_cast<idx_t>(array.shape(0)),
                              static_cast<idx_t>(array.shape(1))};
  if (array.size() == 0) return Tensor(std::move(shape));
  return Tensor::Adopt(const_cast<float*>(array.data()), std::move(shape), DType::kF32, {});
}

nb::object QuantizeVectors(const VectorArray& vectors, nb::handle precision,
                           const std::optional<VectorArray>& ranges) {
  const Precision wanted = ParsePrecision(TextOf(precision, "precision"));
  Tensor made = Quantize(TensorOver(vectors), wanted, ranges ? TensorOver(*ranges) : Tensor());
  const std::vector<idx_t> shape = made.shape();
  return ArrayObject(std::move(made), shape);
}

nb::object RangesOfVectors(const VectorArray& vectors) {
  Tensor made = RangesOf(TensorOver(vectors));
  const std::vector<idx_t> shape = made.shape();
  return ArrayObject(std::move(made), shape);
}

// ---- relevance ----------------------------------------------------------------------------------

Reranker MakeReranker(const TaskModel& model) {
  return ComputeAlone([model] { return Reranker(model); });
}

// [(text, score, logit, begin, end)], the best first; `query`: a list of one.
nb::list RankTexts(const Reranker& reranker, const nb::list& query, const nb::list& list,
                   idx_t most, nb::dict call) {
  const std::vector<std::string> asked = TextsOf(query, "query");
  const std::vector<std::string> texts = TextsOf(list, "texts");
  const auto ranked = Compute(ReadCall({"rerank", std::move(call)}), [&](Context& context) {
    return reranker.Rank(context, asked.at(0), texts, most);
  });
  nb::list made;
  for (const RankedText& one : ranked) {
    made.append(nb::make_tuple(one.text, one.score, one.logit, one.chars.begin, one.chars.end));
  }
  return made;
}

// ---- classes ------------------------------------------------------------------------------------

// [(scores, [(begin, end, tokens, scores of a window)])] of each text.
nb::list ClassifyTexts(const TaskModel& model, const nb::list& list, nb::dict call) {
  const std::vector<TaskText> texts = TaskTextsOf(list, "texts");
  const auto classified = Compute(ReadCall({"classify", std::move(call)}), [&](Context& context) {
    return Classify(context, model, texts);
  });
  nb::list made;
  for (const ClassifiedText& text : classified) {
    nb::list windows;
    for (const ClassifiedWindow& window : text.windows) {
      windows.append(nb::make_tuple(window.chars.begin, window.chars.end, window.tokens,
                                    NumberObjects(window.scores)));
    }
    made.append(nb::make_tuple(NumberObjects(text.scores), windows));
  }
  return made;
}

// [(scores, [(text 0 or 1, begin, end, scores without the sentence)])] of each text.
nb::list ExplainTexts(const TaskModel& model, const nb::list& list, nb::dict call) {
  const std::vector<TaskText> texts = TaskTextsOf(list, "texts");
  const auto explained = Compute(ReadCall({"explain", std::move(call)}), [&](Context& context) {
    return Explain(context, model, texts, Classify(context, model, texts));
  });
  nb::list made;
  for (const ExplainedText& text : explained) {
    nb::list sentences;
    for (const LeftOut& sentence : text.sentences) {
      sentences.append(nb::make_tuple(sentence.sequence, sentence.place.chars.begin,
                                      sentence.place.chars.end, NumberObjects(sentence.scores)));
    }
    made.append(nb::make_tuple(NumberObjects(text.scores), sentences));
  }
  return made;
}

// [[(label, score, begin, end)]] of each text.
nb::list ClassifyWords(const TaskModel& model, const nb::list& list, nb::handle aggregation,
                       nb::dict call) {
  const std::vector<TaskText> texts = TaskTextsOf(list, "texts");
  const Aggregation how = ParseAggregation(TextOf(aggregation, "token_classify: aggregation"));
  const auto found = Compute(ReadCall({"token_classify", std::move(call)}), [&](Context& context) {
    return ClassifyTokens(context, model, texts, how);
  });
  nb::list made;
  for (const std::vector<TokenClass>& of_text : found) {
    nb::list spans;
    for (const TokenClass& span : of_text) {
      spans.append(
          nb::make_tuple(TextObject(span.label), span.score, span.chars.begin, span.chars.end));
    }
    made.append(spans);
  }
  return made;
}

// ---- answers, choices, missing words ------------------------------------------------------------

// [[(score, begin, end, none)]] of each (question, text).
nb::list AnswerQuestions(const TaskModel& model, const nb::list& list, nb::dict given,
                         nb::dict call) {
  const std::vector<TaskText> pairs = TaskTextsOf(list, "questions");
  Options options("qa", std::move(given));
  AnswerOptions answers;
  options.Read("top_k", answers.most);
  options.Read("max_answer_tokens", answers.longest);
  options.Read("may_be_none", answers.may_be_none);
  const auto found = Compute(ReadCall({"qa", std::move(call)}), [&](Context& context) {
    return FindAnswers(context, model, pairs, answers);
  });
  nb::list made;
  for (const std::vector<Answer>& of_question : found) {
    nb::list rows;
    for (const Answer& answer : of_question) {
      rows.append(nb::make_tuple(answer.score, answer.chars.begin, answer.chars.end, answer.none));
    }
    made.append(rows);
  }
  return made;
}

// Probabilities of the choices of each question.
nb::list ChooseAnswers(const TaskModel& model, const nb::list& texts, const nb::list& choices,
                       nb::dict call) {
  const std::vector<std::string> read = TextsOf(texts, "questions");
  std::vector<Question> questions;
  for (nb::handle of_question : choices) {
    const std::string name = "choices[" + std::to_string(questions.size()) + "]";
    questions.push_back({read.at(questions.size()), TextsOf(of_question, name.c_str())});
  }
  const auto scores =
      Compute(ReadCall({"multiple_choice", std::move(call)}),
              [&](Context& context) { return ScoreChoices(context, model, questions); });
  nb::list made;
  for (const std::vector<double>& of_question : scores) made.append(NumberObjects(of_question));
  return made;
}

// [[(begin, end, [(id, token, text, score, goes on with a word, in a text)])]]: the masks of each
// text, the best tokens of each.
nb::list FillTexts(const TaskModel& model, const nb::list& list, idx_t most, nb::dict call) {
  const std::vector<TaskText> texts = TaskTextsOf(list, "texts");
  const auto filled = Compute(ReadCall({"fill_mask", std::move(call)}), [&](Context& context) {
    return FillMasks(context, model, texts, most);
  });
  nb::list made;
  for (const FilledText& text : filled) {
    nb::list masks;
    for (const FilledMask& mask : text.masks) {
      nb::list guesses;
      for (const MaskGuess& guess : mask.guesses) {
        guesses.append(nb::make_tuple(guess.id, TextObject(guess.token), TextObject(guess.text),
                                      guess.score, guess.continues_word,
                                      TextObject(guess.in_text)));
      }
      masks.append(nb::make_tuple(mask.chars.begin, mask.chars.end, guesses));
    }
    made.append(masks);
  }
  return made;
}

// `masks`: (begin, end) in bytes; `guesses`: (what it adds to a text, whether it goes on with a
// word).
nb::object FillIn(const nb::object& text, const std::vector<std::pair<idx_t, idx_t>>& masks,
                  const std::vector<std::pair<nb::object, bool>>& guesses) {
  std::vector<FilledMask> places(masks.size());
  for (std::size_t i = 0; i < masks.size(); ++i) {
    places[i].bytes = {masks[i].first, masks[i].second};
  }
  std::vector<MaskGuess> words(guesses.size());
  for (std::size_t i = 0; i < guesses.size(); ++i) {
    words[i].in_text = TextOf(guesses[i].first, "guesses");
    words[i].continues_word = guesses[i].second;
  }
  return TextObject(TextWithGuesses(TextOf(text, "text"), places, words));
}

void BindEmbedder(nb::module_& module) {
  nb::class_<Embedder>(module, "Embedder")
      .def_static("make", &MakeEmbedder, nb::arg("model"), nb::arg("options"))
      .def("embed", &EmbedTexts, nb::arg("inputs"), nb::arg("call"))
      .def("embed_tokens", &EmbedTokens, nb::arg("inputs"), nb::arg("call"))
      .def_prop_ro("width", &Embedder::width)
      .def_prop_ro("prompt", [](const Embedder& e) { return TextObject(e.prompt()); })
      .def_prop_ro("prompt_name", [](const Embedder& e) { return TextObject(e.prompt_name()); })
      .def_prop_ro("longest", [](const Embedder& e) { return e.model().longest(); });
  module.def("quantize", &QuantizeVectors, nb::arg("vectors"), nb::arg("precision"),
             nb::arg("ranges").none());
  module.def("ranges_of", &RangesOfVectors, nb::arg("vectors"));
}

void BindReranker(nb::module_& module) {
  nb::class_<Reranker>(module, "Reranker")
      .def_static("make", &MakeReranker, nb::arg("model"))
      .def("rank", &RankTexts, nb::arg("query"), nb::arg("texts"), nb::arg("most"), nb::arg("call"))
      .def_prop_ro("activation", [](const Reranker& r) { return std::string(r.activation()); });
}

}  // namespace

void BindTasks(nb::module_& module) {
  nb::class_<TaskModel>(module, "TaskModel")
      .def_static("make", &MakeTaskModel, nb::arg("model"), nb::arg("options"))
      .def_prop_ro("longest", &TaskModel::longest)
      .def_prop_ro("global_name", &TaskModel::global_name)
      .def_prop_ro(
          "scores",
          [](const TaskModel& m) { return std::string(ScoreKindName(ScoresOf(m.info()))); })
      .def("classify", &ClassifyTexts, nb::arg("texts"), nb::arg("call"))
      .def("explain", &ExplainTexts, nb::arg("texts"), nb::arg("call"))
      .def("token_classify", &ClassifyWords, nb::arg("texts"), nb::arg("aggregation"),
           nb::arg("call"))
      .def("qa", &AnswerQuestions, nb::arg("pairs"), nb::arg("options"), nb::arg("call"))
      .def("multiple_choice", &ChooseAnswers, nb::arg("questions"), nb::arg("choices"),
           nb::arg("call"))
      .def("fill_mask", &FillTexts, nb::arg("texts"), nb::arg("top_k"), nb::arg("call"));
  module.def("fill_in", &FillIn, nb::arg("text"), nb::arg("masks"), nb::arg("guesses"));
  BindEmbedder(module);
  BindReranker(module);
}

}  // namespace longspan::python
