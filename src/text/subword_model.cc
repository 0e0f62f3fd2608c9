#include "text/subword_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/cancel.h"
#include "base/errors.h"
#include "base/limits.h"
#include "longspan/files.h"

namespace longspan::text {
namespace {

bool IsPlainByte(int b) {
  return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
}

struct ByteTables {
  std::array<char32_t, 256> characters{};
  std::array<int, 512> bytes{};
  ByteTables() {
    bytes.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const char32_t c = IsPlainByte(b) ? static_cast<char32_t>(b) : next++;
      characters[static_cast<std::size_t>(b)] = c;
      bytes[c] = b;
    }
  }
};

const ByteTables& Tables() {
  static const ByteTables tables;
  return tables;
}

std::uint64_t PairKey(std::int32_t left, std::int32_t right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

constexpr std::size_t kMergesBetweenChecks = 65536;  // some tens of milliseconds

[[noreturn]] void RefuseUnknown(std::string_view what, std::string_view unk) {
  Fail(ErrorCode::kFormat,
       "text: \"{}\" has no token, and unk_token \"{}\", which would stand for it, is no entry of "
       "model.vocab (tokenizer.json)",
       io::Escape(what), io::Escape(unk));
}

}  // namespace

char32_t ByteCharacter(std::uint8_t byte) { return Tables().characters[byte]; }
int ByteOfCharacter(char32_t c) { return c < 512 ? Tables().bytes[c] : -1; }

ByteTokens ByteTokensOf(const Vocabulary& vocabulary, std::string_view source) {
  ByteTokens tokens{};
  for (std::size_t b = 0; b < tokens.size(); ++b) {
    const std::string token = fmt::format("<0x{:02X}>", b);
    const auto id = vocabulary.IdOf(token);
    Check(id.has_value(), ErrorCode::kFormat, "{}: byte_fallback without a token {}", source,
          token);
    tokens[b] = *id;
  }
  return tokens;
}

BpeModel::BpeModel(const Vocabulary& vocabulary,
                   const std::vector<std::pair<std::string, std::string>>& merges,
                   const Options& options, std::string_view source)
    : options_(options) {
  for (std::size_t b = 0; b < 256; ++b) {
    std::string character;
    AppendUtf8(ByteCharacter(static_cast<std::uint8_t>(b)), character);
    byte_ids_[b] = vocabulary.IdOf(character).value_or(-1);
  }
  if (options.characters) {
    Check(options.unk || !options.unk_name.empty() || options.byte_fallback, ErrorCode::kFormat,
          "{}: BPE over characters with neither unk_token nor byte_fallback is not read", source);
    for (std::int32_t id = 0; id < vocabulary.bound(); ++id) {
      const std::string* token = vocabulary.TokenOf(id);
      if (token == nullptr || token->empty() || token->size() > 4) continue;
      std::vector<idx_t> starts;
      const Glyphs glyphs = DecodeUtf8(*token, starts);
      if (glyphs.size() == 1) character_ids_.emplace(glyphs[0].c, id);
    }
    if (options.byte_fallback) fallback_ = ByteTokensOf(vocabulary, source);
  }
  merges_.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto id = [&](const std::string& token) {
      const auto found = vocabulary.IdOf(token);
      if (!found) {
        Fail(ErrorCode::kFormat,
             "{}: merge {} (\"{}\" with \"{}\"): \"{}\" is not in the vocabulary", source, i,
             io::Escape(merges[i].first), io::Escape(merges[i].second), io::Escape(token));
      }
      return *found;
    };
    const std::int32_t left = id(merges[i].first), right = id(merges[i].second);
    const std::int32_t both = id(merges[i].first + merges[i].second);
    merges_.insert_or_assign(PairKey(left, right), Result{static_cast<std::uint32_t>(i), both});
  }
}

