// A Reformer learns to predict the next byte of texts.
#pragma once

#include <optional>

#include "model/reformer.h"
#include "train/text_data.h"
#include "train/train_task.h"

namespace longspan {

class LanguageModelTask final : public TrainTask {
 public:
  // Opens the texts. kUsage when a part is shorter than a row; kIo.
  explicit LanguageModelTask(const TrainOptions& options);

  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  ParameterTable& parameters() override { return model_->parameters(); }
  std::string DataFingerprint() const override { return data_.Fingerprint(); }
  nlohmann::json DecidingOptions() const override { return nlohmann::json::object(); }
  StepSize Draw(idx_t step) override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  TaskEvaluation Evaluate(Context& context) override;
  double BitsPerByte(double loss) const override;
  std::string ConfigText() override;
  void Save(const std::filesystem::path& directory) override;

 private:
  const TrainOptions options_;
  TextData data_;
  std::optional<Reformer> model_;
  idx_t step_ = 0;
  TextRows rows_;
};

}  // namespace longspan
