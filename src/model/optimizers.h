// The optimizers in one table, and their state over the parameters of a model.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "longspan/optimizer.h"
#include "longspan/tensor.h"
#include "model/parameter_shares.h"
#include "model/parameters.h"
#include "ops/optimizer.h"

namespace longspan {

// kUsage names the option that is out of its range.
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options);

// How several ranks share a table's parameters.
ParameterShares SharesOf(const OptimizerOptions& options, const ParameterTable& table, int ranks);

// Bytes of the state of a table's trained parameters; of several ranks that share it, the most that
// one has.
std::size_t OptimizerStateBytes(const OptimizerOptions& options, const ParameterTable& table,
                                int ranks = 1);

// The parameters of a table that are trained, and what an optimizer remembers of them: zero before
// the first update. Frozen parameters have no state. Ranks share it: each has the state of the
// parameters that it owns (parameter_shares.h).
class OptimizerState {
 public:
  // Elements [begin, end) of a slot.
  struct SlotPart {
    idx_t begin = 0, end = 0;
    int owner = 0;
    float* values = nullptr;  // null: another rank has them
    idx_t size() const { return end - begin; }
  };
  // One slot of one parameter: "first_moment.NAME" in files.
  struct Slot {
    std::string name;
    std::vector<idx_t> shape;
    std::vector<SlotPart> parts;  // in order; all of it
  };

  // Of no parameters.
  OptimizerState() = default;
  // Of those that the table says are trained, in one process or on rank `rank` of `ranks`. kLimit
  // if memory does not suffice.
  OptimizerState(const OptimizerOptions& options, const ParameterTable& table, int rank = 0,
                 int ranks = 1);

  // All slots in the order of the parameters.
  const std::vector<Slot>& slots() const { return slots_; }
  // Who owns what; null: of no parameters.
  const std::shared_ptr<const ParameterShares>& shares() const { return shares_; }
  // Sets the gradients of frozen parameters to zero, where this rank adds them: they count nowhere.
  void DropFrozenGradients(ParameterTable& table) const;
  // One update of this rank's trained parameters by the table's gradients. step_of(i) gives the
  // step of parameter i. Their gradients are zero afterwards.
  template <class StepOf>
  void Update(Context& context, ParameterTable& table, const StepOf& step_of) const {
    const ParameterWriter writer = table.Write();
    for (const Own& own : own_) {
      const auto id = static_cast<ParameterId>(own.part.parameter);
      const ParameterInfo& info = table.at(id);
      const idx_t size = own.part.size();
      const std::vector<idx_t> part_shape = {size};
      const bool whole = size == info.size;
      optimizer_->Update(
          context, step_of(own.part.parameter),
          {whole ? std::span<const idx_t>(info.shape) : std::span<const idx_t>(part_shape),
           {writer.values().data + info.offset + own.part.begin, {size}},
           {table.vector_gradient(id).data + own.part.begin, {size}},
           own.state});
    }
  }

 private:
  // What this rank updates.
  struct Own {
    OwnedPart part;
    std::vector<View<float, 1>> state;
  };

  std::unique_ptr<Optimizer> optimizer_;
  std::shared_ptr<const ParameterShares> shares_;
  int rank_ = 0;
  std::vector<Slot> slots_;
  std::vector<Own> own_;  // in the order of the parameters
  Tensor memory_;
};

}  // namespace longspan
