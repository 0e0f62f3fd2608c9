#include "base/huge_pages.h"

#include <stdlib.h>
#include <sys/mman.h>

namespace longspan {
namespace {

constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
// Smaller arrays would waste a large part of their pages.
constexpr std::size_t kWorthIt = 4 * kHugePage;

}  // namespace

void* AllocatePages(std::size_t bytes) noexcept {
  const std::size_t unit = bytes >= kWorthIt ? kHugePage : kLine;
  void* memory = nullptr;
  if (posix_memalign(&memory, unit, bytes) != 0) return nullptr;
  // Whole pages only; what is left over keeps small ones. A refusal costs speed, nothing else.
  if (unit == kHugePage) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return memory;
}

}  // namespace longspan
