// Training and evaluating masked language models on files of texts: from options to a task.

#include <cmath>

#include "base/errors.h"
#include "families/families.h"
#include "longspan/evaluate.h"
#include "train/mlm_task.h"
#include "train/row_lengths.h"
#include "train/schedule.h"
#include "train/task_options.h"
#include "train/text_data.h"
#include "train/trainer.h"

namespace longspan {

TrainResult TrainMaskedLm(Context& context, const TrainOptions& given, const MaskedLmOptions& task,
                          const TrainHooks& hooks) {
  CheckTaskOptions(given, "mlm", {"accuracy", "perplexity"});
  const TextModelInfo info = ReadTextModelInfo(given.model);
  TrainOptions options = OptionsFor(context, given);
  ResolveLengths(task.packed, &options);
  for (const LengthStage& stage : options.lengths) TokensOfRows(stage.tokens, info);
  options.tokens = TokensOfRows(options.tokens, info);
  ResolveWarmup(&options);
  CheckTrainOptions(options);
  const auto tokenizer = OpenModelTokenizer(options.model);
  MaskedLmTask run(context, options, task, *tokenizer, info);
  return RunTraining(context, options, run, hooks);
}

MaskedLmEval EvaluateMaskedLm(Context& context, const MaskedLmEvalOptions& o) {
  CheckEvaluatedShare(o.held_out);
  CheckMaskedLmOptions(o.task);
  MaskedLmEval result;
  const auto model = LoadToEvaluate(o.model, o.reformer, HeadKind::kMaskedLm, &result.notes);
  const TextModelInfo& info = model->info();
  const auto tokenizer = OpenModelTokenizer(o.model);
  const MaskedRows form(*tokenizer, info, o.task.mask_share);
  result.tokens = TokensOfRows(o.tokens, info);
  const TokenStream stream =
      ReadMaskedText(context, *tokenizer, {o.text}, o.data, o.task, form, {}, &result.notes);
  const auto size = static_cast<idx_t>(stream.ids().size());
  const auto content = MaskedText::Of(stream, size - LastPart(size, o.held_out), size,
                                      o.task.packed, form, result.tokens);
  Check(!content.ids.empty(), ErrorCode::kUsage, "eval: the text has no tokens");
  const GlobalPolicy global =
      ResolveGlobal(info, GlobalPolicy(o.task.global, tokenizer.get()), &result.notes);
  const HeadLoss loss = MaskedLoss(context, *model, form, global, content, result.tokens,
                                   MaskKey(o.seed, kEvaluationStep),
                                   AgreedHooks(context, model->parameters(), stream.fingerprint()));
  result.loss = loss.mean;
  result.perplexity = std::exp(loss.mean);
  result.accuracy = static_cast<double>(loss.correct) / static_cast<double>(loss.counted);
  result.counted = loss.counted;
  return result;
}

}  // namespace longspan
