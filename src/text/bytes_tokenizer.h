// The tokenizer without a vocabulary file: one token per byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan::text {

// id = byte + 2. 0 is padding, 1 is end of text: the scheme of google/reformer-enwik8.
class BytesTokenizer {
 public:
  static constexpr std::int32_t kPad = 0;
  static constexpr std::int32_t kEndOfText = 1;
  static constexpr std::int32_t kOffset = 2;
  static constexpr idx_t kVocabulary = 258;

  // Exactly one id per byte; nothing is added.
  static std::vector<std::int32_t> Encode(std::span<const std::uint8_t> bytes);
  static std::vector<std::int32_t> Encode(std::string_view text);
  // Into out, of the same length (else kUsage). Allocates nothing.
  static void EncodeInto(std::span<const std::uint8_t> bytes, std::span<std::int32_t> out);

  // The bytes, which need not be valid UTF-8. Ids below 2 give nothing; kFormat for an id outside
  // [0, 258).
  static std::string Decode(std::span<const std::int32_t> ids);
};

}  // namespace longspan::text
