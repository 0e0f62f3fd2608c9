// The sorted rounds of a text that grows token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// What LshSort makes of the tokens so far, for each of several lists (a head's round each), kept up
// to date while tokens are added at the end. Most tokens lie in a sorted base that copies share;
// the last few, at most tail_limit, in sorted arrays of their own. So a token costs a binary search
// and a move of the few, not a sort, and copying an order costs the few only.
// Memory: 4 bytes a token and list, 4 bytes a bucket and list.
class LshOrder {
 public:
  static constexpr idx_t kTailLimit = 1024;

  LshOrder() = default;
  // No tokens yet. Bucket ids lie in [0, bucket_limit).
  LshOrder(idx_t lists, idx_t bucket_limit, idx_t tail_limit = kTailLimit);

  idx_t tokens() const { return base_tokens_ + tail_; }
  idx_t lists() const { return lists_; }

  // Instead of what is there: tokens 0 .. T-1 with buckets (lists, T). kUsage when a bucket is not
  // below the limit. Cost: a counting sort, lists side by side.
  void Assign(Context& context, const View<const std::uint16_t, 2>& buckets);

  // Adds a token, in two steps: Grow makes room for it in every list, then Place puts it into one
  // list and returns its rank there. Different lists may be placed at once, each exactly once.
  // Grow folds a full tail into the base first: one pass over the order every tail_limit tokens.
  void Grow(Context& context);
  idx_t Place(idx_t list, std::uint16_t bucket);

  // tokens[i] = the token of rank (begin + i) mod tokens() in the list; begin may be negative, the
  // span longer than the text: then tokens repeat.
  void Window(idx_t list, idx_t begin, std::span<std::int32_t> tokens) const;

  std::size_t Bytes() const;  // of this order, the shared base included

 private:
  struct Base {
    std::vector<std::int32_t> order;  // (lists, base tokens)
    std::vector<std::int32_t> first;  // (lists, buckets + 1): the first rank of each bucket
  };
  const std::int32_t* First(idx_t list) const {
    return base_->first.data() + list * (bucket_limit_ + 1);
  }
  // The rank of entry i of a list's tail: all tokens of the base in its bucket come before it.
  idx_t TailRank(idx_t list, idx_t i) const {
    return First(list)[tail_buckets_[Entry(list, i)] + 1] + i;
  }
  std::size_t Entry(idx_t list, idx_t i) const {
    return static_cast<std::size_t>(list * tail_limit_ + i);
  }
  void Fold(Context& context);
  void FoldList(idx_t list, Base* base) const;

  idx_t lists_ = 0, bucket_limit_ = 0, tail_limit_ = 0;
  std::shared_ptr<const Base> base_;
  idx_t base_tokens_ = 0, tail_ = 0;
  // (lists, tail_limit): by (bucket, position). Allocated with the first Grow.
  std::vector<std::uint16_t> tail_buckets_;
  std::vector<std::int32_t> tail_tokens_;
};

}  // namespace longspan
