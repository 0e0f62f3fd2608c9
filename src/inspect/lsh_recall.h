// Does hashing find the keys that matter? For each LSH layer of a model that runs over a text: how
// concentrated the softmax over all keys is, and the share of it that the layer sees with 1, 2, 4,
// ... rounds of hashing.
//
// The text runs through the model as the model is configured. At each LSH layer the very same
// queries are then hashed anew for each number of rounds, with the rotations, buckets and chunks
// that a model with that many rounds would use in evaluation. A model whose layers attend in full
// or to chunks of the text is measured in the same way: what hashing would see.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "families/reformer/reformer.h"
#include "inspect/softmax_mass.h"
#include "longspan/inspect.h"

namespace longspan {

class LshRecall {
 public:
  // kUsage when rounds do not rise from 1 to at most 1024 or rows are fewer than 1, kFormat when
  // the model has no LSH layer.
  LshRecall(const ReformerConfig& config, LshRecallOptions options);

  // Measures one more text (T ids, at least 2) on a model of the constructor's config. Row 0 of a
  // causal model sees only itself and is left out. The same bits for any number of threads.
  void Add(Context& context, const Reformer& model, std::span<const std::int32_t> ids);

  // Over all texts so far, at least one; layers in their order.
  std::vector<LayerRecall> Result() const;

 private:
  void Measure(Context& context, std::size_t layer, const View<const float, 4>& qk,
               std::span<const idx_t> rows);
  std::vector<idx_t> ChooseRows(idx_t tokens) const;
  MassRecall Summary(std::size_t layer, idx_t first_head, idx_t heads) const;
  idx_t Columns() const { return MassColumns(static_cast<idx_t>(options_.rounds.size())); }

  ReformerConfig config_;
  LshRecallOptions options_;
  std::uint64_t texts_ = 0;
  // The rows of MeasureMass for each layer and head. Empty for local layers.
  std::vector<std::vector<std::vector<float>>> mass_;
};

}  // namespace longspan
