// Reformer's LSH layers in four steps: tokens in buckets, sorted, chunked, and who sees whom.

#include <fmt/format.h>

#include <algorithm>

#include "cli/visual/pattern_kinds.h"
#include "longspan/counted.h"
#include "longspan/pattern.h"

namespace longspan::cli {
namespace {

// Order of LshGroups(): how many rounds show a key (in violets, which no bucket has), then
// the buckets, colours coming round again.
constexpr std::uint8_t kLone = 0, kOnce = 1, kTwice = 2, kMore = 3, kFirstBucket = 4;
constexpr idx_t kColours = 8;

std::vector<GridGroup> LshGroups() {
  std::vector<GridGroup> groups = {{"the token itself", Rgb(0x0b2f4f), '#'},
                                   {"seen in one round", Rgb(0xd3c1ee), '1'},
                                   {"in two rounds", Rgb(0xa06bd9), '2'},
                                   {"in more rounds", Rgb(0x6a1fb0), '3'}};
  constexpr Color kBuckets[kColours] = {Rgb(0xe69f00), Rgb(0x56b4e9), Rgb(0x009e73), Rgb(0xf0e442),
                                        Rgb(0x0072b2), Rgb(0xd55e00), Rgb(0xcc79a7), Rgb(0x999999)};
  for (idx_t k = 0; k < kColours; ++k) {
    groups.push_back({fmt::format("bucket {}", k), kBuckets[k], static_cast<char>('a' + k)});
  }
  return groups;
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

GridPanel SeenPanel(const PatternOptions& options, const LshPattern& pattern) {
  GridPanel panel = SquarePanel(options, pattern.weights);
  for (std::size_t i = 0; i < pattern.meetings.size(); ++i) {
    const auto T = static_cast<std::size_t>(options.tokens);
    const int met = std::clamp<int>(pattern.meetings[i], kOnce, kMore);
    panel.group[i] = i / T == i % T ? kLone : static_cast<std::uint8_t>(met);
  }
  return panel;
}

std::vector<GridPanel> LshPanels(Context& context, const PatternOptions& options) {
  const LshPattern pattern = LshPatternOf(context, options);
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
  panels[3].title = "4. Who sees whom, " + Counted(options.rounds, "round");
  panels[3].note = fmt::format(
      "{} tokens: keys of the own chunk, {} before and {} after it; itself only if there are none",
      options.tokens, options.before, options.after);
  return panels;
}

std::vector<GridPanel> LshGallery(Context& context) { return LshPanels(context, {}); }

}  // namespace

PatternDrawing LshDrawing() { return {"lsh", LshGroups, LshPanels, LshGallery}; }

}  // namespace longspan::cli
