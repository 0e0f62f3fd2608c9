// The common part of trainings over rows that are tokenized once: which rows an update sees, and
// its loss.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "train/encoded_rows.h"
#include "train/length_batches.h"
#include "train/text_task.h"

namespace longspan {

// Each epoch uses every row once (train/length_batches.h). A row is what is drawn as one: a text, a
// window of it, a question with its choices.
class RowTask : public TextTask {
 public:
  StepSize Draw(idx_t step) final;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  std::vector<std::string> RowsOf(idx_t micro) const final;
  // With the length of the rows in the tokenizer's files: what is asked of the model, and what
  // measures it, then reads rows as long as those that it learned from and was measured on.
  void SaveBeside(const std::filesystem::path& directory) const final;
  void Save(const std::filesystem::path& directory) final;

 protected:
  // `lengths`: tokens of each row.
  RowTask(const TrainOptions& options, const TextModelInfo& info, WantedHead head,
          const GlobalPolicy& global, std::vector<idx_t> lengths);

  // What the loss counts of a row: 1, its labelled words, its values.
  virtual idx_t Counted(idx_t row) const = 0;
  // The sum of the weights of what it counts, where the loss has weights; 0: it has none.
  virtual double Weight(idx_t /*row*/) const { return 0.0; }
  // These rows with their targets.
  virtual Batch Gather(std::span<const idx_t> rows) const = 0;
  virtual const std::string& Where(idx_t row) const = 0;
  // Rows of a micro-batch that may run as one batch have the same number. Each group runs by
  // itself, with dropout of its own.
  virtual idx_t Group(idx_t /*row*/) const { return 0; }
  // Whether the loss tells how many are right.
  virtual bool CountsHits() const { return true; }

  // The rows of a micro-batch of the update drawn last; none: it has no such micro-batch.
  std::span<const idx_t> Micro(idx_t micro) const;
  // Accumulate for these rows.
  TaskLoss AccumulateRows(Context& context, std::span<const idx_t> rows, float scale,
                          const StepDropout& dropout);

 private:
  std::vector<idx_t> lengths_;
  LengthBatches order_;
  std::span<const std::vector<idx_t>> micros_;  // of the update drawn last
};

}  // namespace longspan
