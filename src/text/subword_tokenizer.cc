#include "text/subword_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "base/cancel.h"
#include "base/errors.h"
#include "longspan/files.h"

namespace longspan::text {
namespace {

Glyphs GlyphsOf(std::string_view text) {
  std::vector<idx_t> starts;
  return DecodeUtf8(text, starts);
}

// White space at the ends of a spelling, in characters.
struct Blanks {
  idx_t leading = 0, trailing = 0;
};

Blanks BlankEnds(const Glyphs& glyphs) {
  const auto is_space = [](const Glyph& g) {
    return g.c == ByteCharacter(' ') || (Kind(g.c) & kSpace) != 0;
  };
  const auto front = std::find_if_not(glyphs.begin(), glyphs.end(), is_space);
  const auto back = std::find_if_not(glyphs.rbegin(), glyphs.rend(), is_space);
  return {front - glyphs.begin(), back - glyphs.rbegin()};
}

class SubwordTokenizer final : public Tokenizer {
 public:
  SubwordTokenizer(TokenizerParts parts, std::string_view source) : parts_(std::move(parts)) {
    bound_ = parts_.vocabulary.bound();
    std::size_t bytes = 0;
    for (const AddedToken& token : parts_.added) bytes += token.content.size();
    Growth growth(bytes);
    for (std::size_t i = 0; i < parts_.added.size(); ++i) AddToken(i, source, growth);
    raw_.Finish();
    normalized_.Finish();
    special_ = parts_.special;
    longest_ = parts_.longest;
    single_ = Pieces(parts_.single, source);
    pair_ = Pieces(parts_.pair, source);
    if (!parts_.trim_offsets) return;
    blanks_.resize(static_cast<std::size_t>(parts_.vocabulary.bound()));
    for (std::size_t id = 0; id < blanks_.size(); ++id) {
      const std::string* token = parts_.vocabulary.TokenOf(static_cast<std::int32_t>(id));
      if (token != nullptr) blanks_[id] = BlankEnds(GlyphsOf(*token));
    }
  }

  std::string_view kind() const override { return parts_.kind; }
  idx_t vocabulary() const override { return bound_; }

  std::string TokenOf(std::int32_t id) const override {
    const std::string* token = Spelling(id);
    Check(token != nullptr, ErrorCode::kFormat, "tokenizer: id {} has no token, ids are in [0, {})",
          id, bound_);
    return *token;
  }

  std::optional<bool> ContinuesWord(std::int32_t id) const override {
    const WordPieceModel* pieces = std::get_if<WordPieceModel>(&*parts_.model);
    const std::string* token = Spelling(id);
    if (pieces == nullptr || pieces->options().prefix.empty() || token == nullptr) {
      return std::nullopt;
    }
    return token->starts_with(pieces->options().prefix);
  }
  std::optional<std::int32_t> IdOf(std::string_view token) const override {
    const auto added = added_by_content_.find(std::string(token));
    if (added != added_by_content_.end()) return parts_.added[added->second].id;
    return parts_.vocabulary.IdOf(token);
  }

  std::string Decode(std::span<const std::int32_t> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string* token = Spelling(ids[i]);
      Check(token != nullptr, ErrorCode::kFormat,
            "tokenizer: id {} at position {} has no token, ids are in [0, {})", ids[i], i, bound_);
      const auto added = added_by_id_.find(ids[i]);
      const bool special = added != added_by_id_.end() && parts_.added[added->second].special;
      if (!special || !skip_special) tokens.push_back(*token);
    }
    return parts_.decoder.Join(std::move(tokens));
  }

 protected:
  TokenRow EncodeText(std::string_view text, bool continues) const override {
    TokenRow row;
    Glyphs glyphs = DecodeUtf8(text, row.starts);
    CancelScope::Check();  // of many megabytes each step takes some tenths of a second
    Work work{.growth = Growth(text.size()), .cache = {}};
    const std::vector<AddedSplit> splits = raw_.Split(glyphs);
    CancelScope::Check();
    if (splits.size() == 1 && splits[0].id < 0) {
      parts_.normalizer.Apply(glyphs, work.growth, !continues);
      EncodeNormalized(std::move(glyphs), !continues, work, row);
      return row;
    }
    for (const AddedSplit& split : splits) {
      Glyphs part(glyphs.begin() + static_cast<std::ptrdiff_t>(split.begin),
                  glyphs.begin() + static_cast<std::ptrdiff_t>(split.end));
      if (split.id >= 0) {
        PutToken(split.id, part, row);
      } else {
        const bool prepend = split.begin > 0 || !continues;
        parts_.normalizer.Apply(part, work.growth, prepend);
        EncodeNormalized(std::move(part), prepend, work, row);
      }
    }
    return row;
  }

 private:
  static constexpr std::size_t kWordsBetweenChecks = 1024;  // some tenths of a millisecond

  // What is kept while one text is encoded.
  struct Work {
    Growth growth;
    BpeModel::Cache cache;
  };

