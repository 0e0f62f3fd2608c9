#include "families/reformer/attention_projections.h"

#include <algorithm>
#include <array>

#include "base/arena.h"
#include "families/reformer/branch_weights.h"
#include "gemm/gemm.h"
#include "model/operands.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"
#include "ops/head_dots/head_dots.h"

namespace longspan {
namespace {

std::string ProjectionName(const std::string& prefix, std::string_view projection) {
  return prefix + "self_attention." + std::string(projection) + ".weight";
}
std::string OutputName(const std::string& prefix) { return prefix + "output.dense.weight"; }

// Columns of Wo (C, A), or of its gradient, for the heads of a group.
template <class M>
View<M, 2> OutputColumns(const View<M, 2>& all, const AttentionExtents& group) {
  return Columns(all, group.first_head * group.head_size, group.width());
}

}  // namespace

AttentionProjections::AttentionProjections(const ReformerConfig& config, const AttentionKind& kind,
                                           const std::string& prefix, ParameterTable& parameters)
    : channels(config.hidden_size),
      heads(config.heads),
      head_size(config.head_size),
      count(static_cast<idx_t>(kind.projections.size())),
      dropout(static_cast<float>(config.hidden_dropout)),
      norm(prefix + "layer_norm.", config.hidden_size, config.layer_norm_eps, parameters) {
  for (const std::string_view name : kind.projections) {
    const bool is_first = first == kNoParameter;
    const ParameterId id = parameters.Add(ProjectionName(prefix, name), {width(), channels},
                                          ParameterKind::kMatrix, is_first);
    if (is_first) first = id;
  }
  output = parameters.Add(OutputName(prefix), {channels, width()}, ParameterKind::kMatrix);
}

template <class T>
ProjectionPass<T>::ProjectionPass(Context& context, const AttentionProjections& layer,
                                  const BranchCall& call)
    : context_(context),
      layer_(layer),
      call_(call),
      slab_(SlabRows(call.own(), std::max(layer.channels, layer.width()))) {}

Dropout AttentionOutputSiteOf(const AttentionProjections& layer, const BranchCall& call) {
  if (!call.training) return {};
  return {layer.dropout, DeriveKey(call.dropout_key, kAttentionOutputSite)};
}

// work(first token, tokens) for each slab.
template <class T>
template <class Work>
void ProjectionPass<T>::EachSlab(const Work& work) const {
  longspan::EachSlab(call_.own(), slab_, work);
}

// work(rows of `all` (P A, C), their first column of projected, number of columns) for the parts of
// a group, which are joined when the group has all heads.
template <class T>
template <class M, class Work>
void ProjectionPass<T>::EachProjection(const View<M, 2>& all, const AttentionTensorsOf<T>& t,
                                       const Work& work) const {
  if (t.heads == layer_.heads) return work(all, 0, layer_.count * t.width());
  for (idx_t p = 0; p < layer_.count; ++p) {
    work(all.Rows(p * layer_.width() + t.first_head * t.head_size, t.width()), p * t.width(),
         t.width());
  }
}

template <class T>
Dropout ProjectionPass<T>::OutputSite() const {
  return AttentionOutputSiteOf(layer_, call_);
}

// ---- forward ------------------------------------------------------------------------------------

template <class T>
void ProjectionPass<T>::Project(const ResidualStream& x, const AttentionTensorsOf<T>& t) const {
  const idx_t values = slab_ * layer_.channels, x_values = RoomForRows(x, values);
  Arena::Frame frame(context_.arena(), Arena::Bytes<T>(values) + Arena::Bytes<float>(x_values));
  T* normed_slab = frame.Take<T>(values);
  float* x_slab = frame.Take<float>(x_values);
  const auto weights = WeightOf<T>(call_, layer_.first, layer_.count * layer_.width());
  EachSlab([&](idx_t begin, idx_t rows) {
    const View<T, 2> normed(normed_slab, {rows, layer_.channels});
    LayerNormForward(context_, layer_.norm.Weights(call_.parameters),
                     FloatRows(context_, x.Rows(begin, rows), x_slab), normed);
    EachProjection(weights, t, [&](const auto& w, idx_t column, idx_t width) {
      gemm::Forward(context_, normed, w, nullptr,
                    Columns(t.projected.Rows(begin, rows), column, width));
    });
  });
}

// use(f (rows, C), first token) for each slab.
template <class T>
template <class Use>
void ProjectionPass<T>::EachOutput(const AttentionTensorsOf<T>& t, const Use& use) const {
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(slab_ * layer_.channels));
  float* f_slab = frame.Take<float>(slab_ * layer_.channels);
  const auto weight = OutputColumns(WeightOf<T>(call_, layer_.output), t);
  EachSlab([&](idx_t begin, idx_t rows) {
    const View<float, 2> f(f_slab, {rows, layer_.channels});
    gemm::Forward(context_, t.out.Rows(begin, rows), weight, nullptr, f);
    ApplyDropout(context_, OutputSite(), f, FirstElement(begin));
    use(f, begin);
  });
}

