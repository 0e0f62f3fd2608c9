#include "text/literal_search.h"

#include <cstring>

namespace longspan::text {

LiteralSearch::LiteralSearch(std::u32string literal)
    : literal_(std::move(literal)), shorter_(literal_.size(), 0) {
  for (std::size_t i = 1, same = 0; i < literal_.size(); ++i) {
    while (same > 0 && literal_[i] != literal_[same]) same = shorter_[same - 1];
    if (literal_[i] == literal_[same]) ++same;
    shorter_[i] = same;
  }
}

std::size_t LiteralSearch::Find(const Glyphs& glyphs, std::size_t at, std::size_t end) const {
  if (literal_.empty()) return end;
  const char32_t first = literal_[0];
  std::size_t same = 0;  // characters of the literal that end before `at`
  for (; at < end; ++at) {
    const char32_t c = glyphs[at].c;
    if (same == 0) {
      if (c != first) continue;
    } else {
      while (same > 0 && c != literal_[same]) same = shorter_[same - 1];
    }
    if (c == literal_[same]) ++same;
    if (same == literal_.size()) return at + 1 - same;
  }
  return end;
}

std::size_t FindText(std::string_view text, std::string_view literal, std::size_t at) {
  if (literal.empty() || at >= text.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + at, text.size() - at, literal.data(), literal.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace longspan::text
