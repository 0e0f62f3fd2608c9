// longspan._models.evaluate, of language models and of classifiers.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "longspan/evaluate.h"
#include "models_data.h"

namespace nb = nanobind;

namespace longspan::python {

nb::dict EvaluationObject(const nb::dict& metrics, idx_t counted,
                          std::span<const std::string> notes, std::optional<idx_t> cut) {
  nb::dict made;
  made["metrics"] = metrics;
  made["counted"] = counted;
  if (cut) made["cut"] = *cut;
  made["notes"] = TextObjects(notes);
  return made;
}

namespace {

// What evaluations over a text read: model, data, held_out, tokens, a Reformer's, the files'.
template <class Eval>
void ReadTextEvaluation(Options& options, Eval& eval) {
  options.Read("model", eval.model);
  options.Read("data", eval.text);
  options.Read("held_out", eval.held_out);
  options.Read("tokens", eval.tokens);
  ReadReformer(options, eval.reformer);
  ReadData(options, eval.data);
}

nb::dict EvaluateLm(Options& options, const CallOptions& call) {
  EvalOptions eval;
  ReadTextEvaluation(options, eval);
  options.Read("stride", eval.stride);
  const EvalResult result =
      Compute(call, [&](Context& context) { return EvaluateLanguageModel(context, eval); });
  nb::dict metrics;
  metrics["loss"] = result.loss;
  if (!std::isnan(result.bits_per_byte)) metrics["bits_per_byte"] = result.bits_per_byte;
  metrics["accuracy"] = result.accuracy;
  return EvaluationObject(metrics, result.counted, result.notes);
}

nb::dict EvaluateMlm(Options& options, const CallOptions& call) {
  MaskedLmEvalOptions eval;
  ReadTextEvaluation(options, eval);
  options.Read("seed", eval.seed);
  ReadTask(options, eval.task);
  const MaskedLmEval result =
      Compute(call, [&](Context& context) { return EvaluateMaskedLm(context, eval); });
  nb::dict metrics;
  metrics["loss"] = result.loss;
  metrics["perplexity"] = result.perplexity;
  metrics["accuracy"] = result.accuracy;
  return EvaluationObject(metrics, result.counted, result.notes);
}

nb::dict ClassifierMetrics(const ClassifierEval& result) {
  nb::dict metrics;
  metrics["loss"] = result.loss;
  if (result.problem == ProblemType::kRegression) {
    metrics["mse"] = result.mse;
    metrics["pearson"] = result.pearson;
    metrics["spearman"] = result.spearman;
    return metrics;
  }
  metrics["accuracy"] = result.accuracy;
  metrics["macro_f1"] = result.macro_f1;
  metrics["micro_f1"] = result.micro_f1;
  metrics["weighted_f1"] = result.weighted_f1;
  if (result.problem == ProblemType::kSingleLabel) metrics["mcc"] = result.mcc;
  metrics["auc"] = result.auc;
  metrics["average_precision"] = result.average_precision;
  if (result.problem == ProblemType::kMultiLabel) metrics["exact_match"] = result.exact_match;
  return metrics;
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
  nb::dict made =
      EvaluationObject(ClassifierMetrics(result), result.rows, result.notes, result.cut);
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
    {"lm", EvaluateLm},
    {"mlm", EvaluateMlm},
    {"classify", EvaluateClasses},
    {"token-classify", EvaluateTags},
    {"qa", EvaluateAnswers},
    {"multiple-choice", EvaluateChoices},
    {"embed", EvaluateVectors},
    {"rerank", EvaluateRelevance},
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
