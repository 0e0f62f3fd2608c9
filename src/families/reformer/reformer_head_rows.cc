#include "families/reformer/reformer_head_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/arena.h"
#include "families/reformer/branch_weights.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Tokens of a block: (block, 2C) and, for a language model, logits of a part of them live.
constexpr idx_t kBlock = 4096;

// Calls run(begin, rows) for each block of n rows.
template <class Run>
void ForEachBlock(idx_t n, const Run& run) {
  const idx_t block = std::min(n, kBlock);
  for (idx_t begin = 0; begin < n; begin += block) run(begin, std::min(block, n - begin));
}

bool Owns(const TokenSlab& slab, idx_t token) { return token >= slab.begin && token < slab.end; }

}  // namespace

void JoinRows(Context& context, const ResidualStream& a, const ResidualStream& b,
              const View<float, 2>& joined) {
  const idx_t channels = a.extent[1];
  ReadRows(context, a, Columns(joined, 0, channels));
  ReadRows(context, b, Columns(joined, channels, channels));
}

void PartRows(Context& context, const View<float, 2>& joined, const ResidualStream& a,
              const ResidualStream& b, const RoundingSite& site) {
  const idx_t channels = a.extent[1];
  WriteRows(context, Columns(joined, 0, channels), a, {DeriveKey(site.key, 0), site.first});
  WriteRows(context, Columns(joined, channels, channels), b, {DeriveKey(site.key, 1), site.first});
}

// ---- every token --------------------------------------------------------------------------------

void StreamRows::Read(const Look& look) {
  const idx_t n = count(), width = 2 * streams_.y1.extent[1];
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(std::min(n, kBlock) * width));
  float* const normed = frame.Take<float>(std::min(n, kBlock) * width);
  ForEachBlock(n, [&](idx_t begin, idx_t rows) {
    const View<float, 2> h(normed, {rows, width});
    JoinRows(context_, streams_.y1.Rows(begin, rows), streams_.y2.Rows(begin, rows), h);
    LayerNormForward(context_, norm_.weights, h, h);
    ApplyDropout(context_, norm_.dropout, h, (first_ + begin) * width);
    look(first_ + begin, h);
  });
}

void StreamRows::Differentiate(const Gradient& gradient) {
  const idx_t n = count(), width = 2 * streams_.y1.extent[1];
  const idx_t block = std::min(n, kBlock);
  Arena::Frame frame(context_.arena(), 4 * Arena::Bytes<float>(block * width));
  float* buffers[4];
  for (float*& buffer : buffers) buffer = frame.Take<float>(block * width);
  ForEachBlock(n, [&](idx_t begin, idx_t rows) {
    const View<float, 2> joined(buffers[0], {rows, width}), h(buffers[1], {rows, width});
    const View<float, 2> dh(buffers[2], {rows, width}), djoined(buffers[3], {rows, width});
    JoinRows(context_, streams_.y1.Rows(begin, rows), streams_.y2.Rows(begin, rows), joined);
    LayerNormForward(context_, norm_.weights, joined, h);
    const idx_t number = first_ + begin;
    ApplyDropout(context_, norm_.dropout, h, number * width);
    gradient(number, h, dh);
    ApplyDropout(context_, norm_.dropout, dh, number * width);
    ZeroRows(context_, djoined);
    LayerNormBackward(context_, norm_.weights, joined, dh, djoined, norm_.gradients);
    PartRows(context_, djoined, streams_.dy1.Rows(begin, rows), streams_.dy2.Rows(begin, rows),
             {streams_.rounding_key, number * width / 2});
  });
}

// ---- first tokens -------------------------------------------------------------------------------

FirstTokenRows::FirstTokenRows(Context& context, const FinalNorm& norm, const StreamPair& streams,
                               std::vector<std::int32_t> first, const TokenSlab& own)
    : context_(context), norm_(norm), streams_(streams), first_(std::move(first)), own_(own) {
  const idx_t channels = streams.y1.extent[1];
  y1_ = Tensor({count(), channels});
  y2_ = Tensor({count(), channels});
  RowGroup* const ranks = context.row_group();
  const auto gather = [&](const ResidualStream& stream, Tensor& rows) {
    ZeroRows(context, rows.view<2>());
    for (idx_t i = 0; i < count(); ++i) {
      const idx_t token = first_[static_cast<std::size_t>(i)];
      if (!Owns(own_, token)) continue;
      ReadRows(context, stream.Rows(token - own_.begin, 1), rows.view<2>().Rows(i, 1));
    }
    if (ranks == nullptr || context.rehearsal()) return;
    ranks->Sum(std::span(rows.data<float>(), static_cast<std::size_t>(rows.size())));
  };
  gather(streams.y1, y1_);
  gather(streams.y2, y2_);
}

void FirstTokenRows::Read(const Look& look) {
  StreamRows(context_, norm_, {y1_.view<2>(), y2_.view<2>()}).Read(look);
}

void FirstTokenRows::Differentiate(const Gradient& gradient) {
  Tensor dy1({count(), y1_.shape()[1]}), dy2({count(), y1_.shape()[1]});
  if (gradient) {
    StreamRows(context_, norm_, {y1_.view<2>(), y2_.view<2>(), dy1.view<2>(), dy2.view<2>()})
        .Differentiate(gradient);
  }
  RowGroup* const ranks = context_.row_group();
  const auto scatter = [&](Tensor& rows, const ResidualStream& all, std::uint64_t stream) {
    if (ranks != nullptr && !context_.rehearsal()) {
      ranks->Broadcast(rows.data<float>(), static_cast<std::size_t>(rows.size()) * sizeof(float));
    }
    ClearRows(context_, all);
    for (std::size_t b = 0; b < first_.size(); ++b) {
      if (!Owns(own_, first_[b])) continue;
      const auto row = static_cast<idx_t>(b);
      WriteRows(context_, rows.view<2>().Rows(row, 1), all.Rows(first_[b] - own_.begin, 1),
                {DeriveKey(streams_.rounding_key, stream), row * all.extent[1]});
    }
  };
  scatter(dy1, streams_.dy1, 0);
  scatter(dy2, streams_.dy2, 1);
}

}  // namespace longspan
