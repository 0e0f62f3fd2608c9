// A Reformer's embeddings: words, positions (axial or a table), dropout, and the way back.

#include <algorithm>

#include "families/reformer/reformer.h"
#include "families/reformer/reformer_sites.h"
#include "model/documents.h"
#include "model/row_slab.h"
#include "model/rows.h"
#include "ops/axial_position/axial_position.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Calls run(row, begin, count, position) for each run of a row's tokens whose given positions
// follow one another.
template <class Run>
void ForEachRun(const ReformerBatch& batch, const Run& run) {
  for (idx_t b = 0; b < batch.rows; ++b) {
    const auto row = batch.positions.subspan(static_cast<std::size_t>(b * batch.tokens),
                                             static_cast<std::size_t>(batch.tokens));
    for (std::size_t begin = 0, end = 0; begin < row.size(); begin = end) {
      for (end = begin + 1; end < row.size() && row[end] == row[end - 1] + 1;) ++end;
      run(b, static_cast<idx_t>(begin), static_cast<idx_t>(end - begin), idx_t{row[begin]});
    }
  }
}

// Rows of given positions draw from sites of their own.
Dropout OfRow(const Dropout& site, idx_t row) {
  return {site.p, DeriveKey(site.key, static_cast<std::uint64_t>(row))};
}

// Calls run(text, begin, length, start) for the texts that lie in `own`, or what of them does:
// `begin` is the first token of that, `start` its place in the text.
template <class Run>
void ForEachTextIn(const ReformerBatch& batch, const TokenSlab& own, const Run& run) {
  ForEachText(batch, [&](idx_t text, idx_t begin, idx_t length) {
    const idx_t first = std::max(begin, own.begin), last = std::min(begin + length, own.end);
    if (first < last) run(text, first, last - first, first - begin);
  });
}

}  // namespace

template <class Use>
void Reformer::EachStretch(const ReformerBatch& batch, const TokenSlab& own, const Dropout& site,
                           const Use& use) const {
  if (!batch.documents.empty()) {
    return ForEachTextIn(batch, own, [&](idx_t d, idx_t begin, idx_t length, idx_t start) {
      use(Stretch{1, start, 0, start}, DocumentSite(site, d), begin - own.begin, length);
    });
  }
  if (!batch.positions.empty()) {
    return ForEachRun(batch, [&](idx_t row, idx_t begin, idx_t count, idx_t position) {
      use(Stretch{1, position, 0, 0}, OfRow(site, row), row * batch.tokens + begin, count);
    });
  }
  if (own.size() == batch.rows * batch.tokens) {
    return use(Stretch{batch.rows, 0, 0, 0}, site, 0, own.size());
  }
  ForEachTextIn(batch, own, [&](idx_t row, idx_t begin, idx_t length, idx_t start) {
    use(Stretch{1, start, row, begin}, site, begin - own.begin, length);
  });
}

// x (own, C) = dropout(words[ids]) + positions.
void Reformer::Embed(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
                     const View<float, 2>& x) const {
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  if (batch.embeddings.empty()) {
    words_->Forward(context, parameters_, PartOf(own, batch.ids), x);
  } else {
    CopyRows(context, batch.embeddings, x);
  }
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kWords), x,
               own.begin * config_.hidden_size);
  EachStretch(batch, own, SiteOf(dropout, config_.hidden_dropout, kPositions),
              [&](const Stretch& stretch, const Dropout& site, idx_t begin, idx_t count) {
                AddPositions(context, stretch, site, x.Rows(begin, count));
              });
}

void Reformer::EmbedAt(Context& context, std::span<const std::int32_t> ids, idx_t start,
                       const View<float, 2>& x) const {
  words_->Forward(context, parameters_, ids, x);
  AddPositions(context, {1, start, 0, 0}, {}, x);
}

// x += the positions of a stretch.
void Reformer::AddPositions(Context& context, const Stretch& s, const Dropout& dropout,
                            const View<float, 2>& x) const {
  if (config_.axial) {
    AxialForward(context, {parameters_.matrix(positions_[0]), parameters_.matrix(positions_[1])},
                 dropout, s.rows, s.start, x, s.row);
    return;
  }
  const View<const float, 2> table = parameters_.matrix(positions_[0]);
  const idx_t tokens = x.extent[0] / s.rows;
  for (idx_t b = 0; b < s.rows; ++b) {
    AddDropout(context, dropout, table.Rows(s.start, tokens), x.Rows(b * tokens, tokens),
               (s.first + b * tokens) * config_.hidden_size);
  }
}

// The gradients of the tables for those of x.
void Reformer::AddPositionsBackward(Context& context, const Stretch& s, const Dropout& dropout,
                                    const View<float, 2>& dx) {
  if (config_.axial) {
    if (!parameters_.trains(positions_[0]) && !parameters_.trains(positions_[1])) return;
    AxialBackward(
        context, {parameters_.matrix(positions_[0]), parameters_.matrix(positions_[1])}, dropout,
        s.rows, s.start, dx,
        {parameters_.matrix_gradient(positions_[0]), parameters_.matrix_gradient(positions_[1])},
        s.row);
    return;
  }
  if (!parameters_.trains(positions_[0])) return;
  const View<float, 2> dtable = parameters_.matrix_gradient(positions_[0]);
  const idx_t tokens = dx.extent[0] / s.rows;
  for (idx_t b = 0; b < s.rows; ++b) {
    AddDropout(context, dropout, dx.Rows(b * tokens, tokens), dtable.Rows(s.start, tokens),
               (s.first + b * tokens) * config_.hidden_size);
  }
}

// dx (own, C) is scratch afterwards.
void Reformer::EmbedBackward(Context& context, const ReformerBatch& batch,
                             const StepDropout& dropout, const View<float, 2>& dx) {
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  EachStretch(batch, own, SiteOf(dropout, config_.hidden_dropout, kPositions),
              [&](const Stretch& stretch, const Dropout& site, idx_t begin, idx_t count) {
                AddPositionsBackward(context, stretch, site, dx.Rows(begin, count));
              });
  if (!batch.embeddings.empty()) return;
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kWords), dx,
               own.begin * config_.hidden_size);
  words_->Backward(context, parameters_, PartOf(own, batch.ids), dx);
}

}  // namespace longspan
