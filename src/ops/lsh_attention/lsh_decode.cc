#include "ops/lsh_attention/lsh_decode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/arena.h"
#include "base/math.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "ops/lsh_attention/lsh_checks.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// A thread's scratch.
struct DecodeScratch {
  std::int32_t* counts = nullptr;  // (bucket limit + 1)
  std::int32_t* order = nullptr;   // (R, tokens)
  std::int32_t* keys = nullptr;    // (R W): tokens that are seen
  float* weights = nullptr;        // (R W)
};

// Lists in s.keys what the last token of the text sees in all rounds; returns how many.
idx_t ListWindow(const LshSpec& spec, idx_t tokens, const View<const std::uint16_t, 2>& buckets,
                 const DecodeScratch& s) {
  if (!spec.Hashes(tokens)) {
    for (idx_t t = 0; t < tokens; ++t) s.keys[t] = static_cast<std::int32_t>(t);
    return tokens;
  }
  const idx_t limit = spec.BucketCount() + 1, n = CeilDiv(tokens, spec.chunk);
  const idx_t circle = n * spec.rounds;
  std::array<idx_t, kMostLshRounds> place;  // of the token in each round
  for (idx_t r = 0; r < spec.rounds; ++r) {
    Check(SortRound(&buckets(r, 0), tokens, limit, s.counts, s.order + r * tokens),
          ErrorCode::kUsage, "LSH decode: a bucket of round {} is not below {}", r, limit);
    // The sort leaves the end of each bucket; the last token is the last of its bucket.
    place[static_cast<std::size_t>(r)] = s.counts[buckets(r, tokens - 1)] - 1;
  }
  idx_t count = 0;
  for (idx_t r = 0; r < spec.rounds; ++r) {
    const idx_t own = r * n + place[static_cast<std::size_t>(r)] / spec.chunk;
    for (idx_t off = -spec.before; off <= 0; ++off) {
      const idx_t c = off <= -circle ? own : (own + off + circle) % circle;
      const idx_t begin = c % n * spec.chunk, end = std::min(tokens, begin + spec.chunk);
      const std::int32_t* order = s.order + c / n * tokens;
      count = std::copy(order + begin, order + end, s.keys + count) - s.keys;
    }
  }
  return count;
}

// One head: scores, softmax, weighted sum. A few hundred keys of a hundred numbers: the compiler's
// vectors are fast enough here.
void DecodeHead(idx_t position, idx_t count, const View<const float, 2>& qk,
                const View<const float, 2>& v, const DecodeScratch& s, float* out) {
  const idx_t D = qk.extent[1];
  const auto size = static_cast<float>(D);
  const float* query = &qk(position, 0);
  float largest = -INFINITY;
  for (idx_t i = 0; i < count; ++i) {
    const float* x = &qk(s.keys[i], 0);
    float dot = 0.0f, squares = 0.0f;
    for (idx_t d = 0; d < D; ++d) {
      dot += query[d] * x[d];
      squares += x[d] * x[d];
    }
    s.weights[i] = s.keys[i] == position
                       ? kSelfScore
                       : dot / std::sqrt(squares / size + 1e-6f) / std::sqrt(size);
    largest = std::max(largest, s.weights[i]);
  }
  float sum = 0.0f;
  std::fill_n(out, D, 0.0f);
  for (idx_t i = 0; i < count; ++i) {
    const float weight = std::exp(s.weights[i] - largest);
    const float* value = &v(s.keys[i], 0);
    sum += weight;
    for (idx_t d = 0; d < D; ++d) out[d] += weight * value[d];
  }
  for (idx_t d = 0; d < D; ++d) out[d] /= sum;
}

}  // namespace

void LshDecode(Context& context, const LshSpec& spec, idx_t position,
               const View<const float, 3>& qk, const View<const float, 3>& v,
               const View<const std::uint16_t, 3>& buckets, const View<float, 2>& out) {
  const idx_t heads = qk.extent[0], size = qk.extent[2], tokens = position + 1;
  Check(spec.causal && spec.after == 0 && spec.dropout.p == 0.0f, ErrorCode::kUsage,
        "LSH decode: needs a causal spec without look-ahead and dropout");
  Check(position >= 0 && position < qk.extent[1] && position < v.extent[1], ErrorCode::kUsage,
        "LSH decode: position {} is not below the {} tokens kept", position, qk.extent[1]);
  Check(v.extent[0] == heads && v.extent[2] == size && out.extent == std::array{heads, size},
        ErrorCode::kUsage, "LSH decode: qk is {}, v {}, out {}", ShapeText(qk), ShapeText(v),
        ShapeText(out));
  CheckLshInput<float>(spec,
                       {qk.data, {1, heads, tokens, size}, {0, qk.stride[0], qk.stride[1], 1}}, {},
                       spec.Hashes(tokens));
  const bool hashes = spec.Hashes(tokens);
  if (hashes) CheckLshView(buckets, "buckets", {heads, spec.rounds, buckets.extent[2]});
  Check(!hashes || tokens <= buckets.extent[2], ErrorCode::kUsage,
        "LSH decode: position {} is not below the {} buckets kept", position, buckets.extent[2]);

  const idx_t seen = hashes ? spec.rounds * spec.WindowSlots() : tokens;
  const idx_t counts = hashes ? spec.BucketCount() + 2 : 1;
  const idx_t order = hashes ? spec.rounds * tokens : 1;
  const auto threads = static_cast<std::size_t>(context.threads());
  Arena::Frame frame(
      context.arena(),
      threads * (Arena::Bytes<std::int32_t>(counts) + Arena::Bytes<std::int32_t>(order) +
                 Arena::Bytes<std::int32_t>(seen) + Arena::Bytes<float>(seen)));
  std::vector<DecodeScratch> scratch(threads);
  for (DecodeScratch& s : scratch) {
    s = {frame.Take<std::int32_t>(counts), frame.Take<std::int32_t>(order),
         frame.Take<std::int32_t>(seen), frame.Take<float>(seen)};
  }
  ParallelFor(context, heads, [&](idx_t h, int thread) {
    const DecodeScratch& s = scratch[static_cast<std::size_t>(thread)];
    const auto ids = hashes ? buckets[h] : View<const std::uint16_t, 2>();
    const idx_t count = ListWindow(spec, tokens, ids, s);
    DecodeHead(position, count, qk[h], v[h], s, &out(h, 0));
  });
}

}  // namespace longspan
