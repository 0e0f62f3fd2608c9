#include "text/added_tokens.h"

#include <algorithm>
#include <numeric>

namespace longspan::text {
namespace {

std::uint64_t EdgeKey(std::uint32_t node, char32_t c) { return std::uint64_t{node} << 21 | c; }

bool IsSpace(const Glyph& glyph) { return (Kind(glyph.c) & kSpace) != 0; }
bool IsWord(const Glyph& glyph) { return (Kind(glyph.c) & kWord) != 0; }

}  // namespace

void AddedTokenFinder::Add(const Glyphs& content, const AddedToken& token) {
  if (content.empty()) return;
  std::uint32_t node = 0;
  for (auto g = content.rbegin(); g != content.rend(); ++g) {
    const auto fresh = static_cast<std::uint32_t>(nodes_.size());
    const auto [edge, added] = edges_.try_emplace(EdgeKey(node, g->c), fresh);
    if (added) {
      nodes_.push_back({.parent = node, .c = g->c, .depth = nodes_[node].depth + 1});
      if (node == 0 && g->c < first_.size()) first_[g->c] = fresh;
    }
    node = edge->second;
  }
  nodes_[node].token = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(token);
  sizes_.push_back(content.size());
}

void AddedTokenFinder::Finish() {
  std::vector<std::uint32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [this](std::uint32_t a, std::uint32_t b) {
    return nodes_[a].depth < nodes_[b].depth;
  });
  for (const std::uint32_t at : order) {
    Node& node = nodes_[at];
    if (node.depth >= 2) node.shorter = Next(nodes_[node.parent].shorter, node.c);
    if (node.token < 0) node.token = nodes_[node.shorter].token;
  }
}

// Where the automaton goes from a node by a character.
std::uint32_t AddedTokenFinder::Next(std::uint32_t node, char32_t c) const {
  for (; node != 0; node = nodes_[node].shorter) {
    const auto edge = edges_.find(EdgeKey(node, c));
    if (edge != edges_.end()) return edge->second;
  }
  if (c < first_.size()) return first_[c];
  const auto edge = edges_.find(EdgeKey(0, c));
  return edge == edges_.end() ? 0 : edge->second;
}

// The last one first.
std::vector<AddedTokenFinder::Match> AddedTokenFinder::Matches(const Glyphs& glyphs) const {
  std::vector<Match> matches;
  std::uint32_t node = 0;
  for (std::size_t at = glyphs.size(); at-- > 0 && !tokens_.empty();) {
    node = Next(node, glyphs[at].c);
    const std::int32_t token = nodes_[node].token;
    if (token >= 0) matches.push_back({at, static_cast<std::size_t>(token)});
  }
  return matches;
}

std::vector<AddedSplit> AddedTokenFinder::Split(const Glyphs& glyphs) const {
  std::vector<AddedSplit> splits;
  std::size_t done = 0;
  const auto text_until = [&](std::size_t end) {
    if (end > done) splits.push_back({done, end, -1});
  };
  const std::vector<Match> matches = Matches(glyphs);
  std::size_t at = 0;
  for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
    if (match->begin < at) continue;
    const AddedToken& token = tokens_[match->token];
    std::size_t begin = match->begin, end = begin + sizes_[match->token];
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
