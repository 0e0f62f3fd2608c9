#include "train/step_trial.h"

#include <algorithm>
#include <utility>

#include "base/math.h"
#include "longspan/machine.h"
#include "model/step_memory.h"

namespace longspan {
namespace {

constexpr idx_t kRepetitions = 3;

}  // namespace

TrialModel TrialOf(Context& context, std::shared_ptr<const ModelConfig> config,
                   const StepPolicy& policy) {
  const auto cut = [config](idx_t sets, idx_t tokens) {
    auto model = config->Clone();
    model->CutDown(sets);
    model->GrowPositions(tokens);
    return model;
  };
  return {[=, &context](idx_t sets, idx_t rows, idx_t tokens) {
            const auto model = cut(sets, tokens);
            return std::make_unique<StepBench>(context, *model, rows, tokens, StepKind::kTrain,
                                               model->CutDownPolicy(policy));
          },
          [=, &context](idx_t sets, idx_t rows, idx_t tokens) {
            const auto model = cut(sets, tokens);
            return RehearseStep(*model, rows, tokens, context.threads(),
                                model->CutDownPolicy(policy));
          }};
}

StepTrial::Parts StepTrial::GflopOf(idx_t rows, idx_t tokens) const {
  const double one = model_.rehearse(1, rows, tokens).gflop;
  const double two = model_.rehearse(2, rows, tokens).gflop;
  return {two - one, 2.0 * one - two};
}

StepTrial::StepTrial(TrialModel model, idx_t rows, idx_t tokens, double gflop, std::size_t bytes)
    : model_(std::move(model)), rows_(rows), tokens_(tokens) {
  constexpr idx_t kFewest = 256;
  while (model_.rehearse(2, rows_, tokens_).gflop > gflop) {
    if (rows_ == 1 && tokens_ <= kFewest) break;
    idx_t& longer = rows_ > 1 ? rows_ : tokens_;
    longer = CeilDiv(longer, idx_t{2});
  }
  if (model_.rehearse(2, rows_, tokens_).memory.total() > bytes) return;
  double gradients[2] = {}, updates[2] = {}, weights[2] = {};
  for (const idx_t sets : {1, 2}) {
    const auto bench = model_.make(sets, rows_, tokens_);
    bench->Step();  // books the memory, creates oneDNN's kernels
    gradients[sets - 1] = MedianSeconds(kRepetitions, [&] { bench->Differentiate(); });
    updates[sets - 1] = MedianSeconds(kRepetitions, [&] { bench->Update(); });
    weights[sets - 1] = static_cast<double>(model_.rehearse(sets, rows_, tokens_).memory.weights);
  }
  gflop_ = GflopOf(rows_, tokens_);
  seconds_.set = std::max(gradients[1] - gradients[0], 0.0);
  seconds_.beside = std::max(gradients[0] - seconds_.set, 0.0);
  update_seconds_ = updates[1] / weights[1];
  ran_ = true;
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
