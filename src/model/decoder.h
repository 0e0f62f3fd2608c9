// A language model run token by token, with what earlier tokens are to later ones in a cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/attention_layer.h"
#include "model/reformer.h"

namespace longspan {

// Per layer the keys and values of the text so far are kept (LSH layers: shared query-keys, values
// and buckets), so a token costs one pass through the weights, however long the text is.
// A local layer equals the full forward pass over the final text up to rounding, as long as that
// text has more chunks than the layer looks back on: in a shorter one the original counts chunks
// twice. In an LSH layer each token is the last row of the forward pass over the text up to it:
// rows are not computed again when the text has grown and the borders of chunks have moved. The
// number of buckets follows from the capacity, unless the config sets it; the rotations are those
// of evaluation and stay the same.
class ReformerDecoder {
 public:
  // Room for `capacity` tokens, at most model.config().longest(). The model must outlive it.
  ReformerDecoder(Reformer& model, idx_t capacity);

  // Appends tokens; the first call may bring many at once, which then run as one batch.
  // Throws kUsage when the capacity is exceeded.
  void Feed(Context& context, std::span<const std::int32_t> ids);

  // Of the last token fed: (V).
  std::span<const float> logits() const { return {logits_.data<float>(), vocabulary_}; }
  idx_t position() const { return position_; }  // tokens fed
  idx_t capacity() const { return capacity_; }
  void Reset() { position_ = 0; }

 private:
  struct LayerCache {
    Tensor rows;                         // (capacity, 2A): key ++ value, or query-key ++ value
    std::vector<std::uint16_t> buckets;  // (H, R, capacity) of a layer that hashes
    Tensor rotations;                    // (H, D, R, columns), empty: all buckets are 0
  };

  void FeedBlock(Context& context, std::span<const std::int32_t> ids);
  void AttentionLayer(Context& context, std::size_t layer, const View<const float, 2>& x2,
                      const View<float, 2>& y1);
  void LocalLayer(Context& context, const LayerCache& cache, const AttentionWeights& w,
                  const View<const float, 2>& normed, const View<float, 2>& out) const;
  void SharedLayer(Context& context, LayerCache& cache, const View<float, 2>& out) const;
  template <class T>
  View<T, 4> Heads(T* data, idx_t n, idx_t stride) const;
  View<const float, 3> Cached(const LayerCache& cache, idx_t part) const;

  Reformer& model_;
  idx_t capacity_, position_ = 0;
  std::size_t vocabulary_;
  ChunkedSpec chunked_;  // of local layers
  LshSpec shared_;       // of LSH layers
  std::vector<LayerCache> caches_;
  Tensor logits_;
};

}  // namespace longspan
