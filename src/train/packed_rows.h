// Documents side by side in rows of one length.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "data/scratch_file.h"
#include "longspan/types.h"
#include "model/batch.h"
#include "train/token_stream.h"

namespace longspan {

// Assigns documents to rows of T tokens: whole ones side by side, or pieces of a longer one that
// fill a row each. A piece goes into the first of the newest kOpen rows that has room for it, so
// little stays empty. Move-only.
class PackedPieces {
 public:
  static constexpr std::size_t kOpen = 64;

  struct Piece {
    idx_t begin, end;  // of the ids
  };

  // `starts` of the documents in `size` ids, ascending from 0. `around` special tokens stand beside
  // each piece and take their places in the row. Many rows lie in a file near `near`, if it is not
  // empty (data/scratch_file.h): 16 bytes a piece, 8 a row. kUsage for a row of less than 2 tokens,
  // or of none beside the special ones; kIo.
  PackedPieces(std::span<const idx_t> starts, idx_t size, idx_t tokens, idx_t around = 0,
               const std::filesystem::path& near = {});

  idx_t rows() const { return static_cast<idx_t>(ends_.size()); }
  idx_t tokens() const { return tokens_; }
  double padding() const;         // share of all places
  idx_t Filled(idx_t row) const;  // tokens that are no padding
  std::span<const Piece> Pieces(idx_t row) const;

  // "in 7 rows of 512; 3.1 % is padding", for people.
  std::string Describe() const;
  // The content of a row: "tokens 0 to 80 and 512 to 700 of the training text".
  std::string WhereIs(idx_t row) const;

 private:
  idx_t tokens_, around_;
  idx_t filled_ = 0;                       // tokens of all rows
  data::ScratchList<Piece> pieces_;        // row after row
  data::ScratchList<std::uint64_t> ends_;  // of each row in pieces_
};

// Packed rows of a language model. What stays empty is a document of its own, of padding, that
// nothing is learnt from.
class PackedRows {
 public:
  // `starts` of the documents in `ids`, ascending from 0. Keeps a view of `ids`. kUsage for a row
  // of less than 2 tokens.
  PackedRows(const TokenIds& ids, std::span<const idx_t> starts, idx_t tokens, std::int32_t pad,
             const std::filesystem::path& near = {})
      : ids_(ids), pieces_(starts, static_cast<idx_t>(ids.size()), tokens, 0, near), pad_(pad) {}

  const PackedPieces& pieces() const { return pieces_; }
  idx_t rows() const { return pieces_.rows(); }
  idx_t tokens() const { return pieces_.tokens(); }
  idx_t Filled(idx_t row) const { return pieces_.Filled(row); }
  idx_t Predicted(idx_t row) const;  // tokens that have one before them in their piece

  // Rows `which` as a batch: ids, targets (none after a piece's last token) and lengths of the
  // documents. `batch` owns the memory. No token is hidden: padding is a document.
  BatchView Fill(std::span<const idx_t> which, Batch* batch) const;

 private:
  TokenIds ids_;
  PackedPieces pieces_;
  std::int32_t pad_;
};

// The row that each next piece goes into.
class RowChoice {
 public:
  explicit RowChoice(idx_t tokens) : tokens_(tokens) {}
  // Index of the row for a piece of `size` tokens, 1 to T. The index after the last is a new row.
  idx_t Put(idx_t size);
  idx_t rows() const { return closed_ + std::ssize(open_); }
  idx_t filled() const { return filled_; }  // tokens of all rows
  // Rows that no piece goes into any more: all before the newest kOpen.
  idx_t closed() const { return closed_; }

 private:
  idx_t tokens_, filled_ = 0, closed_ = 0;
  std::deque<idx_t> open_;  // tokens of the newest rows
};

// The share of padding when documents of these lengths are packed into rows of `tokens`. `around`
// tokens of each length are special ones, which every piece of a longer document has.
double PackedPadding(std::span<const idx_t> lengths, idx_t tokens, idx_t around = 0);

}  // namespace longspan
