// Texts as one stream of token ids, from which rows of any length are cut.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "text/tokenizer.h"

namespace longspan {

// Where a document ends: with its file, at every blank line, at every line.
enum class Documents { kFile, kBlankLine, kLine };
// "file", "blank-line", "line"; kUsage otherwise.
Documents ParseDocuments(const std::string& name);

// [begin, end) of the documents of a text, in order; none is empty or of white space only.
std::vector<std::string_view> SplitDocuments(std::string_view text, Documents documents);

class TokenStream {
 public:
  // Bytes of text that are turned into tokens at a time: pieces end with a line where there is one.
  // A token that would cross from one piece into the next is split there.
  static constexpr std::size_t kPieceBytes = 1 << 16;

  TokenStream() = default;
  // The ids of all documents of the files, in order; between two documents stands `separator`, if
  // there is one. Four bytes of memory a token. kIo, kFormat.
  TokenStream(Context& context, const text::Tokenizer& tokenizer,
              const std::vector<std::filesystem::path>& files, Documents documents,
              std::optional<std::int32_t> separator);

  std::span<const std::int32_t> ids() const { return ids_; }
  idx_t documents() const { return documents_; }
  // Changes when any byte of the files does.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  std::vector<std::int32_t> ids_;
  idx_t documents_ = 0;
  std::string fingerprint_;
};

}  // namespace longspan
