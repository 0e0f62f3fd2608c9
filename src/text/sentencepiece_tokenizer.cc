#include "text/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/errors.h"
#include "io/escape.h"

namespace longspan::text {
namespace {

using sentencepiece::SentencePieceProcessor;

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
                         std::string_view bytes, std::string_view source)
      : vocabulary_(std::move(parts.vocabulary)),
        bpe_(file.kind == SentencePieceFile::Kind::kBpe),
        spm_(Load(std::string(bytes), source)) {
    if (file.dummy_prefix) continuing_ = Load(WithoutDummyPrefix(bytes), source);
    for (std::size_t id = 0; id < file.pieces.size(); ++id) {
      is_byte_.push_back(file.pieces[id].type == PieceType::kByte);
    }
    bound_ = vocabulary_.bound();
    for (AddedToken& token : parts.added) {
      std::vector<idx_t> starts;
      const Glyphs content = DecodeUtf8(token.content, starts);
      Check(token.id >= 0 && !content.empty(), ErrorCode::kFormat,
            "{}: added token \"{}\" has id {}", source, io::Escape(token.content), token.id);
      const std::string* piece = vocabulary_.TokenOf(token.id);
      Check(piece == nullptr || *piece == token.content, ErrorCode::kFormat,
            "{}: added token \"{}\" has id {}, which is the piece \"{}\"", source,
            io::Escape(token.content), token.id, piece == nullptr ? "" : io::Escape(*piece));
      finder_.Add(content, token);
      bound_ = std::max(bound_, idx_t{token.id} + 1);
      const bool fresh = added_.emplace(token.id, std::move(token)).second;
      Check(fresh, ErrorCode::kFormat, "{}: an added token's id is there twice", source);
    }
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
    std::string text;
    std::vector<int> run;
    const auto flush = [&] {
      std::string part;
      if (!run.empty()) Require(spm_->Decode(run, &part));
      text += part;
      run.clear();
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
    const Glyphs glyphs = DecodeUtf8(text, row.starts);
    for (const AddedSplit& split : finder_.Split(glyphs)) {
      if (split.id >= 0) {
        row.ids.push_back(split.id);
        row.chars.push_back({glyphs[split.begin].begin, glyphs[split.end - 1].end});
      } else {
        const bool prefix = split.begin > 0 || !continues || !continuing_;
        EncodePart(prefix ? *spm_ : *continuing_, glyphs, split, row);
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

  void EncodePart(const SentencePieceProcessor& spm, const Glyphs& glyphs, const AddedSplit& split,
                  TokenRow& row) const {
    std::string part;
    std::vector<idx_t> starts;  // byte of each glyph in `part`
    for (std::size_t i = split.begin; i < split.end; ++i) {
      starts.push_back(static_cast<idx_t>(part.size()));
      AppendUtf8(glyphs[i].c, part);
    }
    constexpr std::size_t kMost = std::numeric_limits<std::int32_t>::max() / 4;
    Check(part.size() <= kMost, ErrorCode::kLimit,
          "text: {} bytes at once, at most {} go through SentencePiece; cut the text", part.size(),
          kMost);
    sentencepiece::ImmutableSentencePieceText pieces;
    Require(spm.Encode(part, pieces.mutable_proto()));
    // The character that a byte belongs to; the end of the text behind the last one.
    const auto character = [&](std::uint32_t byte) {
      if (byte >= part.size()) return static_cast<idx_t>(split.end);
      const auto behind = std::upper_bound(starts.begin(), starts.end(), idx_t{byte});
      return static_cast<idx_t>(split.begin) + (behind - starts.begin()) - 1;
    };
    const std::size_t before = row.ids.size();
    for (const auto& piece : pieces.pieces()) {
      row.ids.push_back(static_cast<std::int32_t>(piece.id()));
      row.chars.push_back({character(piece.begin()), character(piece.end())});
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
  bool bpe_;
  std::unique_ptr<SentencePieceProcessor> spm_, continuing_;
  std::vector<bool> is_byte_;  // by id
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
                                                      std::string_view source) {
  return std::make_unique<SentencePieceTokenizer>(std::move(parts), file, bytes, source);
}

}  // namespace longspan::text
