// Reformer's local layers.

#include <fmt/format.h>

#include <array>

#include "cli/visual/pattern_kinds.h"
#include "longspan/pattern.h"

namespace longspan::cli {
namespace {

// Order of ChunkedGroups().
enum ChunkedCell : std::uint8_t { kItself, kSameChunk, kBefore, kAfter, kWrapped, kUnguided };

// What brings key into the window of query; only asked for keys inside the window.
ChunkedCell ChunkedGroup(const PatternOptions& options, idx_t query, idx_t key) {
  if (query == key) return kItself;
  const idx_t distance = key / options.chunk - query / options.chunk;
  if (options.tokens <= options.chunk || distance == 0) return kSameChunk;
  if (distance < 0 && -distance <= options.before) return kBefore;
  if (distance > 0 && distance <= options.after) return kAfter;
  return kWrapped;
}

GridPanel ChunkedPanel(Context& context, const PatternOptions& options) {
  const idx_t tokens = options.tokens;
  GridPanel panel = SquarePanel(options, PatternWeights(context, "chunked", options));
  panel.title =
      fmt::format("{}, chunks of {}", options.causal ? "Causal" : "Bidirectional", options.chunk);
  panel.note += fmt::format(", look-back {}", options.before);
  if (options.after > 0) panel.note += fmt::format(", look-ahead {}", options.after);
  panel.note += PaddingNote(options);
  panel.line_every = options.chunk < tokens ? options.chunk : 0;
  for (idx_t query = 0; query < tokens; ++query) {
    const auto row = static_cast<std::size_t>(query * tokens);
    bool unguided = false;  // the kernel weighs a key that nothing allows: the row had none
    for (idx_t key = 0; key < tokens; ++key) {
      const bool allowed = !IsPadding(options, key) && !(options.causal && key > query);
      unguided |= panel.weight[row + static_cast<std::size_t>(key)] != 0 && !allowed;
    }
    for (idx_t key = 0; key < tokens; ++key) {
      panel.group[row + static_cast<std::size_t>(key)] =
          unguided ? kUnguided : ChunkedGroup(options, query, key);
    }
  }
  return panel;
}

std::vector<GridPanel> ChunkedPanels(Context& context, const PatternOptions& options) {
  return {ChunkedPanel(context, options)};
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

std::vector<GridGroup> ChunkedGroups() {
  return {{"the token itself", Rgb(0x0b2f4f), '#'},
          {"same chunk", Rgb(0x0072b2), 'o'},
          {"chunks before", Rgb(0x56b4e9), '<'},
          {"chunks after", Rgb(0xe69f00), '>'},
          {"around the end", Rgb(0xcc79a7), '@'},
          {"no key is allowed: the whole window, equally", Rgb(0x7a828f), 'x'}};
}

}  // namespace

PatternDrawing ChunkedDrawing() {
  return {"chunked", ChunkedGroups, ChunkedPanels, ChunkedGallery};
}

}  // namespace longspan::cli
