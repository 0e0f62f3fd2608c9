// A model learns to make vectors of texts: pairs, triplets, scored pairs.
#pragma once

#include "longspan/evaluate.h"
#include "tasks/sentence_folder.h"
#include "train/embed_rows.h"
#include "train/length_batches.h"
#include "train/text_task.h"
#include "train/vector_losses.h"

namespace longspan {

// How vectors are compared and made.
struct EmbedPlan {
  VectorLossSpec loss;
  VectorHead head;
  idx_t group = 64;  // rows that are compared with each other
};

// The plan that options and a folder make, for data that has scores or not. kUsage for a loss that
// the data is not for, for widths that the vectors do not have, for modules with weights.
EmbedPlan MakeEmbedPlan(const EmbedTrainingOptions& task, const SentenceFolder& folder,
                        const TextModelInfo& info, bool scored);

// The loss over the rows in their order, in groups, and the measures of the vectors.
EmbedderEval EvaluateVectors(Context& context, TextModel& model, const GlobalPolicy& global,
                             const EmbedPlan& plan, const EmbedRows& rows,
                             const EvalHooks& hooks = {});

// The metrics of evaluations: of scored pairs, or of a search and, with negatives, of triplets.
// Nothing is known of `scored`: those of both.
std::vector<std::string> EmbedMetricNames(std::optional<bool> scored, bool triplets);

class EmbedTask final : public TextTask {
 public:
  EmbedTask(const TrainOptions& options, const EmbedTrainingOptions& task, SentenceFolder folder,
            const text::Tokenizer& tokenizer, const TextModelInfo& info, EmbedPlan plan,
            EmbedRows train, EmbedRows held_out);

  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  std::string DataFingerprint() const override { return FingerprintOf(train_, held_out_); }
  nlohmann::json DecidingOptions() const override;
  StepSize Draw(idx_t step) override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  bool Trains(const ParameterInfo& info) const override;
  std::vector<std::string> RowsOf(idx_t micro) const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  void SaveBeside(const std::filesystem::path& directory) const override;
  void Save(const std::filesystem::path& directory) override;

 private:
  // The files of sentence-transformers, with what the options change in them.
  void WriteSentences(const std::filesystem::path& directory) const;

  const EmbedTrainingOptions task_;
  const SentenceFolder folder_;
  const EmbedPlan plan_;
  const EmbedRows train_, held_out_;
  LengthBatches order_;
  std::vector<std::vector<idx_t>> groups_;  // of the update drawn last
  std::optional<VectorPass> pass_;          // over the loaded model
};

}  // namespace longspan
