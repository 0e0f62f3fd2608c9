#include "train/length_batches.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/math.h"
#include "base/rng.h"

namespace longspan {
namespace {

constexpr idx_t kPoolMicros = 16;

enum Purpose : std::uint64_t { kRows = 1, kMicros = 2 };

}  // namespace

void Shuffle(std::uint64_t key, std::span<idx_t> numbers) {
  Rng rng(key);
  for (std::size_t i = numbers.size(); i > 1; --i) {
    std::swap(numbers[i - 1], numbers[static_cast<std::size_t>(rng.Below(static_cast<idx_t>(i)))]);
  }
}

idx_t EpochOrder::At(idx_t place) {
  const idx_t epoch = place / rows_;
  if (epoch != epoch_) {
    order_.resize(static_cast<std::size_t>(rows_));
    std::iota(order_.begin(), order_.end(), 0);
    Shuffle(DeriveKey(key_, static_cast<std::uint64_t>(epoch)), order_);
    epoch_ = epoch;
  }
  return order_[static_cast<std::size_t>(place % rows_)];
}

LengthBatches::LengthBatches(std::vector<idx_t> lengths, idx_t batch, idx_t accumulate,
                             std::uint64_t key)
    : lengths_(std::move(lengths)), batch_(batch), accumulate_(accumulate), key_(key) {
  const auto rows = static_cast<idx_t>(lengths_.size());
  updates_ = CeilDiv(CeilDiv(rows, batch_), accumulate_);
}

void LengthBatches::DrawEpoch(idx_t epoch) {
  const std::uint64_t key = DeriveKey(key_, static_cast<std::uint64_t>(epoch));
  const auto rows = static_cast<idx_t>(lengths_.size());
  std::vector<idx_t> order(lengths_.size());
  std::iota(order.begin(), order.end(), 0);
  Shuffle(DeriveKey(key, kRows), order);
  // At least four pools, so that chance keeps a say in what stands together.
  const idx_t micros = CeilDiv(rows, batch_);
  const idx_t pool = std::clamp<idx_t>(micros / 4, 1, kPoolMicros) * batch_;
  micros_.clear();
  for (idx_t begin = 0, number = 0; begin < rows; begin += pool, ++number) {
    const auto first = order.begin() + begin;
    const auto last = order.begin() + std::min(begin + pool, rows);
    if (batch_ > 1) {
      std::stable_sort(first, last, [&](idx_t a, idx_t b) {
        return lengths_[static_cast<std::size_t>(a)] > lengths_[static_cast<std::size_t>(b)];
      });
    }
    std::vector<idx_t> starts;
    for (idx_t at = 0; at < last - first; at += batch_) starts.push_back(at);
    Shuffle(DeriveKey(DeriveKey(key, kMicros), static_cast<std::uint64_t>(number)), starts);
    for (const idx_t at : starts) {
      micros_.emplace_back(first + at, first + std::min<idx_t>(at + batch_, last - first));
    }
  }
  epoch_ = epoch;
}

std::span<const std::vector<idx_t>> LengthBatches::Update(idx_t step) {
  const idx_t epoch = (step - 1) / updates_;
  if (epoch != epoch_) DrawEpoch(epoch);
  const idx_t begin = (step - 1) % updates_ * accumulate_;
  const auto all = static_cast<idx_t>(micros_.size());
  return std::span(micros_).subspan(static_cast<std::size_t>(begin),
                                    static_cast<std::size_t>(std::min(accumulate_, all - begin)));
}

}  // namespace longspan
