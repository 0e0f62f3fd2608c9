// The dense products around an attention mechanism: from the residual stream to query, key and
// value, and from the heads' outputs to what the layer adds.
//
//   projected = LayerNorm(x) W^T     x (N, C), W (P A, C), A = H D of all heads
//   f = dropout(out Wo^T)            out (N, A), Wo (C, A)
//
// All of it for the heads of one group: their rows of W and their columns of Wo. The text passes
// slab by slab, so nothing but the group's tensors is as long as the text. Every function books its
// scratch for the time that it runs.
#pragma once

#include <string>

#include "base/arena.h"
#include "families/reformer/attention_kinds.h"
#include "families/reformer/attention_mechanism.h"
#include "families/reformer/branch_weights.h"
#include "families/reformer/reformer_config.h"
#include "families/reformer/residual_branch.h"
#include "model/norm_layer.h"
#include "model/parameters.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

// Random sites of an attention layer, derived from the call's dropout_key.
enum AttentionSite : std::uint64_t {
  kProbabilitySite = 0,
  kAttentionOutputSite = 1,
  // Each group of heads rounds its gradient with its own key: this + the group's first head.
  kAttentionRounding = 2
};

// The parameters of the products and their extents. The table owns the values.
struct AttentionProjections {
  AttentionProjections(const ReformerConfig& config, const AttentionKind& kind,
                       const std::string& prefix, ParameterTable& parameters);

  idx_t width() const { return heads * head_size; }  // A

  idx_t channels, heads, head_size;  // C, H of the layer, D
  idx_t count;                       // P
  float dropout;                     // of f
  NormLayer norm;
  ParameterId first = kNoParameter;  // the first matrix of W; the others follow it
  ParameterId output = kNoParameter;
};

// Dropout of f in a call: element t C + c is that of token t of all rows.
Dropout AttentionOutputSiteOf(const AttentionProjections& layer, const BranchCall& call);

// What the backward of the projections takes of the arena while it runs, for a slab of rows of
// `values` numbers: the rows of x and dx, if these streams are not fp32, LayerNorm(x), its
// gradient, and `operand_values` of dprojected as T.
template <class T>
struct ProjectionScratch {
  ProjectionScratch(Arena& arena, const ResidualStream& x_stream, const ResidualStream& dx_stream,
                    idx_t values, idx_t operand_values)
      : x_values(RoomForRows(x_stream, values)),
        dx_values(RoomForRows(dx_stream, values)),
        frame(arena, Arena::Bytes<float>(x_values) + Arena::Bytes<T>(values) +
                         Arena::Bytes<float>(values) + Arena::Bytes<T>(operand_values) +
                         Arena::Bytes<float>(dx_values)),
        x(frame.Take<float>(x_values)),
        normed(frame.Take<T>(values)),
        dnormed(frame.Take<float>(values)),
        operand(frame.Take<T>(operand_values)),
        dx(frame.Take<float>(dx_values)) {}

  idx_t x_values, dx_values;
  Arena::Frame frame;
  float* x;
  T* normed;
  float* dnormed;
  T* operand;
  float* dx;
};

// The products of one call, in operand type T, for one group of heads at a time. `t` are the
// tensors of the group, dprojected (N, P H D) lies as t.projected does. Where ranks share a row, N
// are the tokens of this one.
template <class T>
class ProjectionPass {
 public:
  ProjectionPass(Context& context, const AttentionProjections& layer, const BranchCall& call);

  // t.projected = LayerNorm(x) W^T.
  void Project(const ResidualStream& x, const AttentionTensorsOf<T>& t) const;
  // y (N, C) += f of t.out.
  void AddOutput(const AttentionTensorsOf<T>& t, const ResidualStream& y) const;
  // y -= f: the very bits that AddOutput added.
  void SubtractOutput(const AttentionTensorsOf<T>& t, const ResidualStream& y) const;

  // From dy (N, C): adds the gradient of Wo, writes t.delta, and t.dout over t.out.
  void OutputBackward(const ResidualStream& dy, const AttentionTensorsOf<T>& t) const;
  // From dprojected: adds the gradients of W and of the norm, and to dx (N, C).
  void ProjectBackward(const ResidualStream& x, const View<const float, 2>& dprojected,
                       const AttentionTensorsOf<T>& t, const ResidualStream& dx) const;

 private:
  template <class Use>
  void EachOutput(const AttentionTensorsOf<T>& t, const Use& use) const;
  template <class M, class Work>
  void EachProjection(const View<M, 2>& all, const AttentionTensorsOf<T>& t,
                      const Work& work) const;
  template <class Work>
  void EachSlab(const Work& work) const;
  void Dots(const AttentionTensorsOf<T>& t, const View<const T, 2>& out,
            const View<const T, 2>& dout, idx_t begin) const;
  Dropout OutputSite() const;
  // The number of a token's first element, C a token, for random sites.
  idx_t FirstElement(idx_t begin) const { return (call_.first() + begin) * layer_.channels; }

  Context& context_;
  const AttentionProjections& layer_;
  const BranchCall& call_;
  idx_t slab_;  // tokens of a slab
};

// A layer's weights as views, shared by training and decoding.
struct AttentionWeights {
  LayerNormWeights norm;
  View<const float, 2> projections;  // (P A, C): query, key, value; or query-key, value
  View<const float, 2> output;       // (C, A)
};
AttentionWeights AttentionLayerWeights(const ReformerConfig& config, LayerKind kind,
                                       const std::string& prefix, const ParameterTable& parameters);

}  // namespace longspan
