// The dense products around an attention mechanism where ranks share rows (world/row_group.h). They
// are those of attention_projections.h, but the tensors of a group have all tokens of this rank's
// heads, and the streams this rank's tokens. In between, projections, outputs and their gradients
// travel: each rank multiplies for the heads of all of them, right into what it sends, and receives
// right into the tensors. Nothing is held of all tokens and all heads.
//
// All calls are made by the ranks together, in one order.
#pragma once

#include "families/reformer/attention_mechanism.h"
#include "families/reformer/attention_projections.h"
#include "families/reformer/head_groups.h"
#include "families/reformer/residual_branch.h"
#include "families/reformer/row_steps.h"

namespace longspan {

// In operand type T, for one group of heads. `t` are the tensors of this rank's heads in it, which
// may be none.
template <class T>
class RowProjectionPass {
 public:
  RowProjectionPass(Context& context, const AttentionProjections& layer, const BranchCall& call,
                    const GroupOfHeads& group);

  // t.projected = LayerNorm(x) W^T, x (own, C).
  void Project(const ResidualStream& x, const AttentionTensorsOf<T>& t) const;
  // y (own, C) += f of t.out.
  void AddOutput(const AttentionTensorsOf<T>& t, const ResidualStream& y) const;

  // y -= f, the very bits that AddOutput added. From dy (own, C): adds the gradient of Wo, writes
  // t.delta, and t.dout over t.out.
  void ReverseOutput(const AttentionTensorsOf<T>& t, const ResidualStream& y,
                     const ResidualStream& dy) const;
  // From dprojected (N, P h D): adds the gradients of W and of the norm, and to dx (own, C).
  void ProjectBackward(const ResidualStream& x, const View<float, 2>& dprojected,
                       const ResidualStream& dx) const;

 private:
  // work(part, weights' rows, first column) for the P parts of the heads of a rank.
  template <class M, class Work>
  void EachPart(int rank, const View<M, 2>& all, const Work& work) const;
  // f (tokens, C) of a step's pieces of outputs.
  void Output(const std::vector<View<T, 2>>& outs, const View<float, 2>& f) const;
  // work(rank, rows of Wo's columns for its heads).
  template <class M>
  View<M, 2> OutputColumns(int rank, const View<M, 2>& all) const;
  Dropout OutputSite() const;
  // The step's rows of a stream of this rank.
  ResidualStream Rows(const ResidualStream& stream, idx_t step) const;
  // Number of the step's first element, C a token, for random sites.
  idx_t FirstElement(idx_t step) const { return steps_.Mine(step).begin * layer_.channels; }
  template <class Use>
  void EachOutput(const AttentionTensorsOf<T>& t, const Use& use) const;

  Context& context_;
  const AttentionProjections& layer_;
  const BranchCall& call_;
  RowSteps steps_;
  idx_t group_;  // its number
};

}  // namespace longspan
