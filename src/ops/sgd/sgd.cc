#include "ops/sgd/sgd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sgd/sgd.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ops/sgd/sgd-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(SgdBlock);

// Parameters of one task: 64 KiB of each of the three arrays.
constexpr idx_t kBlock = 16384;

void CheckSpec(const SgdSpec& spec) {
  Check(spec.momentum >= 0.0f && spec.momentum < 1.0f, ErrorCode::kUsage,
        "SGD: momentum {} is not from 0 to below 1", spec.momentum);
  Check(!spec.nesterov || spec.momentum > 0.0f, ErrorCode::kUsage,
        "SGD: nesterov needs a momentum above 0, it is {}", spec.momentum);
  Check(std::isfinite(spec.learning_rate) && spec.learning_rate >= 0.0f &&
            std::isfinite(spec.weight_decay) && spec.weight_decay >= 0.0f,
        ErrorCode::kUsage, "SGD: learning rate {} and weight decay {} must be 0 or more",
        spec.learning_rate, spec.weight_decay);
}

void CheckArray(const char* name, const View<float, 1>& array, idx_t count) {
  Check(array.extent[0] == count, ErrorCode::kUsage, "SGD: the {} has {} elements, not {}", name,
        array.extent[0], count);
  Check(array.contiguous(), ErrorCode::kUsage, "SGD: the {} has stride {}, not 1", name,
        array.stride[0]);
}

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const OptimizerOptions& options) {
    spec_.momentum = static_cast<float>(options.momentum);
    spec_.nesterov = options.nesterov;
    CheckSpec(spec_);
  }

  std::vector<OptimizerSlot> State(std::span<const idx_t> shape) const override {
    if (spec_.momentum == 0.0f) return {};
    return {{"momentum", {shape.begin(), shape.end()}}};
  }
  bool elementwise() const override { return true; }
  void Update(Context& context, const OptimizerStep& step,
              const OptimizedParameter& parameter) const override {
    SgdSpec spec = spec_;
    spec.learning_rate = static_cast<float>(step.learning_rate);
    spec.weight_decay = static_cast<float>(step.weight_decay);
    spec.gradient_scale = step.gradient_scale;
    const View<float, 1> momentum = parameter.state.empty() ? View<float, 1>() : parameter.state[0];
    SgdStep(context, spec, parameter.value, parameter.gradient, momentum);
  }

 private:
  SgdSpec spec_;
};

}  // namespace

void SgdStep(Context& context, const SgdSpec& spec, const View<float, 1>& parameter,
             const View<float, 1>& gradient, const View<float, 1>& momentum) {
  CheckSpec(spec);
  const idx_t count = parameter.extent[0];
  CheckArray("parameter", parameter, count);
  CheckArray("gradient", gradient, count);
  const bool keeps = spec.momentum > 0.0f;
  if (keeps) CheckArray("momentum", momentum, count);
  ParallelFor(context, CeilDiv(count, kBlock), [&](idx_t task, int) {
    const idx_t begin = task * kBlock;
    HWY_DYNAMIC_DISPATCH(SgdBlock)
    (spec, std::min(kBlock, count - begin), parameter.data + begin, gradient.data + begin,
     keeps ? momentum.data + begin : nullptr);
  });
}

const OptimizerRow kSgdRow = {
    OptimizerKind::kSgd,
    "sgd",
    [](const OptimizerOptions& options) { return std::unique_ptr<Optimizer>(new Sgd(options)); },
    {"momentum", "nesterov"}};

}  // namespace longspan
#endif  // HWY_ONCE
