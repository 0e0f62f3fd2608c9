// The attention layer of a Reformer with any mechanism: LayerNorm, projections, attention, output
// projection, dropout.
#pragma once

#include <memory>
#include <string>

#include "families/reformer/attention_kinds.h"
#include "families/reformer/attention_mechanism.h"
#include "families/reformer/attention_projections.h"
#include "families/reformer/head_groups.h"
#include "families/reformer/reformer_config.h"
#include "families/reformer/residual_branch.h"
#include "families/reformer/row_halo.h"
#include "model/parameters.h"

namespace longspan {

// The order of a layer's parts, group of heads by group of heads:
//
//   forward    Project, the mechanism's forward, AddOutput
//   backward   the forward again without AddOutput, if it was not saved; SubtractOutput,
//              OutputBackward, the mechanism's backward, ProjectBackward
//
// A group's tensors lie in the call's saved activations, if it has any, else in scratch of the
// function. Each part books its own scratch. Where ranks share rows, each attends over all tokens
// with heads of its own (row_projections.h), or with all heads over the tokens of its slab and what
// their windows reach (row_halo.h). AddOverRanks and so on are the same walk.
class AttentionLayer final : public ResidualBranch {
 public:
  // Registers its parameters below `prefix` ("...layers.0.attention."). The mechanism must take the
  // projections of `kind`.
  AttentionLayer(const ReformerConfig& config, const AttentionKind& kind, const std::string& prefix,
                 std::unique_ptr<AttentionMechanism> mechanism, ParameterTable& parameters);

  AttentionMechanism& mechanism() { return *mechanism_; }
  const AttentionMechanism& mechanism() const { return *mechanism_; }

  void Add(Context& context, const BranchCall& call, const ResidualStream& x,
           const ResidualStream& y) const override;
  void Reverse(Context& context, const BranchCall& call, const ResidualStream& x,
               const ResidualStream& y, const ResidualStream& dy,
               const ResidualStream& dx) const override;
  std::size_t SavedBytes(const BranchCall& call) const override;
  double ForwardFlop(idx_t rows, idx_t tokens) const override;
  double BackwardFlop(idx_t rows, idx_t tokens) const override;
  idx_t FrozenNumbers(const ParameterTable& parameters) const override;

 private:
  template <class T>
  void AddIn(Context& context, const BranchCall& call, const ResidualStream& x,
             const ResidualStream& y) const;
  template <class T>
  void ReverseIn(Context& context, const BranchCall& call, const ResidualStream& x,
                 const ResidualStream& y, const ResidualStream& dy, const ResidualStream& dx) const;
  template <class T>
  void AddOverRanks(Context& context, const BranchCall& call, const ResidualStream& x,
                    const ResidualStream& y) const;
  template <class T>
  void ReverseOverRanks(Context& context, const BranchCall& call, const ResidualStream& x,
                        const ResidualStream& y, const ResidualStream& dy,
                        const ResidualStream& dx) const;
  template <class T>
  void AddOverHalo(Context& context, const BranchCall& call, const RowHalo& halo,
                   const ResidualStream& x, const ResidualStream& y) const;
  template <class T>
  void ReverseOverHalo(Context& context, const BranchCall& call, const RowHalo& halo,
                       const ResidualStream& x, const ResidualStream& y, const ResidualStream& dy,
                       const ResidualStream& dx) const;
  template <class T>
  std::size_t ScratchBytes(const BranchCall& call, const GroupOfHeads& group) const;
  template <class T>
  AttentionTensorsOf<T> Tensors(Arena::Frame& frame, const BranchCall& call,
                                const GroupOfHeads& group) const;
  MechanismCall CallOf(const BranchCall& call, bool recomputes) const;
  double ProjectionFlop(idx_t rows, idx_t tokens) const;
  double PairsTimesSize(idx_t rows, idx_t tokens) const;

  std::unique_ptr<AttentionMechanism> mechanism_;
  AttentionProjections projections_;
  HeadGroups groups_;
  float dropout_;  // of probabilities
};

// A layer with the mechanism of its kind and of config.attention.
std::unique_ptr<AttentionLayer> MakeAttention(const ReformerConfig& config, LayerKind kind,
                                              const std::string& prefix,
                                              ParameterTable& parameters);

}  // namespace longspan
