#include "train/token_stream.h"

#include <algorithm>
#include <utility>

#include "parallel/parallel_for.h"
#include "text/text_pieces.h"

namespace longspan {

TokenStream::TokenStream(Context& context, const text::Tokenizer& tokenizer,
                         std::span<const data::CorpusFile> files, Documents kind,
                         std::optional<std::int32_t> separator) {
  for (const data::CorpusFile& file : files) {
    fingerprint_ += (fingerprint_.empty() ? "" : " ") + file.Fingerprint();
    Append(context, tokenizer, file.DocumentsOf(kind), separator);
  }
  // A separator stands between two documents, not after the last one.
  if (separator && !starts_.empty()) ids_.pop_back();
}

void TokenStream::Append(Context& context, const text::Tokenizer& tokenizer,
                         std::span<const std::string_view> documents,
                         std::optional<std::int32_t> end) {
  std::vector<std::string_view> pieces;
  std::vector<std::size_t> first;  // piece of each document
  for (const std::string_view document : documents) {
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
