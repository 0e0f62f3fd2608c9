// longspan._models.evaluate of models that say something of each word, answer questions, choose,
// make vectors or judge relevance.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <string>
#include <vector>

#include "longspan/evaluate.h"
#include "longspan/head_training.h"
#include "models_data.h"

namespace nb = nanobind;

namespace longspan::python {
nb::list ClassObjects(std::span<const ClassScore> classes) {
  nb::list made;
  for (const ClassScore& one : classes) {
    made.append(nb::make_tuple(TextObject(one.name), one.precision, one.recall, one.f1, one.support,
                               one.predicted));
  }
  return made;
}

// "words": one (input, id, words, gold, predicted) for each text.
nb::dict EvaluateTags(Options& options, const CallOptions& call) {
  TokenClassEvalOptions eval;
  ReadEvaluation(options, eval);
  std::vector<TaggedWords> texts;
  const TokenClassEval result = Compute(
      call, [&](Context& context) { return EvaluateTokenClassifier(context, eval, &texts); });
  nb::dict metrics;
  metrics["loss"] = result.loss;
  metrics["accuracy"] = result.accuracy;
  if (result.entities) {
    metrics["f1"] = result.entity.micro.f1;
    metrics["precision"] = result.entity.micro.precision;
    metrics["recall"] = result.entity.micro.recall;
  }
  metrics["macro_f1"] = result.entities ? result.entity.macro.f1 : result.macro.f1;
  nb::list words;
  for (const TaggedWords& text : texts) {
    words.append(nb::make_tuple(TextObject(text.input), TextObject(text.id),
                                TextObjects(text.words), TextObjects(text.gold),
                                TextObjects(text.said)));
  }
  nb::dict made = EvaluationObject(metrics, result.words, result.notes, result.cut);
  made["classes"] = ClassObjects(result.entities ? result.entity.types : result.tags);
  made["words"] = words;
  return made;
}

// "answers": one (input, id, question, gold, predicted, score, start, end, exact match, F1) for
// each question.
nb::dict EvaluateAnswers(Options& options, const CallOptions& call) {
  AnswerEvalOptions eval;
  ReadEvaluation(options, eval);
  std::vector<AnsweredPair> pairs;
  const AnswerEval result = Compute(
      call, [&](Context& context) { return EvaluateQuestionAnswering(context, eval, &pairs); });
  nb::dict metrics;
  const auto add = [&](const std::string& before, const metrics::AnswerScore& score) {
    if (std::isnan(score.exact)) return;
    metrics[TextObject(before + "exact_match")] = score.exact;
    metrics[TextObject(before + "f1")] = score.f1;
  };
  metrics["loss"] = result.loss;
  add("", result.score.all);
  if (result.may_be_none) {
    add("has_answer_", result.score.has_answer);
    add("no_answer_", result.score.no_answer);
  }
  nb::list answers;
  for (const AnsweredPair& pair : pairs) {
    answers.append(nb::make_tuple(TextObject(pair.input), TextObject(pair.id),
                                  TextObject(pair.question), TextObjects(pair.gold),
                                  TextObject(pair.said), pair.answer.score, pair.answer.chars.begin,
                                  pair.answer.chars.end, pair.right.exact, pair.right.f1));
  }
  nb::dict made = EvaluationObject(metrics, result.score.questions, result.notes, result.cut);
  made["answers"] = answers;
  return made;
}

// "choices": one (input, id, question, choices, gold, predicted, scores) for each question.
nb::dict EvaluateChoices(Options& options, const CallOptions& call) {
  ChoiceEvalOptions eval;
  ReadEvaluation(options, eval);
  std::vector<ChosenAnswer> chosen;
  const ChoiceEval result = Compute(
      call, [&](Context& context) { return EvaluateMultipleChoice(context, eval, &chosen); });
  nb::dict metrics;
  metrics["loss"] = result.loss;
  metrics["accuracy"] = result.accuracy;
  metrics["chance"] = result.chance;
  nb::list choices;
  for (const ChosenAnswer& one : chosen) {
    choices.append(nb::make_tuple(TextObject(one.input), TextObject(one.id),
                                  TextObject(one.question.text), TextObjects(one.question.choices),
                                  one.gold, one.said, NumberObjects(one.scores)));
  }
  nb::dict made = EvaluationObject(metrics, result.questions, result.notes, result.cut);
  made["choices"] = choices;
  return made;
}

nb::dict EvaluateVectors(Options& options, const CallOptions& call) {
  EmbedderEvalOptions eval;
  ReadEvaluation(options, eval);
  const EmbedderEval result =
      Compute(call, [&](Context& context) { return EvaluateEmbedder(context, eval); });
  nb::dict metrics;
  metrics["loss"] = result.loss;
  if (result.scored) {
    metrics["pearson"] = result.pearson;
    metrics["spearman"] = result.spearman;
  } else {
    metrics["mrr"] = result.mrr;
    metrics["recall_1"] = result.recall_1;
    metrics["recall_5"] = result.recall_5;
    metrics["recall_10"] = result.recall_10;
    if (result.triplets > 0) metrics["triplets"] = result.nearer;
  }
  return EvaluationObject(metrics, result.rows, result.notes, result.cut);
}

nb::dict EvaluateRelevance(Options& options, const CallOptions& call) {
  RerankerEvalOptions eval;
  ReadEvaluation(options, eval);
  const RerankerEval result =
      Compute(call, [&](Context& context) { return EvaluateReranker(context, eval); });
  nb::dict metrics;
  metrics["loss"] = result.loss;
  metrics["accuracy"] = result.accuracy;
  metrics["average_precision"] = result.average_precision;
  metrics["mrr"] = result.mrr;
  metrics["ndcg"] = result.ndcg;
  return EvaluationObject(metrics, result.pairs, result.notes, result.cut);
}

}  // namespace longspan::python
