// longspan eval of rerankers, by queries with texts.

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"
#include "cli/pair_options.h"
#include "cli/training.h"

namespace longspan::cli {

std::string JudgeReranker(Context& context, const EvalCommand& c) {
  RerankerEvalOptions o;
  o.model = c.model;
  o.file = c.data;
  o.tokens = c.options.tokens;
  TakeJudgedColumns({c.pairs.columns, c.list_columns}, &o.task.columns);
  if (c.overflow == "error") o.task.overflow = text::Overflow::kError;
  o.task.global = GlobalRule::Parse(c.global);
  o.reformer = c.options.reformer;
  o.data = c.options.data;
  EvalProgress progress("evaluated");
  progress.Watch(context);
  const RerankerEval result = EvaluateReranker(context, o);
  progress.Finish();
  TellNotes(result.notes);
  return RerankerReport(result, c.json);
}

}  // namespace longspan::cli
