// What the attention functions of the module share. Each takes arrays of NumPy or tensors of torch,
// by position and in the order of its declaration; `threads` 0 means the default. Everything is
// checked before anything runs, and nothing is copied.
#pragma once

#include <nanobind/nanobind.h>

#include "array.h"
#include "call.h"
#include "errors.h"
#include "longspan/attention.h"

namespace longspan::python {

// q (B, H, T, D) with k and v (B, H / groups, T, D): query heads [h groups, (h + 1) groups) share
// key head h. The library knows one key head for each query head, so a call has the heads g, g +
// groups, ... of q and all of k: `groups` calls, which add to the same gradients of k and v.
struct Groups {
  idx_t count = 1;

  // UsageError unless the heads of k divide those of q.
  static Groups Of(const char* function, const Array& q, const Array& k);
  // Heads g, g + count, ... of q, out, dout or dq; of lse.
  template <class T, int R>
  View<T, R> Of(const View<T, R>& view, idx_t g) const {
    if (view.empty() || count == 1) return view;
    View<T, R> part = view;
    part.data += g * view.stride[1];
    part.extent[1] /= count;
    part.stride[1] *= count;
    return part;
  }
  // Each call numbers its elements from 0, so each gets random numbers of its own.
  ProbabilityDropout Of(const ProbabilityDropout& dropout, idx_t g) const {
    ProbabilityDropout part = dropout;
    part.key += static_cast<std::uint64_t>(g) * 0x9e3779b97f4a7c15u;
    return part;
  }
};

// The arrays of a forward pass with separate queries and keys. `tokens_name` is what messages call
// the bytes of tokens: a key mask or roles.
struct SeparateArrays {
  Array q, k, v, tokens, sinks, out, lse;
  SeparateArrays(const char* function, const char* tokens_name, nanobind::handle q_,
                 nanobind::handle k_, nanobind::handle v_, nanobind::handle tokens_,
                 nanobind::handle sinks_, nanobind::handle out_, nanobind::handle lse_)
      : q(function, "q", q_),
        k(function, "k", k_),
        v(function, "v", v_),
        tokens(function, tokens_name, tokens_),
        sinks(function, "sinks", sinks_),
        out(function, "out", out_),
        lse(function, "lse", lse_) {}

  template <class T>
  QkvOf<T> Qkv() const {
    return {q.As<const T, 4>(), k.As<const T, 4>(), v.As<const T, 4>()};
  }
  template <class T>
  AttentionSavedOf<T> Saved() const {
    return {out.As<T, 4>(), lse.As<float, 3>()};
  }
  View<const std::uint8_t, 2> Tokens() const { return tokens.As<const std::uint8_t, 2>(); }
  View<const float, 1> Sinks() const { return sinks.As<const float, 1>(); }
};

// What a backward reads and adds to, beside those.
struct GradientArrays {
  Array dout, dq, dk, dv;
  GradientArrays(const char* function, nanobind::handle dout_, nanobind::handle dq_,
                 nanobind::handle dk_, nanobind::handle dv_)
      : dout(function, "dout", dout_),
        dq(function, "dq", dq_),
        dk(function, "dk", dk_),
        dv(function, "dv", dv_) {}
  DQkv To() const { return {dq.As<float, 4>(), dk.As<float, 4>(), dv.As<float, 4>()}; }
};

// UsageError unless a number lies in its range: the library checks what it computes with, this what
// would not fit its types.
ProbabilityDropout DropoutOf(const char* function, double p, std::uint64_t key);
float ScaleOf(const char* function, double scale);

// What a key mask hides is multiplied by 0 in full, chunked and LSH attention, and 0 times NaN is
// NaN, for every query: throws kUsage if x (B, H, T, D) is not finite where the mask has 0. Needs
// no GIL. Cost: one look at the elements of hidden tokens.
template <class T>
void CheckHidden(const char* function, const char* name, const View<const T, 4>& x,
                 const View<const std::uint8_t, 2>& mask);

// Multiply-adds of an attention in which each of B H T queries sees so many keys.
double Operations(const Array& q, double keys);
// Keys that a query of chunked attention sees; numbers may be as large as they like.
inline double ChunkKeys(idx_t chunk, idx_t before, idx_t after) {
  return static_cast<double>(chunk) *
         (1.0 + static_cast<double>(before) + static_cast<double>(after));
}

// Calls use.template operator()<T>() for T = float or bfloat16, what the elements of `array` are.
// DTypeError for any other.
template <class Use>
void ForElement(const char* function, const char* name, const Array& array, const Use& use) {
  switch (array.element()) {
    case Element::kF32:
      return use.template operator()<float>();
    case Element::kBf16:
      return use.template operator()<bfloat16>();
    default:
      FailType(std::string(function) + ": " + name + " has elements of type " +
               ElementName(array.element()) + "; convert it to float32 or bfloat16");
  }
}

void BindAxial(nanobind::module_& module);
void BindChunked(nanobind::module_& module);
void BindFull(nanobind::module_& module);
void BindLsh(nanobind::module_& module);
void BindWindow(nanobind::module_& module);

}  // namespace longspan::python
