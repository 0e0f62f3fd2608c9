// What the operations of LSH attention ask of their arguments.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "base/errors.h"
#include "longspan/attention.h"

namespace longspan {

inline constexpr idx_t kMostLshRounds = 1024;

// Throws kUsage unless the view has this shape and a last stride of 1.
template <class T, int R>
void CheckLshView(
    const View<T, R>& view, const char* name,
    const std::type_identity_t<std::array<idx_t, static_cast<std::size_t>(R)>>& want) {
  Check(view.extent == want, ErrorCode::kUsage, "LSH attention: {} is {}, expected {}", name,
        ShapeText(view), ShapeText(std::vector<idx_t>(want.begin(), want.end())));
  Check(view.extent[R - 1] <= 1 || view.stride[R - 1] == 1, ErrorCode::kUsage,
        "LSH attention: the last stride of {} is {}, expected 1", name, view.stride[R - 1]);
}

// Throws on a spec out of range (kUsage; kLimit: more buckets than 16 bits number), an empty or
// strided qk, and a mask of another shape. Rounds and buckets matter only when something is hashed.
void CheckLshInput(const LshSpec& spec, const View<const float, 4>& qk, const KeyMask& mask,
                   bool hashes);

}  // namespace longspan
