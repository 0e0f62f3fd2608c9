#include "text/added_tokens.h"

#include <algorithm>

namespace longspan::text {
namespace {

std::uint64_t EdgeKey(std::uint32_t node, char32_t c) { return std::uint64_t{node} << 21 | c; }

bool IsSpace(const Glyph& glyph) { return (Kind(glyph.c) & kSpace) != 0; }
bool IsWord(const Glyph& glyph) { return (Kind(glyph.c) & kWord) != 0; }

}  // namespace

void AddedTokenFinder::Add(const Glyphs& content, const AddedToken& token) {
  if (content.empty()) return;
  std::uint32_t node = 0;
  for (const Glyph& g : content) {
    const auto [edge, added] =
        edges_.try_emplace(EdgeKey(node, g.c), static_cast<std::uint32_t>(ends_.size()));
    if (added) ends_.push_back(-1);
    node = edge->second;
  }
  ends_[node] = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(token);
}

std::vector<AddedSplit> AddedTokenFinder::Split(const Glyphs& glyphs) const {
  std::vector<AddedSplit> splits;
  std::size_t done = 0;
  const auto text_until = [&](std::size_t end) {
    if (end > done) splits.push_back({done, end, -1});
  };
  for (std::size_t at = 0; at < glyphs.size() && !tokens_.empty();) {
    std::uint32_t node = 0;
    std::int32_t found = -1;
    std::size_t end = at;
    for (std::size_t i = at; i < glyphs.size(); ++i) {
      const auto edge = edges_.find(EdgeKey(node, glyphs[i].c));
      if (edge == edges_.end()) break;
      node = edge->second;
      if (ends_[node] >= 0) {
        found = ends_[node];
        end = i + 1;
      }
    }
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(found)];
    std::size_t begin = at;
    at = end;
    if (token.single_word && ((begin > 0 && IsWord(glyphs[begin - 1])) ||
                              (end < glyphs.size() && IsWord(glyphs[end])))) {
      continue;
    }
    begin = std::max(begin, done);
    while (token.lstrip && begin > done && IsSpace(glyphs[begin - 1])) --begin;
    while (token.rstrip && end < glyphs.size() && IsSpace(glyphs[end])) ++end;
    text_until(begin);
    splits.push_back({begin, end, token.id});
    done = end;
    at = std::max(at, end);
  }
  text_until(glyphs.size());
  return splits;
}

}  // namespace longspan::text
