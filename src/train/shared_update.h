// What the ranks of a training do together once its gradients are added: the norm, the update of
// the weights, the optimizer's state for a checkpoint. Each rank has the part of ParameterShares.
#pragma once

#include <cstddef>

#include "io/file.h"
#include "longspan/context.h"
#include "longspan/world.h"
#include "model/optimizers.h"
#include "model/parameter_shares.h"
#include "model/parameters.h"

namespace longspan {

// `world` of these functions: null for one process. They are called by all ranks together. kPeer.

// SquaredNorm of the gradients of all ranks, to the same bits.
double SharedSquaredNorm(Context& context, World* world, const ParameterShares& shares,
                         const ParameterTable& table);
// All gradients that GradientSum::Finish has left become zero.
void ClearGradients(World* world, const ParameterShares& shares, ParameterTable& table);

// Rank 0's access to the state of all ranks, a slot at a time; while it lives, the others call
// ServeState. They are let go when it ends, however that comes.
class SharedState {
 public:
  // `world`: null where the other ranks' state is zero, as before the first update, or where there
  // are no others.
  SharedState(World* world, const OptimizerState& state);
  ~SharedState();
  SharedState(const SharedState&) = delete;
  SharedState& operator=(const SharedState&) = delete;

  const OptimizerState& state() const { return state_; }
  // Writes all elements of a slot. Takes 4 MiB. kPeer, and the errors of the sink.
  void Write(std::size_t slot, io::ByteSink& sink);

 private:
  World* world_;
  const OptimizerState& state_;
};

// Sends rank 0 what it asks for, until its SharedState ends.
void ServeState(World& world, const OptimizerState& state);

}  // namespace longspan
