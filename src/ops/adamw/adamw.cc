#include "ops/adamw/adamw.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/adamw/adamw.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ops/adamw/adamw-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cmath>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(AdamWBlock);
HWY_EXPORT(SquaredBlock);

// Parameters of one task: 64 KiB of each of the four arrays.
constexpr idx_t kBlock = 16384;

void CheckSpec(const AdamWSpec& spec) {
  Check(spec.step >= 1, ErrorCode::kUsage, "AdamW: step {} is below 1", spec.step);
  Check(spec.beta1 >= 0.0f && spec.beta1 < 1.0f && spec.beta2 >= 0.0f && spec.beta2 < 1.0f,
        ErrorCode::kUsage, "AdamW: betas {} and {} are not from 0 to below 1", spec.beta1,
        spec.beta2);
  Check(std::isfinite(spec.learning_rate) && spec.learning_rate >= 0.0f && spec.eps >= 0.0f &&
            std::isfinite(spec.eps) && std::isfinite(spec.weight_decay) &&
            spec.weight_decay >= 0.0f,
        ErrorCode::kUsage, "AdamW: learning rate {}, eps {} and weight decay {} must be 0 or more",
        spec.learning_rate, spec.eps, spec.weight_decay);
}

void CheckArray(const char* name, const View<float, 1>& array, idx_t count) {
  Check(array.extent[0] == count, ErrorCode::kUsage, "AdamW: the {} has {} elements, not {}", name,
        array.extent[0], count);
  Check(array.contiguous(), ErrorCode::kUsage, "AdamW: the {} has stride {}, not 1", name,
        array.stride[0]);
}

}  // namespace

AdamWFactors MakeAdamWFactors(const AdamWSpec& spec) {
  const double lr = static_cast<double>(spec.learning_rate);
  const double beta1 = static_cast<double>(spec.beta1), beta2 = static_cast<double>(spec.beta2);
  const auto step = static_cast<double>(spec.step);
  AdamWFactors f;
  f.gradient_scale = spec.gradient_scale;
  f.beta1 = spec.beta1;
  f.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  f.beta2 = spec.beta2;
  f.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  f.step_size = static_cast<float>(lr / (1.0 - std::pow(beta1, step)));
  f.root_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, step)));
  f.eps = spec.eps;
  f.keep = static_cast<float>(1.0 - lr * static_cast<double>(spec.weight_decay));
  return f;
}

void AdamWStep(Context& context, const AdamWSpec& spec, const View<float, 1>& parameter,
               const View<float, 1>& gradient, const View<float, 1>& first_moment,
               const View<float, 1>& second_moment) {
  CheckSpec(spec);
  const idx_t count = parameter.extent[0];
  CheckArray("parameter", parameter, count);
  CheckArray("gradient", gradient, count);
  CheckArray("first moment", first_moment, count);
  CheckArray("second moment", second_moment, count);
  const AdamWFactors factors = MakeAdamWFactors(spec);
  ParallelFor(context, CeilDiv(count, kBlock), [&](idx_t task, int) {
    const idx_t begin = task * kBlock;
    HWY_DYNAMIC_DISPATCH(AdamWBlock)
    (factors, std::min(kBlock, count - begin), parameter.data + begin, gradient.data + begin,
     first_moment.data + begin, second_moment.data + begin);
  });
}

void SquaredBlocks(Context& context, const View<const float, 1>& gradient, double* sums) {
  const idx_t count = gradient.extent[0];
  Check(gradient.contiguous(), ErrorCode::kUsage, "squared norm: the gradient has stride {}, not 1",
        gradient.stride[0]);
  ParallelFor(context, CeilDiv(count, kSquaredBlock), [&](idx_t task, int) {
    const idx_t begin = task * kSquaredBlock;
    sums[task] = HWY_DYNAMIC_DISPATCH(SquaredBlock)(gradient.data + begin,
                                                    std::min(kSquaredBlock, count - begin));
  });
}

double SquaredNorm(Context& context, const View<const float, 1>& gradient) {
  const idx_t blocks = CeilDiv(gradient.extent[0], kSquaredBlock);
  if (blocks == 0) return 0.0;
  Arena::Frame frame(context.arena(), Arena::Bytes<double>(blocks));
  double* sums = frame.Take<double>(blocks);
  SquaredBlocks(context, gradient, sums);
  double total = 0.0;
  for (idx_t block = 0; block < blocks; ++block) total += sums[block];
  return total;
}

}  // namespace longspan
#endif  // HWY_ONCE