template <class T>
void ProjectionPass<T>::AddOutput(const AttentionTensorsOf<T>& t, const ResidualStream& y) const {
  EachOutput(t, [&](const View<const float, 2>& f, idx_t begin) {
    AddRows(context_, f, y.Rows(begin, f.extent[0]));
  });
}

template <class T>
void ProjectionPass<T>::SubtractOutput(const AttentionTensorsOf<T>& t,
                                       const ResidualStream& y) const {
  EachOutput(t, [&](const View<const float, 2>& f, idx_t begin) {
    SubtractRows(context_, f, y.Rows(begin, f.extent[0]));
  });
}

// ---- backward -----------------------------------------------------------------------------------

template <class T>
void ProjectionPass<T>::OutputBackward(const ResidualStream& dy,
                                       const AttentionTensorsOf<T>& t) const {
  const Dropout site = OutputSite();
  const idx_t values = slab_ * layer_.channels;
  const idx_t df_values = site.active() ? values : RoomForRows(dy, values);
  const idx_t operand_values = OperandCount<T>(values), dout_values = slab_ * t.width();
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(df_values) +
                                           Arena::Bytes<T>(operand_values) +
                                           Arena::Bytes<T>(dout_values));
  float* df_slab = frame.Take<float>(df_values);
  T* operand_slab = frame.Take<T>(operand_values);
  T* dout_slab = frame.Take<T>(dout_values);
  const auto weight = OutputColumns(WeightOf<T>(call_, layer_.output), t);
  View<float, 2> dweight = OutputColumns(call_.parameters.matrix_gradient(layer_.output), t);
  if (!call_.parameters.trains(layer_.output)) dweight.data = nullptr;  // no product
  EachSlab([&](idx_t begin, idx_t rows) {
    View<const float, 2> df = FloatRows(context_, dy.Rows(begin, rows), df_slab);
    if (site.active()) {
      const View<float, 2> dropped(df_slab, df.extent);
      if (df.data != dropped.data) CopyRows(context_, df, dropped);
      ApplyDropout(context_, site, dropped, FirstElement(begin));
      df = dropped;
    }
    const gemm::ConstMatrix operand = Operand<T>(context_, df, operand_slab);
    const View<const T, 2> out = t.out.Rows(begin, rows);
    const View<T, 2> dout(dout_slab, out.extent);
    gemm::BackwardWeights(context_, operand, out, dweight);
    gemm::BackwardData(context_, operand, weight, dout);
    Dots(t, out, dout, begin);
    CopyRows(context_, View<const T, 2>(dout), t.dout.Rows(begin, rows));  // out ends here
  });
}

