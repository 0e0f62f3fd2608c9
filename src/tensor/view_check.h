// What most operations ask of a view that they are given.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "base/errors.h"
#include "longspan/tensor.h"

namespace longspan {

// constexpr ViewCheck CheckView{"full attention"};
// CheckView(saved.lse, "lse", {B, H, T});
struct ViewCheck {
  const char* operation;  // that the message begins with

  // Throws kUsage unless the view has this shape and a last stride of 1.
  template <class T, int R>
  void operator()(
      const View<T, R>& view, const char* name,
      const std::type_identity_t<std::array<idx_t, static_cast<std::size_t>(R)>>& want) const {
    // The texts are made only where they are read: small calls would pay more for them than for the
    // arithmetic.
    if (view.extent != want) [[unlikely]] {
      Fail(ErrorCode::kUsage, "{}: {} is {}, expected {}", operation, name, ShapeText(view),
           ShapeText(std::vector<idx_t>(want.begin(), want.end())));
    }
    Check(view.extent[R - 1] <= 1 || view.stride[R - 1] == 1, ErrorCode::kUsage,
          "{}: the last stride of {} is {}, expected 1", operation, name, view.stride[R - 1]);
  }
};

}  // namespace longspan
