// longspan._models.evaluate, of language models and of classifiers.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "models_data.h"

namespace nb = nanobind;

namespace longspan::python {

nb::dict EvaluationObject(const NamedEvaluation& named) {
  nb::dict metrics, made;
  for (const TrainMetric& metric : named.metrics) metrics[TextObject(metric.name)] = metric.value;
  made["metrics"] = metrics;
  made["counted"] = named.counted;
  if (named.cut) made["cut"] = *named.cut;
  made["notes"] = TextObjects(named.notes);
  return made;
}

namespace {

// Of tasks without predictions.
template <class Eval, auto kEvaluate>
nb::dict EvaluateNumbers(Options& options, const CallOptions& call) {
  Eval eval;
  ReadEvaluation(options, eval);
  return EvaluationObject(
      Compute(call, [&](Context& context) { return NameMetrics(kEvaluate(context, eval)); }));
}

// One (input, id, gold labels, predicted labels, gold value, scores) for each text.
nb::list PredictionObjects(const Predictions& predictions) {
  const auto names = [&](const std::vector<idx_t>& labels) {
    nb::list list;
    for (const idx_t label : labels) {
      list.append(TextObject(predictions.labels[static_cast<std::size_t>(label)]));
    }
    return list;
  };
  nb::list made;
  for (const Prediction& row : predictions.rows) {
    made.append(nb::make_tuple(TextObject(row.input), TextObject(row.id), names(row.gold),
                               names(row.predicted), row.gold_value, NumberObjects(row.scores)));
  }
  return made;
}

nb::dict EvaluateClasses(Options& options, const CallOptions& call) {
  ClassifierEvalOptions eval;
  ReadEvaluation(options, eval);
  Predictions predictions;
  const ClassifierEval result = Compute(
      call, [&](Context& context) { return EvaluateClassifier(context, eval, &predictions); });
  nb::dict made = EvaluationObject(NameMetrics(result));
  made["labels"] = TextObjects(predictions.labels);
  made["classes"] = ClassObjects(result.classes);
  made["predictions"] = PredictionObjects(predictions);
  return made;
}

struct EvaluationRow {
  const char* task;
  nb::dict (*evaluate)(Options& options, const CallOptions& call);
};

constexpr EvaluationRow kEvaluations[] = {
    {"lm", EvaluateNumbers<EvalOptions, EvaluateLanguageModel>},
    {"mlm", EvaluateNumbers<MaskedLmEvalOptions, EvaluateMaskedLm>},
    {"classify", EvaluateClasses},
    {"token-classify", EvaluateTags},
    {"qa", EvaluateAnswers},
    {"multiple-choice", EvaluateChoices},
    {"embed", EvaluateNumbers<EmbedderEvalOptions, EvaluateEmbedder>},
    {"rerank", EvaluateNumbers<RerankerEvalOptions, EvaluateReranker>},
};

// training.py has checked the task.
nb::dict Evaluate(nb::handle task, nb::dict given, nb::dict call) {
  Options options("evaluate", std::move(given));
  const CallOptions how = ReadCall({"evaluate", std::move(call)});
  const std::string name = TextOf(task, "evaluate: task");
  for (const EvaluationRow& row : kEvaluations) {
    if (name == row.task) return row.evaluate(options, how);
  }
  FailValue("evaluate: task is '" + name + "'");
}

}  // namespace

void BindEvaluation(nb::module_& module) {
  module.def("evaluate", &Evaluate, nb::arg("task"), nb::arg("options"), nb::arg("call"));
}

}  // namespace longspan::python
