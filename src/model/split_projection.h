// The projections of an attention whose ranks share rows: from this rank's tokens to all tokens of
// its heads, and back. Without a group they are the products alone.
//
// A Call has `group`, n() (tokens of this rank) and what Linear asks.
#pragma once

#include "base/arena.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/heads_exchange.h"
#include "model/heads_in_groups.h"
#include "model/linear.h"
#include "model/part_of_heads.h"
#include "model/rows.h"

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

// ---- groups of heads ----------------------------------------------------------------------------

// t.qkv (N, 3 h D) of the own heads from x (n, C), attend(group), which writes t.attended, for each
// group of heads, and t.out (n, C). Messages of a group travel beside the attention of others.
template <class T, class Call, class Tensors, class Attend>
void AttendInGroups(Context& context, const Call& call, const Linear& linear,
                    const HeadsInGroups& groups, const View<const T, 2>& x, const Tensors& t,
                    const Attend& attend) {
  if (call.group == nullptr) {
    linear.template ForwardIn<T>(context, call, x, t.qkv);
    return attend(0);
  }
  const idx_t n = x.extent[0], width = 3 * groups.channels();
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(n * width));
  const View<T, 2> slab(frame.Take<T>(n * width), {n, width});
  linear.template ForwardIn<T>(context, call, x, slab);
  groups.template Run<T, T>(context, kForwardFlop, 3, slab, t.qkv, 1, t.attended, t.out, attend);
}

// The way back, with scratch that lives as long as this.
template <class T>
class GroupsBackward {
 public:
  // dout (n, C) is the gradient of t.out; `qkv` gives the shape of t.qkv.
  template <class Call>
  GroupsBackward(Context& context, const Call& call, const HeadsInGroups& groups,
                 const View<T, 2>& qkv, const View<const T, 2>& dout)
      : groups_(groups),
        shares_(call.group != nullptr),
        dout_(dout),
        frame_(context.arena(), Bytes(qkv, dout)),
        dqkv_(frame_.template Take<float>(qkv.size()), qkv.extent),
        dattended_(dout),
        dprojected_(dqkv_) {
    if (!shares_) return;
    const idx_t n = dout.extent[0], cells = qkv.size() / 3, width = 3 * dout.extent[1];
    room_ = {frame_.template Take<T>(cells), {qkv.extent[0], cells / qkv.extent[0]}};
    dattended_ = room_;
    dprojected_ = {frame_.template Take<float>(n * width), {n, width}};
  }

  // The gradients of a group's heads for all tokens: of what attention gave, (N, h' D), and of what
  // it got, (N, 3 h' D), zeroed, which backward(group) adds to.
  View<const T, 2> dattended(idx_t group) const { return groups_.Part(dattended_, 1, group); }
  View<float, 2> dqkv(idx_t group) const { return groups_.Part(dqkv_, 3, group); }
  // That of what was projected, (n, 3 C), after Run.
  const View<float, 2>& dprojected() const { return dprojected_; }

  template <class Backward>
  void Run(Context& context, const Backward& backward) const {
    ZeroRows(context, dqkv_);
    if (!shares_) return backward(0);
    groups_.template Run<T, float>(context, kBackwardFlop, 1, dout_, room_, 3, dqkv_, dprojected_,
                                   backward);
  }

 private:
  std::size_t Bytes(const View<T, 2>& qkv, const View<const T, 2>& dout) const {
    const std::size_t alone = Arena::Bytes<float>(qkv.size());
    if (!shares_) return alone;
    return alone + Arena::Bytes<T>(qkv.size() / 3) + Arena::Bytes<float>(3 * dout.size());
  }

  HeadsInGroups groups_;
  bool shares_;
  View<const T, 2> dout_;
  Arena::Frame frame_;
  View<float, 2> dqkv_;
  View<T, 2> room_;
  View<const T, 2> dattended_;
  View<float, 2> dprojected_;
};

}  // namespace longspan
