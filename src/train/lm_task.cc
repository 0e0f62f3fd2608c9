#include "train/lm_task.h"

#include <numbers>

#include "base/errors.h"
#include "model/model_files.h"
#include "model/original_rules.h"
#include "train/evaluate.h"
#include "train/trainer.h"

namespace longspan {

LanguageModelTask::LanguageModelTask(const TrainOptions& options)
    : options_(options), data_(options.train, options.eval, options.held_out, options.tokens) {}

void LanguageModelTask::Load(const std::filesystem::path& directory, Origin,
                             std::vector<std::string>* notes) {
  LoadOptions load;
  load.allow_nonfinite = options_.allow_nonfinite;
  load.dropout = options_.dropout;
  load.attention = options_.attention;
  load.strict = options_.strict;
  model_ = LoadReformer(directory, load, notes);
  CheckByteLanguageModel(model_->config(), options_.tokens);
}

StepSize LanguageModelTask::Draw(idx_t step) {
  step_ = step;
  const idx_t tokens = options_.batch * options_.tokens * options_.accumulate;
  return {tokens, tokens};
}

TaskLoss LanguageModelTask::Accumulate(Context& context, idx_t micro, float scale,
                                       const StepDropout& dropout) {
  data_.Sample(KeyOf(options_.seed, RunKey::kData), step_, micro * options_.batch, options_.batch,
               options_.tokens, &rows_);
  const TokenBatch batch{options_.batch, options_.tokens, rows_.ids, rows_.targets, {}};
  return {model_->LossAndGradients(context, batch, scale, dropout).sum};
}

TaskEvaluation LanguageModelTask::Evaluate(Context& context) {
  return {EvaluateText(context, *model_, data_.held_out(), options_.tokens, 0).loss, {}};
}

double LanguageModelTask::BitsPerByte(double loss) const { return loss / std::numbers::ln2; }

std::string LanguageModelTask::ConfigText() { return ToJson(model_->config()); }

void LanguageModelTask::Save(const std::filesystem::path& directory) {
  SaveReformer(*model_, directory);
}

TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const TrainHooks& hooks) {
  CheckTrainOptions(options);
  Check(options.dtype == DType::kF32, ErrorCode::kUsage,
        "dtype: a Reformer computes in F32, not in {}", DTypeName(options.dtype));
  // A model that is bad, or cannot attend as asked, is found before the output is touched.
  ReformerConfig config = LoadReformerConfig(options.model);
  if (!options.attention.empty()) ChooseAttention(options.attention, &config);
  if (options.strict) {
    TokenBatch rows;
    rows.rows = options.batch;
    rows.tokens = options.tokens;
    CheckOriginalRules(config, rows, true);
  }
  LanguageModelTask task(options);
  return RunTraining(context, options, task, hooks);
}

}  // namespace longspan
