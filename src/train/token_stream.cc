#include "train/token_stream.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "io/checksum.h"
#include "parallel/parallel_for.h"
#include "text/text_pieces.h"

namespace longspan {
namespace {

constexpr idx_t kNarrowIds = idx_t{1} << 16;  // a vocabulary whose ids have two bytes
constexpr std::size_t kIdsAtOnce = 1 << 16;   // that are converted

}  // namespace

// ---- views --------------------------------------------------------------------------------------

TokenIds TokenIds::subspan(std::size_t begin, std::size_t count) const {
  TokenIds part = *this;
  if (narrow_ != nullptr) part.narrow_ += begin;
  if (wide_ != nullptr) part.wide_ += begin;
  part.size_ = count;
  return part;
}

void TokenIds::AppendTo(std::vector<std::int32_t>* ids) const {
  if (narrow_ != nullptr) ids->insert(ids->end(), narrow_, narrow_ + size_);
  if (wide_ != nullptr) ids->insert(ids->end(), wide_, wide_ + size_);
}

std::vector<std::int32_t> TokenIds::ToVector() const {
  std::vector<std::int32_t> ids;
  AppendTo(&ids);
  return ids;
}

std::string TokenIds::Checksum() const {
  io::Checksum checksum;
  std::vector<std::int32_t> some;
  for (std::size_t at = 0; at < size_; at += kIdsAtOnce) {
    some.clear();
    subspan(at, std::min(kIdsAtOnce, size_ - at)).AppendTo(&some);
    checksum.Update(some.data(), some.size() * sizeof(std::int32_t));
  }
  return checksum.Hex();
}

// ---- the stream ---------------------------------------------------------------------------------

// Collects pieces, and encodes them by several threads when they are enough.
class TokenStream::Encoder {
 public:
  // What stands before each document but the stream's first, and behind each one.
  struct Marks {
    std::optional<std::int32_t> before, behind;
  };

  Encoder(Context& context, const text::Tokenizer& tokenizer, const Marks& marks,
          TokenStream* stream)
      : context_(context), tokenizer_(tokenizer), marks_(marks), stream_(stream) {
    const bool narrow = tokenizer.vocabulary() <= kNarrowIds;
    Check(stream->size_ == 0 || stream->narrow_ == narrow, ErrorCode::kUsage,
          "tokens: one stream has the ids of one tokenizer");
    stream->narrow_ = narrow;
  }

  void Add(std::string_view document) {
    cut_.clear();
    text::CutAtLines(document, kPieceBytes, &cut_);
    stream_->bytes_ += static_cast<idx_t>(document.size());
    for (std::size_t i = 0; i < cut_.size(); ++i) {
      pieces_.push_back({cut_[i], i == 0, i + 1 == cut_.size()});
      waiting_ += cut_[i].size();
      if (waiting_ >= kAtOnce || pieces_.size() >= kMostPieces) Flush();
    }
    if (cut_.empty()) pieces_.push_back({{}, true, true});
  }

  void Flush() {
    context_.CheckCancelled();
    std::vector<std::vector<std::int32_t>> parts(pieces_.size());
    ParallelFor(context_, static_cast<idx_t>(pieces_.size()), [&](idx_t i, int) {
      const auto n = static_cast<std::size_t>(i);
      text::EncodeOptions plain;
      plain.special_tokens = false;
      plain.continues = !pieces_[n].begins;
      parts[n] = std::move(tokenizer_.Encode(pieces_[n].text, plain).front().ids);
    });
    for (std::size_t n = 0; n < pieces_.size(); ++n) {
      if (pieces_[n].begins) {
        if (marks_.before && stream_->documents_ > 0) stream_->Put({&*marks_.before, 1});
        if (stream_->keeps_starts_) stream_->starts_.Add(stream_->size_);
        ++stream_->documents_;
      }
      stream_->Put(parts[n]);
      if (pieces_[n].ends && marks_.behind) stream_->Put({&*marks_.behind, 1});
    }
    pieces_.clear();
    waiting_ = 0;
  }

 private:
  static constexpr std::size_t kAtOnce = std::size_t{4} << 20;  // bytes of text
  static constexpr std::size_t kMostPieces = 1 << 14;

  Context& context_;
  const text::Tokenizer& tokenizer_;
  const Marks marks_;
  TokenStream* stream_;
  std::vector<std::string_view> cut_;
  std::vector<Piece> pieces_;
  std::size_t waiting_ = 0;
};

void TokenStream::Put(std::span<const std::int32_t> ids) {
  size_ += static_cast<idx_t>(ids.size());
  if (!narrow_) return store_.Append(ids.data(), ids.size_bytes());
  std::uint16_t some[1024];
  while (!ids.empty()) {
    const std::size_t count = std::min(ids.size(), std::size(some));
    for (std::size_t i = 0; i < count; ++i) {
      Check(ids[i] >= 0 && ids[i] < kNarrowIds, ErrorCode::kFormat,
            "tokenizer: gives the id {}, its vocabulary is smaller", ids[i]);
      some[i] = static_cast<std::uint16_t>(ids[i]);
    }
    store_.Append(some, count * sizeof(some[0]));
    ids = ids.subspan(count);
  }
}

void TokenStream::Append(Context& context, const text::Tokenizer& tokenizer,
                         std::span<const std::string_view> documents,
                         std::optional<std::int32_t> end) {
  Encoder encoder(context, tokenizer, {std::nullopt, end}, this);
  for (const std::string_view document : documents) encoder.Add(document);
  encoder.Flush();
}

void TokenStream::Append(Context& context, const text::Tokenizer& tokenizer,
                         const data::CorpusFile& file, Documents kind,
                         std::optional<std::int32_t> end) {
  Encoder encoder(context, tokenizer, {std::nullopt, end}, this);
  file.ForEachDocument(kind, [&](std::string_view document) { encoder.Add(document); });
  encoder.Flush();
}

void TokenStream::Join(Context& context, const text::Tokenizer& tokenizer,
                       const data::CorpusFile& file, Documents kind,
                       std::optional<std::int32_t> separator) {
  fingerprint_ += (fingerprint_.empty() ? "" : " ") + file.Fingerprint();
  Encoder encoder(context, tokenizer, {separator, std::nullopt}, this);
  file.ForEachDocument(kind, [&](std::string_view document) { encoder.Add(document); });
  encoder.Flush();
}

TokenIds TokenStream::ids() const {
  const std::span<const std::uint8_t> bytes = store_.bytes();
  const auto size = static_cast<std::size_t>(size_);
  if (narrow_) {
    return TokenIds(std::span(reinterpret_cast<const std::uint16_t*>(bytes.data()), size));
  }
  return TokenIds(std::span(reinterpret_cast<const std::int32_t*>(bytes.data()), size));
}

}  // namespace longspan
