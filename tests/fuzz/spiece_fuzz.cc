// spiece.model: what is accepted goes through the SentencePiece library, encodes any text inside
// its bounds, decodes what it encoded, and is written as a tokenizer.json that opens.
#include "io/json.h"
#include "tests/fuzz/fuzz.h"
#include "text/sentencepiece_json.h"
#include "text/sentencepiece_tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_limits.h"

namespace longspan::fuzz {
namespace {

void Use(const text::Tokenizer& tokenizer, std::string_view input) {
  for (const std::string_view sample :
       {std::string_view("  Ab 1's\t\xC3\xA9\xE4\xB8\xAD\xFF[x] <unk>a\n"), input}) {
    const text::Encoding e = tokenizer.Encode(sample)[0];
    for (std::size_t i = 0; i < e.ids.size(); ++i) {
      Require(e.ids[i] >= 0 && e.ids[i] < tokenizer.vocabulary());
      Require(0 <= e.bytes[i].begin && e.bytes[i].begin <= e.bytes[i].end);
      Require(e.bytes[i].end <= static_cast<idx_t>(sample.size()));
    }
    tokenizer.Decode(e.ids, false);
    tokenizer.Decode(e.ids, true);
  }
}

}  // namespace
}  // namespace longspan::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const std::string_view input = fuzz::AsText(data, bytes);
  fuzz::Accepts([&] {
    const text::SentencePieceFile file = text::ReadSentencePieceFile(input, "fuzz");
    text::TokenizerParts parts;
    parts.vocabulary = text::VocabularyOf(file, "fuzz");
    const std::string_view part = input.substr(0, 300);
    fuzz::Use(*text::MakeSentencePieceTokenizer(std::move(parts), file, input, "fuzz"), part);
    const auto text =
        text::TokenizerJsonOf(file).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const auto document = io::ParseJson(text, "fuzz", text::kTokenizerJson);
    fuzz::Use(*text::MakeSubwordTokenizer(text::ReadTokenizerJson(document, "fuzz"), "fuzz"), part);
  });
  return 0;
}