// What merging begins with: a token for each byte, or each character; see Options.
BpeModel::Tokens BpeModel::Units(std::string_view bytes) const {
  Tokens units;
  units.reserve(bytes.size());
  bool fused = false;  // the last unit is unk and takes neighbours in
  const auto put = [&](std::int32_t id, std::uint32_t length) {
    const bool unknown = id < 0;
    if (unknown && !options_.unk) RefuseUnknown(bytes, options_.unk_name);
    if (unknown && fused && options_.fuse_unk) {
      units.back().second += length;
      return;
    }
    fused = unknown;
    units.push_back({unknown ? *options_.unk : id, length});
  };
  if (!options_.characters) {
    for (const char c : bytes) put(byte_ids_[static_cast<std::uint8_t>(c)], 1);
    return units;
  }
  std::vector<idx_t> starts;
  const Glyphs glyphs = DecodeUtf8(bytes, starts);
  for (std::size_t i = 0; i < glyphs.size(); ++i) {
    const auto known = character_ids_.find(glyphs[i].c);
    const auto begin = static_cast<std::size_t>(starts[i]);
    const auto length = static_cast<std::size_t>(starts[i + 1]) - begin;
    if (known != character_ids_.end()) {
      put(known->second, static_cast<std::uint32_t>(length));
    } else if (options_.byte_fallback) {
      for (const char c : bytes.substr(begin, length)) {
        put(fallback_[static_cast<std::uint8_t>(c)], 1);
      }
    } else {
      put(-1, static_cast<std::uint32_t>(length));
    }
  }
  return units;
}

// Symbols form a list; a heap holds the pairs that can merge, the lowest rank first and of equal
// ones the leftmost. Entries whose symbols have changed since are skipped.
BpeModel::Tokens BpeModel::Merge(std::string_view bytes) const {
  struct Symbol {
    std::int32_t id;
    std::uint32_t length;  // bytes; 0: merged into the one before
    std::int32_t previous, next;
  };
  struct Candidate {
    std::uint32_t rank;
    std::int32_t at, left, right, id;
    bool operator<(const Candidate& other) const {  // the top of the heap is the largest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::vector<Symbol> symbols;
  symbols.reserve(bytes.size());
  for (const auto& [id, length] : Units(bytes)) {
    const auto i = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, length, i - 1, i + 1});
  }
  if (symbols.empty()) return {};
  symbols.back().next = -1;
  const auto at = [&](std::int32_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
  std::vector<Candidate> heap;
  const auto push = [&](std::int32_t i) {
    if (i < 0 || at(i).next < 0) return;
    const std::int32_t left = at(i).id, right = at(at(i).next).id;
    const auto found = merges_.find(PairKey(left, right));
    if (found == merges_.end()) return;
    heap.push_back({found->second.rank, i, left, right, found->second.id});
    std::push_heap(heap.begin(), heap.end());
  };
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(symbols.size()); ++i) push(i);
  std::size_t popped = 0;
  while (!heap.empty()) {
    // A text without spaces is one word, and may be long: Gemma's normalizer leaves none.
    if (++popped % kMergesBetweenChecks == 0) CancelScope::Check();
    std::pop_heap(heap.begin(), heap.end());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& symbol = at(top.at);
    if (symbol.length == 0 || symbol.id != top.left || symbol.next < 0 ||
        at(symbol.next).id != top.right) {
      continue;
    }
    Symbol& right = at(symbol.next);
    symbol.id = top.id;
    symbol.length += right.length;
    right.length = 0;
    symbol.next = right.next;
    if (symbol.next >= 0) at(symbol.next).previous = top.at;
    push(symbol.previous);
    push(top.at);
  }
  Tokens tokens;
  for (std::int32_t i = 0; i >= 0; i = at(i).next) tokens.push_back({at(i).id, at(i).length});
  return tokens;
}

