#include "ops/lsh_attention/lsh_order.h"

#include <algorithm>

#include "base/errors.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "parallel/parallel_for.h"

namespace longspan {

LshOrder::LshOrder(idx_t lists, idx_t bucket_limit, idx_t tail_limit)
    : lists_(lists), bucket_limit_(bucket_limit), tail_limit_(tail_limit) {
  Check(lists >= 1 && bucket_limit >= 1 && bucket_limit <= 65536 && tail_limit >= 1,
        ErrorCode::kUsage, "LSH order: {} lists of {} buckets with {} tokens on the side", lists,
        bucket_limit, tail_limit);
  auto base = std::make_shared<Base>();
  base->first.resize(static_cast<std::size_t>(lists * (bucket_limit + 1)));
  base_ = std::move(base);
}

void LshOrder::Assign(Context& context, const View<const std::uint16_t, 2>& buckets) {
  const idx_t T = buckets.extent[1], limit = bucket_limit_;
  Check(buckets.extent[0] == lists_, ErrorCode::kUsage,
        "LSH order: buckets are {}, the order has {} lists", ShapeText(buckets), lists_);
  auto base = std::make_shared<Base>();
  base->order.resize(static_cast<std::size_t>(lists_ * T));
  base->first.resize(static_cast<std::size_t>(lists_ * (limit + 1)));
  ParallelFor(context, lists_, [&](idx_t list, int) {
    std::int32_t* first = base->first.data() + list * (limit + 1);
    Check(SortRound(&buckets(list, 0), T, limit, first, base->order.data() + list * T),
          ErrorCode::kUsage, "LSH order: a bucket of list {} is not below {}", list, limit);
    // The sort leaves the end of each bucket in its place.
    std::copy_backward(first, first + limit, first + limit + 1);
    first[0] = 0;
  });
  base_ = std::move(base);
  base_tokens_ = T;
  tail_ = 0;
}

void LshOrder::Grow(Context& context) {
  if (tail_ == tail_limit_) Fold(context);
  if (tail_buckets_.empty()) {
    tail_buckets_.resize(static_cast<std::size_t>(lists_ * tail_limit_));
    tail_tokens_.resize(tail_buckets_.size());
  }
  ++tail_;
}

idx_t LshOrder::Place(idx_t list, std::uint16_t bucket) {
  std::uint16_t* buckets = tail_buckets_.data() + Entry(list, 0);
  std::int32_t* tokens = tail_tokens_.data() + Entry(list, 0);
  const idx_t last = tail_ - 1;
  const idx_t at = std::upper_bound(buckets, buckets + last, bucket) - buckets;
  std::copy_backward(buckets + at, buckets + last, buckets + last + 1);
  std::copy_backward(tokens + at, tokens + last, tokens + last + 1);
  buckets[at] = bucket;
  tokens[at] = static_cast<std::int32_t>(base_tokens_ + last);
  return TailRank(list, at);
}

void LshOrder::Window(idx_t list, idx_t begin, std::span<std::int32_t> out) const {
  const idx_t n = tokens();
  const std::int32_t* order = base_->order.data() + list * base_tokens_;
  idx_t rank = (begin % n + n) % n;
  for (std::size_t done = 0; done < out.size(); rank = 0) {
    // The first entry of the tail at or behind the rank.
    idx_t low = 0, high = tail_;
    while (low < high) {
      const idx_t middle = (low + high) / 2;
      if (TailRank(list, middle) < rank) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    idx_t entry = low;
    while (rank < n && done < out.size()) {
      const idx_t next = entry < tail_ ? TailRank(list, entry) : n;
      const idx_t run = std::min(next - rank, static_cast<idx_t>(out.size() - done));
      std::copy_n(order + (rank - entry), run, out.data() + done);
      rank += run;
      done += static_cast<std::size_t>(run);
      if (rank < n && done < out.size()) {
        out[done++] = tail_tokens_[Entry(list, entry++)];
        ++rank;
      }
    }
  }
}

// The tail becomes part of the base; copies of this order keep the old one.
void LshOrder::Fold(Context& context) {
  auto base = std::make_shared<Base>();
  base->order.resize(static_cast<std::size_t>(lists_ * tokens()));
  base->first.resize(base_->first.size());
  ParallelFor(context, lists_, [&](idx_t list, int) { FoldList(list, base.get()); });
  base_tokens_ = tokens();
  base_ = std::move(base);
  tail_ = 0;
}

void LshOrder::FoldList(idx_t list, Base* base) const {
  const std::int32_t* order = base_->order.data() + list * base_tokens_;
  std::int32_t* merged = base->order.data() + list * tokens();
  idx_t taken = 0;  // from the old base
  for (idx_t i = 0; i < tail_; ++i) {
    const idx_t run = TailRank(list, i) - i - taken;
    merged = std::copy_n(order + taken, run, merged);
    taken += run;
    *merged++ = tail_tokens_[Entry(list, i)];
  }
  std::copy_n(order + taken, base_tokens_ - taken, merged);
  std::int32_t* first = base->first.data() + list * (bucket_limit_ + 1);
  idx_t before = 0;  // entries of the tail in lower buckets
  for (idx_t k = 0; k <= bucket_limit_; ++k) {
    while (before < tail_ && tail_buckets_[Entry(list, before)] < k) ++before;
    first[k] = First(list)[k] + static_cast<std::int32_t>(before);
  }
}

std::size_t LshOrder::Bytes() const {
  if (base_ == nullptr) return 0;
  return (base_->order.size() + base_->first.size() + tail_tokens_.size()) * sizeof(std::int32_t) +
         tail_buckets_.size() * sizeof(std::uint16_t);
}

}  // namespace longspan
