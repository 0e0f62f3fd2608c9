// longspan eval of rerankers, by queries with texts.

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/eval_reports.h"
#include "cli/pair_options.h"
#include "cli/train_options.h"

namespace longspan::cli {

std::string JudgeReranker(Context& context, const EvalCommand& c) {
  auto o = HeadEvalOptionsOf<RerankerEvalOptions>(c);
  TakeJudgedColumns({c.pairs.columns, c.list_columns}, &o.task.columns);
  o.task.overflow =
      text::ParseOverflow(c.overflow.empty() ? "truncate" : c.overflow, text::kOneRowOverflows);
  const RerankerEval result = Evaluated(context, [&] { return EvaluateReranker(context, o); });
  return RerankerReport(result, c.json);
}

}  // namespace longspan::cli