void BpeModel::EncodeWord(const Vocabulary& vocabulary, const Glyph* first, const Glyph* last,
                          Cache& cache, TokenRow& row) const {
  std::string bytes;
  std::vector<const Glyph*> owners;  // of each byte
  for (const Glyph* g = first; g != last; ++g) {
    const std::size_t begin = bytes.size();
    AppendUtf8(g->c, bytes);
    if (!options_.unk && options_.unk_name.empty() &&
        !options_.characters) {  // bytes without a token give nothing
      const auto kept =
          std::remove_if(bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.end(),
                         [&](char c) { return byte_ids_[static_cast<std::uint8_t>(c)] < 0; });
      bytes.erase(kept, bytes.end());
    }
    owners.resize(bytes.size(), g);
  }
  if (bytes.empty()) return;
  if (options_.ignore_merges) {
    std::string characters = options_.characters ? bytes : std::string();
    for (const char c : options_.characters ? std::string_view() : std::string_view(bytes)) {
      AppendUtf8(ByteCharacter(static_cast<std::uint8_t>(c)), characters);
    }
    if (const auto whole = vocabulary.IdOf(characters)) {
      row.ids.push_back(*whole);
      row.chars.push_back({owners.front()->begin, owners.back()->end});
      return;
    }
  }
  auto known = cache.words.find(bytes);
  Tokens fresh;
  if (known == cache.words.end()) {
    fresh = Merge(bytes);
    if (bytes.size() <= limits::kLongestBpeWord && cache.words.size() < limits::kMostBpeWords) {
      known = cache.words.emplace(bytes, fresh).first;
    }
  }
  std::size_t at = 0;
  for (const auto& [id, length] : known == cache.words.end() ? fresh : known->second) {
    row.ids.push_back(id);
    row.chars.push_back({owners[at]->begin, owners[at + length - 1]->end});
    at += length;
  }
}

WordPieceModel::WordPieceModel(const Vocabulary& vocabulary, Options options)
    : options_(std::move(options)) {
  std::vector<idx_t> starts;
  for (std::int32_t id = 0; id < vocabulary.bound(); ++id) {
    const std::string* token = vocabulary.TokenOf(id);
    if (token == nullptr || token->empty()) continue;
    std::uint32_t node = 0;
    for (const Glyph& g : DecodeUtf8(*token, starts)) {
      const auto next = static_cast<std::uint32_t>(ends_.size());
      const auto [edge, fresh] = edges_.try_emplace(std::uint64_t{node} << 21 | g.c, next);
      if (fresh) ends_.push_back(-1);
      node = edge->second;
    }
    ends_[node] = id;
  }
  inside_ = 0;
  for (const Glyph& g : DecodeUtf8(options_.prefix, starts)) {
    if (inside_) inside_ = Next(*inside_, g.c);
  }
}

std::optional<std::uint32_t> WordPieceModel::Next(std::uint32_t node, char32_t c) const {
  const auto edge = edges_.find(std::uint64_t{node} << 21 | c);
  return edge == edges_.end() ? std::nullopt : std::optional(edge->second);
}

void WordPieceModel::EncodeWord(const Glyph* first, const Glyph* last, TokenRow& row) const {
  const std::size_t before = row.ids.size();
  const auto unknown = [&] {
    row.ids.resize(before);
    row.chars.resize(before);
    if (!options_.unk) RefuseUnknown(ToUtf8(first, last), options_.unk_name);
    row.ids.push_back(*options_.unk);
    row.chars.push_back({first->begin, (last - 1)->end});
  };
  if (last - first > options_.longest_word) return unknown();
  for (const Glyph* begin = first; begin != last;) {
    // All lengths at once: the longest token that the characters pass is taken.
    std::optional<std::uint32_t> node = begin == first ? std::optional(0u) : inside_;
    const Glyph* end = begin;
    std::int32_t id = 0;
    for (const Glyph* g = begin; g != last && node;) {
      node = Next(*node, (g++)->c);
      if (node && ends_[*node] >= 0) {
        id = ends_[*node];
        end = g;
      }
    }
    if (end == begin) return unknown();
    row.ids.push_back(id);
    row.chars.push_back({begin->begin, (end - 1)->end});
    begin = end;
  }
}

