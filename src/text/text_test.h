// What the tests of the tokenizers share.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "longspan/tokenizer.h"
#include "tests/support/files.h"
#include "text/unicode.h"

namespace longspan::text {

// Small tokenizers, and what other implementations make of texts with them.
inline const std::filesystem::path kFolder = test::kRoot / "tests/tokenizers";
inline constexpr EncodeOptions kPlain{.special_tokens = false};

inline Glyphs GlyphsOf(std::string_view text) {
  std::vector<idx_t> starts;
  return DecodeUtf8(text, starts);
}

}  // namespace longspan::text
