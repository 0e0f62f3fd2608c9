#include "model/reformer_cache.h"

#include <algorithm>

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
    auto own = std::make_shared<Page>(kPageTokens * width_);
    std::copy_n(pages_.back()->data, used * width_, own->data);
    pages_.back() = std::move(own);
  }
  tokens_ += count;
  const idx_t pages = CeilDiv(tokens_, kPageTokens) - first_page_;
  while (static_cast<idx_t>(pages_.size()) < pages) {
    pages_.push_back(std::make_shared<Page>(kPageTokens * width_));
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
