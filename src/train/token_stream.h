// Texts as one stream of token ids, from which rows of any length are cut.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "longspan/context.h"
#include "longspan/tokenizer.h"

namespace longspan {

class TokenStream {
 public:
  // Bytes of text that are turned into tokens at a time: pieces end with a line where there is one.
  // A token that would cross from one piece into the next is split there.
  static constexpr std::size_t kPieceBytes = 1 << 16;

  TokenStream() = default;
  // Reads the ids of all documents of the files, in order, with `separator` between two documents,
  // if there is one. Takes four bytes of memory a token.
  TokenStream(Context& context, const text::Tokenizer& tokenizer,
              std::span<const data::CorpusFile> files, Documents documents,
              std::optional<std::int32_t> separator);

  // Appends the ids of more documents, each followed by `end` if there is one.
  void Append(Context& context, const text::Tokenizer& tokenizer,
              std::span<const std::string_view> documents, std::optional<std::int32_t> end);

  std::span<const std::int32_t> ids() const { return ids_; }
  idx_t documents() const { return static_cast<idx_t>(starts_.size()); }
  // First index of each document in ids(). It ends where the next begins, with its separator.
  const std::vector<idx_t>& starts() const { return starts_; }
  idx_t bytes() const { return bytes_; }  // of the documents
  // Changes when any byte of the files does.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  std::vector<std::int32_t> ids_;
  std::vector<idx_t> starts_;
  idx_t bytes_ = 0;
  std::string fingerprint_;
};

}  // namespace longspan
