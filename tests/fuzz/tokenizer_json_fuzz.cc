// tokenizer.json: what is accepted encodes any text inside its bounds, makes no more of it than a
// tokenizer may, and decodes what it encoded.
#include "base/limits.h"
#include "io/json.h"
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_limits.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    const auto document = io::ParseJson(fuzz::AsText(data, bytes), "fuzz", text::kTokenizerJson);
    const auto tokenizer =
        text::MakeSubwordTokenizer(text::ReadTokenizerJson(document, "fuzz"), "fuzz");
    // A part of the file itself is a text that its tokens may be in.
    for (const std::string_view sample :
         {std::string_view("  Ab 1's\t\xC3\xA9\xE4\xB8\xAD\xFF[x] <mask>a"),
          fuzz::AsText(data, bytes < 300 ? bytes : 300)}) {
      const text::Encoding e = tokenizer->EncodePair(sample, "b")[0];
      const std::size_t template_ids = limits::kMostTemplatePlaces * limits::kMostTemplatePlaces;
      fuzz::Require(e.ids.size() <= limits::kMostGrowth * (sample.size() + 1) +
                                        2 * limits::kGrowthRoom + template_ids);
      for (idx_t i = 0; i < e.size(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        fuzz::Require(e.ids[at] >= 0 && e.ids[at] < tokenizer->vocabulary());
        fuzz::Require(0 <= e.bytes[at].begin && e.bytes[at].begin <= e.bytes[at].end);
        fuzz::Require(e.bytes[at].end <= static_cast<idx_t>(sample.size() + 1));
      }
      tokenizer->Decode(e.ids, false);
      tokenizer->Decode(e.ids, true);
    }
  });
  return 0;
}
