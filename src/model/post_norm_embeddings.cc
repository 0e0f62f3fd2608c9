#include "model/post_norm_embeddings.h"

#include <algorithm>
#include <cstring>

#include "base/arena.h"
#include "base/errors.h"
#include "model/joined_texts.h"
#include "model/row_slab.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

std::vector<std::int32_t> PositionIds(std::span<const std::int32_t> ids, idx_t rows, idx_t tokens,
                                      std::int32_t pad) {
  std::vector<std::int32_t> positions;
  for (idx_t b = 0; b < rows; ++b) {
    std::int32_t last = pad;
    for (idx_t t = 0; t < tokens; ++t) {
      const bool real = ids[static_cast<std::size_t>(b * tokens + t)] != pad;
      positions.push_back(real ? ++last : pad);
    }
  }
  return positions;
}

PostNormEmbeddings::PostNormEmbeddings(const PostNormFields& config, const std::string& prefix,
                                       ParameterTable& parameters)
    : channels_(config.hidden_size),
      pad_token_(config.pad_token),
      longest_(config.longest()),
      positions_by_id_(config.positions_by_id),
      words_(prefix + "word_embeddings.weight", config.vocab_size, channels_, parameters),
      positions_(prefix + "position_embeddings.weight", config.max_positions, channels_,
                 parameters),
      types_(prefix + "token_type_embeddings.weight", config.token_types, channels_, parameters),
      norm_(prefix + "LayerNorm.", channels_, config.layer_norm_eps, parameters) {}

void PostNormEmbeddings::ZeroPadding(
    ParameterTable& parameters, const std::function<bool(std::string_view name)>& which) const {
  const ParameterWriter writer = parameters.Write();
  for (const ParameterId table : {words_.id(), positions_.id()}) {
    if (table == positions_.id() && !positions_by_id_) continue;
    if (which && !which(parameters.at(table).name)) continue;
    std::fill_n(writer.vector(table).data + pad_token_ * channels_, channels_, 0.0f);
  }
}

void PostNormEmbeddings::CheckBatch(const BatchView& batch) const {
  CheckBatchShape(batch);
  Check(batch.token_types.empty() || batch.token_types.size() == batch.ids.size(),
        ErrorCode::kUsage, "batch: {} token types for {} rows of {} tokens",
        batch.token_types.size(), batch.rows, batch.tokens);
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t length) {
    if (length <= longest_) return;
    const auto row = batch.ids.begin() + begin;
    const idx_t counted =
        positions_by_id_ ? length - std::count(row, row + length, pad_token_) : length;
    Check(counted <= longest_, ErrorCode::kUsage,
          "batch: row {} has {} tokens, but the model has positions for {}", begin / batch.tokens,
          counted, longest_);
  });
}

// Position ids (B, T). Each document begins again.
std::vector<std::int32_t> PostNormEmbeddings::PositionsOf(const BatchView& batch) const {
  std::vector<std::int32_t> positions;
  ForEachText(batch, [&](idx_t, idx_t begin, idx_t length) {
    if (!positions_by_id_) {
      for (idx_t t = 0; t < length; ++t) positions.push_back(static_cast<std::int32_t>(t));
      return;
    }
    const auto own = PositionIds(
        batch.ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length)), 1,
        length, static_cast<std::int32_t>(pad_token_));
    positions.insert(positions.end(), own.begin(), own.end());
  });
  return positions;
}

// The ids that a rank looks up: of its own tokens.
struct PostNormEmbeddings::Ids {
  std::vector<std::int32_t> all_positions, none;
  std::span<const std::int32_t> words, positions, types;
  idx_t first = 0;  // token
};

PostNormEmbeddings::Ids PostNormEmbeddings::OwnIds(const Context& context,
                                                   const BatchView& batch) const {
  const TokenSlab slab = OwnTokens(context, batch.rows * batch.tokens);
  Ids ids;
  ids.first = slab.begin;
  ids.all_positions = PositionsOf(batch);
  ids.words = PartOf(slab, batch.ids);
  ids.positions = PartOf(slab, std::span<const std::int32_t>(ids.all_positions));
  ids.types = PartOf(slab, batch.token_types);
  if (batch.token_types.empty()) {
    ids.none.assign(ids.words.size(), 0);
    ids.types = ids.none;
  }
  return ids;
}

// sum (N, C) = words + positions + token types.
void PostNormEmbeddings::Sum(Context& context, const ParameterTable& parameters, const Ids& ids,
                             const View<float, 2>& sum) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(sum.size()));
  const View<float, 2> rows(frame.Take<float>(sum.size()), sum.extent);
  words_.Forward(context, parameters, ids.words, sum);
  positions_.Forward(context, parameters, ids.positions, rows);
  AddDropout(context, {}, rows, sum);
  types_.Forward(context, parameters, ids.types, rows);
  AddDropout(context, {}, rows, sum);
}

void PostNormEmbeddings::Forward(Context& context, const ParameterTable& parameters,
                                 const BatchView& batch, const Dropout& dropout,
                                 const View<float, 2>& x) const {
  const Ids ids = OwnIds(context, batch);
  Sum(context, parameters, ids, x);
  LayerNormForward(context, norm_.Weights(parameters), x, x);
  ApplyDropout(context, dropout, x, ids.first * channels_);
}

void PostNormEmbeddings::Backward(Context& context, const ParameterTable& parameters,
                                  const BatchView& batch, const Dropout& dropout,
                                  const View<float, 2>& dx) const {
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(dx.size()));
  const View<float, 2> sum(frame.Take<float>(dx.size()), dx.extent);
  const View<float, 2> dsum(frame.Take<float>(dx.size()), dx.extent);
  const Ids ids = OwnIds(context, batch);
  ApplyDropout(context, dropout, dx, ids.first * channels_);
  Sum(context, parameters, ids, sum);
  ZeroRows(context, dsum);
  LayerNormBackward(context, norm_.Weights(parameters), sum, dx, dsum, norm_.Gradients(parameters));
  types_.Backward(context, parameters, ids.types, dsum);
  if (!positions_by_id_) positions_.Backward(context, parameters, ids.positions, dsum);
  const auto pad = static_cast<std::int32_t>(pad_token_);
  const auto bytes = static_cast<std::size_t>(channels_) * sizeof(float);
  ForEachRow(context, dsum.extent[0], [&](idx_t t) {
    if (ids.words[static_cast<std::size_t>(t)] == pad) std::memset(&dsum(t, 0), 0, bytes);
  });
  words_.Backward(context, parameters, ids.words, dsum);
  if (positions_by_id_) positions_.Backward(context, parameters, ids.positions, dsum);
}

}  // namespace longspan
