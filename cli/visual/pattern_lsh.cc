// Reformer's LSH layers in four steps: tokens in buckets, sorted, chunked, and who sees whom.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "base/rng.h"
#include "cli/visual/pattern_kinds.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostRounds = 16, kMostBuckets = 256;
// Order of LshGroups(): how many rounds show a key, then the buckets, colours coming round again.
constexpr std::uint8_t kLone = 0, kOnce = 1, kTwice = 2, kMore = 3, kFirstBucket = 4;
constexpr idx_t kColours = 8;

std::vector<GridGroup> LshGroups() {
  std::vector<GridGroup> groups = {{"itself, as it sees nobody else", Rgb(0x0b2f4f), '#'},
                                   {"seen in one round", Rgb(0x9ecae1), '1'},
                                   {"in two rounds", Rgb(0x3182bd), '2'},
                                   {"in more rounds", Rgb(0x08306b), '3'}};
  constexpr Color kBuckets[kColours] = {Rgb(0xe69f00), Rgb(0x56b4e9), Rgb(0x009e73), Rgb(0xf0e442),
                                        Rgb(0x0072b2), Rgb(0xd55e00), Rgb(0xcc79a7), Rgb(0x999999)};
  for (idx_t k = 0; k < kColours; ++k) {
    groups.push_back({fmt::format("bucket {}", k), kBuckets[k], static_cast<char>('a' + k)});
  }
  return groups;
}

LshSpec SpecOf(const PatternOptions& options) {
  Check(options.rounds >= 1 && options.rounds <= kMostRounds, ErrorCode::kUsage,
        "pattern: {} rounds, can draw from 1 to {}", options.rounds, kMostRounds);
  Check(options.buckets >= 2 && options.buckets <= kMostBuckets && options.buckets % 2 == 0,
        ErrorCode::kUsage, "pattern: {} buckets, need an even number from 2 to {}", options.buckets,
        kMostBuckets);
  Check(options.tokens > options.chunk, ErrorCode::kUsage,
        "pattern: {} tokens fit one chunk of {}, nothing is hashed; use more tokens or a smaller "
        "chunk",
        options.tokens, options.chunk);
  LshSpec spec;
  spec.chunk = options.chunk;
  spec.before = options.before;
  spec.after = options.after;
  spec.rounds = options.rounds;
  spec.buckets = {options.buckets};
  spec.causal = options.causal;
  return spec;
}

// Tokens that point in about as many directions as there are buckets, (tokens, tokens): the hash
// has something to find.
std::vector<float> Tokens(const PatternOptions& options) {
  constexpr idx_t kDimensions = 16;
  const auto tokens = static_cast<std::size_t>(options.tokens);
  const idx_t used = std::min(options.tokens, kDimensions);
  std::vector<float> directions(static_cast<std::size_t>(options.buckets * used));
  FillNormal(DeriveKey(options.seed, 1), 1.0f, directions.data(),
             static_cast<idx_t>(directions.size()));
  Rng rng(DeriveKey(options.seed, 2));
  std::vector<float> x(tokens * tokens);
  std::vector<float> noise(static_cast<std::size_t>(used));
  for (std::size_t t = 0; t < tokens; ++t) {
    const auto direction = static_cast<std::size_t>(rng.Below(options.buckets) * used);
    FillNormal(DeriveKey(options.seed, 3 + t), 0.3f, noise.data(), used);
    for (std::size_t d = 0; d < noise.size(); ++d) {
      x[t * tokens + d] = directions[direction + d] + noise[d];
    }
  }
  return x;
}

// A strip of rounds x tokens, coloured by bucket: in the text's order, or sorted.
GridPanel BucketPanel(const PatternOptions& options, const LshPattern& pattern, bool sorted) {
  GridPanel panel;
  panel.rows = options.rounds;
  panel.columns = options.tokens;
  panel.row_label = "round";
  panel.tall = options.rounds <= 4 ? 2 : 1;
  panel.column_label = sorted ? "place" : "token";
  panel.weight.assign(pattern.buckets.size(), 1.0f);
  for (std::size_t i = 0; i < pattern.buckets.size(); ++i) {
    const auto round = static_cast<idx_t>(i) / options.tokens * options.tokens;
    const auto from = sorted ? static_cast<std::size_t>(round + pattern.order[i]) : i;
    const bool hidden = pattern.buckets[from] == options.buckets;  // padding
    panel.weight[i] = hidden ? 0.0f : 1.0f;
    panel.group.push_back(
        static_cast<std::uint8_t>(kFirstBucket + pattern.buckets[from] % kColours));
  }
  return panel;
}

