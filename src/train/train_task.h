// The interface of a training task to the loop (train/trainer.h): data, model and loss.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "longspan/train.h"
#include "model/parameters.h"
#include "model/step_dropout.h"
#include "train/eval_hooks.h"
#include "train/stopwatch.h"
#include "world/row_group.h"

namespace longspan {

// Purposes of keys derived from a run's seed. The loop draws nothing but dropout keys from it.
enum class RunKey : std::uint64_t { kData = 1, kDropout = 2, kMasks = 3 };
std::uint64_t KeyOf(std::uint64_t seed, RunKey purpose);

// The size of one update, over all its micro-batches.
struct StepSize {
  idx_t counted = 0;  // what the loss is the mean of: bytes, masked tokens, texts, values
  idx_t tokens = 0;   // that go through the model; padding does not count
  // What the mean's sum is divided by, where what is counted has weights; 0: counted.
  double weight = 0.0;
  double divisor() const { return weight > 0.0 ? weight : static_cast<double>(counted); }
};

struct TaskLoss {
  double sum = 0.0;
  idx_t correct = -1;  // of what is counted; negative: the task does not say
};

struct TaskEvaluation {
  double loss = 0.0;                 // lower is better
  std::vector<TrainMetric> metrics;  // by name in alphabetical order, as a resumed run has them
  // Bits per byte of the held-out text, whose bytes per token may differ from those of the training
  // text. None: use BitsPerByte.
  std::optional<double> bits_per_byte = std::nullopt;
};

// What the metrics of an evaluation are shares of.
struct HeldOutTexts {
  idx_t count = 0;    // 0: they are not shares of texts
  std::string share;  // the metric that is the share of texts that are right; empty: none
};

// "train.csv:12, train.csv:40 and 6 more".
std::string ListedRows(const std::vector<std::string>& rows);

class TrainTask {
 public:
  virtual ~TrainTask() = default;

  // Loads the model to start from, or the run's own out of a checkpoint: then nothing may be
  // missing. What is worth telling goes to `notes`.
  enum class Origin { kStart, kCheckpoint };
  virtual void Load(const std::filesystem::path& directory, Origin origin,
                    std::vector<std::string>* notes) = 0;
  virtual ParameterTable& parameters() = 0;
  // After Load, by all ranks that share rows together: their steps save and recompute the same
  // (TextModel::AgreeOnSteps).
  virtual void AgreeOnSteps(RowGroup& /*group*/) {}
  // False: the loss has no part of this parameter, and no update touches it, not even by decay.
  virtual bool Trains(const ParameterInfo& /*info*/) const { return true; }

  // Changes when any of the data does: a resumed run must see the same.
  virtual std::string DataFingerprint() const = 0;
  // Options that decide which bits come out, beside those of TrainOptions; an object.
  virtual nlohmann::json DecidingOptions() const = 0;

  // Draws update `step` (from 1): a pure function of the options and the step, so that the data
  // position of a run is its step.
  virtual StepSize Draw(idx_t step) = 0;
  // Adds the gradient of scale * sum of micro-batch `micro` of the update drawn last.
  virtual TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                              const StepDropout& dropout) = 0;

  // The seconds in which Accumulate has made batches so far, and not computed.
  double batch_seconds() const { return batch_seconds_; }

  // The rows of micro-batch `micro` of that update, for people: a file and a line, or a place in
  // the text.
  virtual std::vector<std::string> RowsOf(idx_t micro) const = 0;

  // Throws Cancelled where the hooks ask for it; nothing has changed then.
  virtual TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) = 0;
  virtual HeldOutTexts held_out_texts() const { return {}; }
  // The loss in other words, for losses of bytes; NaN: none.
  virtual double BitsPerByte(double loss) const;

  virtual std::string ConfigText() = 0;
  // The tensors of a checkpoint's model.safetensors. They point into parameters().
  virtual std::vector<io::TensorEntry> Weights();
  // Files of others that SaveBeside copies: tokenizers.
  virtual std::vector<std::filesystem::path> FilesBeside() const { return {}; }
  // Writes what makes a checkpoint usable by itself into its folder, beside weights and
  // config.json.
  virtual void SaveBeside(const std::filesystem::path& directory) const;
  // The model's folder, with what it needs to be used.
  virtual void Save(const std::filesystem::path& directory) = 0;

 protected:
  // What make() gives, and its time counts as that of batches.
  template <class Make>
  auto TimedBatch(const Make& make) {
    const Stopwatch watch(&batch_seconds_);
    return make();
  }

 private:
  double batch_seconds_ = 0.0;
};

}  // namespace longspan
