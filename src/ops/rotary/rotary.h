// Rotary position embedding (Su et al., RoFormer, 2021, section 3.4.2) in the half-split form of
// GPT-NeoX: channel c of a head turns with channel c + D/2. Scores of rotated queries and keys
// depend on the distance of their tokens alone.
#pragma once

#include <cstdint>
#include <span>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "ops/rotary/rotary_frequencies.h"

namespace longspan {

// cos and sin of the angles p theta^(-2c/D) of positions p = 0, 1, ...: (positions, D / 2) each,
// contiguous.
template <class T>
struct RotaryTableOf {
  View<T, 2> cos, sin;
};
using RotaryTable = RotaryTableOf<const float>;

// Fills a table for heads of D = 2 * extent[1] channels and texts of `tokens` tokens, which decide
// the frequencies of some kinds. Frequencies and angles are rounded to fp32 as the original rounds
// them: at position 8191 that moves an angle by up to 4e-4. An attention factor multiplies cosines
// and sines, so that scores grow by its square, and gradients by it. theta must be above 0 and
// finite, else kUsage. Cost: one cosine and one sine for each element.
void FillRotaryTable(Context& context, const RotarySpec& spec, idx_t tokens,
                     const RotaryTableOf<float>& table);
// The same of the plain embedding.
void FillRotaryTable(Context& context, double theta, const RotaryTableOf<float>& table);

// Turns x (B, H, T, D) in place, any strides but the last: with queries and keys side by side,
// H counts the heads of both. `positions` (B * T) says each token's position; empty: token t of
// each row has position t. All arithmetic is fp32, bf16 is widened and rounded back.
// kUsage for an odd D, or a position that the table does not have.
// Cost: 3 B H T D flop, one read and one write of x.
void RotaryForward(Context& context, const RotaryTable& table,
                   std::span<const std::int32_t> positions, const View<float, 4>& x);
void RotaryForward(Context& context, const RotaryTable& table,
                   std::span<const std::int32_t> positions, const View<bfloat16, 4>& x);

// The gradient for the rotated x becomes, in place, that for x: the same turn backwards.
void RotaryBackward(Context& context, const RotaryTable& table,
                    std::span<const std::int32_t> positions, const View<float, 4>& dx);

}  // namespace longspan
