// The arrays of an operation's scratch, listed once. The list is walked to book their bytes, and
// walked again to take them.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/arena.h"

namespace longspan {

// Scratch is a struct of pointers. each(scratch, take) calls take(pointer, count) for every array
// that the operation needs, always in the same order. A void pointer counts bytes.
//
//   ScratchLayout(FullScratch{}, [&plan](FullScratch& s, const auto& take) {
//     take(s.scores, plan.block * plan.score_stride);
//   });
template <class Scratch, class Each>
class ScratchLayout {
 public:
  // `start` holds what `each` reads of a scratch before its arrays are there: extents, for example.
  ScratchLayout(Scratch start, Each each) : start_(std::move(start)), each_(std::move(each)) {}

  // What one scratch costs in a booking, alignment included.
  std::size_t Bytes() const {
    Scratch scratch = start_;
    std::size_t bytes = 0;
    each_(scratch, [&]<class T>(T*&, idx_t count) { bytes += Arena::Bytes<ElementOf<T>>(count); });
    return bytes;
  }

  Scratch Take(Arena::Frame& frame) const {
    Scratch scratch = start_;
    each_(scratch,
          [&]<class T>(T*& pointer, idx_t count) { pointer = frame.Take<ElementOf<T>>(count); });
    return scratch;
  }

  // In `memory`: Bytes() of them, 64-byte aligned.
  Scratch At(void* memory) const {
    Scratch scratch = start_;
    auto* cursor = static_cast<std::byte*>(memory);
    each_(scratch, [&]<class T>(T*& pointer, idx_t count) {
      pointer = reinterpret_cast<ElementOf<T>*>(cursor);
      cursor += Arena::Bytes<ElementOf<T>>(count);
    });
    return scratch;
  }

  // One for each thread.
  std::vector<Scratch> TakeEach(Arena::Frame& frame, int threads) const {
    std::vector<Scratch> taken;
    for (int i = 0; i < threads; ++i) taken.push_back(Take(frame));
    return taken;
  }

 private:
  template <class T>
  using ElementOf = std::conditional_t<std::is_void_v<T>, std::byte, T>;

  Scratch start_;
  Each each_;
};

}  // namespace longspan
