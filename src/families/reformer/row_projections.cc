#include "families/reformer/row_projections.h"

#include <algorithm>

#include "base/arena.h"
#include "families/reformer/branch_weights.h"
#include "gemm/gemm.h"
#include "model/operands.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"
#include "ops/head_dots/head_dots.h"

namespace longspan {

template <class T>
RowProjectionPass<T>::RowProjectionPass(Context& context, const AttentionProjections& layer,
                                        const BranchCall& call, const GroupOfHeads& group)
    : context_(context),
      layer_(layer),
      call_(call),
      steps_(*call.ranks, call.n(), SlabRows(call.n(), std::max(layer.channels, layer.width())),
             layer.heads, layer.head_size, group.number),
      group_(group.number.index) {}

template <class T>
template <class M, class Work>
void RowProjectionPass<T>::EachPart(int rank, const View<M, 2>& all, const Work& work) const {
  const idx_t width = steps_.Columns(rank, 1);
  if (width == 0) return;
  const idx_t first = steps_.share(rank).first * layer_.head_size;
  for (idx_t p = 0; p < layer_.count; ++p) {
    work(all.Rows(p * layer_.width() + first, width), p * width, width);
  }
}

template <class T>
template <class M>
View<M, 2> RowProjectionPass<T>::OutputColumns(int rank, const View<M, 2>& all) const {
  return Columns(all, steps_.share(rank).first * layer_.head_size, steps_.Columns(rank, 1));
}

template <class T>
Dropout RowProjectionPass<T>::OutputSite() const {
  return AttentionOutputSiteOf(layer_, call_);
}

template <class T>
ResidualStream RowProjectionPass<T>::Rows(const ResidualStream& stream, idx_t step) const {
  const TokenSlab mine = steps_.Mine(step);
  return stream.Rows(mine.begin - steps_.first(), mine.size());
}

// ---- forward ------------------------------------------------------------------------------------

template <class T>
void RowProjectionPass<T>::Project(const ResidualStream& x, const AttentionTensorsOf<T>& t) const {
  const idx_t values = steps_.rows() * layer_.channels, x_values = RoomForRows(x, values);
  Arena::Frame frame(context_.arena(), Arena::Bytes<T>(values) + Arena::Bytes<float>(x_values));
  T* normed_room = frame.Take<T>(values);
  float* x_room = frame.Take<float>(x_values);
  const auto weights = WeightOf<T>(call_, layer_.first, layer_.count * layer_.width());
  SendHeads<T>(context_, steps_, t.projected, layer_.count, [&](idx_t step, const auto& pieces) {
    const ResidualStream x_rows = Rows(x, step);
    const View<T, 2> normed(normed_room, x_rows.extent);
    LayerNormForward(context_, layer_.norm.Weights(call_.parameters),
                     FloatRows(context_, x_rows, x_room), normed);
    for (int r = 0; r < steps_.ranks(); ++r) {
      const View<T, 2>& piece = pieces[static_cast<std::size_t>(r)];
      EachPart(r, weights, [&](const auto& w, idx_t column, idx_t width) {
        gemm::Forward(context_, normed, w, nullptr, Columns(piece, column, width));
      });
    }
  });
}

template <class T>
void RowProjectionPass<T>::Output(const std::vector<View<T, 2>>& outs,
                                  const View<float, 2>& f) const {
  const auto weight = WeightOf<T>(call_, layer_.output);
  auto store = gemm::Store::kOverwrite;
  for (int r = 0; r < steps_.ranks(); ++r) {
    const View<T, 2>& out = outs[static_cast<std::size_t>(r)];
    if (out.extent[1] == 0) continue;
    gemm::Forward(context_, out, OutputColumns(r, weight), nullptr, f, store);
    store = gemm::Store::kAccumulate;
  }
}

// use(f (tokens, C), step, the pieces of outputs) for each step.
template <class T>
template <class Use>
void RowProjectionPass<T>::EachOutput(const AttentionTensorsOf<T>& t, const Use& use) const {
  const idx_t values = steps_.rows() * layer_.channels;
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(values));
  float* f_room = frame.Take<float>(values);
  ReceiveHeads<T>(context_, steps_, t.out, 1, [&](idx_t step, const auto& outs) {
    const View<float, 2> f(f_room, {steps_.Mine(step).size(), layer_.channels});
    Output(outs, f);
    ApplyDropout(context_, OutputSite(), f, FirstElement(step));
    use(f, step, outs);
  });
}

template <class T>
void RowProjectionPass<T>::AddOutput(const AttentionTensorsOf<T>& t,
                                     const ResidualStream& y) const {
  EachOutput(t, [&](const View<const float, 2>& f, idx_t step, const auto&) {
    AddRows(context_, f, Rows(y, step));
  });
}

// ---- backward -----------------------------------------------------------------------------------

