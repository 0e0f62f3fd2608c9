#include "ops/head_dots/head_dots.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/head_dots/head_dots.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "simd/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// Tokens [begin, end) of head (b, h).
inline void HeadDotsTask(const InView& x, const InView& y, idx_t b, idx_t h, idx_t begin, idx_t end,
                         float* dots) {
  for (idx_t t = begin; t < end; ++t) {
    dots[t] = DotRow(x(b, h, t), y(b, h, t), x.extent[3]);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "base/errors.h"
#include "base/isa.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {

HWY_EXPORT(HeadDotsTask);

void HeadDots(Context& context, const InView& a, const InView& b, const View<float, 3>& dots) {
  constexpr idx_t kTokens = 1024;  // of a task
  const auto& shape = a.extent;
  Check(b.extent == shape && dots.extent[0] == shape[0] && dots.extent[1] == shape[1] &&
            dots.extent[2] == shape[2],
        ErrorCode::kUsage, "dots of heads: {} x {} x {} x {} times {} x {} x {} x {} into {}",
        shape[0], shape[1], shape[2], shape[3], b.extent[0], b.extent[1], b.extent[2], b.extent[3],
        ShapeText(dots));
  const idx_t blocks = CeilDiv(shape[2], kTokens);
  ParallelFor(context, shape[0] * shape[1] * blocks, [&](idx_t task, int) {
    const idx_t row = task / blocks / shape[1], head = task / blocks % shape[1];
    const idx_t begin = task % blocks * kTokens;
    HWY_DYNAMIC_DISPATCH(HeadDotsTask)
    (a, b, row, head, begin, std::min(shape[2], begin + kTokens), &dots(row, head, 0));
  });
}

}  // namespace longspan
#endif  // HWY_ONCE
