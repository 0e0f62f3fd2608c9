#include "longspan/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention_sinks/attention_sinks.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "simd/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// y = factor * y, n elements of either type.
void SinkScaleRow(OutRow y, float factor, idx_t n) {
  const auto f = hn::Set(TileTag(), factor);
  for (idx_t i = 0; i < n; i += kTileLanes) StoreRow(hn::Mul(f, LoadRow(y, i, n)), y, i, n);
}

float SinkDotRow(InRow a, InRow b, idx_t n) { return DotRow(a, b, n); }

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/isa.h"
#include "base/math.h"
#include "ops/attention_call.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(SinkScaleRow);
HWY_EXPORT(SinkDotRow);

constexpr AttentionCheck CheckCall{{"attention sinks"}};
constexpr idx_t kSinkTokens = 256;  // of a task: of 64 floats each 64 KiB

// Blocks of tokens of the heads of a (B, H, T, D) array.
struct SinkBlocks {
  std::array<idx_t, 4> shape;

  idx_t PerHead() const { return CeilDiv(shape[2], kSinkTokens); }
  idx_t Count() const { return shape[0] * shape[1] * PerHead(); }
  // Calls use(b, h, t) for each token of a block.
  template <class Use>
  void ForTokens(idx_t block, const Use& use) const {
    const idx_t head = block / PerHead(), begin = block % PerHead() * kSinkTokens;
    const idx_t end = std::min(shape[2], begin + kSinkTokens);
    for (idx_t t = begin; t < end; ++t) use(head / shape[1], head % shape[1], t);
  }
};

template <class T>
SinkBlocks CheckSinks(const View<const float, 1>& sinks, const AttentionSavedOf<T>& saved) {
  const auto& shape = saved.out.extent;
  CheckCall.Extents("out", shape);
  CheckCall.Outputs(saved, shape);
  CheckCall(sinks, "sinks", {shape[1]});
  Check(saved.delta.empty(), ErrorCode::kUsage,
        "attention sinks: delta is given, and would no longer belong to out");
  return {shape};
}

// log(exp(a) + exp(b))
double LogAdd(double a, double b) {
  const double most = std::max(a, b);
  return std::isinf(most) ? most : most + std::log1p(std::exp(-std::abs(a - b)));
}

template <class T>
void Forward(Context& context, const View<const float, 1>& sinks,
             const AttentionSavedOf<T>& saved) {
  const SinkBlocks blocks = CheckSinks(sinks, saved);
  ApplyIsaCap();
  const OutView out(saved.out);
  ParallelFor(context, blocks.Count(), [&](idx_t block, int) {
    blocks.ForTokens(block, [&](idx_t b, idx_t h, idx_t t) {
      float& lse = saved.lse(b, h, t);
      const double before = static_cast<double>(lse);
      const double after = LogAdd(before, static_cast<double>(sinks(h)));
      lse = static_cast<float>(after);
      // No key and no sink: out is 0 already.
      const double factor = before == after ? 1.0 : std::exp(before - after);
      HWY_DYNAMIC_DISPATCH(SinkScaleRow)(out(b, h, t), static_cast<float>(factor), blocks.shape[3]);
    });
  });
}

template <class T>
void Backward(Context& context, const View<const float, 1>& sinks, const AttentionSavedOf<T>& saved,
              const View<const T, 4>& dout, const View<float, 1>& dsinks) {
  const SinkBlocks blocks = CheckSinks(sinks, saved);
  CheckCall(dout, "dout", blocks.shape);
  CheckCall(dsinks, "dsinks", {blocks.shape[1]});
  ApplyIsaCap();
  const InView out(View<const T, 4>(saved.out)), gradient(dout);
  // Each block's sum has its place, and places are added in order: the same bits for any threads.
  std::vector<double> sums(static_cast<std::size_t>(blocks.Count()));
  ParallelFor(context, blocks.Count(), [&](idx_t block, int) {
    double sum = 0.0;
    blocks.ForTokens(block, [&](idx_t b, idx_t h, idx_t t) {
      // A row that sees nothing but the sink: out is 0, and dout may hold anything.
      if (saved.lse(b, h, t) == sinks(h)) return;
      const double weight =
          std::exp(static_cast<double>(sinks(h)) - static_cast<double>(saved.lse(b, h, t)));
      const float dot =
          HWY_DYNAMIC_DISPATCH(SinkDotRow)(gradient(b, h, t), out(b, h, t), blocks.shape[3]);
      sum += weight * static_cast<double>(dot);
    });
    sums[static_cast<std::size_t>(block)] = sum;
  });
  if (context.rehearsal()) return;
  for (idx_t h = 0; h < blocks.shape[1]; ++h) {
    double sum = 0.0;
    for (idx_t b = 0; b < blocks.shape[0]; ++b) {
      const idx_t first = (b * blocks.shape[1] + h) * blocks.PerHead();
      for (idx_t i = 0; i < blocks.PerHead(); ++i) sum += sums[static_cast<std::size_t>(first + i)];
    }
    dsinks(h) -= static_cast<float>(sum);
  }
}

}  // namespace

void SinkForward(Context& context, const View<const float, 1>& sinks, const AttentionSaved& saved) {
  Forward(context, sinks, saved);
}
void SinkForward(Context& context, const View<const float, 1>& sinks,
                 const Bf16AttentionSaved& saved) {
  Forward(context, sinks, saved);
}
void SinkBackward(Context& context, const View<const float, 1>& sinks, const AttentionSaved& saved,
                  const View<const float, 4>& dout, const View<float, 1>& dsinks) {
  Backward(context, sinks, saved, dout, dsinks);
}
void SinkBackward(Context& context, const View<const float, 1>& sinks,
                  const Bf16AttentionSaved& saved, const View<const bfloat16, 4>& dout,
                  const View<float, 1>& dsinks) {
  Backward(context, sinks, saved, dout, dsinks);
}

}  // namespace longspan
#endif  // HWY_ONCE
