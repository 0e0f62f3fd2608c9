// Any bytes as a text, through the recorded tokenizers: offsets lie in the text and in order,
// byte-level ids give the text back, and windows hold all tokens.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "tests/fuzz/fuzz.h"
#include "text/open_tokenizer.h"
#include "text/unicode.h"

namespace longspan::fuzz {
namespace {

constexpr text::EncodeOptions kPlain{.special_tokens = false};

const std::vector<std::unique_ptr<text::Tokenizer>>& Tokenizers() {
  static const auto all = [] {
    const auto folder = std::filesystem::path(LONGSPAN_SOURCE_DIR) / "tests/tokenizers";
    std::vector<std::unique_ptr<text::Tokenizer>> opened;
    for (const char* name : {"roberta", "bert-uncased", "bert-cased", "spiece-bpe",
                             "spiece-unigram", "llama3", "gemma"}) {
      opened.push_back(text::OpenTokenizer(folder / name));
    }
    return opened;
  }();
  return all;
}

void CheckPlaces(const text::Encoding& e, idx_t bytes) {
  for (std::size_t i = 0; i < e.ids.size(); ++i) {
    const auto [begin, end] = e.bytes[i];
    Require(0 <= begin && begin <= end && end <= bytes);
    Require(e.chars[i].begin <= begin && e.chars[i].end <= end);
    Require(i == 0 || e.bytes[i - 1].end <= end);
  }
}

void CheckWindows(const text::Tokenizer& tokenizer, std::string_view input,
                  const text::Encoding& whole) {
  text::EncodeOptions options{.special_tokens = true, .overflow = text::Overflow::kWindow};
  options.max_length = 7;
  options.stride = 2;
  std::vector<std::int32_t> ids;
  for (const text::Encoding& row : tokenizer.Encode(input, options)) {
    Require(row.size() <= options.max_length);
    ids.resize(static_cast<std::size_t>(row.first_token[0]));
    for (std::size_t i = 0; i < row.ids.size(); ++i) {
      if (row.special[i] == 0) ids.push_back(row.ids[i]);
    }
  }
  Require(ids == whole.ids);
}

}  // namespace
}  // namespace longspan::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const std::string_view input = fuzz::AsText(data, bytes);
  for (const auto& tokenizer : fuzz::Tokenizers()) {
    const text::Encoding e = tokenizer->Encode(input, fuzz::kPlain)[0];
    fuzz::CheckPlaces(e, static_cast<idx_t>(bytes));
    fuzz::CheckWindows(*tokenizer, input, e);
    const std::string back = tokenizer->Decode(e.ids, false);
    // A special token in the text may take white space with it.
    const bool plain = std::all_of(e.ids.begin(), e.ids.end(), [](auto id) { return id > 4; });
    if (tokenizer->kind() == "byte-level BPE" && plain) {
      fuzz::Require(back == text::ReplaceInvalid(input));
    }
  }
  return 0;
}
