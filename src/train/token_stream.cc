#include "train/token_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "io/escape.h"
#include "parallel/parallel_for.h"
#include "text/mapped_file.h"
#include "text/text_pieces.h"

namespace longspan {
namespace {

constexpr std::pair<Documents, const char*> kNames[] = {{Documents::kFile, "file"},
                                                        {Documents::kBlankLine, "blank-line"},
                                                        {Documents::kLine, "line"},
                                                        {Documents::kJoined, "joined"}};

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

}  // namespace

Documents ParseDocuments(const std::string& name, bool joined) {
  for (const auto& [kind, known] : kNames) {
    if (name == known && (joined || kind != Documents::kJoined)) return kind;
  }
  Fail(ErrorCode::kUsage, "documents: '{}' is unknown; use file, blank-line{} line",
       io::Escape(name), joined ? ", joined or" : " or");
}

std::vector<std::string_view> SplitDocuments(std::string_view text, Documents documents) {
  std::vector<std::string_view> found;
  const auto add = [&](std::string_view document) {
    if (!IsBlank(document)) found.push_back(document);
  };
  const bool whole = documents == Documents::kFile || documents == Documents::kJoined;
  if (whole) add(text);
  std::size_t begin = 0;  // of the document that the current line belongs to
  for (std::size_t at = 0; !whole && at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const bool ends =
        documents == Documents::kLine || IsBlank(text.substr(at, end - at)) || end == text.size();
    if (ends) {
      add(text.substr(begin, end - begin));
      begin = std::min(end + 1, text.size());
    }
    at = end + 1;
  }
  if (!whole) add(text.substr(begin));
  return found;
}

TokenStream::TokenStream(Context& context, const text::Tokenizer& tokenizer,
                         const std::vector<std::filesystem::path>& files, Documents kind,
                         std::optional<std::int32_t> separator) {
  for (const auto& path : files) {
    const auto file = text::MappedFile::Open(path);
    fingerprint_ += (fingerprint_.empty() ? "" : " ") + file.Fingerprint();
    Append(context, tokenizer,
           {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, kind,
           separator);
  }
  // Between two documents, not behind the last one.
  if (separator && !starts_.empty()) ids_.pop_back();
}

void TokenStream::Append(Context& context, const text::Tokenizer& tokenizer, std::string_view text,
                         Documents kind, std::optional<std::int32_t> end) {
  std::vector<std::string_view> pieces;
  std::vector<std::size_t> first;  // piece of each document
  for (const std::string_view document : SplitDocuments(text, kind)) {
    first.push_back(pieces.size());
    text::CutAtLines(document, kPieceBytes, &pieces);
    bytes_ += static_cast<idx_t>(document.size());
  }
  std::vector<std::vector<std::int32_t>> parts(pieces.size());
  ParallelFor(context, static_cast<idx_t>(pieces.size()), [&](idx_t i, int) {
    const auto n = static_cast<std::size_t>(i);
    text::EncodeOptions plain;
    plain.special_tokens = false;
    plain.continues = !std::binary_search(first.begin(), first.end(), n);
    parts[n] = std::move(tokenizer.Encode(pieces[n], plain).front().ids);
  });
  for (std::size_t document = 0; document < first.size(); ++document) {
    starts_.push_back(static_cast<idx_t>(ids_.size()));
    const std::size_t behind = document + 1 < first.size() ? first[document + 1] : parts.size();
    for (std::size_t n = first[document]; n < behind; ++n) {
      ids_.insert(ids_.end(), parts[n].begin(), parts[n].end());
    }
    if (end) ids_.push_back(*end);
  }
}

}  // namespace longspan
