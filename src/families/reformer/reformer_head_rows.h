// The input of a Reformer's head, made from the two residual streams, a block of tokens at a time.
#pragma once

#include <vector>

#include "model/head_layer.h"
#include "model/row_slab.h"
#include "ops/layer_norm/layer_norm.h"
#include "streams/residual_stream.h"

namespace longspan {

// The layer norm over both streams after the last layer.
struct FinalNorm {
  LayerNormWeights weights;
  LayerNormGradients gradients;  // empty: there is no way back
  Dropout dropout;               // of what the norm gives
};

// Two streams (N, C) and, on the way back, their gradients, which Differentiate overwrites.
struct StreamPair {
  ResidualStream y1, y2, dy1 = {}, dy2 = {};
  std::uint64_t rounding_key = 0;  // of gradients that are not fp32
};

// joined (N, 2C) = a ++ b, and back.
void JoinRows(Context& context, const ResidualStream& a, const ResidualStream& b,
              const View<float, 2>& joined);
void PartRows(Context& context, const View<float, 2>& joined, const ResidualStream& a,
              const ResidualStream& b, const RoundingSite& site);

// Every token. Memory: four blocks of (4096, 2C) at most.
class StreamRows final : public HeadRows {
 public:
  // The streams' first token is number `first` of the batch: ranks may share its rows.
  StreamRows(Context& context, const FinalNorm& norm, const StreamPair& streams, idx_t first = 0)
      : context_(context), norm_(norm), streams_(streams), first_(first) {}

  idx_t count() const override { return streams_.y1.extent[0]; }
  void Read(const Look& look) override;
  void Differentiate(const Gradient& gradient) override;

 private:
  Context& context_;
  const FinalNorm norm_;
  const StreamPair streams_;
  const idx_t first_;
};

// The first token of each text; all others get no gradient. Where ranks share rows, all of them
// read the same, and one of them has the gradient.
class FirstTokenRows final : public HeadRows {
 public:
  // `first` (texts) are their numbers in the batch, of which the streams have the tokens `own`.
  // Together.
  FirstTokenRows(Context& context, const FinalNorm& norm, const StreamPair& streams,
                 std::vector<std::int32_t> first, const TokenSlab& own);

  idx_t count() const override { return static_cast<idx_t>(first_.size()); }
  void Read(const Look& look) override;
  // Together: the first rank computes the gradient, and no other one gives a function.
  void Differentiate(const Gradient& gradient) override;

 private:
  Context& context_;
  const FinalNorm norm_;
  const StreamPair streams_;
  const std::vector<std::int32_t> first_;  // (texts)
  const TokenSlab own_;
  Tensor y1_, y2_;  // (texts, C)
};

}  // namespace longspan
