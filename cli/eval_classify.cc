// longspan eval of classifiers of texts.

#include <optional>

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"
#include "cli/predictions_file.h"
#include "cli/train_options.h"

namespace longspan::cli {

std::string JudgeClassifier(Context& context, const EvalCommand& c) {
  auto o = HeadEvalOptionsOf<ClassifierEvalOptions>(c);
  o.task.overflow = ParseOverflow(c.overflow).value_or(text::Overflow::kWindow);
  o.task.stride = c.stride.value_or(0);
  auto file = PredictionsFile::Begin(c.predictions, c.data, c.model);
  Predictions predictions;
  const ClassifierEval result =
      Evaluated(context, [&] { return EvaluateClassifier(context, o, &predictions); });
  if (file) WritePredictions(result, predictions, *file);
  return ClassifierReport(result, predictions, c.json);
}

}  // namespace longspan::cli
