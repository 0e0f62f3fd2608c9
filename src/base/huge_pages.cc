#include "base/huge_pages.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

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

namespace {

// The whole pages in some memory; no bytes: there are none.
struct WholePages {
  char* begin = nullptr;
  std::size_t bytes = 0;
};

WholePages PagesIn(void* memory, std::size_t bytes) {
  static const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto skipped = (page - reinterpret_cast<std::uintptr_t>(memory) % page) % page;
  if (bytes < skipped + page) return {};
  return {static_cast<char*>(memory) + skipped, (bytes - skipped) / page * page};
}

}  // namespace

void ReleasePages(void* memory, std::size_t bytes) noexcept {
  const WholePages pages = PagesIn(memory, bytes);
  // Private memory that no file is behind reads as zero afterwards.
  if (pages.bytes == 0 || madvise(pages.begin, pages.bytes, MADV_DONTNEED) != 0) {
    std::memset(memory, 0, bytes);
    return;
  }
  auto* const first = static_cast<char*>(memory);
  const auto before = static_cast<std::size_t>(pages.begin - first);
  std::memset(first, 0, before);
  std::memset(pages.begin + pages.bytes, 0, bytes - before - pages.bytes);
}

void UseSmallPages(void* memory, std::size_t bytes) noexcept {
  const WholePages pages = PagesIn(memory, bytes);
  if (pages.bytes > 0) madvise(pages.begin, pages.bytes, MADV_NOHUGEPAGE);
}

}  // namespace longspan
