// longspan eval of vectors, by pairs of texts.

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"
#include "cli/pair_options.h"
#include "cli/training.h"

namespace longspan::cli {

std::string JudgeEmbedder(Context& context, const EvalCommand& c) {
  EmbedderEvalOptions o;
  o.model = c.model;
  o.file = c.data;
  o.tokens = c.options.tokens;
  TakePairOptions(c.pairs, &o.task);
  // As embed reads texts, unless they are to be cut.
  if (c.overflow == "truncate") o.task.overflow = text::Overflow::kTruncate;
  o.task.global = GlobalRule::Parse(c.global);
  o.reformer = c.options.reformer;
  o.data = c.options.data;
  EvalProgress progress("evaluated");
  progress.Watch(context);
  const EmbedderEval result = EvaluateEmbedder(context, o);
  progress.Finish();
  TellNotes(result.notes);
  return EmbedderReport(result, c.json);
}

}  // namespace longspan::cli
