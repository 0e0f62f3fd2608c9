// Decoders: a decoder section of tokenizer.json, a line of "====", and ids, a byte each. What is
// accepted joins them to no more than a tokenizer may make of their tokens.
#include <string>
#include <vector>

#include "base/limits.h"
#include "io/json.h"
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_limits.h"

namespace longspan::fuzz {
namespace {

constexpr std::string_view kBetween = "\n====\n";
constexpr const char* kTokens[] = {"<unk>", "a",  "aa",     "b",       "##b",    "\xE2\x96\x81",
                                   " ",     " .", "<0x41>", "<0xE2>",  "<0x96>", "\xC4\xA0",
                                   "##",    "!",  " n't",   "\xC3\xA9"};

nlohmann::json Document(nlohmann::json decoder) {
  nlohmann::json vocab = nlohmann::json::array();
  for (const char* token : kTokens) vocab.push_back({token, -1.0});
  return {{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}}},
          {"decoder", std::move(decoder)}};
}

}  // namespace
}  // namespace longspan::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const std::string_view input = fuzz::AsText(data, bytes);
  const std::size_t between = input.find(fuzz::kBetween);
  if (between == input.npos) return 0;
  std::vector<std::int32_t> ids;
  std::size_t size = 0;
  for (const char c : input.substr(between + fuzz::kBetween.size())) {
    const std::size_t id = static_cast<std::uint8_t>(c) % std::size(fuzz::kTokens);
    ids.push_back(static_cast<std::int32_t>(id));
    size += std::string_view(fuzz::kTokens[id]).size() + 1;
  }
  fuzz::Accepts([&] {
    const auto decoder = io::ParseJson(input.substr(0, between), "fuzz", text::kTokenizerJson);
    const auto tokenizer = text::MakeSubwordTokenizer(
        text::ReadTokenizerJson(fuzz::Document(decoder), "fuzz"), "fuzz");
    const std::size_t most = limits::kMostGrowth * size + limits::kGrowthRoom;
    for (const bool skip : {false, true}) {
      fuzz::Require(tokenizer->Decode(ids, skip).size() <= most);
    }
  });
  return 0;
}
