// The common part of text tasks: loading a model under the trained head, steps, files.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "model/text_model.h"
#include "model/wanted_head.h"
#include "train/train_task.h"

namespace longspan {

class TextTask : public TrainTask {
 public:
  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  ParameterTable& parameters() override { return model_->parameters(); }
  void AgreeOnSteps(RowGroup& group) override { model_->AgreeOnSteps(group); }
  std::string ConfigText() override { return model_->ConfigText(); }
  std::vector<io::TensorEntry> Weights() override { return model_->Weights(); }
  std::vector<std::filesystem::path> FilesBeside() const override;
  void Save(const std::filesystem::path& directory) override;

 protected:
  // `global` is resolved for `head`.
  TextTask(const TrainOptions& options, const TextModelInfo& info, WantedHead head,
           const GlobalPolicy& global);

  // Rows of a micro-batch at most, which memory is planned for.
  virtual idx_t RowsOfMicro() const { return options_.batch; }

  TextModel& model() { return *model_; }
  const TrainOptions& options() const { return options_; }
  const TextModelInfo& info() const { return info_; }
  const GlobalPolicy& global() const { return global_; }
  // Adds what decides the bits of every such run; and the epochs that gave its updates, for
  // messages. 0: none did.
  nlohmann::json WithSharedOptions(nlohmann::json deciding, double epochs = 0.0) const;
  // Marks the global tokens, then the logits of the forward of a step.
  Tensor LogitsInStep(Context& context, Batch& rows, const StepDropout& dropout);
  // Marks the global tokens, then loss and gradients.
  HeadLoss LossAndGradients(Context& context, Batch& rows, float scale, const StepDropout& dropout);

 private:
  const TrainOptions options_;
  TextModelInfo info_;  // of the start model, with the head that is trained
  WantedHead head_;
  GlobalPolicy given_, global_;  // as the options say, and what that comes to
  std::unique_ptr<TextModel> model_;
};

// kUsage unless rows of `tokens` have positions; 0 becomes all that the model has.
idx_t TokensOfRows(idx_t tokens, const TextModelInfo& info);
// kFormat when the tokenizer has ids that the model's word table has not.
void CheckVocabulary(idx_t vocabulary, idx_t word_table);

}  // namespace longspan
