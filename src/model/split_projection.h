// The projections of an attention whose ranks share rows: from this rank's tokens to all tokens of
// its heads, and back; or, for windows with a halo, of its own tokens alone. Without a group they
// are the products alone.
//
// A Call has `group`, `texts`, n() (tokens of this rank) and what Linear asks.
#pragma once

#include <optional>

#include "base/arena.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/heads_exchange.h"
#include "model/linear.h"
#include "model/window_halo.h"

namespace longspan {

// own (N, P*h*D) = x w^T + b of the own heads, x (n, C) the tokens of this rank; N is `tokens`.
template <class T, class Call>
void ProjectToHeads(Context& context, const Call& call, const Linear& linear,
                    const HeadColumns& columns, idx_t tokens, const View<const T, 2>& x,
                    const View<T, 2>& own) {
  if (call.group == nullptr) return linear.template ForwardIn<T>(context, call, x, own);
  const idx_t n = x.extent[0];
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(n * columns.all()));
  const View<T, 2> slab(frame.Take<T>(n * columns.all()), {n, columns.all()});
  linear.template ForwardIn<T>(context, call, x, slab);
  HeadsExchange(*call.group, tokens, columns).template GatherHeads<T>(context, slab, own);
}

// Its backward for down (N, P*h*D): dx (n, C) = or += the gradient; those of weight and bias
// accumulate, from the tokens of this rank.
template <class T, class Call>
void ProjectToHeadsBackward(Context& context, const Call& call, const Linear& linear,
                            const HeadColumns& columns, idx_t tokens, const View<const T, 2>& x,
                            const View<const float, 2>& down, const gemm::Matrix& dx,
                            gemm::Store store) {
  if (call.group == nullptr) {
    return linear.template BackwardIn<T>(context, call, x, down, dx, store);
  }
  const idx_t n = x.extent[0];
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * columns.all()));
  const View<float, 2> dslab(frame.Take<float>(n * columns.all()), {n, columns.all()});
  HeadsExchange(*call.group, tokens, columns).template ReturnHeads<float>(context, down, dslab);
  linear.template BackwardIn<T>(context, call, x, dslab, dx, store);
}

// The same for windows: with a halo, qkv (halo->rows(), 3 C) gets the rows of this rank's tokens,
// of all heads.
template <class T, class Call>
void ProjectToWindows(Context& context, const Call& call, const Linear& linear,
                      const HeadColumns& columns, const std::optional<WindowHalo>& halo,
                      const View<const T, 2>& x, const View<T, 2>& qkv) {
  if (halo) return linear.template ForwardIn<T>(context, call, x, halo->Own(qkv));
  ProjectToHeads<T>(context, call, linear, columns, call.texts.n(), x, qkv);
}
template <class T, class Call>
void ProjectToWindowsBackward(Context& context, const Call& call, const Linear& linear,
                              const HeadColumns& columns, const std::optional<WindowHalo>& halo,
                              const View<const T, 2>& x, const View<const float, 2>& dqkv,
                              const gemm::Matrix& dx, gemm::Store store) {
  if (halo) return linear.template BackwardIn<T>(context, call, x, halo->Own(dqkv), dx, store);
  ProjectToHeadsBackward<T>(context, call, linear, columns, call.texts.n(), x, dqkv, dx, store);
}

// What attention has written, `own` (N, h*D) of its heads, becomes `out` (n, C) of all heads of
// this rank's tokens. Without a group they are the same memory.
template <class T, class Call>
void ReturnAttended(Context& context, const Call& call, const HeadColumns& columns, idx_t tokens,
                    const View<const T, 2>& own, const View<T, 2>& out) {
  if (call.group == nullptr) return;
  HeadsExchange(*call.group, tokens, columns).template ReturnHeads<T>(context, own, out);
}

// The gradient of that: of the own heads for all tokens, in scratch that lives as long as this; or
// dout itself without a group.
template <class T>
class AttendedGradient {
 public:
  template <class Call>
  AttendedGradient(Context& context, const Call& call, const HeadColumns& columns, idx_t tokens,
                   const View<const T, 2>& dout)
      : cells_(call.group == nullptr
                   ? 0
                   : tokens * HeadsOf(call.group, columns.heads).count * columns.size),
        frame_(context.arena(), Arena::Bytes<T>(cells_)),
        own_(dout) {
    if (call.group == nullptr) return;
    const View<T, 2> room(frame_.template Take<T>(cells_), {tokens, cells_ / tokens});
    HeadsExchange(*call.group, tokens, columns).template GatherHeads<T>(context, dout, room);
    own_ = room;
  }
  const View<const T, 2>& own() const { return own_; }  // (N, h*D)

 private:
  idx_t cells_;
  Arena::Frame frame_;
  View<const T, 2> own_;
};

}  // namespace longspan
