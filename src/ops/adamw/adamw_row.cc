#include "ops/adamw/adamw.h"

namespace longspan {
namespace {

class AdamW final : public Optimizer {
 public:
  explicit AdamW(const OptimizerOptions& options) {
    spec_.beta1 = static_cast<float>(options.beta1);
    spec_.beta2 = static_cast<float>(options.beta2);
    spec_.eps = static_cast<float>(options.epsilon);
  }

  std::vector<OptimizerSlot> State(std::span<const idx_t> shape) const override {
    const std::vector<idx_t> same(shape.begin(), shape.end());
    return {{"first_moment", same}, {"second_moment", same}};
  }
  bool elementwise() const override { return true; }
  void Update(Context& context, const OptimizerStep& step,
              const OptimizedParameter& parameter) const override {
    AdamWSpec spec = spec_;
    spec.learning_rate = static_cast<float>(step.learning_rate);
    spec.weight_decay = static_cast<float>(step.weight_decay);
    spec.step = step.step;
    spec.gradient_scale = step.gradient_scale;
    AdamWStep(context, spec, parameter.value, parameter.gradient, parameter.state[0],
              parameter.state[1]);
  }

 private:
  AdamWSpec spec_;
};

}  // namespace

const OptimizerRow kAdamWRow = {
    OptimizerKind::kAdamW,
    "adamw",
    [](const OptimizerOptions& options) { return std::unique_ptr<Optimizer>(new AdamW(options)); },
    {"beta1", "beta2", "epsilon"}};

}  // namespace longspan
