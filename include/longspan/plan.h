// What a training step needs before it is run, and how long a text a memory allows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/model_info.h"
#include "longspan/optimizer.h"
#include "longspan/step_memory.h"
#include "longspan/train.h"

#pragma GCC visibility push(default)
namespace longspan {

// A training whose head says less than what is learnt with it.
enum class PlannedTask {
  kOfHead,  // what PlanOptions::head is for
  kEmbed,   // vectors of texts: the encoder alone runs forward, then forward and backward
  kRerank,  // relevance: a classifier with one label
};

// What is planned.
struct PlanOptions {
  // Which model: one of a folder, a config.json, and a preset ("tiny", "small", "base") of a family
  // (its model_type; empty: Reformers).
  std::filesystem::path model, config;
  std::string preset, family;
  // Which step: with the head that a training would put on the model. Absent: the model's own, or
  // for an encoder alone that of a language model.
  std::optional<HeadKind> head;
  PlannedTask task = PlannedTask::kOfHead;  // others take the place of `head`
  TrainedParameters trained;  // which parameters it trains; head_learning_rate means nothing here
  idx_t batch = 1;            // texts at a time
  // Micro-batches of an update and the ranks that share them (longspan/world.h): what their sums
  // take counts. At least one micro-batch a rank, or a group of them that shares rows, else kUsage.
  idx_t accumulate = 1;
  int ranks = 1;
  // How many of the ranks share a machine like this one, with the context's threads each: they
  // disturb each other, so short steps are timed beside as many others if memory has room for them.
  // 1 to `ranks`, else kUsage.
  int ranks_here = 1;
  // Bytes a second that a rank sends, and receives at the same time (`bench world` measures them).
  // 0: not known, and exchanges count as nothing. kUsage unless it is finite and not negative.
  double link_bytes_per_s = 0.0;
  // Neighbouring ranks that share each row (TrainOptions::row_ranks): memory and time are those of
  // one of them, the one with the most, and a length is that of the whole row.
  int row_ranks = 1;
  DType dtype = DType::kF32, gradient_streams = DType::kF32;
  OptimizerKind optimizer = OptimizerKind::kAdamW;  // whose state counts
  // Tokens of a text whose needs are asked for. 0: the longest that `memory` has room for.
  idx_t tokens = 0;
  std::size_t memory = 0;   // bytes; 0: what the system has available now
  bool any_length = false;  // look beyond the positions of a folder's model, too
  // Files and folders that the training reads: what it holds of them in memory counts
  // (Plan::texts). kUsage for standard input, which has no size; kIo for what does not exist.
  std::vector<std::filesystem::path> train;
  // Seconds of each short step that is run to predict times, about. 0: none is run; times then
  // assume half of the machine's peak.
  double trial_seconds = 0.5;
};

// An update of all its micro-batches, by all ranks together. Seconds are predicted.
struct PlannedUpdate {
  idx_t share = 1;           // micro-batches of the rank that has most
  double computing_s = 0.0;  // of that share and of the optimizer, beside other ranks_here
  double exchange_s = 0.0;   // on the link, if nothing else went on
  // Of these, while a forward or backward pass runs, or attention where ranks share rows.
  double hidden_s = 0.0;
  double sent_bytes = 0.0;     // that a rank sends, or gets if that is more; 0: there is one
  double one_process_s = 0.0;  // of the same update by one process like a rank, alone
  // Of the whole update, on the rank that takes longest.
  double seconds() const { return computing_s + exchange_s - hidden_s; }
  // What becomes of the work of `ranks` processes: 1 is all.
  double efficiency(int ranks) const { return one_process_s / (ranks * seconds()); }
};

// One way to run the step.
struct PlannedStep {
  std::string name;            // "full", "local", "lsh"; "window", "recompute"
  StepNeeds needs;             // memory and work of one step
  std::string refused;         // why a longer text does not run, if that is not memory
  bool all_positions = false;  // nor that, but the model has no more positions
  double seconds = 0.0;        // predicted; of computing alone where ranks share rows
  bool timed = false;          // from short steps that were run
  PlannedUpdate update;        // which step is one micro-batch of, with the optimizer
};

// What steps of one model need.
struct Plan {
  idx_t positions = 0;           // tokens of a row that the config has positions for
  std::uint64_t parameters = 0;  // number of trainable values
  std::string more_positions;    // what a longer row needs in the config
  std::size_t memory = 0;        // bytes for which the longest text was sought; 0: none was
  std::size_t program = 0;       // bytes resident before there is a model: code, libraries, stacks
  std::size_t mpi = 0;           // bytes that MPI takes in each of several ranks
  // Bytes of PlanOptions::train that a run holds in memory while it updates: each file that a
  // language model reads byte by byte, and else the ids of all, one for four bytes of text unless
  // the tokenizer is that of bytes. What is above 16 MiB lies in a file and counts as nothing;
  // packed files count as they lie.
  std::size_t texts = 0;
  double peak_gflops = 0.0;        // of this machine
  std::string head_class;          // the class that is counted; empty: the model's own
  bool headless = false;           // it is counted since the model has no head
  int cores = 0;                   // that this process may use
  double busy_cores = 0.0;         // of them, kept busy by other processes meanwhile
  std::vector<PlannedStep> steps;  // the ways to run one
};

// Without a trial, the time follows from useful work over this share of the machine's peak: 0.35
// for short rows of narrow models to 0.75 for Longformers.
inline constexpr double kAssumedFraction = 0.5;

// Called on the way; each may be empty.
struct PlanHooks {
  std::function<void(const std::string& line)> on_stage;  // what is done now: a rehearsal, a trial
  std::function<void(const Plan& so_far)> on_step;        // the last of so_far.steps is new
};

// Plans a step with each way to run it: Reformers with full, local and LSH attention, Longformers
// without and with recomputation. Memory is what the operations book, found by a rehearsal without
// computing. kUsage for options that do not fit, kLimit if not even a short text fits; errors of
// reading the model; kCancelled.
Plan MakePlan(Context& context, const PlanOptions& options, const PlanHooks& hooks = {});

// Bytes that this program takes without any model: it runs a small dense product, for which the
// library behind it writes machine code.
std::size_t ProgramBytes(Context& context);

}  // namespace longspan
#pragma GCC visibility pop
