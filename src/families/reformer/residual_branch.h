// The functions of a reversible layer: y += f(x), and the way back. Every kind of layer is one
// implementation of ResidualBranch; the model and the reversible walk know no kinds.
#pragma once

#include <algorithm>
#include <any>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "longspan/attention.h"
#include "longspan/context.h"
#include "model/parameters.h"
#include "model/row_slab.h"
#include "streams/residual_stream.h"

namespace longspan {

class Bf16Weights;
class MechanismState;  // families/reformer/attention_mechanism.h
template <class T>
struct AttentionTensorsOf;
using AttentionTensors = AttentionTensorsOf<float>;
// Looks at what an attention layer computed. The tensors are gone when it returns.
using AttentionObserver = std::function<void(std::size_t layer, const AttentionTensors& tensors)>;
// A setting that one call has for an attention mechanism: a value of a type that the mechanism
// declares, or nothing. Layers pass it on unread, and a mechanism ignores types of others.
using MechanismSetting = std::any;

// The arguments of one call: B rows of T tokens, one after another in streams (B*T, C). Where ranks
// share rows, the streams have the tokens of this rank alone, (own(), C), and attention layers
// exchange what they need of the others. What the pointers refer to belongs to the caller.
struct BranchCall {
  const ParameterTable& parameters;
  const Bf16Weights* bf16;  // null: products are fp32
  idx_t rows, tokens;
  KeyMask mask;
  bool training = false;          // dropout is on
  std::uint64_t dropout_key = 0;  // of this step and this branch; sites derive theirs from it

  // The ranks that share the rows; null: this process has them all.
  RowGroup* ranks = nullptr;

  // Lengths of the documents in the rows, as ReformerBatch has them; empty: a row is one.
  std::span<const idx_t> documents = {};

  // Add saves activations for Reverse here, SavedBytes of them. Null: Reverse recomputes them.
  std::byte* saved = nullptr;

  // ---- attention layers only

  // The key of this step and this layer. A mechanism derives its random draws from it. It is set in
  // evaluation too, where it follows from the model's seed.
  std::uint64_t key = 0;
  MechanismSetting setting = {};
  // What the layer's mechanism stores from Add to Reverse; made by its NewState. Null: Reverse will
  // not be called, or the mechanism needs none.
  MechanismState* state = nullptr;
  // A layer works on all heads at once if that takes at most so many bytes, else on groups of
  // heads. Only shapes decide, so saved activations do not change the order of additions.
  idx_t all_heads_bytes = idx_t{16} << 20;
  // Add calls it with the index of its layer. Null: no observer.
  const AttentionObserver* observer = nullptr;
  std::size_t layer = 0;

  idx_t n() const { return rows * tokens; }
  // The tokens of the streams, from their first one's number on.
  idx_t own() const { return OwnTokens(ranks, n()).size(); }
  idx_t first() const { return OwnTokens(ranks, n()).begin; }
  // As many as the rank with most of them has. What decides which activations are saved counts by
  // it, because all ranks must decide alike.
  idx_t most() const {
    idx_t tokens_of_rank = ranks == nullptr ? n() : 0;
    for (int r = 0; ranks != nullptr && r < ranks->size(); ++r) {
      tokens_of_rank = std::max(tokens_of_rank, ranks->SlabOf(n(), r).size());
    }
    return tokens_of_rank;
  }
};

class ResidualBranch {
 public:
  virtual ~ResidualBranch() = default;

  // y (own, C) += f(x), x (own, C).
  virtual void Add(Context& context, const BranchCall& call, const ResidualStream& x,
                   const ResidualStream& y) const = 0;

  // y -= f(x), dx += f'(x)^T dy; parameter gradients accumulate in the table.
  virtual void Reverse(Context& context, const BranchCall& call, const ResidualStream& x,
                       const ResidualStream& y, const ResidualStream& dy,
                       const ResidualStream& dx) const = 0;

  // Bytes of activations that Add saves for Reverse where `call.saved` has room; of ranks that
  // share rows, the most of any. For the same x Reverse gives the same bits either way.
  virtual std::size_t SavedBytes(const BranchCall& call) const = 0;

  // Multiply-adds counted as two, of one forward over B rows of T tokens.
  virtual double ForwardFlop(idx_t rows, idx_t tokens) const = 0;
  // The same for the backward: 2 times the forward for products with weights, 2.5 for attention.
  virtual double BackwardFlop(idx_t rows, idx_t tokens) const = 0;
  // Numbers of the matrices whose gradient is left out, which BackwardFlop counts all the same.
  virtual idx_t FrozenNumbers(const ParameterTable& parameters) const = 0;
};

}  // namespace longspan
