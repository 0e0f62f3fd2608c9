// Measures where the softmax mass of shared queries and keys is, and how much of it a hash sees.
//
// The dense softmax of row t: scores x_t . k_j, k_j = x_j / sqrt(mean(x_j^2) + 1e-6) / sqrt(D),
// over all other tokens j, of which causality leaves j < t. Its own key does not count, as
// FullSharedForward weighs it 0 wherever there is another. The mass of a set of keys is the sum of
// their weights in that softmax: 1 for all keys.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "longspan/attention.h"
#include "longspan/context.h"
#include "longspan/inspect.h"

namespace longspan {

// The measures of a row for each hashing: the shares of its mass (0..1) on the keys that it sees in
// at least one round, on as many nearest tokens, on the keys that it would see with random buckets,
// and on as many heaviest keys; and the numbers of keys.
enum MassField : idx_t { kSeenMass, kLocalMass, kRandomMass, kBestMass, kSeenKeys, kRandomKeys };
inline constexpr idx_t kMassFields = 6;

// Numbers of a row: its mass on its top kTopKeys keys, then kMassFields of each hashing.
inline constexpr idx_t MassColumns(idx_t hashings) {
  return static_cast<idx_t>(kTopKeys.size()) + kMassFields * hashings;
}

// One way to hash the text. Buckets (1, H, R, T), contiguous; empty when one chunk holds the text.
struct Hashing {
  LshSpec spec;
  View<const std::uint16_t, 4> buckets, random;
};

// mass (H, rows, MassColumns(hashings)) for the given rows of one text, qk (1, H, T, D) without
// padding. Who sees whom is what LshForward does with these buckets: its plan and its sort.
// Throws kUsage for a row that sees only itself (row 0 when causal, or T = 1), kNumeric when scores
// are not finite. Cost per head and row: 2 T D flop, a selection among T weights, R W steps.
// Memory: 128 rows of T scores, 2 T floats a thread, 16 R T bytes for each hashing.
void MeasureMass(Context& context, const View<const float, 4>& qk, bool causal,
                 std::span<const Hashing> hashings, std::span<const idx_t> rows,
                 const View<float, 3>& mass);

}  // namespace longspan
