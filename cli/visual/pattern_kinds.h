// The kinds of patterns, one file each, and what they share.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cli/visual/pattern.h"
#include "longspan/attention.h"

namespace longspan::cli {

PatternKind ChunkedPattern();
PatternKind FullPattern();
PatternKind LshPatternKind();
PatternKind WindowPattern();
PatternKind LongformerPattern();

// Full attention is a panel of Longformer's sheet too, whose groups begin with these.
std::vector<GridGroup> FullGroups();
GridPanel FullPanel(Context& context, const PatternOptions& options);

// ", padding 5 + 3" for a panel's note; empty without padding.
std::string PaddingNote(const PatternOptions& options);

// Throws kUsage when the number of tokens or their padding cannot be drawn.
void CheckPatternSize(const PatternOptions& options);

bool IsPadding(const PatternOptions& options, idx_t key);

// A panel of tokens x tokens cells whose padding is shaded: visible where weights are not 0.
GridPanel SquarePanel(const PatternOptions& options, std::vector<float> weights);

// One head of `tokens` tokens with one-hot values, head size = tokens, as the kernels take it.
struct PatternProblem {
  explicit PatternProblem(const PatternOptions& options);
  View<const float, 4> Zeros() const { return {zeros.data(), shape}; }
  View<const float, 4> Values() const { return {values.data(), shape}; }
  View<float, 4> Out() { return {out.data(), shape}; }
  View<float, 3> Row(std::vector<float>& numbers) const {
    return {numbers.data(), {1, 1, shape[2]}};
  }
  KeyMask Mask() const;

  std::array<idx_t, 4> shape;
  std::vector<float> zeros, values, out, lse, max, sum;
  std::vector<std::uint8_t> exists;
  bool padded;
};

}  // namespace longspan::cli
