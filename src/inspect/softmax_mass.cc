#include "inspect/softmax_mass.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

constexpr idx_t kBlockRows = 128;  // query rows whose scores live at once
constexpr idx_t kKeyRows = 256;    // keys that a task normalises
constexpr idx_t kTop = static_cast<idx_t>(kTopKeys.size());

// ---- who sees whom ------------------------------------------------------------------------------

// One head's tokens in the order of one hashing.
struct Sorting {
  LshPlan plan;
  View<std::int32_t, 2> order;  // (R, T): tokens by (bucket, position)
  View<std::int32_t, 2> place;  // (R, T): where a token stands in the order

  // Buckets (R, T) of the head, or empty: the text's own order.
  void Sort(const View<const std::uint16_t, 2>& buckets) const {
    if (buckets.empty()) {
      std::iota(order.data, order.data + order.size(), 0);
    } else {
      LshSort(buckets, plan.bucket_limit, order);
    }
    for (idx_t r = 0; r < plan.rounds; ++r) {
      for (idx_t i = 0; i < plan.T; ++i) place(r, order(r, i)) = static_cast<std::int32_t>(i);
    }
  }
};

// Tells the tokens that were met from those that were not, without clearing between two rows.
struct Meetings {
  std::int32_t* met_in = nullptr;  // (T)
  std::int32_t row = 0;

  bool First(std::int32_t token) {
    if (met_in[token] == row) return false;
    met_in[token] = row;
    return true;
  }
};

struct Seen {
  double weight = 0.0;
  idx_t keys = 0;
};

// Sum and number of the distinct keys below `end`, other than itself, that token t sees.
Seen LookAround(const Sorting& s, idx_t t, idx_t end, const float* weights, Meetings& meetings) {
  ++meetings.row;
  Seen seen;
  for (idx_t r = 0; r < s.plan.rounds; ++r) {
    const idx_t own = r * s.plan.round_chunks + s.place(r, t) / s.plan.chunk;
    for (idx_t i = 0; i < s.plan.parts; ++i) {
      const idx_t c = s.plan.Wrap(s.plan.WindowChunk(own, i));
      const std::int32_t* tokens = &s.order(s.plan.Round(c), s.plan.Begin(c));
      for (const std::int32_t* j = tokens; j < tokens + s.plan.Keys(c); ++j) {
        if (*j == t || *j >= end || !meetings.First(*j)) continue;
        seen.weight += static_cast<double>(weights[*j]);
        ++seen.keys;
      }
    }
  }
  return seen;
}

// ---- one row ------------------------------------------------------------------------------------

// scores[0, end) := exp(score - max), 0 for the token itself; returns their sum.
double Weigh(idx_t t, idx_t end, float* scores) {
  if (t < end) scores[t] = -INFINITY;
  const float max = *std::max_element(scores, scores + end);
  double sum = 0.0;
  for (idx_t j = 0; j < end; ++j) {
    scores[j] = std::exp(scores[j] - max);
    sum += static_cast<double>(scores[j]);
  }
  return sum;
}

// Mass on the `keys` tokens nearest to t, half of them on each side if there are so many.
double NearestWeight(idx_t t, idx_t end, idx_t keys, const float* weights) {
  const idx_t behind = std::max<idx_t>(0, end - 1 - t);
  idx_t after = std::min(keys / 2, behind);
  const idx_t before = std::min(keys - after, t);
  after = std::min(keys - before, behind);
  double sum = 0.0;
  for (idx_t j = t - before; j < std::min(end, t + after + 1); ++j) {
    sum += static_cast<double>(weights[j]);  // its own weight is 0
  }
  return sum;
}

// A number of heaviest keys, and where their sum goes.
using Wanted = std::pair<idx_t, float*>;

// Reorders the weights. The largest selection comes first, the others look into it only.
void SumHeaviest(std::vector<Wanted>& wanted, double scale, float* weights, idx_t end) {
  std::sort(wanted.begin(), wanted.end());
  idx_t limit = end;
  for (auto w = wanted.rbegin(); w != wanted.rend(); ++w) {
    if (w->first >= limit) continue;
    std::nth_element(weights, weights + w->first, weights + limit, std::greater<>());
    limit = w->first;
  }
  double sum = 0.0;
  idx_t summed = 0;
  for (const auto& [keys, out] : wanted) {
    for (; summed < std::min(keys, end); ++summed) sum += static_cast<double>(weights[summed]);
    *out = static_cast<float>(sum * scale);
  }
}

