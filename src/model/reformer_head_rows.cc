#include "model/reformer_head_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/arena.h"
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

}  // namespace

void JoinRows(Context& context, const View<const float, 2>& a, const View<const float, 2>& b,
              const View<float, 2>& joined) {
  const idx_t channels = a.extent[1];
  const auto bytes = static_cast<std::size_t>(channels) * sizeof(float);
  ForEachRow(context, a.extent[0], [&](idx_t t) {
    std::memcpy(&joined(t, 0), &a(t, 0), bytes);
    std::memcpy(&joined(t, channels), &b(t, 0), bytes);
  });
}

void PartRows(Context& context, const View<const float, 2>& joined, const View<float, 2>& a,
              const View<float, 2>& b) {
  const idx_t channels = a.extent[1];
  const auto bytes = static_cast<std::size_t>(channels) * sizeof(float);
  ForEachRow(context, a.extent[0], [&](idx_t t) {
    std::memcpy(&a(t, 0), &joined(t, 0), bytes);
    std::memcpy(&b(t, 0), &joined(t, channels), bytes);
  });
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
    ApplyDropout(context_, norm_.dropout, h, begin * width);
    look(begin, h);
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
    ApplyDropout(context_, norm_.dropout, h, begin * width);
    gradient(begin, h, dh);
    ApplyDropout(context_, norm_.dropout, dh, begin * width);
    ZeroRows(context_, djoined);
    LayerNormBackward(context_, norm_.weights, joined, dh, djoined, norm_.gradients);
    PartRows(context_, djoined, streams_.dy1.Rows(begin, rows), streams_.dy2.Rows(begin, rows));
  });
}

// ---- first tokens -------------------------------------------------------------------------------

FirstTokenRows::FirstTokenRows(Context& context, const FinalNorm& norm, const StreamPair& streams,
                               idx_t rows)
    : context_(context), norm_(norm), streams_(streams) {
  const idx_t channels = streams.y1.extent[1], tokens = streams.y1.extent[0] / rows;
  for (idx_t b = 0; b < rows; ++b) first_.push_back(static_cast<std::int32_t>(b * tokens));
  y1_ = Tensor({rows, channels});
  y2_ = Tensor({rows, channels});
  GatherRows(context, first_, streams.y1, y1_.view<2>());
  GatherRows(context, first_, streams.y2, y2_.view<2>());
}

void FirstTokenRows::Read(const Look& look) {
  StreamRows(context_, norm_, {std::as_const(y1_).view<2>(), std::as_const(y2_).view<2>()})
      .Read(look);
}

void FirstTokenRows::Differentiate(const Gradient& gradient) {
  Tensor dy1({count(), y1_.shape()[1]}), dy2({count(), y1_.shape()[1]});
  StreamRows(
      context_, norm_,
      {std::as_const(y1_).view<2>(), std::as_const(y2_).view<2>(), dy1.view<2>(), dy2.view<2>()})
      .Differentiate(gradient);
  const auto scatter = [&](const Tensor& rows, const View<float, 2>& all) {
    ZeroRows(context_, all);
    for (std::size_t b = 0; b < first_.size(); ++b) {
      const auto row = static_cast<idx_t>(b) * all.extent[1];
      std::copy_n(rows.data<float>() + row, all.extent[1], &all(first_[b], 0));
    }
  };
  scatter(dy1, streams_.dy1);
  scatter(dy2, streams_.dy2);
}

}  // namespace longspan
