// A batch without its padding: the texts of all rows side by side, of which only what is visible is
// computed. Padding is what stands before a row's first and after its last visible token. Hidden
// tokens between visible ones keep their places, because windows count them, and are masked.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/batch.h"
#include "world/row_group.h"

namespace longspan {

class VisibleBatch {
 public:
  // `by_text`: the head gives something for each text, and targets are those of texts. So no text
  // may go: one without a visible token keeps its first one. Otherwise labels are those of tokens,
  // rows keep a token all the same, and documents without a visible one go: they are what stays
  // empty of a row. In a batch without roles that is a document of nothing but the id `padding`,
  // unless it is negative.
  VisibleBatch(const BatchView& batch, bool by_text, std::int32_t padding);
  VisibleBatch(const VisibleBatch&) = delete;
  VisibleBatch& operator=(const VisibleBatch&) = delete;

  // The batch that heads see. Where padding went, it is one row of n tokens whose documents are the
  // texts, with labels of tokens and places of answers moved along: an answer's place in the
  // padding becomes one after the text's end. Hidden tokens have no labels.
  const BatchView& view() const { return view_; }
  idx_t n() const { return static_cast<idx_t>(positions_.size()); }
  idx_t batch_tokens() const { return batch_tokens_; }  // B*T
  // Nothing went: the tokens are those of the batch.
  bool whole() const { return places_.empty(); }
  // Where each text begins, and n: as attention takes many texts in one call.
  std::span<const idx_t> starts() const { return borders_; }
  // (n): each token's position in its text.
  std::span<const std::int32_t> positions() const { return positions_; }
  // (1, n), empty if no token is hidden.
  TokenRoles roles() const;
  // Where token i stands among all B*T.
  idx_t Place(idx_t i) const { return whole() ? i : places_[static_cast<std::size_t>(i)]; }

  // packed (own.size(), W) = the rows of whole (B*T, W) that tokens `own` of the n stand in; and
  // back from all n, where padding becomes 0. Not for a whole batch.
  void Gather(Context& context, const View<const float, 2>& whole, const TokenSlab& own,
              const View<float, 2>& packed) const;
  void Scatter(Context& context, const View<const float, 2>& packed,
               const View<float, 2>& whole) const;

 private:
  struct Text {
    idx_t row, begin, end;  // of all B*T tokens; `row`: the first one of its row or document
  };
  static std::vector<Text> TextsOf(const BatchView& batch, bool by_text, std::int32_t padding);
  void MoveTokens(const BatchView& batch, const std::vector<Text>& texts);
  void MoveLabels(const BatchView& batch, const std::vector<Text>& texts);
  void MoveAnswers(const std::vector<Text>& texts);

  BatchView view_;
  idx_t batch_tokens_;
  std::vector<idx_t> borders_;
  std::vector<std::int32_t> places_;  // (n): of the tokens among all B*T; empty: whole
  std::vector<std::int32_t> positions_, ids_, labels_, starts_, ends_;
  std::vector<std::uint8_t> roles_;  // (n) 0 or 1; empty: none is hidden
  std::vector<idx_t> lengths_;
};

}  // namespace longspan
