// What a run needs to go on bit for bit, beside the task's weights: optimiser, step, and proof that
// options and data are the same.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "longspan/train.h"
#include "model/optimizers.h"
#include "train/shared_update.h"
#include "train/train_task.h"

namespace longspan {

// Sums over the updates that were applied since the last line of metrics.jsonl about a training
// step: the next line has their means.
struct UpdateSums {
  idx_t updates = 0;
  double loss = 0.0, gradient_norm = 0.0;
  std::vector<TrainMetric> metrics;

  void Add(const TrainEvent& event);
  // The event with the means in place of what one update was like; without an update as it is.
  TrainEvent Means(TrainEvent event) const;
};

// What an evaluation found.
struct Evaluated {
  idx_t step = 0;
  double loss = 0.0;
  std::optional<double> bits_per_byte;  // none: the loss says it
  std::vector<TrainMetric> metrics;
};

struct RunState {
  OptimizerState optimizer;
  std::vector<bool> head;  // by parameter: whether it has the head's learning rate; empty: none has
  idx_t step = 0;          // updates done
  idx_t tokens = 0;        // seen
  double seconds = 0.0;    // of training, by all processes of the run
  idx_t skipped = 0;       // updates that were not applied
  idx_t skipped_in_a_row = 0;  // of them the last ones
  std::string start_model;     // fingerprint of the model that the run began with
  std::filesystem::path from;  // the checkpoint that it goes on from; empty: none
  // Parameters that held numbers that are not finite when they were loaded, as the caller allowed.
  std::set<std::string> strange_weights;
  UpdateSums unlogged;
  bool mixed_schedule = false;         // was extended, and one long run would have other rates
  std::optional<Evaluated> evaluated;  // the newest evaluation
  // The best one by options.selection.metric of those with a checkpoint of their step, and its
  // value.
  std::optional<Evaluated> best;
  std::optional<double> best_value;
  std::optional<double> top_value;  // of all evaluations
  idx_t without_gain = 0;           // evaluations since that one
};

// What is known of the newest update of a run that goes on: its place and its learning rate. Its
// speed is NaN.
TrainEvent UpdateBefore(const RunState& state, const TrainOptions& options);

// A run that starts: the model of options.model, the optimizer's state zero. Each rank of `world`
// (null: one process) has its part of that state.
RunState StartRun(TrainTask& task, const TrainOptions& options, const World* world,
                  std::vector<std::string>* notes);

// Writes checkpoint-<step>, with the state of all ranks, and rotates older ones away. kNumeric, and
// nothing is written, when a weight is not finite (but for those of strange_weights).
void SaveRun(const RunState& state, TrainTask& task, const TrainOptions& options,
             const std::string& data_fingerprint, SharedState& shared);

// How kernels compute here: it decides bits.
std::string IsaText();

// What all ranks of a run need alike, by name: options, texts, and what the run begins with. A pass
// over the weights and over the file of the optimizer's state.
std::map<std::string, std::string> FactsOf(const RunState& state, TrainTask& task,
                                           const TrainOptions& options,
                                           const std::string& data_fingerprint);

// The micro-batches of an update of the run in `output`; none: no checkpoint says it.
std::optional<idx_t> AccumulateOfRun(const std::filesystem::path& output);

// Whether so many evaluations came without a gain that the run is at its end.
bool IsOutOfPatience(const RunState& state, idx_t patience);

// The newest whole checkpoint of options.output, if there is one. Throws kUsage naming the first
// option that differs from the run's (options.checkpoints.extend: steps may be more, and patience
// begins anew where it was at its end), kFormat when the data or the model to start from do.
std::optional<RunState> ResumeRun(TrainTask& task, const TrainOptions& options,
                                  const std::string& data_fingerprint, const World* world,
                                  std::vector<std::string>* notes);

}  // namespace longspan
