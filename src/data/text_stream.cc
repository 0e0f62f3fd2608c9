#include "data/text_stream.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/errors.h"

namespace longspan::data {
namespace {

constexpr std::size_t kChunk = std::size_t{256} << 10, kStart = 512;
constexpr std::string_view kUtf8Mark = "\xef\xbb\xbf";

// Marks of encodings in which no text begins as UTF-8 could. UTF-32's first: the other is its
// beginning.
struct Mark {
  std::string_view bytes;
  const char* encoding;
};
constexpr Mark kMarks[] = {{std::string_view("\xff\xfe\0\0", 4), "UTF-32LE"},
                           {std::string_view("\0\0\xfe\xff", 4), "UTF-32BE"},
                           {"\xff\xfe", "UTF-16LE"},
                           {"\xfe\xff", "UTF-16BE"}};

constexpr std::string_view kUtf16 = "UTF-16";

bool HasMark(std::string_view start) {
  return std::any_of(std::begin(kMarks), std::end(kMarks),
                     [&](const Mark& mark) { return start.starts_with(mark.bytes); });
}

// Copies `text` with its CR LF, and its lone CR where `all`, as LF.
void CopyWithLineFeeds(std::string_view text, bool all, std::string* out) {
  for (;;) {
    const std::size_t cr = std::min(text.find('\r'), text.size());
    out->append(text.substr(0, cr));
    if (cr == text.size()) return;
    const bool pair = cr + 1 < text.size() && text[cr + 1] == '\n';
    out->push_back(pair || all ? '\n' : '\r');
    text.remove_prefix(cr + (pair ? 2 : 1));
  }
}

}  // namespace

void AppendWithLineFeeds(std::string_view text, std::string* out) {
  CopyWithLineFeeds(text, true, out);
}

TextStream::TextStream(std::unique_ptr<ByteStream> bytes, std::string source, std::string encoding,
                       LineBreaks breaks)
    : bytes_(std::move(bytes)),
      source_(std::move(source)),
      encoding_(std::move(encoding)),
      breaks_(encoding_ == kVerbatim ? LineBreaks::kKeep : breaks) {}

std::size_t TextStream::ReadChunk() {
  chunk_.resize(kChunk);
  const std::size_t got = bytes_->Read(chunk_.data(), chunk_.size());
  chunk_.resize(got);
  return got;
}

// The first chunk, which may begin with a mark.
void TextStream::Begin() {
  begun_ = true;
  std::string first;
  while (first.size() < 4 && ReadChunk() > 0) first += chunk_;
  chunk_ = std::move(first);
  start_ = chunk_.substr(0, kStart);
  if (encoding_ == kUtf8) {
    for (const Mark& mark : kMarks) {
      if (!std::string_view(chunk_).starts_with(mark.bytes)) continue;
      encoding_ = mark.encoding;
      mark_bytes_ = mark.bytes.size();
      break;
    }
    if (std::string_view(chunk_).starts_with(kUtf8Mark)) mark_bytes_ = kUtf8Mark.size();
    if (mark_bytes_ == 0) RefuseUnmarkedUtf16(start_, source_);
    chunk_.erase(0, mark_bytes_);
  }
  // Without a mark iconv takes UTF-16 to be of this machine's order, and would give other letters.
  if (encoding_ == kUtf16 && !HasMark(chunk_) && UnmarkedUtf16(start_) == "utf-16be") {
    RefuseUnmarkedUtf16(start_, source_);
  }
  if (encoding_ != kUtf8 && encoding_ != kVerbatim) {
    decoder_ = std::make_unique<Decoder>(encoding_, source_);
    mark_may_come_ = mark_bytes_ == 0;
  }
}

void TextStream::Append(std::string_view piece, bool end) {
  if (decoder_) {
    decoded_.clear();
    decoder_->Decode(piece, &decoded_);
    if (end) decoder_->Finish();
    piece = decoded_;
    // An encoding that was named may still begin with a mark, once.
    if (mark_may_come_ && piece.starts_with(kUtf8Mark)) piece.remove_prefix(kUtf8Mark.size());
    mark_may_come_ = mark_may_come_ && decoded_.empty();
  }
  if (breaks_ == LineBreaks::kKeep) {
    buffer_ += piece;
    return;
  }
  // Whether a CR at the end of a piece stands before a LF is seen in the next one.
  const bool all = breaks_ == LineBreaks::kAll;
  if (held_cr_ && (!piece.empty() || end)) {
    const bool pair = piece.starts_with('\n'), last = end && piece.empty();
    buffer_.push_back(pair || all || last ? '\n' : '\r');
    if (pair) piece.remove_prefix(1);
    held_cr_ = false;
  }
  if (!end && piece.ends_with('\r')) {
    held_cr_ = true;
    piece.remove_suffix(1);
  }
  CopyWithLineFeeds(piece, all, &buffer_);
}

bool TextStream::More() {
  if (ended_) return false;
  if (at_ > 0) {  // a move of what is left costs no more than what was taken before
    buffer_.erase(0, at_);
    at_ = 0;
  }
  const std::size_t before = buffer_.size();
  while (!ended_ && buffer_.size() == before) {
    if (!begun_) {
      Begin();  // may leave nothing: a mark that comes alone is no end
      Append(chunk_, false);
      continue;
    }
    ended_ = ReadChunk() == 0;
    Append(chunk_, ended_);
  }
  return buffer_.size() > before;
}

void TextStream::Take(std::size_t bytes) {
  const std::string_view taken = rest().substr(0, bytes);
  line_ += static_cast<std::size_t>(std::count(taken.begin(), taken.end(), '\n'));
  at_ += taken.size();
}

}  // namespace longspan::data
