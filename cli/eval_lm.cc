// longspan eval of language models.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/visual/json_text.h"
#include "longspan/model_info.h"

namespace longspan::cli {
namespace {

constexpr idx_t kReformerTokens = 512;

}  // namespace

std::string JudgeLanguageModel(Context& context, const EvalCommand& c) {
  EvalOptions options = c.options;
  options.model = c.model;
  options.text = c.data;
  const idx_t tokens = options.tokens == 0 ? kReformerTokens : options.tokens;
  options.tokens = std::min(tokens, ReadModelInfo(c.model).longest);
  const EvalResult r = Evaluated(
      context, [&] { return EvaluateLanguageModel(context, options); }, "tokens");
  if (!c.json) {
    return fmt::format(
        "bits per byte {:.4f} ({} bytes, {} tokens, loss {:.4f} nats a token, top-1 accuracy "
        "{:.1f} %, windows of {})\n",
        r.bits_per_byte, r.bytes, r.counted, r.loss, 100.0 * r.accuracy, options.tokens);
  }
  nlohmann::ordered_json j;
  j["bits_per_byte"] = r.bits_per_byte;
  j["loss"] = r.loss;
  j["accuracy"] = r.accuracy;
  j["bytes"] = r.bytes;
  j["predicted"] = r.counted;
  j["tokens"] = options.tokens;
  return DumpJson(j);
}

}  // namespace longspan::cli
