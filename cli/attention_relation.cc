#include "cli/attention_relation.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "ops/chunked_attention/chunked_attention_ref.h"
#include "ops/lsh_attention/lsh_attention_ref.h"

namespace longspan::cli {
namespace {

std::vector<idx_t> UpTo(idx_t n) {
  std::vector<idx_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), idx_t{0});
  return all;
}

class FullRelation final : public AttentionRelation {
 public:
  FullRelation(idx_t tokens, bool causal) : tokens_(tokens), causal_(causal) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    return UpTo(causal_ ? query + 1 : tokens_);
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> all = UpTo(tokens_);
    if (causal_) all.erase(all.begin(), all.begin() + key);
    return all;
  }
  idx_t Times(idx_t query, idx_t key) const override { return causal_ && key > query ? 0 : 1; }

 private:
  idx_t tokens_;
  bool causal_;
};

// Queries of all chunks whose window may hold chunk c of a circle of n.
std::vector<idx_t> ChunksThatMaySee(idx_t c, idx_t before, idx_t after, idx_t n) {
  std::vector<idx_t> chunks;
  for (idx_t off = -after; off <= before; ++off) {
    chunks.push_back(((c + off) % n + n) % n);
  }
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

class ChunkedRelation final : public AttentionRelation {
 public:
  ChunkedRelation(ChunkedSpec spec, idx_t tokens) : spec_(spec), shape_{1, 1, tokens, 1} {}
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys;
    for (const auto& entry : ref::ChunkedWindow(spec_, shape_, {}, 0, query)) {
      if (entry.visible) keys.push_back(entry.key);
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    const idx_t T = shape_.T;
    if (T <= spec_.chunk) return UpTo(T);
    const idx_t n = (T + spec_.chunk - 1) / spec_.chunk;
    std::vector<idx_t> queries;
    for (const idx_t c : ChunksThatMaySee(key / spec_.chunk, spec_.before, spec_.after, n)) {
      for (idx_t t = c * spec_.chunk; t < std::min(T, (c + 1) * spec_.chunk); ++t) {
        queries.push_back(t);
      }
    }
    return queries;
  }

 private:
  ChunkedSpec spec_;
  ref::ChunkedShape shape_;
};

class LshRelation final : public AttentionRelation {
 public:
  // buckets (R, T) of the head.
  LshRelation(LshSpec spec, idx_t tokens, const std::uint16_t* buckets)
      : spec_(std::move(spec)), shape_{1, 1, tokens, 1} {
    const idx_t R = ref::LshRounds(spec_, tokens);
    order_.resize(static_cast<std::size_t>(R * tokens));
    if (spec_.Hashes(tokens)) {
      LshSort({buckets, {R, tokens}}, spec_.BucketCount() + 1, {order_.data(), {R, tokens}});
    } else {
      std::iota(order_.begin(), order_.end(), 0);
    }
    place_.resize(order_.size());
    for (idx_t i = 0; i < R * tokens; ++i) {
      const idx_t token = order_[static_cast<std::size_t>(i)];
      place_[static_cast<std::size_t>(i / tokens * tokens + token)] = i % tokens;
    }
  }
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys;
    for (idx_t r = 0; r < ref::LshRounds(spec_, shape_.T); ++r) {
      for (const auto& entry :
           ref::LshWindow(spec_, shape_, order_.data(), {}, 0, r, Place(r, query))) {
        if (entry.visible || entry.itself) keys.push_back(entry.key);
      }
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    const idx_t T = shape_.T;
    if (!spec_.Hashes(T)) return UpTo(T);
    const idx_t n = (T + spec_.chunk - 1) / spec_.chunk;
    std::vector<idx_t> queries;
    for (idx_t r = 0; r < spec_.rounds; ++r) {
      const idx_t own = r * n + Place(r, key) / spec_.chunk;
      for (const idx_t c : ChunksThatMaySee(own, spec_.before, spec_.after, n * spec_.rounds)) {
        for (idx_t i = c % n * spec_.chunk; i < std::min(T, (c % n + 1) * spec_.chunk); ++i) {
          queries.push_back(order_[static_cast<std::size_t>(c / n * T + i)]);
        }
      }
    }
    std::sort(queries.begin(), queries.end());
    queries.erase(std::unique(queries.begin(), queries.end()), queries.end());
    return queries;
  }

 private:
  idx_t Place(idx_t round, idx_t token) const {
    return place_[static_cast<std::size_t>(round * shape_.T + token)];
  }
  LshSpec spec_;
  ref::LshShape shape_;
  std::vector<std::int32_t> order_;  // (R, T): the i-th token of the sorted round
  std::vector<idx_t> place_;         // (R, T): its inverse
};

// Local rows. Global tokens rise in a list; as keys every local query sees them.
class WindowRelation final : public AttentionRelation {
 public:
  WindowRelation(const WindowSpec& spec, idx_t tokens, idx_t head, std::vector<idx_t> globals)
      : tokens_(tokens),
        left_(spec.left),
        right_(spec.causal ? 0 : spec.right),
        causal_(spec.causal),
        globals_(std::move(globals)) {
    if (!spec.dilation.empty()) step_ = spec.dilation[static_cast<std::size_t>(head)];
  }
  std::vector<idx_t> Keys(idx_t query) const override {
    if (IsGlobal(query)) return {};
    std::vector<idx_t> keys;
    for (const idx_t key : globals_) {
      if (!causal_ || key <= query) keys.push_back(key);
    }
    for (idx_t n = -std::min(left_, query / step_); n <= right_; ++n) {
      const idx_t key = query + n * step_;
      if (key >= tokens_) break;
      if (!IsGlobal(key)) keys.push_back(key);
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> queries;
    if (IsGlobal(key)) {
      for (idx_t query = causal_ ? key : 0; query < tokens_; ++query) {
        if (!IsGlobal(query)) queries.push_back(query);
      }
      return queries;
    }
    for (idx_t n = -std::min(right_, key / step_); n <= left_; ++n) {
      const idx_t query = key + n * step_;
      if (query >= tokens_) break;
      if (!IsGlobal(query)) queries.push_back(query);
    }
    return queries;
  }
  idx_t Times(idx_t, idx_t) const override { return 1; }  // of those that Queries names

 private:
  bool IsGlobal(idx_t token) const {
    return std::binary_search(globals_.begin(), globals_.end(), token);
  }
  idx_t tokens_, left_, right_, step_ = 1;
  bool causal_;
  std::vector<idx_t> globals_;
};

class GlobalRelation final : public AttentionRelation {
 public:
  GlobalRelation(bool causal, idx_t tokens, std::vector<idx_t> globals)
      : causal_(causal), tokens_(tokens), globals_(std::move(globals)) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    if (!std::binary_search(globals_.begin(), globals_.end(), query)) return {};
    return UpTo(causal_ ? query + 1 : tokens_);
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> queries = globals_;
    if (causal_) {
      queries.erase(queries.begin(), std::lower_bound(queries.begin(), queries.end(), key));
    }
    return queries;
  }
  idx_t Times(idx_t, idx_t) const override { return 1; }  // of those that Queries names

 private:
  bool causal_;
  idx_t tokens_;
  std::vector<idx_t> globals_;
};

}  // namespace

