// The interface of attention mechanisms: how the projections of a layer become its outputs, and how
// gradients go back. The layer around a mechanism (attention_layer.h) owns all tensors and knows
// nothing about who sees whom. A new mechanism is a class below AttentionMechanism and a row of
// attention_kinds.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "base/arena.h"
#include "base/rng.h"
#include "families/reformer/residual_branch.h"
#include "longspan/attention.h"
#include "longspan/context.h"

namespace longspan {

// The extents of one call, for heads [first_head, first_head + H) of a layer with `layer_heads`.
struct AttentionExtents {
  idx_t rows = 0, tokens = 0, heads = 0, head_size = 0;  // B, T, H, D
  idx_t first_head = 0, layer_heads = 0;
  // The heads of the layer that this process computes, in all calls of one pass: those from
  // `held_first` on. Where ranks share rows, others have the rest.
  idx_t held_first = 0, held_heads = 0;

  idx_t n() const { return rows * tokens; }          // N
  idx_t width() const { return heads * head_size; }  // H D

  // Probability dropout of a site, numbered as if all heads of the layer were there.
  ProbabilityDropout DropoutOf(const Dropout& site) const {
    return {site.p, site.key, first_head, layer_heads};
  }
};

// The tensors between the projections of one call, in operand type T. P is the number of
// projections, S the mechanism's number of statistics. The layer owns the memory: as saved
// activations it lives from the forward to the backward, else until the layer's function returns.
template <class T>
struct AttentionTensorsOf : AttentionExtents {
  View<T, 2> projected;  // (N, P H D): the projections side by side, in each the heads
  View<T, 2> out;        // (N, H D): the forward's result
  // (N, H D): the gradient of out, for the backward. It lies in the memory of `out`, because a text
  // of a million tokens has no room for both. A backward uses dout and delta, and not out.
  View<T, 2> dout;
  View<float, 4> statistics;  // (S, B, H, T): of each row's softmax, from forward to backward
  View<float, 3> delta;       // (B, H, T): dout . out, for the backward

  // Part `part` of a (N, P H D) matrix as heads: (B, H, T, D).
  template <class E>
  View<E, 4> Part(const View<E, 2>& joined, idx_t part) const {
    const idx_t stride = joined.extent[1];
    return {joined.data + part * width(),
            {rows, heads, tokens, head_size},
            {tokens * stride, head_size, stride, 1}};
  }
  View<const T, 4> Input(idx_t part) const { return Part(View<const T, 2>(projected), part); }
  View<T, 4> Out() const { return Part(out, 0); }
  View<const T, 4> DOut() const { return Part(View<const T, 2>(dout), 0); }
};
using Bf16AttentionTensors = AttentionTensorsOf<bfloat16>;
// The tensors of a call in either operand type. Mechanisms visit it.
using AnyAttentionTensors = std::variant<AttentionTensors, Bf16AttentionTensors>;

// The tensors in fp32, for code that knows no bf16. `projected` is converted, statistics and delta
// are shared, and out (or dout) is memory of the frame without content.
std::size_t WidenedBytes(const Bf16AttentionTensors& tensors);
AttentionTensors Widened(Context& context, Arena::Frame& frame,
                         const Bf16AttentionTensors& tensors);

class AttentionMechanism;

// What a mechanism stores from a training step's forward to its backward besides the tensors above,
// for example a plan of who sees whom. One state serves all held heads of a layer. The caller keeps
// it from step to step, so that its memory is taken once, and knows nothing of it but its size.
class MechanismState {
 public:
  virtual ~MechanismState() = default;

  // Bytes of memory, with those of its documents.
  std::size_t Bytes() const;
  // For rows that hold documents: makes one state for each document, with `mechanism`.
  void SetDocuments(std::size_t documents, const AttentionMechanism& mechanism);
  MechanismState& ForDocument(idx_t document) const {
    return *documents_[static_cast<std::size_t>(document)];
  }

 private:
  virtual std::size_t OwnBytes() const = 0;

  std::vector<std::unique_ptr<MechanismState>> documents_;
};

// What a call has besides its tensors.
struct MechanismCall {
  KeyMask mask;     // (B, T)
  Dropout dropout;  // of the probabilities
  // Key and setting of the layer's call. All groups of heads and all documents have the same.
  std::uint64_t key = 0;
  MechanismSetting setting = {};
  // Made by NewState of the same mechanism. The forward of a training step writes it. Null: no
  // backward follows, or the mechanism needs none.
  MechanismState* state = nullptr;
  // The forward runs in the backward pass, once more: it reads the state instead.
  bool recomputes = false;
  // Where the documents of the one row begin, for a mechanism that TakesTexts.
  TextStarts starts{};
};

// Which tokens the newest token of a text sees when a decoder appends one after another.
struct DecodingRule {
  // It sees the tokens around it in the order of buckets. Else it sees a run of the text that ends
  // with itself.
  bool hashes = false;
  idx_t chunk = 0;   // length of chunks; 0: the run is the whole text
  idx_t before = 0;  // how many chunks before its own it sees

  // The first token of the text that a token at `position` may see.
  idx_t FirstSeen(idx_t position) const {
    if (hashes || chunk == 0) return 0;
    return std::max<idx_t>(0, position / chunk - before) * chunk;
  }
};

class AttentionMechanism {
 public:
  virtual ~AttentionMechanism() = default;

  // S: how many numbers of each row's softmax the forward saves for the backward.
  virtual idx_t Statistics() const = 0;
  // A state for steps of this mechanism. Null: it needs none.
  virtual std::unique_ptr<MechanismState> NewState() const { return nullptr; }
  // Whether its calls take MechanismCall::starts. One that does needs no state.
  virtual bool TakesTexts() const { return false; }

  // The spec of chunked attention on queries, keys and values of their own; null: it is another
  // mechanism. Ranks that share a row then exchange the chunks around their slabs (row_halo.h).
  virtual const ChunkedSpec* Chunks() const { return nullptr; }

  // Computes out and statistics from projected.
  virtual void Forward(Context& context, const MechanismCall& call,
                       const AnyAttentionTensors& tensors) const = 0;
  // dprojected (N, P H D) += the gradients for dout.
  virtual void Backward(Context& context, const MechanismCall& call,
                        const AnyAttentionTensors& tensors,
                        const View<float, 2>& dprojected) const = 0;

  // Number of (query, key) pairs that count as useful work, for one head in a row of T tokens:
  // whole windows of chunks, the causal half of full attention.
  virtual double Pairs(idx_t tokens) const = 0;
  // How a decoder appends tokens; of a causal model.
  virtual DecodingRule Decoding() const = 0;
};

// Pairs of full attention.
double FullPairs(idx_t tokens, bool causal);

}  // namespace longspan
