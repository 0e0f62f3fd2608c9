#include "train/row_training.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/errors.h"
#include "base/rng.h"
#include "train/length_batches.h"

namespace longspan {
namespace {

// Of the split into training and held-out rows, beside the order of the rows.
constexpr std::uint64_t kSplit = 0x73706c6974;

}  // namespace

std::vector<bool> HeldOutRows(std::size_t rows, double share, std::uint64_t seed) {
  std::vector<idx_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  Shuffle(DeriveKey(seed, kSplit), order);
  const auto count = static_cast<std::size_t>(share * static_cast<double>(rows));
  std::vector<bool> held(rows, false);
  for (std::size_t i = 0; i < count; ++i) held[static_cast<std::size_t>(order[i])] = true;
  return held;
}

void CheckBothParts(std::size_t train, std::size_t held_out) {
  Check(train > 0 && held_out > 0, ErrorCode::kUsage,
        "train: {} texts to train on and {} held out, need one of each; give --eval or change "
        "--held-out",
        train, held_out);
}

void CheckEpochs(double epochs) {
  Check(epochs >= 0.0 && epochs <= 1e6, ErrorCode::kUsage, "epochs: {} is not from 0 to 1e6",
        epochs);
}

idx_t UpdatesOf(double epochs, idx_t rows, idx_t batch, idx_t accumulate) {
  const LengthBatches order(std::vector<idx_t>(static_cast<std::size_t>(rows), 1), batch,
                            accumulate, 0);
  const double updates = std::ceil(epochs * static_cast<double>(order.updates()));
  return std::max<idx_t>(1, std::llround(updates));
}

void TellNote(const TrainHooks& hooks, const std::string& note) {
  if (!hooks.on_event) return;
  TrainEvent event;
  event.kind = TrainEvent::Kind::kNote;
  event.text = note;
  hooks.on_event(event);
}

}  // namespace longspan
