// The optimizers in one table, and their state over the parameters of a model.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "longspan/optimizer.h"
#include "longspan/tensor.h"
#include "model/parameters.h"
#include "ops/optimizer.h"

namespace longspan {

// kUsage names the option that is out of its range.
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options);

// The state's floats of the trained parameters of a table. Slots begin on 64-byte boundaries.
idx_t OptimizerStateSize(const Optimizer& optimizer, const ParameterTable& table);
std::size_t OptimizerStateBytes(const OptimizerOptions& options, const ParameterTable& table);

// The parameters of a table that are trained, and what an optimizer remembers of them: zero before
// the first update. Frozen parameters have no state.
class OptimizerState {
 public:
  // One slot of one parameter: "first_moment.NAME" in files.
  struct Slot {
    std::string name;
    std::vector<idx_t> shape;
    View<float, 1> values;
  };

  // Of no parameters.
  OptimizerState() = default;
  // Of those that the table says are trained. kLimit if memory does not suffice.
  OptimizerState(const OptimizerOptions& options, const ParameterTable& table);

  // All slots in the order of the parameters.
  const std::vector<Slot>& slots() const { return slots_; }
  // Sets the gradients of frozen parameters to zero: they count nowhere.
  void DropFrozenGradients(ParameterTable& table) const;
  // One update of the trained parameters by the table's gradients. step_of(i) gives the step of
  // parameter i. Gradients of trained parameters are zero afterwards.
  template <class StepOf>
  void Update(Context& context, ParameterTable& table, const StepOf& step_of) const {
    const ParameterWriter writer = table.Write();
    std::size_t slot = 0;
    std::vector<View<float, 1>> state;
    for (std::size_t i = 0; i < table.list().size(); ++i) {
      if (frozen_[i]) continue;
      const ParameterInfo& info = table.list()[i];
      state.clear();
      for (idx_t k = 0; k < slots_of_[i]; ++k) state.push_back(slots_[slot++].values);
      optimizer_->Update(context, step_of(i),
                         {info.shape,
                          {writer.values().data + info.offset, {info.size}},
                          table.vector_gradient(static_cast<ParameterId>(i)),
                          state});
    }
  }

 private:
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<bool> frozen_;     // by number of the parameter
  std::vector<idx_t> slots_of_;  // how many, by number
  std::vector<Slot> slots_;
  Tensor memory_;
};

}  // namespace longspan
