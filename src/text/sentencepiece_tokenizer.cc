#include "text/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <unordered_map>

#include "base/cancel.h"
#include "base/errors.h"
#include "longspan/files.h"
#include "text/growth.h"

namespace longspan::text {
namespace {

using sentencepiece::SentencePieceProcessor;

// Bytes at once where the library takes quadratic time: some 10 ms.
constexpr std::size_t kQuadratic = std::size_t{1} << 14;

std::size_t BytesOf(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

std::unique_ptr<SentencePieceProcessor> Load(const std::string& bytes, std::string_view source) {
  auto processor = std::make_unique<SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto(bytes);
  Check(status.ok(), ErrorCode::kFormat, "{}: the SentencePiece library refuses it: {}", source,
        io::Escape(status.ToString()));
  return processor;
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(TokenizerParts parts, const SentencePieceFile& file,
                         std::string_view bytes, std::string_view source,
                         const SentencePieceCut& cut)
      : vocabulary_(std::move(parts.vocabulary)),
        bpe_(file.kind == SentencePieceFile::Kind::kBpe),
        dummy_prefix_(file.dummy_prefix),
        drop_extra_spaces_(file.drop_extra_spaces),
        words_apart_(file.words_apart),
        cut_(cut),
        unk_(file.unk) {
    // The library joins neighbouring characters without a piece to one, in time quadratic in their
    // number. Characters become bytes instead, and these one unk here. Where pieces are called as
    // those bytes are, short pieces of text keep the time low.
    const bool byte_pieces = !file.byte_fallback && !file.byte_names;
    if (!file.byte_fallback && file.byte_names) cut_ = {kQuadratic, kQuadratic};
    with_prefix_ = Load(EncodingModel(bytes, true, byte_pieces), source);
    without_prefix_ = Load(EncodingModel(bytes, false, byte_pieces), source);
    for (std::size_t id = 0; id < file.pieces.size(); ++id) {
      is_byte_.push_back(file.pieces[id].type == PieceType::kByte);
    }
    bound_ = vocabulary_.bound();
    for (AddedToken& token : parts.added) {
      std::vector<idx_t> starts;
      const Glyphs content = DecodeUtf8(token.content, starts);
      const idx_t most =
          vocabulary_.bound() + static_cast<idx_t>(parts.added.size()) + limits::kMostVocabularyGap;
      Check(token.id >= 0 && token.id < most && !content.empty(), ErrorCode::kFormat,
            "{}: added token \"{}\" has id {}, must be in [0, {}) beside a vocabulary of {}",
            source, io::Escape(token.content), token.id, most, vocabulary_.bound());
      const std::string* piece = vocabulary_.TokenOf(token.id);
      Check(piece == nullptr || *piece == token.content, ErrorCode::kFormat,
            "{}: added token \"{}\" has id {}, which is the piece \"{}\"", source,
            io::Escape(token.content), token.id, piece == nullptr ? "" : io::Escape(*piece));
      finder_.Add(content, token);
      bound_ = std::max(bound_, idx_t{token.id} + 1);
      const bool fresh = added_.emplace(token.id, std::move(token)).second;
      Check(fresh, ErrorCode::kFormat, "{}: an added token's id is there twice", source);
    }
    finder_.Finish();
    special_ = parts.special;
    longest_ = parts.longest;
    pair_ = {{0, 0, 0}, {1, 0, 1}};
  }

  std::string_view kind() const override {
    return bpe_ ? "SentencePiece BPE" : "SentencePiece Unigram";
  }
  idx_t vocabulary() const override { return bound_; }
  std::string TokenOf(std::int32_t id) const override {
    const std::string* token = Spelling(id);
    Check(token != nullptr, ErrorCode::kFormat, "tokenizer: id {} has no token, ids are in [0, {})",
          id, bound_);
    return *token;
  }
  std::optional<std::int32_t> IdOf(std::string_view token) const override {
    for (const auto& [id, added] : added_) {
      if (added.content == token) return id;
    }
    return vocabulary_.IdOf(token);
  }

  // Special tokens stand as they are spelled; what is between them is the library's.
  std::string Decode(std::span<const std::int32_t> ids, bool skip_special) const override {
    const SentencePieceProcessor& model = dummy_prefix_ ? *with_prefix_ : *without_prefix_;
    std::size_t bytes = 0;
    for (const std::int32_t id : ids) bytes += Spelling(id) == nullptr ? 0 : Spelling(id)->size();
    const Growth growth(bytes, "bytes");  // the model says what stands for its unk
    std::string text;
    std::vector<int> run;
    const auto flush = [&] {
      std::string part;
      if (!run.empty()) Require(model.Decode(run, &part));
      text += part;
      run.clear();
      growth.Hold(text.size(), "decoder", 0, "SentencePiece");
    };
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string* token = Spelling(ids[i]);
      Check(token != nullptr, ErrorCode::kFormat,
            "tokenizer: id {} at position {} has no token, ids are in [0, {})", ids[i], i, bound_);
      const auto added = added_.find(ids[i]);
      if (added == added_.end()) {
        run.push_back(ids[i]);
      } else if (!skip_special || !added->second.special) {
        flush();
        text += *token;
      }
    }
    flush();
    return text;
  }

 protected:
  TokenRow EncodeText(std::string_view text, bool continues) const override {
    TokenRow row;
    const Growth growth(text.size());
    const Glyphs glyphs = DecodeUtf8(text, row.starts);
    CancelScope::Check();  // of many megabytes each step takes some tenths of a second
    for (const AddedSplit& split : finder_.Split(glyphs)) {
      if (split.id >= 0) {
        row.ids.push_back(split.id);
        row.chars.push_back({glyphs[split.begin].begin, glyphs[split.end - 1].end});
      } else {
        EncodePart(glyphs, split, dummy_prefix_ && (split.begin > 0 || !continues), row);
        growth.HoldTokens(row.ids.size());
      }
    }
    return row;
  }

 private:
  static void Require(const sentencepiece::util::Status& status) {
    Check(status.ok(), ErrorCode::kFormat, "tokenizer: the SentencePiece library: {}",
          io::Escape(status.ToString()));
  }

  const std::string* Spelling(std::int32_t id) const {
    const auto added = added_.find(id);
    return added != added_.end() ? &added->second.content : vocabulary_.TokenOf(id);
  }

  // Where a piece of text ends and the next one begins: the space between them, if there is one, is
  // made by the library.
  struct Cut {
    std::size_t end, next;
  };

  Cut CutAt(const Glyphs& glyphs, std::size_t at, std::size_t end) const {
    std::size_t bytes = 0, wide = 0, last = at;
    for (; last < end; ++last) {
      const std::size_t size = BytesOf(glyphs[last].c);
      bytes += size;
      if (size > 1) wide += size;
      if (bytes > cut_.bytes || wide > cut_.wide) break;
    }
    if (last == end) return {end, end};
    last = std::max(last, at + 1);
    const std::size_t first = at + (last - at) / 2;
    const auto is = [&](std::size_t i, KindBits kinds) { return (Kind(glyphs[i].c) & kinds) != 0; };
    constexpr KindBits kText = kLetter | kNumber;
    for (std::size_t i = last; words_apart_ && i > first; --i) {
      if (glyphs[i].c == ' ' && is(i - 1, kText) && i + 1 < end && is(i + 1, kText)) {
        return {i, i + 1};
      }
    }
    for (std::size_t i = last; i > first; --i) {
      if (!is(i - 1, kSpace) && !is(i, kSpace | kAnyMark)) return {i, i};
    }
    return {last, last};
  }

  // `prefix`: a space is put before it.
  void EncodePart(const Glyphs& glyphs, const AddedSplit& split, bool prefix, TokenRow& row) const {
    const std::size_t first = row.ids.size();
    bool space = false;  // the last cut took one
    for (std::size_t at = split.begin; at < split.end;) {
      CancelScope::Check();
      const Cut cut = CutAt(glyphs, at, split.end);
      const std::size_t before = row.ids.size();
      EncodePiece(prefix ? *with_prefix_ : *without_prefix_, glyphs, at, cut.end, row);
      // The place of the library's space is that of the text's.
      if (space && row.ids.size() > before) row.chars[before].begin = static_cast<idx_t>(at) - 1;
      if (before > first && row.ids.size() > before) JoinUnknown(before, row);
      if (cut.end == split.end) return;
      space = cut.next > cut.end;
      // Spaces at the ends of a piece go, one of them stands between words.
      const auto is_space = [&](std::size_t i) { return (Kind(glyphs[i].c) & kSpace) != 0; };
      prefix = space || (drop_extra_spaces_ && (is_space(cut.end - 1) || is_space(cut.end)));
      at = cut.next;
    }
  }

  // Makes one of the unknown token `at` and one before it that ends where it begins.
  void JoinUnknown(std::size_t at, TokenRow& row) const {
    const bool join = row.ids[at] == unk_ && row.ids[at - 1] == unk_ &&
                      row.chars[at - 1].end == row.chars[at].begin;
    if (!join) return;
    row.chars[at - 1].end = row.chars[at].end;
    row.ids.erase(row.ids.begin() + static_cast<std::ptrdiff_t>(at));
    row.chars.erase(row.chars.begin() + static_cast<std::ptrdiff_t>(at));
  }

  // Glyphs [begin, end) through the library at once.
  void EncodePiece(const SentencePieceProcessor& model, const Glyphs& glyphs, std::size_t begin,
                   std::size_t end, TokenRow& row) const {
    std::string part;
    std::vector<std::uint32_t> starts;  // byte of each glyph in `part`
    starts.reserve(end - begin);
    for (std::size_t i = begin; i < end; ++i) {
      starts.push_back(static_cast<std::uint32_t>(part.size()));
      AppendUtf8(glyphs[i].c, part);
    }
    sentencepiece::ImmutableSentencePieceText pieces;
    Require(model.Encode(part, pieces.mutable_proto()));
    // The character that a byte belongs to; the end of the text behind the last one.
    const auto character = [&](std::uint32_t byte) {
      if (byte >= part.size()) return static_cast<idx_t>(end);
      const auto behind = std::upper_bound(starts.begin(), starts.end(), byte);
      return static_cast<idx_t>(begin) + (behind - starts.begin()) - 1;
    };
    const std::size_t before = row.ids.size();
    bool unknown = false;  // the last piece was a byte of unknown characters
    for (std::size_t i = 0; i < pieces.pieces_size(); ++i) {
      const auto piece = pieces.pieces(static_cast<int>(i));
      const auto id = static_cast<std::int32_t>(piece.id());
      const bool byte = id >= vocabulary_.bound();  // one of EncodingModel
      if (byte && unknown) {
        if (piece.end() > piece.begin()) row.chars.back().end = character(piece.end());
      } else {
        row.ids.push_back(byte ? unk_ : id);
        row.chars.push_back({character(piece.begin()), character(piece.end())});
      }
      unknown = byte;
    }
    // Of a character's bytes the library gives the place to the last one: here each has it.
    for (std::size_t i = row.ids.size(); i-- > before + 1;) {
      Span& left = row.chars[i - 1];
      const Span& right = row.chars[i];
      const bool bytes = IsByte(row.ids[i - 1]) && IsByte(row.ids[i]);
      if (bytes && left.begin == left.end && left.begin == right.begin) left.end = right.end;
    }
  }

  bool IsByte(std::int32_t id) const { return is_byte_[static_cast<std::size_t>(id)]; }

  Vocabulary vocabulary_;
  bool bpe_, dummy_prefix_, drop_extra_spaces_, words_apart_;
  SentencePieceCut cut_;
  std::int32_t unk_;
  std::unique_ptr<SentencePieceProcessor> with_prefix_, without_prefix_;  // a space before a text
  std::vector<bool> is_byte_;                                             // by id
  AddedTokenFinder finder_;
  std::unordered_map<std::int32_t, AddedToken> added_;
  idx_t bound_ = 0;
};

}  // namespace

Vocabulary VocabularyOf(const SentencePieceFile& file, std::string_view source) {
  Vocabulary vocabulary;
  const auto count = static_cast<idx_t>(file.pieces.size());
  for (idx_t id = 0; id < count; ++id) {
    vocabulary.Add(file.pieces[static_cast<std::size_t>(id)].text, id, count, source);
  }
  return vocabulary;
}

std::unique_ptr<Tokenizer> MakeSentencePieceTokenizer(TokenizerParts parts,
                                                      const SentencePieceFile& file,
                                                      std::string_view bytes,
                                                      std::string_view source,
                                                      const SentencePieceCut& cut) {
  return std::make_unique<SentencePieceTokenizer>(std::move(parts), file, bytes, source, cut);
}

}  // namespace longspan::text
