// The sum of word, position and token-type embeddings, normalized: what BERT, RoBERTa and
// Longformer begin with.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "longspan/context.h"
#include "model/batch.h"
#include "model/embedding_table.h"
#include "model/norm_layer.h"
#include "model/parameters.h"
#include "model/post_norm_fields.h"

namespace longspan {

class PostNormEmbeddings {
 public:
  // Registers its parameters below `prefix` ("longformer.embeddings.").
  PostNormEmbeddings(const PostNormFields& config, const std::string& prefix,
                     ParameterTable& parameters);

  ParameterId words() const { return words_.id(); }
  // Rows of padding begin as zeros; with `which` in the tables that it names.
  void ZeroPadding(ParameterTable& parameters,
                   const std::function<bool(std::string_view name)>& which) const;

  // kUsage for a batch whose shapes differ, or with a text that is longer than the position table.
  void CheckBatch(const BatchView& batch) const;

  // x (N, C), N the tokens of this rank where ranks share rows.
  void Forward(Context& context, const ParameterTable& parameters, const BatchView& batch,
               const Dropout& dropout, const View<float, 2>& x) const;
  // dx (N, C) is scratch afterwards. Rows of padding in the table of words, and in that of
  // positions where padding has a row of its own, get nothing (torch's padding_idx); the masked
  // LM's decoder adds to the word table on its own.
  void Backward(Context& context, const ParameterTable& parameters, const BatchView& batch,
                const Dropout& dropout, const View<float, 2>& dx) const;

 private:
  std::vector<std::int32_t> PositionsOf(const BatchView& batch) const;
  struct Ids;
  Ids OwnIds(const Context& context, const BatchView& batch) const;
  void Sum(Context& context, const ParameterTable& parameters, const Ids& ids,
           const View<float, 2>& sum) const;

  idx_t channels_, pad_token_, longest_;
  bool positions_by_id_;
  // In the order in which they are added.
  EmbeddingTable words_, positions_, types_;
  NormLayer norm_;
};

// Position ids (B, T) as RoBERTa counts them: padding has row `pad` of the table, the other tokens
// pad + 1, pad + 2, ... in each row; padding does not count.
std::vector<std::int32_t> PositionIds(std::span<const std::int32_t> ids, idx_t rows, idx_t tokens,
                                      std::int32_t pad);

}  // namespace longspan
