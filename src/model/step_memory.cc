#include "model/step_memory.h"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/limits.h"
#include "model/longformer.h"
#include "model/reformer.h"
#include "model/targets.h"
#include "model/text_model.h"

namespace longspan {
namespace {

double Megabytes(std::size_t bytes) { return static_cast<double>(bytes) * 1e-6; }

void CheckStep(idx_t rows, idx_t tokens) {
  Check(rows >= 1 && tokens >= 1 && tokens <= limits::kReformerTokens &&
            rows <= limits::kReformerTokens / tokens,
        ErrorCode::kUsage, "step: {} rows of {} tokens, need at least 1 of 1 and {} tokens at most",
        rows, tokens, limits::kReformerTokens);
}

// A text of the shortest length must fit.
void CheckSmallest(idx_t units, const StepNeeds& needs, std::size_t bytes) {
  const StepMemory& m = needs.memory;
  Check(units > 1, ErrorCode::kLimit,
        "memory: a step of {} x {} tokens needs {:.0f} MB, {:.0f} MB of it for weights, gradients "
        "and AdamW's moments; there are {:.0f} MB",
        needs.rows, needs.tokens, Megabytes(m.total()),
        Megabytes(m.weights + m.gradients + m.moments), Megabytes(bytes));
}

}  // namespace

StepNeeds RehearseStep(const ReformerConfig& config, idx_t rows, idx_t tokens, int threads,
                       const StepPolicy& policy) {
  CheckStep(rows, tokens);
  Context context = Context::Rehearsal(threads);
  Reformer model(config, Reformer::Memory::kBorrowed);
  const idx_t n = rows * tokens, extent = model.parameters().extent();
  const std::size_t table = Arena::Bytes<float>(extent), ids = Arena::Bytes<std::int32_t>(n);
  const std::size_t streams = Reformer::StreamBytes(config, rows, tokens, policy.gradient_streams);

  // Weights and text are addresses too: what is not written costs nothing.
  Arena given(Arena::Pages::kReserved);
  Arena::Frame frame(given, 2 * table + 2 * ids);
  float* weights = frame.Take<float>(extent);
  model.parameters().Borrow(weights, frame.Take<float>(extent));
  const auto words = [&] {
    return std::span<std::int32_t>(frame.Take<std::int32_t>(n), static_cast<std::size_t>(n));
  };
  ReformerBatch batch{rows, tokens, words()};
  const Targets targets(InfoOf(config), rows, tokens, words());
  targets.AddTo(&batch);
  model.ComputeIn(policy.compute);
  model.KeepUpTo(policy.keep);
  model.GradientStreamsIn(policy.gradient_streams);
  model.LossAndGradients(context, batch, 1.0f, {true, 0});

  StepNeeds needs;
  needs.rows = rows;
  needs.tokens = tokens;
  needs.gflop = model.StepGflop(rows, tokens);
  needs.memory.weights = needs.memory.gradients = static_cast<std::size_t>(extent) * sizeof(float);
  needs.memory.moments = 2 * needs.memory.weights;
  needs.memory.text = 2 * ids;
  needs.memory.streams = streams;
  needs.memory.buckets = model.KeptBytes();
  needs.memory.copies = model.CopiedBytes();
  needs.memory.activations = model.ActivationBytes(rows, tokens);
  needs.memory.scratch = context.arena().most_capacity() - streams;
  return needs;
}

StepNeeds RehearseStep(const LongformerConfig& config, idx_t rows, idx_t tokens, int threads,
                       const StepPolicy& policy) {
  CheckStep(rows, tokens);
  Context context = Context::Rehearsal(threads);
  Longformer model(config, Longformer::Memory::kBorrowed);
  const idx_t extent = model.parameters().extent();
  const auto n = static_cast<std::size_t>(rows * tokens);
  Arena given(Arena::Pages::kReserved);
  Arena::Frame frame(given, 2 * Arena::Bytes<float>(extent));
  float* weights = frame.Take<float>(extent);
  model.parameters().Borrow(weights, frame.Take<float>(extent));

  const std::vector<std::int32_t> ids(n, config.pad_token == 0 ? 1 : 0);
  std::vector<std::uint8_t> roles(n, kLocalToken);
  BatchView batch;
  batch.rows = rows;
  batch.tokens = tokens;
  batch.ids = ids;
  batch.roles = {roles.data(), {rows, tokens}};
  for (idx_t b = 0; ReadsFirstToken(config.head) && b < rows; ++b) {
    roles[static_cast<std::size_t>(b * tokens)] = kGlobalToken;
  }
  std::vector<std::int32_t> room(n);
  const Targets targets(InfoOf(config), rows, tokens, room);
  targets.AddTo(&batch);
  LongformerStep step;
  step.dropout = {true, 0};
  step.scale = 1.0f;
  step.recompute.assign(config.layers(), false);
  std::fill_n(step.recompute.begin(), std::min(policy.recompute, config.layers()), true);
  model.ComputeIn(policy.compute, policy.copies);
  model.LossAndGradients(context, batch, step);

  StepNeeds needs;
  needs.rows = rows;
  needs.tokens = tokens;
  needs.gflop = model.StepGflop(batch);
  needs.memory.weights = needs.memory.gradients = static_cast<std::size_t>(extent) * sizeof(float);
  needs.memory.moments = 2 * needs.memory.weights;
  needs.memory.text = n * (2 * sizeof(std::int32_t) + sizeof(std::uint8_t));
  needs.memory.copies = model.CopiedBytes();
  needs.memory.scratch = context.arena().most_capacity();
  return needs;
}

namespace {

// `least`: of the step that keeps nothing.
void CheckFits(const StepNeeds& least, std::size_t bytes) {
  const StepMemory& m = least.memory;
  Check(m.total() <= bytes, ErrorCode::kLimit,
        "memory: a step of {} x {} tokens needs {:.0f} MB even if it keeps nothing that can be "
        "computed again ({:.0f} MB for weights, gradients and moments, {:.0f} MB for streams, "
        "{:.0f} MB for scratch); there are {:.0f} MB",
        least.rows, least.tokens, Megabytes(m.total()),
        Megabytes(m.weights + m.gradients + m.moments + m.copies), Megabytes(m.streams),
        Megabytes(m.scratch), Megabytes(bytes));
}

}  // namespace

StepPolicy FitStep(const ReformerConfig& config, idx_t rows, idx_t tokens, std::size_t bytes,
                   StepPolicy policy, int threads) {
  policy.keep = 0;
  const StepNeeds least = RehearseStep(config, rows, tokens, threads, policy);
  CheckFits(least, bytes);
  // Whole branches of whole layers are kept, not what is left over: the number says which.
  Reformer model(config, Reformer::Memory::kBorrowed);
  model.ComputeIn(policy.compute);
  model.KeepUpTo(bytes - least.memory.total());
  policy.keep = model.ActivationBytes(rows, tokens);
  return policy;
}

StepPolicy FitStep(const LongformerConfig& config, idx_t rows, idx_t tokens, std::size_t bytes,
                   StepPolicy policy, int threads) {
  policy.recompute = 0;
  policy.copies = LayerCopies::kKept;
  StepNeeds needs = RehearseStep(config, rows, tokens, threads, policy);
  if (policy.compute == DType::kBF16 && needs.memory.total() > bytes) {
    policy.copies = LayerCopies::kInTurn;
    needs = RehearseStep(config, rows, tokens, threads, policy);
  }
  while (needs.memory.total() > bytes) {
    if (policy.recompute == config.layers()) CheckFits(needs, bytes);
    ++policy.recompute;
    needs = RehearseStep(config, rows, tokens, threads, policy);
  }
  return policy;
}

LongformerConfig WithPositions(LongformerConfig config, idx_t tokens) {
  config.max_positions = std::max(config.max_positions, tokens + config.pad_token + 1);
  return config;
}

ReformerConfig WithPositions(ReformerConfig config, idx_t tokens) {
  Check(tokens <= limits::kReformerTokens, ErrorCode::kUsage, "step: {} tokens are more than {}",
        tokens, limits::kReformerTokens);
  config.max_positions = std::max(config.max_positions, tokens);
  if (!config.axial) return config;
  idx_t& first = config.axial_shape[0];
  idx_t& second = config.axial_shape[1];
  while (first * second < tokens) (first <= second ? first : second) *= 2;
  return config;
}

LongestStep FindLongestStep(const ReformerConfig& config, idx_t rows, std::size_t bytes,
                            int threads) {
  return FindLongestStep(
      [&](idx_t tokens) {
        return RehearseStep(WithPositions(config, tokens), rows, tokens, threads);
      },
      rows, bytes);
}

LongestStep FindLongestStep(const std::function<StepNeeds(idx_t tokens)>& rehearse, idx_t rows,
                            std::size_t bytes) {
  LongestStep longest;
  std::optional<Error> error;  // of the shortest length that is too long, unless memory refused it
  double total = 0.0;          // of the last step that was rehearsed
  const auto fits = [&](idx_t units) {
    const idx_t tokens = units * kPlanTokens;
    try {
      const StepNeeds needs = rehearse(tokens);
      total = static_cast<double>(needs.memory.total());
      if (needs.memory.total() <= bytes) {
        longest.needs = needs;
        return true;
      }
      CheckSmallest(units, needs, bytes);
      error.reset();
    } catch (const Error& refusal) {
      if (units == 1) throw;
      error = refusal;
    }
    return false;
  };
  // Memory is almost a straight line over the length: the line through two lengths leads near the
  // end, and the steps from there grow until they have passed it.
  idx_t low = 1,
        high = limits::kReformerTokens / kPlanTokens / rows + 1;  // low fits, high does not
  fits(low);
  const double first = total;
  constexpr idx_t kFar = 4096;
  bool fitted = fits(std::min(kFar, high - 1));
  (fitted ? low : high) = std::min(kFar, high - 1);
  const double guess =
      1.0 + (static_cast<double>(bytes) - first) / std::max(1.0, total - first) * (kFar - 1);
  idx_t next = static_cast<idx_t>(std::min(guess, static_cast<double>(high)));
  for (idx_t step = 1; high - low > 1; step *= 4) {
    next = std::clamp(next, low + 1, high - 1);
    fitted = fits(next);
    (fitted ? low : high) = next;
    const idx_t middle = low + (high - low) / 2;
    next = fitted ? std::min(middle, low + step) : std::max(middle, high - step);
  }
  if (error) longest.refused = error->what();
  return longest;
}

}  // namespace longspan