template <class T>
void RowProjectionPass<T>::ReverseOutput(const AttentionTensorsOf<T>& t, const ResidualStream& y,
                                         const ResidualStream& dy) const {
  const Dropout site = OutputSite();
  const idx_t values = steps_.rows() * layer_.channels, cells = steps_.OtherCells(1);
  const idx_t df_values = site.active() ? values : RoomForRows(dy, values);
  const idx_t operand_values = OperandCount<T>(values), own = t.n() * t.width();
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(df_values) +
                                           Arena::Bytes<T>(operand_values) + Arena::Bytes<T>(own) +
                                           2 * Arena::Bytes<T>(cells));
  float* df_room = frame.Take<float>(df_values);
  T* operand_room = frame.Take<T>(operand_values);
  const View<T, 2> dout(frame.Take<T>(own), t.out.extent);
  std::array<T*, 2> rooms = {frame.Take<T>(cells), frame.Take<T>(cells)};
  std::array<RowGroup::Pending, 2> flights;
  const auto weight = WeightOf<T>(call_, layer_.output);
  const View<float, 2> dweight = call_.parameters.matrix_gradient(layer_.output);
  const bool trains = call_.parameters.trains(layer_.output);
  EachOutput(t, [&](const View<const float, 2>& f, idx_t step, const auto& outs) {
    SubtractRows(context_, f, Rows(y, step));
    View<const float, 2> df = FloatRows(context_, Rows(dy, step), df_room);
    if (site.active()) {
      const View<float, 2> dropped(df_room, df.extent);
      if (df.data != dropped.data) CopyRows(context_, df, dropped);
      ApplyDropout(context_, site, dropped, FirstElement(step));
      df = dropped;
    }
    const gemm::ConstMatrix operand = Operand<T>(context_, df, operand_room);
    const auto turn = static_cast<std::size_t>(step % 2);
    flights[turn].Wait();
    const auto douts = steps_.Pieces(dout, 1, step, rooms[turn]);
    for (int r = 0; r < steps_.ranks(); ++r) {
      const auto at = static_cast<std::size_t>(r);
      if (outs[at].extent[1] == 0) continue;
      if (trains) gemm::BackwardWeights(context_, operand, outs[at], OutputColumns(r, dweight));
      gemm::BackwardData(context_, operand, OutputColumns(r, weight), douts[at]);
    }
    flights[turn] = steps_.ToHeads(context_, douts, dout, step);
  });
  for (RowGroup::Pending& flight : flights) flight.Wait();
  if (t.heads == 0) return;
  HeadDots(context_, t.Part(View<const T, 2>(t.out), 0), t.Part(View<const T, 2>(dout), 0),
           t.delta);
  CopyRows(context_, View<const T, 2>(dout), t.dout);  // out ends here
}

template <class T>
void RowProjectionPass<T>::ProjectBackward(const ResidualStream& x,
                                           const View<float, 2>& dprojected,
                                           const ResidualStream& dx) const {
  idx_t widest = 0;
  for (int r = 0; r < steps_.ranks(); ++r) {
    widest = std::max(widest, steps_.Columns(r, layer_.count));
  }
  const ProjectionScratch<T> scratch(context_.arena(), x, dx, steps_.rows() * layer_.channels,
                                     OperandCount<T>(steps_.rows() * widest));
  const idx_t all = layer_.count * layer_.width();
  const auto weights = WeightOf<T>(call_, layer_.first, all);
  const View<float, 2> dweights = call_.parameters.matrix_gradient(layer_.first, all);
  const bool trains = call_.parameters.trains(layer_.first, dweights.size());
  const LayerNormWeights norm = layer_.norm.Weights(call_.parameters);
  const LayerNormGradients dnorm = layer_.norm.Gradients(call_.parameters);
  // Each group rounds its gradient with its own key, by its number: ranks have different heads in
  // it, and tokens of their own.
  const std::uint64_t rounding =
      DeriveKey(call_.dropout_key, kAttentionRounding + static_cast<std::uint64_t>(group_));
  ReceiveHeads<float>(
      context_, steps_, dprojected, layer_.count, [&](idx_t step, const auto& pieces) {
        const View<const float, 2> x_rows = FloatRows(context_, Rows(x, step), scratch.x);
        const View<T, 2> normed(scratch.normed, x_rows.extent);
        const View<float, 2> dnormed(scratch.dnormed, x_rows.extent);
        LayerNormForward(context_, norm, x_rows, normed);
        auto store = gemm::Store::kOverwrite;
        for (int r = 0; r < steps_.ranks(); ++r) {
          const View<float, 2>& piece = pieces[static_cast<std::size_t>(r)];
          if (piece.extent[1] == 0) continue;
          const auto operand = Operand<T>(context_, piece, scratch.operand);
          if (trains) {
            EachPart(r, dweights, [&](const auto& dw, idx_t column, idx_t width) {
              gemm::BackwardWeights(context_, OperandColumns<T>(operand, column, width), normed,
                                    dw);
            });
          }
          EachPart(r, weights, [&](const auto& w, idx_t column, idx_t width) {
            gemm::BackwardData(context_, OperandColumns<T>(operand, column, width), w, dnormed,
                               store);
            store = gemm::Store::kAccumulate;
          });
        }
        AddToGradient(context_, Rows(dx, step), scratch.dx, {rounding, FirstElement(step)},
                      [&](const View<float, 2>& to) {
                        LayerNormBackward(context_, norm, x_rows, dnormed, to, dnorm);
                      });
      });
}

template class RowProjectionPass<float>;
template class RowProjectionPass<bfloat16>;

}  // namespace longspan