// In how many rounds token `query` meets token `key`, by the places in the sorted rounds.
std::vector<int> Meetings(const PatternOptions& options, const LshPattern& pattern) {
  const idx_t T = options.tokens, n = (T + options.chunk - 1) / options.chunk;
  const idx_t circle = n * options.rounds;
  std::vector<int> meetings(static_cast<std::size_t>(T * T));
  for (idx_t c = 0; c < circle; ++c) {
    std::vector<bool> keys(static_cast<std::size_t>(T));
    const auto each = [&](idx_t chunk, const auto& take) {
      const idx_t begin = chunk % n * options.chunk;
      for (idx_t i = begin; i < std::min(T, begin + options.chunk); ++i) {
        take(static_cast<std::size_t>(pattern.order[static_cast<std::size_t>(chunk / n * T + i)]));
      }
    };
    for (idx_t off = -options.before; off <= options.after; ++off) {
      const bool turned = off >= circle || -off >= circle;
      each(turned ? c : (c + off + circle) % circle, [&](std::size_t key) { keys[key] = true; });
    }
    each(c, [&](std::size_t query) {
      for (std::size_t key = 0; key < keys.size(); ++key) {
        meetings[query * static_cast<std::size_t>(T) + key] += keys[key] ? 1 : 0;
      }
    });
  }
  return meetings;
}

GridPanel SeenPanel(const PatternOptions& options, const LshPattern& pattern) {
  GridPanel panel = SquarePanel(options, pattern.weights);
  const std::vector<int> meetings = Meetings(options, pattern);
  for (std::size_t i = 0; i < meetings.size(); ++i) {
    const auto T = static_cast<std::size_t>(options.tokens);
    const int met = std::clamp<int>(meetings[i], kOnce, kMore);
    panel.group[i] = i / T == i % T ? kLone : static_cast<std::uint8_t>(met);
  }
  return panel;
}

std::vector<GridPanel> LshPanels(Context& context, const PatternOptions& options) {
  const LshPattern pattern = LshWeights(context, options);
  std::vector<GridPanel> panels = {
      BucketPanel(options, pattern, false), BucketPanel(options, pattern, true),
      BucketPanel(options, pattern, true), SeenPanel(options, pattern)};
  panels[0].title = "1. Tokens hashed to buckets";
  panels[0].note =
      fmt::format("{} buckets in each round: similar tokens share one", options.buckets);
  panels[1].title = "2. Sorted by bucket, then position";
  panels[2].title = fmt::format("3. Cut into chunks of {}", options.chunk);
  panels[1].note = "tokens of one bucket stand side by side";
  panels[2].note = fmt::format("look-back {}, look-ahead {}", options.before, options.after);
  panels[2].line_every = options.chunk;
  panels[2].cut = true;
  panels[3].title =
      fmt::format("4. Who sees whom, {} round{}", options.rounds, options.rounds == 1 ? "" : "s");
  panels[3].note = fmt::format(
      "{} tokens: keys of the own and the neighbouring chunks; itself only if there are none",
      options.tokens);
  return panels;
}

std::vector<GridPanel> LshGallery(Context& context) { return LshPanels(context, {}); }

}  // namespace

LshPattern LshWeights(Context& context, const PatternOptions& options) {
  PatternProblem problem(options);
  const LshSpec spec = SpecOf(options);
  const idx_t T = options.tokens, R = options.rounds, columns = spec.RotationColumns();
  const std::vector<float> x = Tokens(options);
  const View<const float, 4> qk(x.data(), problem.shape);
  std::vector<float> rotations(static_cast<std::size_t>(T * R * columns));
  FillNormal(DeriveKey(options.seed, 0), 1.0f, rotations.data(),
             static_cast<idx_t>(rotations.size()));
  LshPattern pattern;
  pattern.buckets.resize(static_cast<std::size_t>(R * T));
  pattern.order.resize(pattern.buckets.size());
  const LshBuckets buckets(pattern.buckets.data(), {1, 1, R, T});
  LshHash(context, spec, qk, problem.Mask(), {rotations.data(), {1, T, R, columns}}, buckets);
  LshSort({pattern.buckets.data(), {R, T}}, spec.BucketCount() + 1, {pattern.order.data(), {R, T}});
  LshForward(context, spec, {qk, problem.Values()}, problem.Mask(),
             View<const std::uint16_t, 4>(buckets),
             {problem.Out(), problem.Row(problem.max), problem.Row(problem.sum)});
  pattern.weights = problem.out;
  return pattern;
}

PatternKind LshPatternKind() {
  return {"lsh",
          "Reformer's LSH attention: tokens meet in buckets, sorted and cut into chunks",
          {"--tokens", "--pad-left", "--pad-right", "--causal", "--chunk", "--before", "--after",
           "--rounds", "--buckets", "--seed"},
          LshGroups,
          LshPanels,
          LshGallery};
}

}  // namespace longspan::cli
