// Memory for large arrays, in pages of 2 MiB where the system gives them: walking through tens of
// megabytes row by row in pages of 4 KiB costs a tenth of an attention kernel's time.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace longspan {

// At least `bytes` bytes, aligned to a cache line and more; null when they cannot be had. Goes back
// with std::free.
void* AllocatePages(std::size_t bytes) noexcept;

// Sets memory of AllocatePages, or a part of it, to zero. Its whole pages go back to the system
// until they are written again.
void ReleasePages(void* memory, std::size_t bytes) noexcept;
// From now on its pages are small ones: no more comes back after ReleasePages than is used.
void UseSmallPages(void* memory, std::size_t bytes) noexcept;

// For containers.
template <class T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <class U>
  explicit PageAllocator(const PageAllocator<U>& /*other*/) noexcept {}
  T* allocate(std::size_t count) {
    void* memory =
        count <= std::size_t(-1) / sizeof(T) ? AllocatePages(count * sizeof(T)) : nullptr;
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t /*count*/) noexcept { std::free(memory); }
  bool operator==(const PageAllocator& /*other*/) const noexcept { return true; }
};

}  // namespace longspan