// One head, while its rows are measured.
struct Head {
  idx_t T = 0;
  bool causal = false;
  std::vector<Sorting> hashed, random;  // of each hashing
};

// The scores (T) of row t are scratch afterwards.
void MeasureRow(const Head& head, idx_t t, float* scores, Meetings& meetings, float* mass) {
  const idx_t end = head.causal ? t : head.T;  // tokens from here on are not seen
  const double sum = Weigh(t, end, scores);
  Check(std::isfinite(sum), ErrorCode::kNumeric, "softmax mass: scores of row {} are not finite",
        t);
  const double scale = 1.0 / sum;
  std::vector<Wanted> wanted;
  for (idx_t i = 0; i < kTop; ++i) {
    wanted.emplace_back(kTopKeys[static_cast<std::size_t>(i)], mass + i);
  }
  float* fields = mass + kTop;
  for (std::size_t i = 0; i < head.hashed.size(); ++i, fields += kMassFields) {
    const Seen seen = LookAround(head.hashed[i], t, end, scores, meetings);
    const Seen random = LookAround(head.random[i], t, end, scores, meetings);
    fields[kSeenMass] = static_cast<float>(seen.weight * scale);
    fields[kLocalMass] = static_cast<float>(NearestWeight(t, end, seen.keys, scores) * scale);
    fields[kRandomMass] = static_cast<float>(random.weight * scale);
    fields[kSeenKeys] = static_cast<float>(seen.keys);
    fields[kRandomKeys] = static_cast<float>(random.keys);
    wanted.emplace_back(seen.keys, fields + kBestMass);
  }
  SumHeaviest(wanted, scale, scores, end);
}

// ---- all heads ----------------------------------------------------------------------------------

void CheckArguments(const View<const float, 4>& qk, bool causal, std::span<const Hashing> hashings,
                    std::span<const idx_t> rows, const View<float, 3>& mass) {
  const idx_t H = qk.extent[1], T = qk.extent[2];
  Check(qk.extent[0] == 1, ErrorCode::kUsage, "softmax mass: qk is {}, need one text",
        ShapeText(qk));
  for (const Hashing& hashing : hashings) {
    Check(hashing.spec.causal == causal, ErrorCode::kUsage,
          "softmax mass: a hashing differs in its causality");
    if (!hashing.spec.Hashes(T)) continue;
    const std::array<idx_t, 4> shape = {1, H, hashing.spec.rounds, T};
    Check(hashing.buckets.extent == shape && hashing.random.extent == shape, ErrorCode::kUsage,
          "softmax mass: buckets are {} and {}, need (1, {}, {}, {})", ShapeText(hashing.buckets),
          ShapeText(hashing.random), H, hashing.spec.rounds, T);
  }
  for (const idx_t t : rows) {
    Check(t >= 0 && t < T, ErrorCode::kUsage, "softmax mass: row {} of {} tokens", t, T);
    Check(T > 1 && !(causal && t == 0), ErrorCode::kUsage, "softmax mass: row {} sees only itself",
          t);
  }
  const std::array<idx_t, 3> shape = {H, static_cast<idx_t>(rows.size()),
                                      MassColumns(static_cast<idx_t>(hashings.size()))};
  Check(mass.extent == shape && mass.contiguous(), ErrorCode::kUsage,
        "softmax mass: the result is {}, need ({}, {}, {}), contiguous", ShapeText(mass), shape[0],
        shape[1], shape[2]);
}

// keys (T, D) of one head, x (T, D).
void NormaliseKeys(const Context& context, const View<const float, 2>& x,
                   const View<float, 2>& keys) {
  const idx_t T = x.extent[0], D = x.extent[1];
  const auto size = static_cast<float>(D);
  ParallelFor(context, CeilDiv(T, kKeyRows), [&](idx_t task, int) {
    for (idx_t j = task * kKeyRows; j < std::min(T, (task + 1) * kKeyRows); ++j) {
      float squares = 0.0f;
      for (idx_t d = 0; d < D; ++d) squares += x(j, d) * x(j, d);
      const float factor = 1.0f / std::sqrt(squares / size + 1e-6f) / std::sqrt(size);
      for (idx_t d = 0; d < D; ++d) keys(j, d) = factor * x(j, d);
    }
  });
}

