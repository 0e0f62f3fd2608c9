// Runs a Reformer language model token by token, with a cache of earlier tokens.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "families/reformer/attention_mechanism.h"
#include "families/reformer/attention_projections.h"
#include "families/reformer/feed_forward_layer.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_cache.h"
#include "generate/text_decoder.h"

namespace longspan {

// docs/reference/generation.md has the rule in formulas. In short: a prompt is one normal forward
// pass; a later token passes through the layers alone, and sees
//   local layers      the chunks of the text that the forward pass shows it;
//   LSH layers        per round, the chunks around its rank among all tokens so far, sorted by the
//                     buckets that they had when they were new; the whole text, while that has not
//                     been hashed;
//   full attention    the whole text.
// Rotations are those of evaluation and never change. Where num_buckets is null, the number follows
// from the text's capacity. Texts do not see each other: each has the bits that it would have
// alone. A step costs one pass through the weights for each 8 texts, and per layer the cells that
// are seen.
class ReformerDecoder final : public TextDecoder {
 public:
  explicit ReformerDecoder(const Reformer& model);

  idx_t texts() const override { return static_cast<idx_t>(texts_.size()); }
  idx_t tokens(idx_t text) const override { return At(text).tokens; }
  idx_t capacity(idx_t text) const override { return At(text).capacity; }
  void Add(Context& context, std::span<const std::int32_t> ids, idx_t capacity) override;
  void Replace(Context& context, idx_t text, std::span<const std::int32_t> ids) override;
  void Step(Context& context, std::span<const idx_t> texts,
            std::span<const std::int32_t> ids) override;
  void Select(std::span<const idx_t> from) override;
  std::span<const float> logits(idx_t text) const override { return At(text).logits; }
  std::size_t CacheBytes() const override;

 private:
  // A layer's weights, and which tokens a new one sees.
  struct Layer {
    DecodingRule rule;
    bool shares_keys;  // queries serve as keys
    AttentionWeights attention;
    FeedForwardLayerWeights feed_forward;
    // Rotations by the factors of the number of buckets.
    std::map<std::vector<idx_t>, std::shared_ptr<const LshTokenHash>> hash;
  };
  // A thread's scratch.
  struct Scratch {
    std::int32_t* tokens;  // (R W) or as many as the text has
    const float** cells;
    float* weights;
    float* projections;      // of the hash
    std::uint16_t* buckets;  // (R)
  };
  using Texts = std::span<CachedText* const>;

  const CachedText& At(idx_t text) const { return texts_[static_cast<std::size_t>(text)]; }
  CachedText Begin(Context& context, std::span<const std::int32_t> ids, idx_t capacity);
  std::shared_ptr<const LshTokenHash> HashOf(std::size_t layer, idx_t capacity);
  idx_t WholeForward(idx_t tokens) const;
  void Prefill(Context& context, std::span<const std::int32_t> ids, CachedText* text);
  void KeepLayer(Context& context, std::size_t layer, const AttentionTensors& tensors,
                 CachedText* text) const;
  void Grow(Context& context, Texts texts, std::span<const std::int32_t> ids);
  void Attend(Context& context, std::size_t layer, Texts texts, const View<const float, 2>& x2,
              const View<float, 2>& y1);
  idx_t MostSeen(std::size_t layer, Texts texts) const;
  void AttendHead(const Layer& layer, CachedLayer& cache, idx_t position, idx_t h,
                  const float* projected, const Scratch& scratch, float* out) const;
  idx_t ListCells(const Layer& layer, CachedLayer& cache, idx_t position, idx_t h, const float* x,
                  const Scratch& scratch) const;
  void WriteCell(const Layer& layer, const float* projected, idx_t h, float* cells) const;
  void Predict(Context& context, const View<float, 2>& y1, const View<float, 2>& y2, Texts texts);

  const Reformer& model_;
  std::vector<Layer> layers_;
  std::vector<CachedText> texts_;
};

// kUsage unless a text of `tokens` fits into its room, and the room into the model's positions.
void CheckRoom(const ReformerConfig& config, std::size_t tokens, idx_t capacity);

}  // namespace longspan
