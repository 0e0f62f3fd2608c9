#include "families/reformer/reformer_cache.h"

#include <algorithm>
#include <cstdlib>

#include "base/errors.h"
#include "base/huge_pages.h"
#include "base/math.h"

namespace longspan {

idx_t CachedCells::StartAt(idx_t first) {
  first_page_ = first / kPageTokens;
  tokens_ = first_page_ * kPageTokens;
  return tokens_;
}

void CachedCells::Extend(idx_t count) {
  const idx_t used = tokens_ % kPageTokens;
  if (count > 0 && used > 0 && pages_.back().use_count() > 1) {
    const std::shared_ptr<Page> shared = std::move(pages_.back());
    pages_.pop_back();
    AddPages(1);
    std::copy_n(shared->data, used * width_, pages_.back()->data);
  }
  tokens_ += count;
  AddPages(CeilDiv(tokens_, kPageTokens) - first_page_ - static_cast<idx_t>(pages_.size()));
}

// Pages of a prompt lie in one piece, so that the system can give large ones: cells are read here
// and there, and small pages would cost more than the reading.
void CachedCells::AddPages(idx_t count) {
  if (count <= 0) return;
  const idx_t floats = kPageTokens * width_;
  const std::size_t bytes = static_cast<std::size_t>(count * floats) * sizeof(float);
  const std::shared_ptr<float> memory(static_cast<float*>(AllocatePages(bytes)), std::free);
  Check(memory != nullptr, ErrorCode::kLimit, "generate: no memory for a cache of {} bytes more",
        bytes);
  for (idx_t i = 0; i < count; ++i) {
    pages_.push_back(std::make_shared<Page>(Page{memory, memory.get() + i * floats}));
  }
}

void CachedCells::DropBefore(idx_t first) {
  const idx_t drop = std::min(first / kPageTokens - first_page_, static_cast<idx_t>(pages_.size()));
  if (drop <= 0) return;
  pages_.erase(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(drop));
  first_page_ += drop;
}

std::size_t CachedCells::Bytes() const {
  return pages_.size() * static_cast<std::size_t>(kPageTokens * width_) * sizeof(float);
}

std::size_t CachedText::Bytes() const {
  std::size_t bytes = 0;
  for (const CachedLayer& layer : layers) bytes += layer.cells.Bytes() + layer.order.Bytes();
  return bytes;
}

}  // namespace longspan
