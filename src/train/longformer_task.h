// What the tasks of a Longformer share: loading under the head that is trained, steps, files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "model/global_policy.h"
#include "model/longformer.h"
#include "model/longformer_files.h"
#include "train/train_task.h"

namespace longspan {

// A micro-batch that owns its memory: rows of one length, padded on the right.
struct LongformerRows {
  idx_t rows = 0, tokens = 0;
  std::vector<std::int32_t> ids, types, labels;  // labels as the head has them
  std::vector<float> values;
  std::vector<std::uint8_t> roles;
  bool with_types = false;

  // Room for rows of `width` tokens, all of them hidden padding.
  void Reset(idx_t row_count, idx_t width, idx_t pad);
  // Writes a row of at most `tokens` ids as visible local tokens; `row_types` may be empty.
  void SetRow(idx_t row, std::span<const std::int32_t> row_ids,
              std::span<const std::int32_t> row_types = {});
  LongformerBatch batch() const;
};

class LongformerTask : public TrainTask {
 public:
  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  ParameterTable& parameters() override { return model_->parameters(); }
  std::string ConfigText() override { return ToJson(model_->config()); }
  std::vector<io::TensorEntry> Weights() override { return LongformerEntries(*model_); }
  std::vector<std::filesystem::path> FilesBeside() const override;
  void Save(const std::filesystem::path& directory) override;

 protected:
  // options.global: a policy's text, which is parsed for `head`.
  LongformerTask(const TrainOptions& options, const LongformerConfig& config, WantedHead head,
                 const std::string& global, bool recompute);

  Longformer& model() { return *model_; }
  const TrainOptions& options() const { return options_; }
  const LongformerConfig& config() const { return config_; }
  const GlobalPolicy& global() const { return global_; }
  // Adds what decides the bits of every Longformer's run.
  nlohmann::json WithSharedOptions(nlohmann::json deciding) const;
  // Marks the global tokens, then loss and gradients.
  LongformerLoss LossAndGradients(Context& context, LongformerRows& rows, float scale,
                                  const StepDropout& dropout);

 private:
  const TrainOptions options_;
  LongformerConfig config_;  // of the start model, with the head that is trained
  WantedHead head_;
  GlobalPolicy global_;
  bool recompute_;
  std::optional<Longformer> model_;
};

// kUsage unless rows of `tokens` have positions; 0 becomes all that the model has.
idx_t TokensOfRows(idx_t tokens, const LongformerConfig& config);
// kFormat when the tokenizer has ids that the model's word table has not.
void CheckVocabulary(idx_t vocabulary, const LongformerConfig& config);

}  // namespace longspan
