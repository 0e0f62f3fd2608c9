#include "train/row_lengths.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "base/parse_number.h"
#include "longspan/files.h"

namespace longspan {
namespace {

constexpr idx_t kMostInStage = idx_t{1} << 40;
constexpr const char* kLengthsForm =
    "give TOKENS:UPDATES,...,TOKENS: with whole numbers from 1, for example 512:1000,4096:";

std::optional<idx_t> WholeNumber(std::string_view text) {
  const auto value = ParseNumber<idx_t>(text);
  return value && *value >= 1 && *value <= kMostInStage ? value : std::nullopt;
}

}  // namespace

std::vector<LengthStage> ParseLengths(std::string_view text) {
  std::vector<LengthStage> stages;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view stage = rest.substr(0, comma);
    const std::size_t colon = std::min(stage.find(':'), stage.size());
    const auto tokens = WholeNumber(stage.substr(0, colon));
    const std::string_view count = stage.substr(std::min(colon + 1, stage.size()));
    const bool last = comma == rest.npos;
    const auto updates = last && count.empty() ? std::optional<idx_t>(0) : WholeNumber(count);
    Check(tokens && updates && (*updates == 0) == last && colon < stage.size(), ErrorCode::kUsage,
          "lengths: '{}' is not understood at '{}'; {}", io::Escape(text), io::Escape(stage),
          kLengthsForm);
    stages.push_back({*tokens, *updates});
    if (last) return stages;
    rest.remove_prefix(comma + 1);
  }
}

std::string LengthsText(const std::vector<LengthStage>& stages) {
  std::string text;
  for (const LengthStage& stage : stages) {
    text += fmt::format("{}{}:", text.empty() ? "" : ",", stage.tokens);
    if (stage.updates > 0) text += fmt::format("{}", stage.updates);
  }
  return text;
}

idx_t TokensAt(const TrainOptions& options, idx_t step) {
  idx_t before = 0;  // updates of the stages that are over
  for (const LengthStage& stage : options.lengths) {
    before += stage.updates;
    if (stage.updates == 0 || step <= before) return stage.tokens;
  }
  return options.tokens;
}

void ResolveLengths(bool packed, TrainOptions* options) {
  if (options->lengths.empty()) return;
  Check(!packed, ErrorCode::kUsage,
        "lengths: rows of packed documents have one length; leave out --lengths or --packed");
  ParseLengths(LengthsText(options->lengths));
  options->tokens = 0;
  for (const LengthStage& stage : options->lengths) {
    options->tokens = std::max(options->tokens, stage.tokens);
  }
}

}  // namespace longspan
