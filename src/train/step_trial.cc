#include "train/step_trial.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <latch>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/math.h"
#include "longspan/machine.h"
#include "model/step_memory.h"

namespace longspan {
namespace {

constexpr idx_t kRepetitions = 3;

// Threads that each stand for another process: with a model and a team of their own they compute
// what the caller computes at the time.
class OtherRanks {
 public:
  using Make = std::function<std::unique_ptr<StepBench>(Context& context)>;

  // Returns when all of them compute. Throws what one of them throws before that.
  OtherRanks(int count, int threads, const Make& make) : begun_(count) {
    try {
      for (int i = 0; i < count; ++i) {
        threads_.emplace_back([this, threads, make] { Run(threads, make); });
      }
      begun_.wait();
      const std::lock_guard lock(mutex_);
      if (failed_) std::rethrow_exception(failed_);
    } catch (...) {
      over_ = true;  // the threads end before the members that they use
      threads_.clear();
      throw;
    }
  }
  ~OtherRanks() { over_ = true; }
  OtherRanks(const OtherRanks&) = delete;
  OtherRanks& operator=(const OtherRanks&) = delete;

  void UpdateNow() { updates_ = true; }

 private:
  void Run(int threads, const Make& make) {
    bool begun = false;
    try {
      Context own(threads);
      const auto bench = make(own);
      bench->Step();
      begun = true;
      begun_.count_down();
      while (!over_) {
        if (updates_) {
          bench->Update();
        } else {
          bench->Differentiate();
        }
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failed_ = std::current_exception();
    }
    if (!begun) begun_.count_down();
  }

  std::latch begun_;
  std::atomic<bool> over_ = false, updates_ = false;
  std::mutex mutex_;
  std::exception_ptr failed_;
  std::vector<std::jthread> threads_;  // the last member: they use the others
};

}  // namespace

TrialModel TrialOf(int threads, const std::shared_ptr<const ModelConfig>& config,
                   const StepPolicy& policy) {
  const auto cut = [config](idx_t sets, idx_t tokens) {
    auto model = config->Clone();
    model->CutDown(sets);
    model->GrowPositions(tokens);
    return model;
  };
  return {[=](Context& context, idx_t sets, idx_t rows, idx_t tokens) {
            const auto model = cut(sets, tokens);
            return std::make_unique<StepBench>(context, *model, rows, tokens, StepKind::kTrain,
                                               model->CutDownPolicy(policy));
          },
          [=](idx_t sets, idx_t rows, idx_t tokens) {
            const auto model = cut(sets, tokens);
            return RehearseStep(*model, rows, tokens, threads, model->CutDownPolicy(policy));
          }};
}

StepTrial::Parts StepTrial::GflopOf(idx_t rows, idx_t tokens) const {
  const double one = model_.rehearse(1, rows, tokens).gflop;
  const double two = model_.rehearse(2, rows, tokens).gflop;
  return {two - one, 2.0 * one - two};
}

StepTrial::StepTrial(Context& context, TrialModel model, idx_t rows, idx_t tokens, double gflop,
                     std::size_t bytes, int others)
    : model_(std::move(model)), rows_(rows), tokens_(tokens) {
  constexpr idx_t kFewest = 256;
  while (model_.rehearse(2, rows_, tokens_).gflop > gflop) {
    if (rows_ == 1 && tokens_ <= kFewest) break;
    idx_t& longer = rows_ > 1 ? rows_ : tokens_;
    longer = CeilDiv(longer, idx_t{2});
  }
  const std::size_t one = model_.rehearse(2, rows_, tokens_).memory.total();
  if (one > bytes / static_cast<std::size_t>(others + 1)) return;
  Time(context, others);
  ran_ = true;
}

void StepTrial::Time(Context& context, int others) {
  double gradients[2] = {}, updates[2] = {}, weights[2] = {};
  for (const idx_t sets : {1, 2}) {
    const auto bench = model_.make(context, sets, rows_, tokens_);
    const auto differentiate = [&] {
      return MedianSeconds(kRepetitions, [&] { bench->Differentiate(); });
    };
    const auto update = [&] { return MedianSeconds(kRepetitions, [&] { bench->Update(); }); };
    bench->Step();  // books the memory, creates oneDNN's kernels
    gradients[sets - 1] = differentiate();
    updates[sets - 1] = update();
    weights[sets - 1] = static_cast<double>(model_.rehearse(sets, rows_, tokens_).memory.weights);
    if (sets == 1 || others == 0) continue;
    OtherRanks beside(others, context.threads(),
                      [&](Context& own) { return model_.make(own, sets, rows_, tokens_); });
    slower_ = std::max(1.0, differentiate() / gradients[1]);
    beside.UpdateNow();
    updates_slower_ = std::max(1.0, update() / updates[1]);
  }
  gflop_ = GflopOf(rows_, tokens_);
  seconds_.set = std::max(gradients[1] - gradients[0], 0.0);
  seconds_.beside = std::max(gradients[0] - seconds_.set, 0.0);
  update_seconds_ = updates[1] / weights[1];
}

double StepTrial::Seconds(const StepNeeds& needs, double share) const {
  const Parts gflop = GflopOf(needs.rows, needs.tokens);
  const double tokens = static_cast<double>(needs.rows) * static_cast<double>(needs.tokens) /
                        static_cast<double>(rows_ * tokens_);
  const double rows =
      seconds_.set * (needs.gflop - gflop.beside) / gflop_.set + seconds_.beside * tokens;
  return share * rows + UpdateSeconds(needs);
}

double StepTrial::UpdateSeconds(const StepNeeds& needs) const {
  return update_seconds_ * static_cast<double>(needs.memory.weights);
}

}  // namespace longspan
