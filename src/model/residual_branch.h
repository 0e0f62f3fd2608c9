// The functions of a reversible layer: y += f(x), and the way back. Every kind of layer is one
// implementation of ResidualBranch; the model and the reversible walk know no kinds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"
#include "longspan/context.h"
#include "model/parameters.h"
#include "model/reformer_config.h"
#include "streams/residual_stream.h"

namespace longspan {

template <class T>
struct AttentionTensorsOf;
using AttentionTensors = AttentionTensorsOf<float>;
class Bf16Weights;
// Looks at what an attention layer computed; the tensors are gone when it returns.
using AttentionObserver = std::function<void(std::size_t layer, const AttentionTensors& tensors)>;

// The arguments of one call: B rows of T tokens, one after another in streams (B*T, C).
struct BranchCall {
  const ParameterTable& parameters;
  const Bf16Weights* bf16;  // null: products are fp32
  idx_t rows, tokens;
  KeyMask mask;
  bool training = false;          // dropout is on
  std::uint64_t dropout_key = 0;  // of this step and this branch; sites derive theirs from it

  // Lengths of the documents in the rows, as ReformerBatch has them; empty: a row is one.
  std::span<const idx_t> documents = {};

  // LSH layers only. Rotations are drawn from the key, unless they are given (H, D, R, columns).
  std::uint64_t rotation_key = 0;
  const Tensor* rotations = nullptr;
  idx_t num_hashes = 0;  // rounds; 0: the config's
  // Add writes the buckets (B, H, R, T) here for Reverse. Null: Reverse will not be called.
  std::vector<std::uint16_t>* buckets = nullptr;
  // The same for each document, if there are documents.
  std::vector<std::vector<std::uint16_t>>* document_buckets = nullptr;

  // Add saves activations for Reverse here, KeptBytes of them. Null: Reverse recomputes them.
  std::byte* kept = nullptr;

  // Attention layers work on all heads at once if that takes at most so many bytes, else on groups
  // of heads. Only shapes decide, so saved activations do not change the order of additions.
  idx_t one_piece = idx_t{16} << 20;

  // Attention layers only: Add calls it with the index of its layer. Null: no observer.
  const AttentionObserver* observer = nullptr;
  std::size_t layer = 0;

  idx_t n() const { return rows * tokens; }
};

class ResidualBranch {
 public:
  virtual ~ResidualBranch() = default;

  // y (B*T, C) += f(x), x (B*T, C).
  virtual void Add(Context& context, const BranchCall& call, const ResidualStream& x,
                   const ResidualStream& y) const = 0;

  // y -= f(x), dx += f'(x)^T dy; parameter gradients accumulate in the table.
  virtual void Reverse(Context& context, const BranchCall& call, const ResidualStream& x,
                       const ResidualStream& y, const ResidualStream& dy,
                       const ResidualStream& dx) const = 0;

  // Bytes that Add leaves for Reverse where it has room. For the same x Reverse gives the same bits
  // either way.
  virtual std::size_t KeptBytes(const BranchCall& call) const = 0;

  // Multiply-adds counted as two, of one forward over B rows of T tokens.
  virtual double ForwardFlop(idx_t rows, idx_t tokens) const = 0;
  // Backward over forward: 2 for products with weights, 2.5 for attention.
  virtual double BackwardFlop(idx_t rows, idx_t tokens) const = 0;
};

// LayerNorm, projections, attention, output projection, dropout. What attends how follows from the
// layer's kind and config.attention. Registers its parameters below `prefix`
// ("...layers.0.attention.").
std::unique_ptr<ResidualBranch> MakeAttention(const ReformerConfig& config, LayerKind kind,
                                              const std::string& prefix,
                                              ParameterTable& parameters);

// LayerNorm, feed-forward block.
std::unique_ptr<ResidualBranch> MakeFeedForward(const ReformerConfig& config,
                                                const std::string& prefix,
                                                ParameterTable& parameters);

}  // namespace longspan