  // `growth` of all tokens' spellings.
  void AddToken(std::size_t index, std::string_view source, Growth& growth) {
    const AddedToken& token = parts_.added[index];
    const std::string* known = parts_.vocabulary.TokenOf(token.id);
    const auto id = parts_.vocabulary.IdOf(token.content);
    const idx_t most = parts_.vocabulary.bound() + static_cast<idx_t>(parts_.added.size()) +
                       limits::kMostVocabularyGap;
    Check(token.id >= 0 && token.id < most && !token.content.empty(), ErrorCode::kFormat,
          "{}: added token \"{}\" has id {}, must be in [0, {}) beside a vocabulary of {}", source,
          io::Escape(token.content), token.id, most, parts_.vocabulary.bound());
    Check((known == nullptr || *known == token.content) && (!id || *id == token.id),
          ErrorCode::kFormat,
          "{}: added token \"{}\" has id {}, in the vocabulary it is {} and this id is \"{}\"",
          source, io::Escape(token.content), token.id, id ? std::to_string(*id) : "absent",
          io::Escape(known == nullptr ? "" : *known));
    const bool fresh = added_by_id_.emplace(token.id, index).second &&
                       added_by_content_.emplace(token.content, index).second;
    Check(fresh, ErrorCode::kFormat, "{}: added token \"{}\" with id {} is there twice", source,
          io::Escape(token.content), token.id);
    Glyphs content = GlyphsOf(token.content);
    if (token.normalized) parts_.normalizer.Apply(content, growth);
    growth.Spend(content.size());
    (token.normalized ? normalized_ : raw_).Add(content, token);
    spellings_.push_back(ToUtf8(content.data(), content.data() + content.size()));
    bound_ = std::max(bound_, idx_t{token.id} + 1);
  }

  Template Pieces(const std::vector<TokenizerParts::Place>& places, std::string_view source) const {
    Template pieces;
    for (const auto& place : places) {
      Check(place.sequence >= 0 || Spelling(place.id) != nullptr, ErrorCode::kFormat,
            "{}: the template's special token has id {}, which no token has", source, place.id);
      pieces.push_back({place.sequence, place.id, place.type});
    }
    return pieces;
  }

  const std::string* Spelling(std::int32_t id) const {
    const auto added = added_by_id_.find(id);
    if (added != added_by_id_.end()) return &spellings_[added->second];
    return parts_.vocabulary.TokenOf(id);
  }

  // `prepend`: false for the front of a text that goes on from another one.
  void EncodeNormalized(Glyphs glyphs, bool prepend, Work& work, TokenRow& row) const {
    CancelScope::Check();
    if (normalized_.empty()) return EncodeWords(std::move(glyphs), prepend, work, row);
    for (const AddedSplit& split : normalized_.Split(glyphs)) {
      Glyphs part(glyphs.begin() + static_cast<std::ptrdiff_t>(split.begin),
                  glyphs.begin() + static_cast<std::ptrdiff_t>(split.end));
      if (split.id >= 0) {
        PutToken(split.id, part, row);
      } else {
        EncodeWords(std::move(part), prepend || split.begin > 0, work, row);
      }
    }
  }

  void EncodeWords(Glyphs glyphs, bool prepend, Work& work, TokenRow& row) const {
    const Words words = parts_.pre_tokenizer.Apply(std::move(glyphs), work.growth, prepend);
    const std::size_t before = row.ids.size();
    std::size_t done = 0;
    for (const auto& [begin, end] : words.ranges) {
      if (++done % kWordsBetweenChecks == 0) CancelScope::Check();
      const Glyph *first = words.glyphs.data() + begin, *last = words.glyphs.data() + end;
      if (const auto* bpe = std::get_if<BpeModel>(&*parts_.model)) {
        bpe->EncodeWord(parts_.vocabulary, first, last, work.cache, row);
      } else if (const auto* pieces = std::get_if<WordPieceModel>(&*parts_.model)) {
        pieces->EncodeWord(first, last, row);
      } else {
        std::get<UnigramModel>(*parts_.model).EncodeWord(first, last, row);
      }
    }
    work.growth.Spend(words.glyphs.size());
    work.growth.HoldTokens(row.ids.size());
    if (!parts_.trim_offsets) return;
    for (std::size_t i = before; i < row.ids.size(); ++i) {
      Trim(blanks_[static_cast<std::size_t>(row.ids[i])], i, row);
    }
  }

  // An added token: white space that it took along counts as its own.
  void PutToken(std::int32_t id, const Glyphs& part, TokenRow& row) const {
    row.ids.push_back(id);
    row.chars.push_back({part.front().begin, part.back().end});
    if (parts_.trim_offsets) Trim(BlankEnds(part), row.ids.size() - 1, row);
  }

  // Takes as many characters from the ends of token `i`'s place as its spelling has white space
  // there, though never more than are there: as the `tokenizers` package counts, which forgets that
  // a space put before a word in mid-text was never in the text.
  void Trim(Blanks blanks, std::size_t i, TokenRow& row) const {
    Span& span = row.chars[i];
    idx_t leading = blanks.leading;
    if (leading > 0 && parts_.prefix_space && (i == 0 || span.begin == 0)) --leading;
    span.begin = std::min(span.begin + leading, span.end);
    if (span.end >= blanks.trailing) span.end = std::max(span.end - blanks.trailing, span.begin);
  }

  TokenizerParts parts_;
  AddedTokenFinder raw_, normalized_;
  std::vector<std::string> spellings_;  // of the added tokens, as they stand in a normalized text
  std::unordered_map<std::int32_t, std::size_t> added_by_id_;
  std::unordered_map<std::string, std::size_t> added_by_content_;
  std::vector<Blanks> blanks_;  // of the vocabulary's tokens, by id
  idx_t bound_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> MakeSubwordTokenizer(TokenizerParts parts, std::string_view source) {
  return std::make_unique<SubwordTokenizer>(std::move(parts), source);
}

}  // namespace longspan::text