idx_t AttentionRelation::Times(idx_t query, idx_t key) const {
  const std::vector<idx_t> keys = Keys(query);
  return std::count(keys.begin(), keys.end(), key);
}

std::unique_ptr<AttentionRelation> FullAttentionRelation(idx_t tokens, bool causal) {
  return std::make_unique<FullRelation>(tokens, causal);
}

std::unique_ptr<AttentionRelation> ChunkedAttentionRelation(const ChunkedSpec& spec, idx_t tokens) {
  return std::make_unique<ChunkedRelation>(spec, tokens);
}

std::unique_ptr<AttentionRelation> LshAttentionRelation(const LshSpec& spec, idx_t tokens,
                                                        const std::uint16_t* buckets) {
  return std::make_unique<LshRelation>(spec, tokens, buckets);
}

std::unique_ptr<AttentionRelation> WindowAttentionRelation(const WindowSpec& spec, idx_t tokens,
                                                           idx_t head,
                                                           const std::vector<idx_t>& globals) {
  return std::make_unique<WindowRelation>(spec, tokens, head, globals);
}

std::unique_ptr<AttentionRelation> GlobalRowsRelation(const WindowSpec& spec, idx_t tokens,
                                                      const std::vector<idx_t>& globals) {
  return std::make_unique<GlobalRelation>(spec.causal, tokens, globals);
}

}  // namespace longspan::cli
