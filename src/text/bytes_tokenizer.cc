#include "text/bytes_tokenizer.h"

#include "base/errors.h"

namespace longspan::text {

void BytesTokenizer::EncodeInto(std::span<const std::uint8_t> bytes, std::span<std::int32_t> out) {
  Check(bytes.size() == out.size(), ErrorCode::kUsage, "bytes tokenizer: {} bytes into {} ids",
        bytes.size(), out.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) out[i] = bytes[i] + kOffset;
}

std::vector<std::int32_t> BytesTokenizer::Encode(std::span<const std::uint8_t> bytes) {
  std::vector<std::int32_t> ids(bytes.size());
  EncodeInto(bytes, ids);
  return ids;
}

std::vector<std::int32_t> BytesTokenizer::Encode(std::string_view text) {
  return Encode(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

std::string BytesTokenizer::Decode(std::span<const std::int32_t> ids) {
  std::string text;
  text.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::int32_t id = ids[i];
    Check(id >= 0 && id < kVocabulary, ErrorCode::kFormat,
          "bytes tokenizer: id {} at position {}, must be in [0, {})", id, i, kVocabulary);
    if (id >= kOffset) text += static_cast<char>(static_cast<std::uint8_t>(id - kOffset));
  }
  return text;
}

}  // namespace longspan::text
