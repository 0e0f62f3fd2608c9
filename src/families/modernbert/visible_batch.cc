#include "families/modernbert/visible_batch.h"

#include <algorithm>
#include <cstring>

#include "model/documents.h"
#include "model/rows.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {
namespace {

bool IsHidden(const BatchView& batch, idx_t t) {
  return !batch.roles.empty() && batch.roles(t / batch.tokens, t % batch.tokens) == kHiddenToken;
}

}  // namespace

// What is kept of each row or document.
std::vector<VisibleBatch::Text> VisibleBatch::TextsOf(const BatchView& batch,
                                                      std::int32_t padding) {
  std::vector<Text> texts;
  const std::vector<idx_t> lengths = TextLengths(batch);
  ForEachDocument(lengths, [&](idx_t, idx_t begin, idx_t length) {
    idx_t end = begin + length;
    const auto ids = batch.ids.begin();
    const bool pads = !batch.documents.empty() && padding >= 0 &&
                      std::all_of(ids + begin, ids + end, [&](auto id) { return id == padding; });
    idx_t first = pads ? end : begin;
    while (first < end && IsHidden(batch, first)) ++first;
    if (first == end) {  // nothing to see
      if (batch.documents.empty()) texts.push_back({begin, begin + 1});
      return;
    }
    while (IsHidden(batch, end - 1)) --end;
    texts.push_back({first, end});
  });
  if (texts.empty()) texts.push_back({0, 1});
  return texts;
}

VisibleBatch::VisibleBatch(const BatchView& batch, bool by_token, std::int32_t padding)
    : view_(batch) {
  const std::vector<Text> texts = TextsOf(batch, padding);
  idx_t n = 0;
  for (const Text& text : texts) n += text.end - text.begin;
  const idx_t all = batch.rows * batch.tokens;
  positions_.reserve(static_cast<std::size_t>(n));
  bool hidden = false;
  for (const Text& text : texts) {
    lengths_.push_back(text.end - text.begin);
    begins_.push_back(begins_.back() + lengths_.back());
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
  if (by_token && !batch.labels.empty() && (hidden || n < all)) MoveLabels(batch, texts);
  if (n < all) {
    MoveTokens(batch, texts);
    MoveAnswers(batch, texts);
    view_.rows = 1;
    view_.tokens = n;
    view_.documents = lengths_;
  }
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

void VisibleBatch::MoveAnswers(const BatchView& batch, const std::vector<Text>& texts) {
  const auto moved = [&](std::span<const std::int32_t> from, std::vector<std::int32_t>* to) {
    for (std::size_t b = 0; b < from.size(); ++b) {
      const idx_t first = texts[b].begin - static_cast<idx_t>(b) * batch.tokens;
      const idx_t length = texts[b].end - texts[b].begin;
      const idx_t place = std::max<idx_t>(0, from[b]) - first;
      to->push_back(static_cast<std::int32_t>(place < 0 ? length : std::min(place, length)));
    }
  };
  moved(batch.starts, &starts_);
  moved(batch.ends, &ends_);
  view_.starts = starts_;
  view_.ends = ends_;
}

TokenRoles VisibleBatch::roles() const {
  if (roles_.empty()) return {};
  return {roles_.data(), {1, n()}};
}

void VisibleBatch::Gather(Context& context, const View<const float, 2>& whole,
                          const View<float, 2>& packed) const {
  GatherRows<float>(context, places_, whole, packed);
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
