// longspan eval of vectors, by pairs of texts.

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"
#include "cli/pair_options.h"
#include "cli/train_options.h"

namespace longspan::cli {

std::string JudgeEmbedder(Context& context, const EvalCommand& c) {
  auto o = HeadEvalOptionsOf<EmbedderEvalOptions>(c);
  TakePairOptions(c.pairs, &o.task);
  o.task.overflow = ParseOverflow(c.overflow).value_or(text::Overflow::kWindow);
  const EmbedderEval result = Evaluated(context, [&] { return EvaluateEmbedder(context, o); });
  return EmbedderReport(result, c.json);
}

}  // namespace longspan::cli