// ---- Unigram ------------------------------------------------------------------------------------

UnigramModel::UnigramModel(const Vocabulary& vocabulary, std::vector<double> scores,
                           const Options& options, std::string_view source)
    : scores_(std::move(scores)), options_(options) {
  constexpr double kUnknownPenalty = 10.0;
  if (options.byte_fallback) fallback_ = ByteTokensOf(vocabulary, source);
  Check(!scores_.empty() && static_cast<idx_t>(scores_.size()) == vocabulary.bound(),
        ErrorCode::kFormat, "{}: {} scores for {} tokens", source, scores_.size(),
        vocabulary.bound());
  unk_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  std::vector<idx_t> starts;
  for (std::int32_t id = 0; id < vocabulary.bound(); ++id) {
    std::uint32_t node = 0;
    for (const Glyph& g : DecodeUtf8(*vocabulary.TokenOf(id), starts)) {
      const auto next = static_cast<std::uint32_t>(ends_.size());
      const auto [edge, fresh] = edges_.try_emplace(std::uint64_t{node} << 21 | g.c, next);
      if (fresh) ends_.push_back(-1);
      node = edge->second;
    }
    if (node > 0) ends_[node] = id;
  }
}

// nodes[i]: the best way to the place before glyph i. A later way must be better to win.
std::vector<UnigramModel::Node> UnigramModel::BestPath(const Glyph* first,
                                                       const Glyph* last) const {
  const auto size = static_cast<std::size_t>(last - first);
  std::vector<Node> nodes(size + 1);
  for (std::size_t from = 0; from < size; ++from) {
    const auto offer = [&](std::size_t to, std::int32_t id, double score) {
      Node& node = nodes[to];
      const double sum = score + nodes[from].score;
      if (node.from < 0 || sum > node.score) node = {sum, static_cast<idx_t>(from), id};
    };
    bool single = false;  // the character alone is a token
    std::uint32_t at = 0;
    for (std::size_t to = from; to < size;) {
      const auto edge = edges_.find(std::uint64_t{at} << 21 | first[to].c);
      if (edge == edges_.end()) break;
      at = edge->second;
      ++to;
      const std::int32_t id = ends_[at];
      if (id < 0) continue;
      offer(to, id, scores_[static_cast<std::size_t>(id)]);
      single = single || to == from + 1;
    }
    if (!single) offer(from + 1, -1, unk_score_);
  }
  return nodes;
}

void UnigramModel::EncodeWord(const Glyph* first, const Glyph* last, TokenRow& row) const {
  struct Piece {
    idx_t begin, end;
    std::int32_t id;
  };
  const std::vector<Node> nodes = BestPath(first, last);
  std::vector<Piece> pieces;  // the last one first
  // The token unk, spelled out in the text, counts as a character without a token.
  const auto unknown = [&](std::int32_t id) { return id < 0 || id == options_.unk; };
  for (idx_t end = last - first; end > 0;) {
    const Node& node = nodes[static_cast<std::size_t>(end)];
    if (unknown(node.id) && !pieces.empty() && unknown(pieces.back().id)) {
      pieces.back().begin = node.from;
      pieces.back().id = -1;
    } else {
      pieces.push_back({node.from, end, node.id});
    }
    end = node.from;
  }
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    const Glyph *begin = first + piece->begin, *end = first + piece->end;
    const Span place{begin->begin, (end - 1)->end};
    const auto put = [&](std::int32_t id) {
      row.ids.push_back(id);
      row.chars.push_back(place);
    };
    if (piece->id >= 0) {
      put(piece->id);
    } else if (options_.byte_fallback) {
      for (const char c : ToUtf8(begin, end)) put(fallback_[static_cast<std::uint8_t>(c)]);
    } else {
      put(options_.unk);
    }
  }
}

}  // namespace longspan::text
