#include "gemm/few_rows.h"

#include <algorithm>

#include "base/math.h"
#include "parallel/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/few_rows.cc"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include "gemm/few_rows-inl.h"

#if HWY_ONCE
namespace longspan::gemm {

HWY_EXPORT(FewRowsTask);

namespace {

// Weights of a task: 128 KB, some ten microseconds of reading.
constexpr idx_t kTaskWeights = 1 << 15;

}  // namespace

void FewRowsForward(Context& context, const ConstMatrix& x, const ConstMatrix& w, const float* bias,
                    const Matrix& y, Store store) {
  const idx_t step = RoundUp(CeilDiv(kTaskWeights, w.cols), 16);
  const bool accumulate = store == Store::kAccumulate;
  ParallelFor(context, CeilDiv(w.rows, step), [&](idx_t task, int) {
    const idx_t begin = task * step, rows = std::min(step, w.rows - begin);
    HWY_DYNAMIC_DISPATCH(FewRowsTask)
    (static_cast<const float*>(x.data), x.stride,
     static_cast<const float*>(w.data) + begin * w.stride, w.stride, w.cols,
     bias == nullptr ? nullptr : bias + begin, static_cast<float*>(y.data) + begin, y.stride,
     accumulate, rows, x.rows);
  });
}

}  // namespace longspan::gemm
#endif  // HWY_ONCE
