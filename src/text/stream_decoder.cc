#include "text/stream_decoder.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/limits.h"

namespace longspan::text {
namespace {

// Bytes at the end of a text that may be the beginning of a character: 0 to 3.
std::size_t HalfCharacter(std::string_view text) {
  for (std::size_t n = 1; n <= std::min(text.size(), std::size_t{3}); ++n) {
    const auto byte = static_cast<unsigned char>(text[text.size() - n]);
    if ((byte & 0xC0u) == 0x80u) continue;  // inside of a character
    const std::size_t length = byte < 0xC2   ? 1
                               : byte < 0xE0 ? 2
                               : byte < 0xF0 ? 3
                               : byte < 0xF5 ? 4
                                             : 1;
    return n < length ? n : 0;
  }
  return 0;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> before)
    : tokenizer_(tokenizer), bytes_(tokenizer.kind() == "bytes") {
  if (bytes_) return;
  ids_.assign(before.begin(), before.end());
  given_ = ids_.size();
}

std::string StreamDecoder::Add(std::int32_t id) {
  if (bytes_) return NewByte(id);
  ids_.push_back(id);
  return New(ids_.size() - given_ >= limits::kMostHeldIds);  // whatever they are
}

std::string StreamDecoder::Finish() { return bytes_ ? std::exchange(half_, {}) : New(true); }

std::string StreamDecoder::NewByte(std::int32_t id) {
  std::string fresh = std::move(half_) + tokenizer_.Decode({&id, 1}, true);
  const std::size_t whole = fresh.size() - HalfCharacter(fresh);
  half_ = fresh.substr(whole);
  fresh.resize(whole);
  return fresh;
}

// The text of all ids less the text of those given out. A text that ends with U+FFFD may be waiting
// for the rest of a character. An id that adds nothing waits for the next one, which may be spelt
// as at the beginning of a text if nothing stood before it.
std::string StreamDecoder::New(bool last) {
  const std::span<const std::int32_t> ids(ids_);
  const std::string before = tokenizer_.Decode(ids.first(given_), true);
  const std::string all = tokenizer_.Decode(ids, true);
  if (!last && (all.size() <= before.size() || all.ends_with("\xEF\xBF\xBD"))) return {};
  std::string fresh = all.substr(std::min(before.size(), all.size()));
  // What came out together begins with a whole character: enough to tell what stands before the
  // next.
  if (given_ < ids_.size())
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_));
  given_ = ids_.size();
  return fresh;
}

}  // namespace longspan::text
