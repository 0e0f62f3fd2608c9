// Vocabularies, merges and the files beside them. The first byte says which; files of one input
// are parted by lines of "====".
#include <array>
#include <string>

#include "io/json.h"
#include "tests/fuzz/fuzz.h"
#include "text/subword_model.h"
#include "text/tokenizer_settings.h"
#include "text/vocabulary_files.h"

namespace longspan::fuzz {
namespace {

std::array<std::string_view, 3> Parts(std::string_view text) {
  constexpr std::string_view kBetween = "\n====\n";
  std::array<std::string_view, 3> parts;
  for (std::string_view& part : parts) {
    const std::size_t end = text.find(kBetween);
    part = text.substr(0, end);
    text = end == text.npos ? std::string_view() : text.substr(end + kBetween.size());
  }
  return parts;
}

void WordPiece(std::string_view input) {
  const text::Vocabulary v = text::ParseVocabTxt(input, "fuzz");
  for (std::int32_t id = 0; id < v.bound(); ++id) {
    Require(v.TokenOf(id) != nullptr && v.IdOf(*v.TokenOf(id)) == id);
  }
}

void Bpe(std::string_view input) {
  const auto parts = Parts(input);
  const text::Vocabulary v = text::VocabularyOf(io::ParseJson(parts[0], "fuzz"), "fuzz");
  const text::BpeModel model(v, text::ParseMerges(parts[1], "fuzz"), {}, "fuzz");
  std::vector<idx_t> starts;
  const text::Glyphs glyphs = text::DecodeUtf8(parts[2].substr(0, 300), starts);
  text::BpeModel::Cache cache;
  text::TokenRow row;
  model.EncodeWord(v, glyphs.data(), glyphs.data() + glyphs.size(), cache, row);
  for (std::size_t i = 0; i < row.ids.size(); ++i) {
    Require(v.TokenOf(row.ids[i]) != nullptr && row.chars[i].begin < row.chars[i].end);
    Require(i == 0 || row.chars[i - 1].begin <= row.chars[i].begin);
  }
}

void Settings(std::string_view input) {
  const auto parts = Parts(input);
  const text::SettingsFile files[] = {{io::ParseJson(parts[0], "fuzz"), "map"},
                                      {io::ParseJson(parts[1], "fuzz"), "config"},
                                      {io::ParseJson(parts[2], "fuzz"), "added"}};
  const text::TokenizerSettings settings = text::SettingsOf(files[0], files[1], files[2]);
  for (const text::AddedToken& token : settings.added) {
    Require(token.id >= 0 && !token.content.empty());
  }
  Require(!settings.longest || *settings.longest >= 1);
}

}  // namespace
}  // namespace longspan::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan::fuzz;
  if (bytes == 0) return 0;
  const std::string_view input = AsText(data + 1, bytes - 1);
  Accepts([&] {
    if (data[0] == 'w') WordPiece(input);
    if (data[0] == 'b') Bpe(input);
    if (data[0] == 's') Settings(input);
  });
  return 0;
}
