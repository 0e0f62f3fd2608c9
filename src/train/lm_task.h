// A Reformer learns to predict the next token of texts.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "families/reformer/reformer.h"
#include "longspan/tokenizer.h"
#include "train/lm_data.h"
#include "train/train_task.h"

namespace longspan {

class LanguageModelTask final : public TrainTask {
 public:
  // Opens the texts and, unless they are read as bytes, tokenizes them. kUsage when a part is
  // shorter than a row; kIo, kFormat.
  LanguageModelTask(Context& context, const TrainOptions& options,
                    const LanguageModelOptions& task);

  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  void AgreeOnSteps(RowGroup& group) override { model_->AgreeOnSteps(group); }
  ParameterTable& parameters() override { return model_->parameters(); }
  std::string DataFingerprint() const override { return data_->Fingerprint(); }
  nlohmann::json DecidingOptions() const override;
  StepSize Draw(idx_t step) override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  std::vector<std::string> RowsOf(idx_t micro) const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  // Converts a mean loss over the training text. Evaluations report their own value.
  double BitsPerByte(double loss) const override;
  std::string ConfigText() override;
  std::vector<std::filesystem::path> FilesBeside() const override;
  void Save(const std::filesystem::path& directory) override;

 private:
  const TrainOptions options_;
  const LanguageModelOptions task_;
  const std::size_t kept_;                 // bytes of activations that layers keep
  std::filesystem::path tokenizer_files_;  // where they lie; empty: there are none
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<LmData> data_;
  std::optional<Reformer> model_;
};

}  // namespace longspan
