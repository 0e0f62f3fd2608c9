#include "train/lm_task.h"

#include <numbers>

#include "base/errors.h"
#include "data/documents.h"
#include "families/families.h"
#include "families/reformer/original_rules.h"
#include "families/reformer/reformer_files.h"
#include "model/model_folder.h"
#include "model/model_options.h"
#include "train/evaluate.h"
#include "train/kept_activations.h"
#include "train/row_lengths.h"
#include "train/task_options.h"
#include "train/trainer.h"

namespace longspan {
namespace {

// The folder whose tokenizer is used.
const std::filesystem::path& TokenizerFolder(const TrainOptions& options,
                                             const LanguageModelOptions& task) {
  return task.tokenizer.empty() ? options.model : task.tokenizer;
}

}  // namespace

LanguageModelTask::LanguageModelTask(Context& context, const TrainOptions& options,
                                     const LanguageModelOptions& task)
    : options_(options), task_(task), kept_(KeptActivations(context, options)) {
  if (task.tokenizer == "bytes") {
    tokenizer_ = text::MakeBytesTokenizer();
  } else {
    tokenizer_ = OpenModelTokenizer(TokenizerFolder(options, task));
    tokenizer_files_ = TokenizerFolder(options, task);
  }
  CheckLanguageModel(LoadReformerConfig(OpenModelFolder(options.model)), tokenizer_->vocabulary(),
                     options.tokens);
  data_ = MakeLmData(context, options, task, *tokenizer_);
}

void LanguageModelTask::Load(const std::filesystem::path& directory, Origin,
                             std::vector<std::string>* notes) {
  LoadOptions load;
  load.allow_nonfinite = options_.compute.allow_nonfinite;
  load.dropout = options_.compute.dropout;
  load.family = OptionsOf(options_.compute.reformer);
  model_ = LoadReformer(OpenModelFolder(directory), load, notes);
  if (!tokenizer_files_.empty() && notes != nullptr) {
    const std::string links = TokenizerLinksLeftOut(tokenizer_files_);
    if (!links.empty()) notes->push_back(links);
  }
  CheckLanguageModel(model_->config(), tokenizer_->vocabulary(), options_.tokens);
  if (notes != nullptr) {
    for (const std::string& note : data_->Notes()) notes->push_back(note);
    if (const std::string told = data_->Describe(); !told.empty()) notes->push_back(told);
  }
  model_->ComputeIn(options_.compute.dtype);
  model_->KeepUpTo(kept_);
  model_->GradientStreamsIn(options_.compute.gradient_streams);
}

// Left out where they are what there once was no choice of: runs from then go on.
nlohmann::json LanguageModelTask::DecidingOptions() const {
  nlohmann::json deciding = nlohmann::json::object();
  if (task_.documents != Documents::kJoined) {
    deciding["documents"] = data::DocumentsName(task_.documents);
  }
  if (task_.packed) deciding["packed"] = true;
  if (options_.compute.dtype != DType::kF32) deciding["dtype"] = DTypeName(options_.compute.dtype);
  if (options_.compute.gradient_streams != DType::kF32) {
    deciding["gradient_streams"] = DTypeName(options_.compute.gradient_streams);
  }
  return deciding;
}

StepSize LanguageModelTask::Draw(idx_t step) { return data_->Draw(step); }

TaskLoss LanguageModelTask::Accumulate(Context& context, idx_t micro, float scale,
                                       const StepDropout& dropout) {
  const ReformerBatch batch{TimedBatch([&] { return data_->Micro(micro); })};
  return {model_->LossAndGradients(context, batch, scale, dropout).sum};
}

std::vector<std::string> LanguageModelTask::RowsOf(idx_t micro) const {
  std::vector<std::string> rows;
  for (idx_t row = 0; row < options_.batch; ++row) {
    rows.push_back(data_->WhereIs(micro * options_.batch + row));
  }
  return rows;
}

TaskEvaluation LanguageModelTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const EvalResult result = data_->Evaluate(context, *model_, hooks);
  return {result.loss, {}, result.bits_per_byte};
}

double LanguageModelTask::BitsPerByte(double loss) const {
  return loss * data_->TokensPerByte() / std::numbers::ln2;
}

std::string LanguageModelTask::ConfigText() { return ToJson(model_->config()); }

std::vector<std::filesystem::path> LanguageModelTask::FilesBeside() const {
  std::vector<std::filesystem::path> files;
  if (tokenizer_files_.empty()) return files;
  for (const std::string& name : TokenizerFiles(tokenizer_files_)) {
    files.push_back(tokenizer_files_ / name);
  }
  return files;
}

void LanguageModelTask::Save(const std::filesystem::path& directory) {
  if (!tokenizer_files_.empty()) CopyTokenizer(tokenizer_files_, directory);
  SaveReformer(*model_, directory);
}

TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const TrainHooks& hooks) {
  return TrainLanguageModel(context, options, LanguageModelOptions(), hooks);
}

TrainResult TrainLanguageModel(Context& context, const TrainOptions& given,
                               const LanguageModelOptions& task, const TrainHooks& hooks) {
  TrainOptions options = OptionsFor(context, given);
  ResolveLengths(task.packed, &options);
  CheckTrainOptions(options);
  CheckTaskOptions(options, "lm", {"bits_per_byte"});
  // A model that is bad, or cannot attend as asked, is found before the output is touched.
  ReformerConfig config = LoadReformerConfig(OpenModelFolder(options.model));
  ApplyOptions(OptionsOf(options.compute.reformer), &config);
  if (options.compute.reformer.strict) {
    ReformerBatch rows;
    rows.rows = options.batch;
    rows.tokens = options.tokens;
    CheckOriginalRules(config, rows, true);
    for (const LengthStage& stage : options.lengths) {
      rows.tokens = stage.tokens;
      CheckOriginalRules(config, rows, true);
    }
  }
  LanguageModelTask lm(context, options, task);
  return RunTraining(context, options, lm, hooks);
}

}  // namespace longspan
