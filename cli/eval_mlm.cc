// longspan eval of masked language models.

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"

namespace longspan::cli {

std::string JudgeMaskedLm(Context& context, const EvalCommand& c) {
  MaskedLmEvalOptions o;
  o.model = c.model;
  o.text = c.data;
  o.held_out = c.options.held_out;
  o.tokens = c.options.tokens;
  o.seed = c.seed;
  o.task = c.mlm;
  o.data = c.options.data;
  o.task.documents = ParseDocuments(c.documents);
  o.task.global = GlobalRule::Parse(c.global);
  o.reformer = c.options.reformer;
  const MaskedLmEval result = Evaluated(context, [&] { return EvaluateMaskedLm(context, o); });
  return MaskedLmReport(result, c.json);
}

}  // namespace longspan::cli
