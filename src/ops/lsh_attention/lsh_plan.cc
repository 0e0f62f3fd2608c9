// The integer half of LSH attention: numbers of buckets, and the stable sort.

#include <cmath>
#include <limits>
#include <numeric>

#include "base/math.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "ops/lsh_attention/lsh_checks.h"

namespace longspan {
namespace {

constexpr idx_t kMostTokens = std::numeric_limits<std::int32_t>::max();
constexpr idx_t kMostChunk = idx_t{1} << 30;
constexpr idx_t kMostReach = 1024;     // chunks before or after
constexpr idx_t kMostBuckets = 65535;  // one more is the bucket of hidden tokens

}  // namespace

idx_t LshSpec::RotationColumns() const {
  return std::accumulate(buckets.begin(), buckets.end(), idx_t{0}) / 2;
}

idx_t LshSpec::BucketCount() const {
  return std::accumulate(buckets.begin(), buckets.end(), idx_t{1}, std::multiplies<>());
}

std::vector<idx_t> LshBucketFactors(idx_t tokens, idx_t chunk, idx_t max_positions) {
  Check(chunk >= 1 && tokens >= chunk && tokens <= kMostTokens && max_positions >= 1,
        ErrorCode::kUsage,
        "LSH attention: no number of buckets for {} tokens in chunks of {} with {} positions",
        tokens, chunk, max_positions);
  const idx_t target = 2 * (tokens / chunk);
  int power = 0;
  while ((target >> (power + 1)) != 0) ++power;
  const idx_t buckets = idx_t{1} << power;
  const auto root = static_cast<idx_t>(std::sqrt(static_cast<double>(max_positions / chunk)));
  if (buckets <= 2 * std::max(root, chunk)) return {buckets};
  return {idx_t{1} << (power / 2), idx_t{1} << (power - power / 2)};
}

template <class T>
void CheckLshInput(const LshSpec& spec, const View<const T, 4>& qk, const KeyMask& mask,
                   bool hashes) {
  CheckLshCall.Extents("qk", qk.extent);
  CheckLshCall(qk, "qk", qk.extent);
  Check(qk.extent[2] <= kMostTokens, ErrorCode::kLimit, "LSH attention: {} tokens are more than {}",
        qk.extent[2], kMostTokens);
  CheckLshCall.Tokens(mask, "the key mask", qk.extent);
  Check(spec.chunk >= 1 && spec.chunk <= kMostChunk, ErrorCode::kUsage,
        "LSH attention: chunk {} is not from 1 to {}", spec.chunk, kMostChunk);
  Check(spec.before >= 0 && spec.before <= kMostReach, ErrorCode::kUsage,
        "LSH attention: before {} is not from 0 to {}", spec.before, kMostReach);
  Check(spec.after >= 0 && spec.after <= kMostReach, ErrorCode::kUsage,
        "LSH attention: after {} is not from 0 to {}", spec.after, kMostReach);
  if (!hashes) return;
  Check(spec.rounds >= 1 && spec.rounds <= kMostLshRounds, ErrorCode::kUsage,
        "LSH attention: {} rounds are not from 1 to {}", spec.rounds, kMostLshRounds);
  Check(!spec.buckets.empty(), ErrorCode::kUsage, "LSH attention: buckets lists no factor");
  idx_t total = 1;
  for (const idx_t factor : spec.buckets) {
    Check(factor >= 2 && factor % 2 == 0, ErrorCode::kUsage,
          "LSH attention: buckets has a factor {}, need even numbers from 2", factor);
    Check(factor <= kMostBuckets && total * factor <= kMostBuckets + 1, ErrorCode::kLimit,
          "LSH attention: more than {} buckets do not fit 16 bits", kMostBuckets + 1);
    total *= factor;
  }
  Check(mask.empty() || total <= kMostBuckets, ErrorCode::kLimit,
        "LSH attention: {} buckets and one for hidden tokens do not fit 16 bits", total);
}
template void CheckLshInput(const LshSpec&, const View<const float, 4>&, const KeyMask&, bool);
template void CheckLshInput(const LshSpec&, const View<const bfloat16, 4>&, const KeyMask&, bool);

bool SortRound(const std::uint16_t* buckets, idx_t T, idx_t bucket_limit, std::int32_t* counts,
               std::int32_t* order) {
  // counts[k + 1] becomes the number of tokens in bucket k, then counts[k] its first place.
  std::fill_n(counts, bucket_limit + 1, 0);
  for (idx_t t = 0; t < T; ++t) {
    if (buckets[t] >= bucket_limit) return false;
    ++counts[buckets[t] + 1];
  }
  for (idx_t k = 0; k < bucket_limit; ++k) counts[k + 1] += counts[k];
  for (idx_t t = 0; t < T; ++t) order[counts[buckets[t]]++] = static_cast<std::int32_t>(t);
  return true;
}

void LshSort(const View<const std::uint16_t, 2>& buckets, idx_t bucket_limit,
             const View<std::int32_t, 2>& order) {
  CheckLshCall(order, "the order", buckets.extent);
  CheckLshCall(buckets, "buckets", buckets.extent);
  Check(bucket_limit >= 1 && bucket_limit <= kMostBuckets + 1 && buckets.extent[1] <= kMostTokens,
        ErrorCode::kUsage, "LSH attention: a sort of {} tokens in {} buckets, need 1 to {} buckets",
        buckets.extent[1], bucket_limit, kMostBuckets + 1);
  std::vector<std::int32_t> counts(static_cast<std::size_t>(bucket_limit + 1));
  for (idx_t r = 0; r < buckets.extent[0]; ++r) {
    Check(SortRound(&buckets(r, 0), buckets.extent[1], bucket_limit, counts.data(), &order(r, 0)),
          ErrorCode::kUsage, "LSH attention: a bucket of round {} is not below {}", r,
          bucket_limit);
  }
}

}  // namespace longspan