// t.delta of a slab whose first token is `begin`; it may touch several rows of the batch.
template <class T>
void ProjectionPass<T>::Dots(const AttentionTensorsOf<T>& t, const View<const T, 2>& out,
                             const View<const T, 2>& dout, idx_t begin) const {
  for (idx_t first = 0; first < out.extent[0];) {
    const idx_t b = (begin + first) / t.tokens, from = (begin + first) % t.tokens;
    const idx_t count = std::min(t.tokens - from, out.extent[0] - first);
    const std::array<idx_t, 4> shape = {1, t.heads, count, t.head_size};
    const std::array<idx_t, 4> steps = {0, t.head_size, t.width(), 1};
    HeadDots(context_, View<const T, 4>(&out(first, 0), shape, steps),
             View<const T, 4>(&dout(first, 0), shape, steps),
             {&t.delta(b, 0, from), {1, t.heads, count}, t.delta.stride});
    first += count;
  }
}

template <class T>
void ProjectionPass<T>::ProjectBackward(const ResidualStream& x,
                                        const View<const float, 2>& dprojected,
                                        const AttentionTensorsOf<T>& t,
                                        const ResidualStream& dx) const {
  const ProjectionScratch<T> scratch(context_.arena(), x, dx, slab_ * layer_.channels,
                                     OperandCount<T>(slab_ * dprojected.extent[1]));
  const idx_t all = layer_.count * layer_.width();
  const auto weights = WeightOf<T>(call_, layer_.first, all);
  const View<float, 2> dweights = call_.parameters.matrix_gradient(layer_.first, all);
  const bool trains = call_.parameters.trains(layer_.first, dweights.size());
  const LayerNormWeights norm = layer_.norm.Weights(call_.parameters);
  const LayerNormGradients dnorm = layer_.norm.Gradients(call_.parameters);
  const std::uint64_t rounding =
      DeriveKey(call_.dropout_key, kAttentionRounding + static_cast<std::uint64_t>(t.first_head));
  EachSlab([&](idx_t begin, idx_t rows) {
    const View<const float, 2> x_rows = FloatRows(context_, x.Rows(begin, rows), scratch.x);
    const View<T, 2> normed(scratch.normed, x_rows.extent);
    const View<float, 2> dnormed(scratch.dnormed, x_rows.extent);
    LayerNormForward(context_, norm, x_rows, normed);
    const auto operand = Operand<T>(context_, dprojected.Rows(begin, rows), scratch.operand);
    EachProjection(dweights, t, [&](const auto& dw, idx_t column, idx_t width) {
      if (!trains) return;
      gemm::BackwardWeights(context_, OperandColumns<T>(operand, column, width), normed, dw);
    });
    EachProjection(weights, t, [&](const auto& w, idx_t column, idx_t width) {
      gemm::BackwardData(context_, OperandColumns<T>(operand, column, width), w, dnormed,
                         column == 0 ? gemm::Store::kOverwrite : gemm::Store::kAccumulate);
    });
    AddToGradient(context_, dx.Rows(begin, rows), scratch.dx, {rounding, FirstElement(begin)},
                  [&](const View<float, 2>& to) {
                    LayerNormBackward(context_, norm, x_rows, dnormed, to, dnorm);
                  });
  });
}

template class ProjectionPass<float>;
template class ProjectionPass<bfloat16>;

// ---- weights ------------------------------------------------------------------------------------

AttentionWeights AttentionLayerWeights(const ReformerConfig& config, LayerKind kind,
                                       const std::string& prefix,
                                       const ParameterTable& parameters) {
  const auto names = AttentionKindOf(kind).projections;
  return {
      {parameters.vector(prefix + "layer_norm.weight"),
       parameters.vector(prefix + "layer_norm.bias"), static_cast<float>(config.layer_norm_eps)},
      parameters.matrix(parameters.Find(ProjectionName(prefix, names.front())),
                        static_cast<idx_t>(names.size()) * config.width()),
      parameters.matrix(OutputName(prefix))};
}

}  // namespace longspan
