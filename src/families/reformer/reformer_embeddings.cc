// A Reformer's embeddings: words, positions (axial or a table), dropout, and the way back.

#include "families/reformer/reformer.h"
#include "families/reformer/reformer_sites.h"
#include "model/documents.h"
#include "model/rows.h"
#include "ops/axial_position/axial_position.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Calls run(row, begin, count, position) for each stretch of a row's tokens whose given positions
// follow one another.
template <class Run>
void ForEachStretch(const ReformerBatch& batch, const Run& run) {
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

}  // namespace

// x (N, C) = dropout(words[ids]) + positions.
void Reformer::Embed(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
                     const View<float, 2>& x) const {
  if (batch.embeddings.empty()) {
    words_->Forward(context, parameters_, batch.ids, x);
  } else {
    CopyRows(context, batch.embeddings, x);
  }
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kWords), x);
  const Dropout site = SiteOf(dropout, config_.hidden_dropout, kPositions);
  if (!batch.documents.empty()) {
    return ForEachDocument(batch.documents, [&](idx_t d, idx_t begin, idx_t length) {
      AddPositions(context, 1, 0, DocumentSite(site, d), x.Rows(begin, length));
    });
  }
  if (batch.positions.empty()) return AddPositions(context, batch.rows, 0, site, x);
  ForEachStretch(batch, [&](idx_t row, idx_t begin, idx_t count, idx_t position) {
    AddPositions(context, 1, position, OfRow(site, row), x.Rows(row * batch.tokens + begin, count));
  });
}

void Reformer::EmbedAt(Context& context, std::span<const std::int32_t> ids, idx_t start,
                       const View<float, 2>& x) const {
  words_->Forward(context, parameters_, ids, x);
  AddPositions(context, 1, start, {}, x);
}

// x (B*T, C) += positions start, start + 1, ... in each of the rows.
void Reformer::AddPositions(Context& context, idx_t rows, idx_t start, const Dropout& dropout,
                            const View<float, 2>& x) const {
  if (config_.axial) {
    AxialForward(context, {parameters_.matrix(positions_[0]), parameters_.matrix(positions_[1])},
                 dropout, rows, start, x);
    return;
  }
  const View<const float, 2> table = parameters_.matrix(positions_[0]);
  const idx_t tokens = x.extent[0] / rows;
  for (idx_t b = 0; b < rows; ++b) {
    AddDropout(context, dropout, table.Rows(start, tokens), x.Rows(b * tokens, tokens),
               b * tokens * config_.hidden_size);
  }
}

// The gradients of the tables for those of x.
void Reformer::AddPositionsBackward(Context& context, idx_t rows, idx_t start,
                                    const Dropout& dropout, const View<float, 2>& dx) {
  if (config_.axial) {
    AxialBackward(
        context, {parameters_.matrix(positions_[0]), parameters_.matrix(positions_[1])}, dropout,
        rows, start, dx,
        {parameters_.matrix_gradient(positions_[0]), parameters_.matrix_gradient(positions_[1])});
    return;
  }
  const View<float, 2> dtable = parameters_.matrix_gradient(positions_[0]);
  const idx_t tokens = dx.extent[0] / rows;
  for (idx_t b = 0; b < rows; ++b) {
    AddDropout(context, dropout, dx.Rows(b * tokens, tokens), dtable.Rows(start, tokens),
               b * tokens * config_.hidden_size);
  }
}

// dx (N, C) is scratch afterwards.
void Reformer::EmbedBackward(Context& context, const ReformerBatch& batch,
                             const StepDropout& dropout, const View<float, 2>& dx) {
  const Dropout site = SiteOf(dropout, config_.hidden_dropout, kPositions);
  if (!batch.documents.empty()) {
    ForEachDocument(batch.documents, [&](idx_t d, idx_t begin, idx_t length) {
      AddPositionsBackward(context, 1, 0, DocumentSite(site, d), dx.Rows(begin, length));
    });
  } else if (batch.positions.empty()) {
    AddPositionsBackward(context, batch.rows, 0, site, dx);
  } else {
    ForEachStretch(batch, [&](idx_t row, idx_t begin, idx_t count, idx_t position) {
      AddPositionsBackward(context, 1, position, OfRow(site, row),
                           dx.Rows(row * batch.tokens + begin, count));
    });
  }
  if (!batch.embeddings.empty()) return;
  ApplyDropout(context, SiteOf(dropout, config_.hidden_dropout, kWords), dx);
  words_->Backward(context, parameters_, batch.ids, dx);
}

}  // namespace longspan