// The booked memory of one call.
class MassScratch {
 public:
  MassScratch(Context& context, const View<const float, 4>& qk, bool causal,
              std::span<const Hashing> hashings)
      : frame_(context.arena(), BytesOf(context, qk, hashings)) {
    const idx_t T = qk.extent[2], D = qk.extent[3];
    keys = {frame_.Take<float>(T * D), {T, D}};
    queries = frame_.Take<float>(kBlockRows * D);
    scores = frame_.Take<float>(kBlockRows * T);
    for (int i = 0; i < context.threads(); ++i) {
      meetings.push_back({frame_.Take<std::int32_t>(T), 0});
      std::fill_n(meetings.back().met_in, T, 0);
    }
    head.T = T;
    head.causal = causal;
    for (const Hashing& hashing : hashings) {
      const LshPlan plan = MakeLshPlan(hashing.spec, qk);
      for (auto* sortings : {&head.hashed, &head.random}) {
        const std::array<idx_t, 2> shape = {plan.rounds, T};
        sortings->push_back({plan,
                             {frame_.Take<std::int32_t>(plan.rounds * T), shape},
                             {frame_.Take<std::int32_t>(plan.rounds * T), shape}});
      }
    }
  }

  View<float, 2> keys;       // (T, D)
  float* queries = nullptr;  // (block, D)
  float* scores = nullptr;   // (block, T)
  std::vector<Meetings> meetings;
  Head head;

 private:
  static std::size_t BytesOf(const Context& context, const View<const float, 4>& qk,
                             std::span<const Hashing> hashings) {
    const idx_t T = qk.extent[2], D = qk.extent[3];
    std::size_t bytes = Arena::Bytes<float>(T * D) + Arena::Bytes<float>(kBlockRows * D) +
                        Arena::Bytes<float>(kBlockRows * T) +
                        static_cast<std::size_t>(context.threads()) * Arena::Bytes<std::int32_t>(T);
    for (const Hashing& hashing : hashings) {
      bytes += 4 * Arena::Bytes<std::int32_t>(MakeLshPlan(hashing.spec, qk).rounds * T);
    }
    return bytes;
  }

  Arena::Frame frame_;
};

}  // namespace

void MeasureMass(Context& context, const View<const float, 4>& qk, bool causal,
                 std::span<const Hashing> hashings, std::span<const idx_t> rows,
                 const View<float, 3>& mass) {
  CheckArguments(qk, causal, hashings, rows, mass);
  const idx_t H = qk.extent[1], T = qk.extent[2], D = qk.extent[3];
  const auto count = static_cast<idx_t>(rows.size());
  MassScratch s(context, qk, causal, hashings);
  for (idx_t h = 0; h < H; ++h) {
    const View<const float, 2> x = qk[0][h];
    NormaliseKeys(context, x, s.keys);
    ParallelFor(context, 2 * static_cast<idx_t>(hashings.size()), [&](idx_t task, int) {
      const auto i = static_cast<std::size_t>(task / 2);
      const bool hashes = hashings[i].spec.Hashes(T), random = task % 2 != 0;
      const auto& buckets = random ? hashings[i].random : hashings[i].buckets;
      const Sorting& sorting = random ? s.head.random[i] : s.head.hashed[i];
      sorting.Sort(hashes ? buckets[0][h] : View<const std::uint16_t, 2>());
    });
    for (idx_t begin = 0; begin < count; begin += kBlockRows) {
      const idx_t n = std::min(kBlockRows, count - begin);
      const idx_t* block = rows.data() + begin;
      for (idx_t i = 0; i < n; ++i) std::copy_n(&x(block[i], 0), D, s.queries + i * D);
      gemm::Forward(context, View<const float, 2>(s.queries, {n, D}), View<const float, 2>(s.keys),
                    nullptr, View<float, 2>(s.scores, {n, T}));
      ParallelFor(context, n, [&](idx_t i, int thread) {
        MeasureRow(s.head, block[i], s.scores + i * T, s.meetings[static_cast<std::size_t>(thread)],
                   &mass(h, begin + i, 0));
      });
    }
  }
}

}  // namespace longspan
