#include "model/step_memory.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/limits.h"
#include "model/model_config.h"
#include "model/optimizers.h"
#include "model/targets.h"

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
        "and the optimizer's state; there are {:.0f} MB",
        needs.rows, needs.tokens, Megabytes(m.total()),
        Megabytes(m.weights + m.gradients + m.moments), Megabytes(bytes));
}

// A step of an encoder alone, whose loss is over vectors of texts (TextModel::EncodeInStep): the
// hidden states of the batch, and then their gradients, are beside each pass.
void RehearseVectors(Context& context, const BatchView& batch, TextModel& model) {
  const idx_t n = batch.rows * batch.tokens, width = model.info().width;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * width));
  const View<float, 2> hidden(frame.Take<float>(n * width), {n, width});
  model.EncodeInStep(context, batch, {true, 0}, hidden);
  model.EncodeGradients(context, batch, hidden, {true, 0});
}

}  // namespace

void FreezeAsPlanned(const StepPolicy& policy, ParameterTable& table) {
  if (!policy.frozen) return;
  std::vector<bool> frozen;
  for (const ParameterInfo& info : table.list()) frozen.push_back(policy.frozen(info.name));
  table.Freeze(std::move(frozen));
}

std::function<bool(std::string_view name)> FrozenIn(const ParameterTable& table) {
  if (table.frozen().empty()) return {};
  std::set<std::string, std::less<>> names;
  for (std::size_t i = 0; i < table.list().size(); ++i) {
    if (table.frozen()[i]) names.insert(table.list()[i].name);
  }
  return [names](std::string_view name) { return names.contains(name); };
}

StepNeeds RehearseStep(const ModelConfig& config, idx_t rows, idx_t tokens, int threads,
                       const StepPolicy& policy) {
  CheckStep(rows, tokens);
  Context context = Context::Rehearsal(threads);
  const auto model = config.Make(ParameterMemory::kBorrowed);
  const TextModelInfo& info = model->info();
  // The last rank has the largest slab, and as many heads as any.
  RowGroup group(policy.row_ranks - 1, policy.row_ranks);
  if (policy.row_ranks > 1) {
    CheckRowRanks(info, policy.row_ranks);
    context.SplitRows(&group);
  }
  const idx_t n = rows * tokens, extent = model->parameters().extent();

  // Weights and text are addresses too: what is not written costs nothing.
  Arena given(Arena::Pages::kReserved);
  Arena::Frame frame(given, 2 * Arena::Bytes<float>(extent) + 2 * Arena::Bytes<std::int32_t>(n));
  FreezeAsPlanned(policy, model->parameters());
  float* weights = frame.Take<float>(extent);
  model->parameters().Borrow(weights, frame.Take<float>(extent));
  const auto words = [&] {
    return std::span<std::int32_t>(frame.Take<std::int32_t>(n), static_cast<std::size_t>(n));
  };
  const std::span<std::int32_t> ids = words();
  if (info.padding_by_id && info.pad_token == 0) std::fill(ids.begin(), ids.end(), 1);
  BatchView batch;
  batch.rows = rows;
  batch.tokens = tokens;
  batch.ids = ids;
  const Targets targets(info, rows, tokens, words());
  targets.AddTo(&batch);
  const std::vector<std::uint8_t> roles = RolesFor(info, rows, tokens);
  if (!roles.empty()) batch.roles = {roles.data(), {rows, tokens}};
  model->Follow(policy);
  if (info.head == HeadKind::kNone) {
    RehearseVectors(context, batch, *model);
  } else {
    model->LossAndGradients(context, batch, 1.0f, {true, 0});
  }

  StepNeeds needs;
  needs.rows = rows;
  needs.tokens = tokens;
  needs.gflop = model->StepGflop(batch);
  needs.memory = model->MemoryOfStep(rows, tokens);
  const auto floats = [](idx_t count) { return static_cast<std::size_t>(count) * sizeof(float); };
  needs.memory.weights = floats(extent);
  const ParameterTable& table = model->parameters();
  needs.memory.gradients = floats(table.gradient_extent());
  if (policy.releases_gradients) {
    needs.memory.gradients = floats(SharesOf(policy.optimizer, table, policy.ranks).MostResident());
  }
  needs.memory.moments = OptimizerStateBytes(policy.optimizer, table, policy.ranks);
  needs.memory.sums = policy.sums;
  needs.memory.text = static_cast<std::size_t>(n) * 2 * sizeof(std::int32_t) + roles.size();
  needs.memory.scratch = context.arena().most_capacity() - needs.memory.streams;
  needs.row_bytes = group.bytes_sent();
  needs.row_bytes_beside = group.bytes_beside();
  needs.row_gflop_beside = group.flop_beside() * 1e-9;
  return needs;
}

void CheckFits(const StepNeeds& least, std::size_t bytes, std::size_t program) {
  const StepMemory& m = least.memory;
  if (m.total() <= bytes) return;
  const std::string sums =
      m.sums == 0 ? std::string()
                  : fmt::format(
                        ", {:.0f} MB for sums of gradients, which a smaller --accumulate "
                        "makes smaller",
                        Megabytes(m.sums));
  const std::size_t needed = m.total() + program;
  // "M" of --memory. One more than is needed: what the program takes differs a little.
  constexpr std::size_t kUnit = std::size_t{1} << 20;
  const std::string own =
      program == 0 ? std::string() : fmt::format("{:.0f} MB for the program, ", Megabytes(program));
  const std::string least_memory =
      program == 0 ? std::string() : fmt::format(": the least is --memory {}M", needed / kUnit + 2);
  Fail(ErrorCode::kLimit,
       "memory: a step of {} x {} tokens needs {:.0f} MB even if it keeps nothing that can be "
       "computed again ({}{:.0f} MB for weights, gradients and the optimizer, {:.0f} MB for "
       "streams and tokens, {:.0f} MB for scratch{}); there are {:.0f} MB{}",
       least.rows, least.tokens, Megabytes(needed), own,
       Megabytes(m.weights + m.gradients + m.moments + m.copies),
       Megabytes(m.streams + m.buckets + m.text + m.activations), Megabytes(m.scratch), sums,
       Megabytes(bytes + program), least_memory);
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
    } catch (const Cancelled&) {
      throw;
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
