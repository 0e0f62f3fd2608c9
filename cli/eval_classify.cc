// longspan eval of classifiers of texts.

#include <optional>

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"
#include "cli/predictions_file.h"
#include "cli/train_options.h"
#include "cli/training.h"

namespace longspan::cli {

std::string JudgeClassifier(Context& context, const EvalCommand& c) {
  ClassifierEvalOptions o;
  o.model = c.model;
  o.file = c.data;
  o.tokens = c.options.tokens;
  o.task.overflow = OverflowOf(c.overflow.empty() ? "error" : c.overflow);
  o.task.global = GlobalRule::Parse(c.global);
  o.reformer = c.options.reformer;
  o.data = c.options.data;
  auto file = PredictionsFile::Begin(c.predictions, c.data, c.model);
  EvalProgress progress("evaluated");
  progress.Watch(context);
  Predictions predictions;
  const ClassifierEval result = EvaluateClassifier(context, o, &predictions);
  progress.Finish();
  TellNotes(result.notes);
  if (file) WritePredictions(result, predictions, *file);
  return ClassifierReport(result, predictions, c.json);
}

}  // namespace longspan::cli
