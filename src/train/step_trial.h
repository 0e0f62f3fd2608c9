// How long a training step takes that is not run: from short ones that are.
#pragma once

#include <functional>
#include <memory>

#include "longspan/context.h"
#include "model/step_needs.h"
#include "train/step_bench.h"

namespace longspan {

// A model cut down to `sets` sets of layers, each of which has one layer of every kind.
struct TrialModel {
  std::function<std::unique_ptr<StepBench>(Context& context, idx_t sets, idx_t rows, idx_t tokens)>
      make;
  std::function<StepNeeds(idx_t sets, idx_t rows, idx_t tokens)> rehearse;
};

// `threads`: of the steps that are rehearsed.
TrialModel TrialOf(int threads, const std::shared_ptr<const ModelConfig>& config,
                   const StepPolicy& policy);

// Times steps of one set and of two sets of layers. Their difference is what a set takes, which
// grows with its useful work; what is left are the embeddings and the head, which grow with the
// tokens; updates grow with the parameters and are timed apart. Exact where time is proportional to
// these. A few percent off where layers of several kinds are mixed unevenly or the text is so long
// that it leaves the caches.
class StepTrial {
 public:
  // Steps like one of rows x tokens, but of so many fewer rows, then tokens, that a step has at
  // most `gflop` of useful work; 256 tokens in any case. Those of two sets run once more beside
  // those of `others`, each of which does the same over and over with as many threads and a model
  // of its own. Nothing is timed, ran() is false, when the trial needs more than `bytes`.
  StepTrial(Context& context, TrialModel model, idx_t rows, idx_t tokens, double gflop,
            std::size_t bytes, int others = 0);

  bool ran() const { return ran_; }
  // Of a whole model's step; of the `share` of its rows that a rank computes (1: all).
  double Seconds(const StepNeeds& needs, double share = 1.0) const;
  // Of these, what the optimizer takes once the gradients are there.
  double UpdateSeconds(const StepNeeds& needs) const;
  // How many times as long a step without its update takes beside the others, and the update; at
  // least 1. Factors, because a difference of two disturbed times would be mostly noise.
  double slower() const { return slower_; }
  double updates_slower() const { return updates_slower_; }

 private:
  // Seconds and useful GFLOP of a set of layers, and of what is beside the layers.
  struct Parts {
    double set = 0.0, beside = 0.0;
  };
  Parts GflopOf(idx_t rows, idx_t tokens) const;
  void Time(Context& context, int others);

  TrialModel model_;
  idx_t rows_ = 0, tokens_ = 0;
  bool ran_ = false;
  Parts gflop_, seconds_;
  double update_seconds_ = 0.0;  // of a byte of weights
  double slower_ = 1.0, updates_slower_ = 1.0;
};

}  // namespace longspan
