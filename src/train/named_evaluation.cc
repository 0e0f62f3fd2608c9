// Evaluations whose options have names, and what they come to by names.
#include <cmath>
#include <string>
#include <vector>

#include "base/errors.h"
#include "train/named_tasks.h"

namespace longspan {

// ---- what comes of them -------------------------------------------------------------------------

NamedEvaluation NameMetrics(const EvalResult& result) {
  NamedEvaluation named{{}, result.counted, {}, result.notes};
  std::vector<TrainMetric>& m = named.metrics;
  m.push_back({"loss", result.loss});
  if (!std::isnan(result.bits_per_byte)) m.push_back({"bits_per_byte", result.bits_per_byte});
  m.push_back({"accuracy", result.accuracy});
  return named;
}

NamedEvaluation NameMetrics(const MaskedLmEval& result) {
  return {{{"loss", result.loss}, {"perplexity", result.perplexity}, {"accuracy", result.accuracy}},
          result.counted,
          {},
          result.notes};
}

NamedEvaluation NameMetrics(const ClassifierEval& result) {
  NamedEvaluation named{{}, result.rows, result.cut, result.notes};
  std::vector<TrainMetric>& m = named.metrics;
  m.push_back({"loss", result.loss});
  if (result.problem == ProblemType::kRegression) {
    m.push_back({"mse", result.mse});
    m.push_back({"pearson", result.pearson});
    m.push_back({"spearman", result.spearman});
    return named;
  }
  m.push_back({"accuracy", result.accuracy});
  m.push_back({"macro_f1", result.macro.f1});
  m.push_back({"micro_f1", result.micro.f1});
  m.push_back({"weighted_f1", result.weighted.f1});
  if (result.problem == ProblemType::kSingleLabel) m.push_back({"mcc", result.mcc});
  m.push_back({"auc", result.auc});
  m.push_back({"average_precision", result.average_precision});
  if (result.problem == ProblemType::kMultiLabel) m.push_back({"exact_match", result.exact_match});
  return named;
}

NamedEvaluation NameMetrics(const TokenClassEval& result) {
  NamedEvaluation named{{}, result.words, result.cut, result.notes};
  std::vector<TrainMetric>& m = named.metrics;
  m.push_back({"loss", result.loss});
  m.push_back({"accuracy", result.accuracy});
  if (result.entities) {
    m.push_back({"f1", result.entity.micro.f1});
    m.push_back({"precision", result.entity.micro.precision});
    m.push_back({"recall", result.entity.micro.recall});
  }
  m.push_back({"macro_f1", result.entities ? result.entity.macro.f1 : result.macro.f1});
  return named;
}

NamedEvaluation NameMetrics(const AnswerEval& result) {
  NamedEvaluation named{{}, result.score.questions, result.cut, result.notes};
  std::vector<TrainMetric>& m = named.metrics;
  const auto add = [&](const std::string& before, const metrics::AnswerScore& score) {
    if (std::isnan(score.exact)) return;
    m.push_back({before + "exact_match", score.exact});
    m.push_back({before + "f1", score.f1});
  };
  m.push_back({"loss", result.loss});
  add("", result.score.all);
  if (result.may_be_none) {
    add("has_answer_", result.score.has_answer);
    add("no_answer_", result.score.no_answer);
  }
  return named;
}

NamedEvaluation NameMetrics(const ChoiceEval& result) {
  return {{{"loss", result.loss}, {"accuracy", result.accuracy}, {"chance", result.chance}},
          result.questions,
          result.cut,
          result.notes};
}

NamedEvaluation NameMetrics(const EmbedderEval& result) {
  NamedEvaluation named{{}, result.rows, result.cut, result.notes};
  std::vector<TrainMetric>& m = named.metrics;
  m.push_back({"loss", result.loss});
  if (result.scored) {
    m.push_back({"pearson", result.pearson});
    m.push_back({"spearman", result.spearman});
  } else {
    m.push_back({"mrr", result.mrr});
    m.push_back({"recall_1", result.recall_1});
    m.push_back({"recall_5", result.recall_5});
    m.push_back({"recall_10", result.recall_10});
    if (result.triplets > 0) m.push_back({"triplets", result.nearer});
  }
  return named;
}

NamedEvaluation NameMetrics(const RerankerEval& result) {
  return {{{"loss", result.loss},
           {"accuracy", result.accuracy},
           {"average_precision", result.average_precision},
           {"mrr", result.mrr},
           {"ndcg", result.ndcg}},
          result.pairs,
          result.cut,
          result.notes};
}

// ---- options ------------------------------------------------------------------------------------

namespace {

// model, data, held_out, tokens, a Reformer's, the files'.
template <class Eval>
void ReadTextEvaluation(NamedOptions& options, Eval& eval) {
  options.Read("model", eval.model);
  options.Read("data", eval.text);
  options.Read("held_out", eval.held_out);
  options.Read("tokens", eval.tokens);
  ReadReformerOptions(options, eval.reformer);
  ReadFileOptions(options, eval.data);
}

// model, data, tokens, the task's, a Reformer's, the files'.
template <class Eval>
void ReadRowEvaluation(NamedOptions& options, Eval& eval) {
  options.Read("model", eval.model);
  options.Read("data", eval.file);
  options.Read("tokens", eval.tokens);
  ReadTaskOptions(options, eval.task);
  ReadReformerOptions(options, eval.reformer);
  ReadFileOptions(options, eval.data);
}

}  // namespace

void ReadEvaluation(NamedOptions& options, EvalOptions& eval) {
  ReadTextEvaluation(options, eval);
  options.Read("stride", eval.stride);
}
void ReadEvaluation(NamedOptions& options, MaskedLmEvalOptions& eval) {
  ReadTextEvaluation(options, eval);
  options.Read("seed", eval.seed);
  ReadTaskOptions(options, eval.task);
}
void ReadEvaluation(NamedOptions& options, ClassifierEvalOptions& eval) {
  ReadRowEvaluation(options, eval);
}
void ReadEvaluation(NamedOptions& options, TokenClassEvalOptions& eval) {
  ReadRowEvaluation(options, eval);
}
void ReadEvaluation(NamedOptions& options, AnswerEvalOptions& eval) {
  ReadRowEvaluation(options, eval);
}
void ReadEvaluation(NamedOptions& options, ChoiceEvalOptions& eval) {
  ReadRowEvaluation(options, eval);
}
void ReadEvaluation(NamedOptions& options, EmbedderEvalOptions& eval) {
  ReadRowEvaluation(options, eval);
}
void ReadEvaluation(NamedOptions& options, RerankerEvalOptions& eval) {
  ReadRowEvaluation(options, eval);
}

// ---- by the task's name -------------------------------------------------------------------------

namespace {

template <class Eval, auto kEvaluate>
NamedEvaluationRun EvaluationByName(NamedOptions& options) {
  Eval eval;
  ReadEvaluation(options, eval);
  return [eval](Context& context) { return NameMetrics(kEvaluate(context, eval)); };
}

// The evaluation without predictions.
template <class Eval, auto kEvaluate>
NamedEvaluationRun PredictingByName(NamedOptions& options) {
  Eval eval;
  ReadEvaluation(options, eval);
  return [eval](Context& context) { return NameMetrics(kEvaluate(context, eval, nullptr)); };
}

struct NamedEvaluationRow {
  std::string_view task;
  NamedEvaluationRun (*make)(NamedOptions& options);
};

constexpr NamedEvaluationRow kNamedEvaluations[] = {
    {"lm", EvaluationByName<EvalOptions, EvaluateLanguageModel>},
    {"mlm", EvaluationByName<MaskedLmEvalOptions, EvaluateMaskedLm>},
    {"classify", PredictingByName<ClassifierEvalOptions, EvaluateClassifier>},
    {"token-classify", PredictingByName<TokenClassEvalOptions, EvaluateTokenClassifier>},
    {"qa", PredictingByName<AnswerEvalOptions, EvaluateQuestionAnswering>},
    {"multiple-choice", PredictingByName<ChoiceEvalOptions, EvaluateMultipleChoice>},
    {"embed", EvaluationByName<EmbedderEvalOptions, EvaluateEmbedder>},
    {"rerank", EvaluationByName<RerankerEvalOptions, EvaluateReranker>},
};

}  // namespace

NamedEvaluationRun ReadEvaluation(std::string_view task, NamedOptions& options) {
  return RowOfTask(kNamedEvaluations, "evaluate", task).make(options);
}

}  // namespace longspan
