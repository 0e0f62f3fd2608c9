#include "families/modernbert/visible_batch.h"

#include <algorithm>
#include <cstring>

#include "model/row_slab.h"
#include "model/rows.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {
namespace {

bool IsHidden(const BatchView& batch, idx_t t) {
  return !batch.roles.empty() && batch.roles(t / batch.tokens, t % batch.tokens) == kHiddenToken;
}

// Whether ids [begin, end) are those of padding alone, where no role says what is padding.
bool IsPadding(const BatchView& batch, idx_t begin, idx_t end, std::int32_t padding) {
  if (batch.documents.empty() || !batch.roles.empty() || padding < 0) return false;
  const auto ids = batch.ids.begin();
  return std::all_of(ids + begin, ids + end, [&](std::int32_t id) { return id == padding; });
}

}  // namespace

// What is kept of each row or document.
std::vector<VisibleBatch::Text> VisibleBatch::TextsOf(const BatchView& batch, bool by_text,
                                                      std::int32_t padding) {
  const bool all = by_text || batch.documents.empty();
  std::vector<Text> texts;
  ForEachText(batch, [&](idx_t, idx_t row, idx_t length) {
    idx_t begin = row, end = row + length;
    while (begin < end && IsHidden(batch, begin)) ++begin;
    if (!all && IsPadding(batch, row, end, padding)) begin = end;
    if (begin == end) {  // nothing to see
      if (all) texts.push_back({row, row, row + 1});
      return;
    }
    while (IsHidden(batch, end - 1)) --end;
    texts.push_back({row, begin, end});
  });
  if (texts.empty()) texts.push_back({0, 0, 1});
  return texts;
}

VisibleBatch::VisibleBatch(const BatchView& batch, bool by_text, std::int32_t padding)
    : view_(batch), batch_tokens_(batch.rows * batch.tokens) {
  const std::vector<Text> texts = TextsOf(batch, by_text, padding);
  bool hidden = false;
  for (const Text& text : texts) {
    lengths_.push_back(text.end - text.begin);
    for (idx_t t = text.begin; t < text.end; ++t) {
      positions_.push_back(static_cast<std::int32_t>(t - text.begin));
      hidden = hidden || IsHidden(batch, t);
    }
  }
  if (hidden) {
    for (const Text& text : texts) {
      for (idx_t t = text.begin; t < text.end; ++t) roles_.push_back(IsHidden(batch, t) ? 0 : 1);
    }
  }
  view_.token_types = {};
  view_.roles = {};
  view_.globals = nullptr;
  const bool less = n() < batch.rows * batch.tokens;
  if (!by_text && !batch.labels.empty() && (hidden || less)) MoveLabels(batch, texts);
  if (less) {
    MoveTokens(batch, texts);
    MoveAnswers(texts);
    view_.rows = 1;
    view_.tokens = n();
    view_.documents = lengths_;
  }
  borders_ = TextBorders(view_);
  if (hidden) view_.roles = {roles_.data(), {view_.rows, view_.tokens}};
}

void VisibleBatch::MoveTokens(const BatchView& batch, const std::vector<Text>& texts) {
  for (const Text& text : texts) {
    for (idx_t t = text.begin; t < text.end; ++t) {
      places_.push_back(static_cast<std::int32_t>(t));
      ids_.push_back(batch.ids[static_cast<std::size_t>(t)]);
    }
  }
  view_.ids = ids_;
}

// Hidden tokens lose theirs.
void VisibleBatch::MoveLabels(const BatchView& batch, const std::vector<Text>& texts) {
  for (const Text& text : texts) {
    for (idx_t t = text.begin; t < text.end; ++t) {
      labels_.push_back(IsHidden(batch, t) ? kIgnoreLabel
                                           : batch.labels[static_cast<std::size_t>(t)]);
    }
  }
  view_.labels = labels_;
}

void VisibleBatch::MoveAnswers(const std::vector<Text>& texts) {
  const auto moved = [&](std::span<const std::int32_t> from, std::vector<std::int32_t>* to) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      const idx_t length = texts[i].end - texts[i].begin;
      const idx_t place = texts[i].row + std::max<idx_t>(0, from[i]) - texts[i].begin;
      to->push_back(static_cast<std::int32_t>(place < 0 ? length : std::min(place, length)));
    }
    return std::span<const std::int32_t>(*to);
  };
  view_.starts = moved(view_.starts, &starts_);
  view_.ends = moved(view_.ends, &ends_);
}

TokenRoles VisibleBatch::roles() const {
  if (roles_.empty()) return {};
  return {roles_.data(), {1, n()}};
}

void VisibleBatch::Gather(Context& context, const View<const float, 2>& whole, const TokenSlab& own,
                          const View<float, 2>& packed) const {
  GatherRows<float>(context, PartOf(own, std::span<const std::int32_t>(places_)), whole, packed);
}

void VisibleBatch::Scatter(Context& context, const View<const float, 2>& packed,
                           const View<float, 2>& whole) const {
  ZeroRows(context, whole);
  const auto bytes = static_cast<std::size_t>(packed.extent[1]) * sizeof(float);
  ForEachRow(context, packed.extent[0], [&](idx_t i) {
    std::memcpy(&whole(places_[static_cast<std::size_t>(i)], 0), &packed(i, 0), bytes);
  });
}

}  // namespace longspan
