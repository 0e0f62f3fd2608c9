// Documents side by side in rows of one length.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "longspan/types.h"
#include "model/reformer.h"

namespace longspan {

// Rows of T tokens that hold whole documents, or pieces of T tokens of a longer one. A piece goes
// into the first of the newest kOpen rows that has room for it, so that little stays empty. What
// stays empty is a document of its own, of padding, that nothing is learnt from.
class PackedRows {
 public:
  static constexpr std::size_t kOpen = 64;

  // `starts` of the documents in `ids`, ascending from 0. Keeps a view of `ids`. kUsage for a row
  // of less than 2 tokens.
  PackedRows(std::span<const std::int32_t> ids, std::span<const idx_t> starts, idx_t tokens,
             std::int32_t pad);

  idx_t rows() const { return static_cast<idx_t>(rows_.size()); }
  idx_t tokens() const { return tokens_; }
  double padding() const;            // share of all places
  idx_t Filled(idx_t row) const;     // tokens that are no padding
  idx_t Predicted(idx_t row) const;  // tokens that have one before them in their piece

  // Rows `which` as a batch: ids, targets (none behind a piece's last token) and lengths of the
  // documents. `rows` keeps the memory.
  struct Batch {
    std::vector<std::int32_t> ids, targets;
    std::vector<idx_t> documents;
  };
  TokenBatch Fill(std::span<const idx_t> which, Batch* batch) const;

 private:
  struct Piece {
    idx_t begin, end;  // of ids_
  };
  std::span<const std::int32_t> ids_;
  idx_t tokens_;
  std::int32_t pad_;
  std::vector<std::vector<Piece>> rows_;
  std::vector<idx_t> filled_;  // of each row
};

// The row that each next piece goes into, of which `filled` has the tokens so far.
class RowChoice {
 public:
  explicit RowChoice(idx_t tokens) : tokens_(tokens) {}
  // The row of a piece of `size` tokens, 1 to T; one behind the last is new.
  std::size_t Put(idx_t size);
  const std::vector<idx_t>& filled() const { return filled_; }

 private:
  idx_t tokens_;
  std::vector<idx_t> filled_;
};

// The share of padding when documents of these lengths are packed into rows of `tokens`.
double PackedPadding(std::span<const idx_t> lengths, idx_t tokens);

}  // namespace longspan
