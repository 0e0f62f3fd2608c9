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
double Operations(const Array& q, idx_t keys);

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
