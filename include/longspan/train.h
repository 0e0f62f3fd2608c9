// Training: a byte-level language model, a masked language model, a classifier of texts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "longspan/context.h"

namespace longspan {

enum class Schedule { kCosine, kLinear, kConstant };

struct TrainOptions {
  std::filesystem::path model;               // where the initial config and weights lie
  std::vector<std::filesystem::path> train;  // texts, joined in this order
  std::filesystem::path eval;                // held-out text; empty: the end of the training text
  double held_out = 0.1;                     // fraction of the text's end, when `eval` is empty
  std::filesystem::path output;

  idx_t steps = 1000;    // updates
  idx_t batch = 8;       // rows a micro-batch
  idx_t tokens = 512;    // a row
  idx_t accumulate = 1;  // micro-batches an update
  double learning_rate = 1e-3;
  double final_rate = 0.1;  // of the learning rate, at the end of cosine and linear
  idx_t warmup = 50;        // updates
  Schedule schedule = Schedule::kCosine;
  double beta1 = 0.9, beta2 = 0.98, adam_eps = 1e-8;
  double weight_decay = 0.1;      // of matrices; biases, norms and tables have none
  double clip = 1.0;              // largest gradient norm; 0: no clipping
  std::optional<double> dropout;  // instead of the config's dropouts
  // Who sees whom, with the model's weights: "full", "local", "lsh" or "config"; written into the
  // trained model. Empty: as the model's config says.
  std::string attention;
  std::uint64_t seed = 1;

  idx_t log_every = 10;    // updates between lines of metrics.jsonl
  idx_t eval_every = 250;  // 0: only at the end
  idx_t save_every = 250;  // 0: only at the end
  idx_t keep = 2;          // checkpoints, besides the best
  bool resume = false;     // go on from the newest whole checkpoint of `output`
  bool overwrite = false;  // clear what an earlier run left in `output`
  bool allow_nonfinite = false;
};

// A named number beside the loss: "accuracy", "macro_f1".
struct TrainMetric {
  std::string name;
  double value = 0.0;
};

// What one update or one evaluation was like.
struct TrainEvent {
  enum class Kind { kStep, kEval, kSave, kNote } kind = Kind::kStep;
  idx_t step = 0, steps = 0;
  double loss = 0.0;           // the mean over what is predicted: bytes, masked tokens, texts
  double bits_per_byte = 0.0;  // NaN where the loss is not of bytes
  std::vector<TrainMetric> metrics;
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  // before clipping
  double tokens_per_s = 0.0;
  idx_t tokens = 0;      // seen so far
  double seconds = 0.0;  // since the start of this process's run
  double seconds_left = 0.0;
  idx_t rss_bytes = 0;
  std::string text;  // of kSave and kNote
};

struct TrainResult {
  idx_t step = 0;                   // of the last update
  bool stopped = false;             // by should_stop
  double eval_bits_per_byte = 0.0;  // NaN where the loss is not of bytes
  double eval_loss = 0.0;
  std::vector<TrainMetric> metrics;  // of the last evaluation
  double seconds = 0.0;              // of training, evaluation included
};

struct TrainHooks {
  std::function<void(const TrainEvent&)> on_event;  // may be empty
  std::function<bool()> should_stop;                // asked after each update; may be empty
};

// Trains, writes metrics.jsonl, checkpoints and the final model into options.output.
// The same options give the same bits for any number of threads, and after any interruption that
// is resumed. Errors: kUsage (options), kFormat (files), kIo, kLocked (another run owns the
// output), kNumeric (the loss is no longer finite; the last checkpoint stays).
TrainResult TrainLanguageModel(Context& context, const TrainOptions& options,
                               const TrainHooks& hooks = {});

struct EvalResult {
  double loss = 0.0;  // nats a token
  double bits_per_byte = 0.0;
  double accuracy = 0.0;  // share of bytes whose most likely prediction was right
  idx_t counted = 0;      // bytes predicted: all but the first
};

struct EvalOptions {
  std::filesystem::path model, text;
  double held_out = 1.0;  // the last part (0, 1] of the text
  idx_t tokens = 512;     // a window
  idx_t stride = 0;       // the window's advance; 0: half a window
  std::string attention;  // as TrainOptions has it
  idx_t num_hashes = 0;   // rounds of LSH layers; 0: the config's
};

// Held-out loss of a model on a text. The text is read in windows; each byte is predicted once,
// with at least tokens - stride bytes of context behind the first window. LSH layers hash with the
// same rotations every time. Errors: kUsage (options), kFormat (files), kIo.
EvalResult EvaluateLanguageModel(Context& context, const EvalOptions& options);

}  // namespace longspan
