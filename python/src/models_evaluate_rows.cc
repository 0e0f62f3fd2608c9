// longspan._models.evaluate of models that say something of each word, answer questions or choose.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <vector>

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
  nb::list words;
  for (const TaggedWords& text : texts) {
    words.append(nb::make_tuple(TextObject(text.input), TextObject(text.id),
                                TextObjects(text.words), TextObjects(text.gold),
                                TextObjects(text.said)));
  }
  nb::dict made = EvaluationObject(NameMetrics(result));
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
  nb::list answers;
  for (const AnsweredPair& pair : pairs) {
    answers.append(nb::make_tuple(TextObject(pair.input), TextObject(pair.id),
                                  TextObject(pair.question), TextObjects(pair.gold),
                                  TextObject(pair.said), pair.answer.score, pair.answer.chars.begin,
                                  pair.answer.chars.end, pair.right.exact, pair.right.f1));
  }
  nb::dict made = EvaluationObject(NameMetrics(result));
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
  nb::list choices;
  for (const ChosenAnswer& one : chosen) {
    choices.append(nb::make_tuple(TextObject(one.input), TextObject(one.id),
                                  TextObject(one.question.text), TextObjects(one.question.choices),
                                  one.gold, one.said, NumberObjects(one.scores)));
  }
  nb::dict made = EvaluationObject(NameMetrics(result));
  made["choices"] = choices;
  return made;
}

}  // namespace longspan::python
