// The cache of generation: what each layer keeps of a text's earlier tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "longspan/types.h"
#include "ops/lsh_attention/lsh_order.h"
#include "ops/lsh_attention/lsh_token_hash.h"

namespace longspan {

// The cells of one layer of one text: a token's key and value of every head, (H, 2, D). They are in
// pages of a few tokens, which copies of a text share until one of them writes. A copy costs one
// pointer a page.
class CachedCells {
 public:
  static constexpr idx_t kPageTokens = 32;

  CachedCells() = default;
  explicit CachedCells(idx_t width) : width_(width) {}  // floats of a token: 2 H D

  idx_t tokens() const { return tokens_; }
  // Before any Extend: tokens before `first`, down to a whole page, count as added and dropped.
  // Returns how many.
  idx_t StartAt(idx_t first);
  // Adds `count` tokens, whose cells hold anything. Nobody else's cells change.
  void Extend(idx_t count);
  // Forgets pages that hold only tokens before `first`.
  void DropBefore(idx_t first);
  // Returns the cell of a token, which must exist and not be dropped.
  const float* Cell(idx_t token) const { return Place(token); }
  // To be written only since the Extend that added the token.
  float* NewCell(idx_t token) const { return Place(token); }

  std::size_t Bytes() const;  // pages counted whole, shared or not

 private:
  struct Page {
    std::shared_ptr<float> memory;  // of the pages that were added together
    float* data;
  };
  void AddPages(idx_t count);
  float* Place(idx_t token) const {
    const auto page = static_cast<std::size_t>(token / kPageTokens - first_page_);
    return pages_[page]->data + token % kPageTokens * width_;
  }

  idx_t width_ = 0, tokens_ = 0, first_page_ = 0;
  std::vector<std::shared_ptr<Page>> pages_;
};

// One layer of one text.
struct CachedLayer {
  CachedCells cells;
  // LSH layers that hash: every token's buckets, as the sorted rounds of each head (list h R + r).
  LshOrder order;
  // Whether the next token looks for its bucket: the prompt was hashed, or the text has grown to a
  // chunk since. Until then it sees the whole text.
  bool hashed = false;
  // The rotations, the same for every token; texts share them. Null: the layer does not hash.
  std::shared_ptr<const LshTokenHash> hash;
};

// One text. Copies go their own ways.
struct CachedText {
  idx_t tokens = 0;
  idx_t capacity = 0;  // tokens it may grow to
  std::vector<CachedLayer> layers;
  std::vector<float> logits;  // (V): of the last token

  std::size_t Bytes() const;  // of cells and orders, shared parts counted
};

}  // namespace longspan
