#include "cli/visual/pattern.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/errors.h"
#include "base/math.h"
#include "longspan/attention.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostTokens = 2048;  // cells are tokens^2, and so is the identity of values

// Order of PatternGroups().
enum Group : std::uint8_t { kItself, kSameChunk, kBefore, kAfter, kWrapped, kUnguided };

bool IsPadding(const PatternOptions& options, idx_t key) {
  return key < options.pad_left || key >= options.tokens - options.pad_right;
}

// What brings key into the window of query; only asked for keys inside the window.
Group ChunkedGroup(const PatternOptions& options, idx_t query, idx_t key) {
  if (query == key) return kItself;
  const idx_t distance = key / options.chunk - query / options.chunk;
  if (options.tokens <= options.chunk || distance == 0) return kSameChunk;
  if (distance < 0 && -distance <= options.before) return kBefore;
  if (distance > 0 && distance <= options.after) return kAfter;
  return kWrapped;
}

GridPanel ChunkedPanel(Context& context, const PatternOptions& options) {
  const idx_t tokens = options.tokens;
  GridPanel panel;
  panel.title =
      fmt::format("{}, chunks of {}", options.causal ? "Causal" : "Bidirectional", options.chunk);
  panel.note = fmt::format("{} tokens, look-back {}", tokens, options.before);
  if (options.after > 0) panel.note += fmt::format(", look-ahead {}", options.after);
  if (options.pad_left + options.pad_right > 0) {
    panel.note += fmt::format(", padding {} + {}", options.pad_left, options.pad_right);
  }
  panel.rows = panel.columns = tokens;
  panel.line_every = options.chunk < tokens ? options.chunk : 0;
  panel.weight = ChunkedWeights(context, options);
  panel.group.assign(panel.weight.size(), 0);
  panel.shaded.assign(static_cast<std::size_t>(tokens), 0);
  for (idx_t key = 0; key < tokens; ++key) {
    panel.shaded[static_cast<std::size_t>(key)] = IsPadding(options, key) ? 1 : 0;
  }
  for (idx_t query = 0; query < tokens; ++query) {
    const auto row = static_cast<std::size_t>(query * tokens);
    bool unguided = false;  // the kernel weighs a key that nothing allows: the row had none
    for (idx_t key = 0; key < tokens; ++key) {
      float& weight = panel.weight[row + static_cast<std::size_t>(key)];
      const bool allowed = !IsPadding(options, key) && !(options.causal && key > query);
      unguided |= weight != 0 && !allowed;
      weight = weight != 0 ? 1.0f : 0.0f;
    }
    for (idx_t key = 0; key < tokens; ++key) {
      panel.group[row + static_cast<std::size_t>(key)] =
          unguided ? kUnguided : ChunkedGroup(options, query, key);
    }
  }
  return panel;
}

std::vector<GridPanel> ChunkedGallery(Context& context) {
  PatternOptions causal, wide, both, padded;
  wide.before = 2;
  both.causal = false;
  both.after = 1;
  padded.pad_left = 5;
  padded.pad_right = 3;
  std::vector<GridPanel> panels;
  constexpr std::array<std::string_view, 4> kTitles = {
      "Causal, look-back of one chunk", "Causal, look-back of two chunks",
      "Bidirectional: the window wraps around", "Padding at both ends"};
  for (const PatternOptions& options : {causal, wide, both, padded}) {
    const std::string_view title = kTitles[panels.size()];
    panels.push_back(ChunkedPanel(context, options));
    panels.back().title = title;
  }
  return panels;
}

}  // namespace

std::span<const PatternKind> PatternKinds() {
  static const std::vector<PatternKind> kinds = {
      {"chunked",
       "Reformer's local attention: a chunk sees itself and its neighbours",
       {"--tokens", "--pad-left", "--pad-right", "--causal", "--chunk", "--before", "--after"},
       ChunkedPanel,
       ChunkedGallery},
  };
  return kinds;
}

const PatternKind& FindPatternKind(std::string_view name) {
  std::vector<std::string_view> names;
  for (const PatternKind& kind : PatternKinds()) {
    if (kind.name == name) return kind;
    names.push_back(kind.name);
  }
  Fail(ErrorCode::kUsage, "pattern: no kind '{}'; there are: {}", name, fmt::join(names, ", "));
}

std::vector<GridGroup> PatternGroups() {
  return {{"the token itself", Rgb(0x0b2f4f), '#'},
          {"same chunk", Rgb(0x0072b2), 'o'},
          {"chunks before", Rgb(0x56b4e9), '<'},
          {"chunks after", Rgb(0xe69f00), '>'},
          {"around the end", Rgb(0xcc79a7), '@'},
          {"no key is allowed: the whole window, equally", Rgb(0x7a828f), 'x'}};
}

std::vector<float> ChunkedWeights(Context& context, const PatternOptions& options) {
  const idx_t tokens = options.tokens;
  Check(tokens >= 1 && tokens <= kMostTokens, ErrorCode::kUsage,
        "pattern: {} tokens, can draw from 1 to {}", tokens, kMostTokens);
  Check(options.pad_left >= 0 && options.pad_right >= 0 &&
            options.pad_left + options.pad_right <= tokens,
        ErrorCode::kUsage, "pattern: padding of {} and {} does not fit into {} tokens",
        options.pad_left, options.pad_right, tokens);
  const auto cells = static_cast<std::size_t>(tokens * tokens);
  std::vector<float> zeros(cells), values(cells), out(cells);
  std::vector<float> lse(static_cast<std::size_t>(tokens));
  std::vector<std::uint8_t> exists(static_cast<std::size_t>(tokens), 1);
  for (idx_t token = 0; token < tokens; ++token) {
    values[static_cast<std::size_t>(token * tokens + token)] = 1;
    exists[static_cast<std::size_t>(token)] = IsPadding(options, token) ? 0 : 1;
  }
  const std::array<idx_t, 4> shape = {1, 1, tokens, tokens};
  Qkv qkv;
  qkv.q = qkv.k = View<const float, 4>(zeros.data(), shape);
  qkv.v = View<const float, 4>(values.data(), shape);
  AttentionSaved saved;
  saved.out = View<float, 4>(out.data(), shape);
  saved.lse = View<float, 3>(lse.data(), {1, 1, tokens});
  ChunkedSpec spec;
  spec.chunk = options.chunk;
  spec.before = options.before;
  spec.after = options.after;
  spec.causal = options.causal;
  const bool padding = options.pad_left + options.pad_right > 0;
  ChunkedForward(context, spec, qkv, padding ? KeyMask(exists.data(), {1, tokens}) : KeyMask(),
                 saved);
  return out;
}

}  // namespace longspan::cli
