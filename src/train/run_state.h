// What a run needs to go on bit for bit, beside the task's weights: optimiser, step, and proof that
// options and data are the same.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longspan/tensor.h"
#include "longspan/train.h"
#include "train/train_task.h"

namespace longspan {

struct RunState {
  Tensor first_moment, second_moment;  // of AdamW, flat like the parameters
  idx_t step = 0;                      // updates done
  idx_t tokens = 0;                    // seen
  std::optional<idx_t> best_step;      // of the lowest held-out loss
  double best_loss = 0.0;
  std::optional<idx_t> evaluated_step;  // of the newest evaluation
  double evaluated_loss = 0.0;
  std::optional<double> evaluated_bits_per_byte;  // none: the loss says it
  std::vector<TrainMetric> evaluated_metrics;
};

// A run that starts: the model of options.model, moments zero.
RunState StartRun(TrainTask& task, const TrainOptions& options, std::vector<std::string>* notes);

// Writes checkpoint-<step> and rotates older ones away.
void SaveRun(const RunState& state, TrainTask& task, const TrainOptions& options,
             const std::string& data_fingerprint);

// The newest whole checkpoint of options.output, if there is one. Throws kUsage naming the first
// option that differs from the run's, kFormat when the data do.
std::optional<RunState> ResumeRun(TrainTask& task, const TrainOptions& options,
                                  const std::string& data_fingerprint,
                                  std::vector<std::string>* notes);

}  // namespace longspan
