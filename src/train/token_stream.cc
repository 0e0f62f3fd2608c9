#include "train/token_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "io/escape.h"
#include "parallel/parallel_for.h"
#include "text/mapped_file.h"

namespace longspan {
namespace {

constexpr std::pair<Documents, const char*> kNames[] = {
    {Documents::kFile, "file"}, {Documents::kBlankLine, "blank-line"}, {Documents::kLine, "line"}};

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

// Cuts `text` at line ends into pieces of at most kPieceBytes; a longer line is cut anywhere but
// inside of a character.
void AddPieces(std::string_view text, std::vector<std::string_view>* pieces) {
  constexpr std::size_t kMost = TokenStream::kPieceBytes;
  while (text.size() > kMost) {
    std::size_t end = text.rfind('\n', kMost - 1);
    if (end != std::string_view::npos && end > 0) {
      ++end;
    } else {
      end = kMost;
      while (end > kMost - 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    }
    pieces->push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  if (!text.empty()) pieces->push_back(text);
}

}  // namespace

Documents ParseDocuments(const std::string& name) {
  for (const auto& [kind, known] : kNames) {
    if (name == known) return kind;
  }
  Fail(ErrorCode::kUsage, "documents: '{}' is unknown; use file, blank-line or line",
       io::Escape(name));
}

std::vector<std::string_view> SplitDocuments(std::string_view text, Documents documents) {
  std::vector<std::string_view> found;
  const auto add = [&](std::string_view document) {
    if (!IsBlank(document)) found.push_back(document);
  };
  if (documents == Documents::kFile) add(text);
  std::size_t begin = 0;  // of the document that the current line belongs to
  for (std::size_t at = 0; documents != Documents::kFile && at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const bool ends =
        documents == Documents::kLine || IsBlank(text.substr(at, end - at)) || end == text.size();
    if (ends) {
      add(text.substr(begin, end - begin));
      begin = std::min(end + 1, text.size());
    }
    at = end + 1;
  }
  if (documents != Documents::kFile) add(text.substr(begin));
  return found;
}

TokenStream::TokenStream(Context& context, const text::Tokenizer& tokenizer,
                         const std::vector<std::filesystem::path>& files, Documents kind,
                         std::optional<std::int32_t> separator) {
  text::EncodeOptions plain;
  plain.special_tokens = false;
  for (const auto& path : files) {
    const auto file = text::MappedFile::Open(path);
    fingerprint_ += (fingerprint_.empty() ? "" : " ") + file.Fingerprint();
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                                file.bytes().size());
    std::vector<std::string_view> pieces;
    std::vector<std::size_t> starts;  // pieces that begin a document
    for (const std::string_view document : SplitDocuments(text, kind)) {
      starts.push_back(pieces.size());
      AddPieces(document, &pieces);
    }
    std::vector<std::vector<std::int32_t>> parts(pieces.size());
    ParallelFor(context, static_cast<idx_t>(pieces.size()), [&](idx_t i, int) {
      const auto n = static_cast<std::size_t>(i);
      parts[n] = std::move(tokenizer.Encode(pieces[n], plain).front().ids);
    });
    auto next = starts.begin();
    for (std::size_t n = 0; n < parts.size(); ++n) {
      if (next != starts.end() && *next == n) {
        if (documents_++ > 0 && separator) ids_.push_back(*separator);
        ++next;
      }
      ids_.insert(ids_.end(), parts[n].begin(), parts[n].end());
    }
  }
}

}  // namespace longspan
