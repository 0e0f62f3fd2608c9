// In which order an epoch sees rows of different lengths.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// Each epoch uses every row once, in an order drawn from (key, epoch). Micro-batches are padded to
// their longest row. With more than one row in each, pools of about 16 micro-batches are sorted by
// length, cut and shuffled again, so rows of similar length run together while every update stays a
// mixture.
class LengthBatches {
 public:
  // lengths: tokens of each row; an update has `accumulate` micro-batches of `batch` rows, the last
  // one of an epoch what is left.
  LengthBatches(std::vector<idx_t> lengths, idx_t batch, idx_t accumulate, std::uint64_t key);

  idx_t updates() const { return updates_; }  // of an epoch
  // The micro-batches of update `step` (from 1, over all epochs), each of at least one row. Valid
  // until the next call.
  std::span<const std::vector<idx_t>> Update(idx_t step);

 private:
  void DrawEpoch(idx_t epoch);

  std::vector<idx_t> lengths_;
  idx_t batch_, accumulate_, updates_;
  std::uint64_t key_;
  idx_t epoch_ = -1;  // of micros_
  std::vector<std::vector<idx_t>> micros_;
};

// The rows of an endless sequence of epochs, each of which has every row once in an order drawn
// from (key, epoch).
class EpochOrder {
 public:
  EpochOrder() = default;
  EpochOrder(idx_t rows, std::uint64_t key) : rows_(rows), key_(key) {}
  // The row at `place`, from 0.
  idx_t At(idx_t place);

 private:
  idx_t rows_ = 0;
  std::uint64_t key_ = 0;
  idx_t epoch_ = -1;  // of order_
  std::vector<idx_t> order_;
};

// Shuffles by a stream of its own: the same for the same key.
void Shuffle(std::uint64_t key, std::span<idx_t> numbers);

}  // namespace longspan
