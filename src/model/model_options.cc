#include "model/model_options.h"

#include <utility>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {

namespace {

constexpr std::pair<ReformerAttention, std::string_view> kAttentions[] = {
    {ReformerAttention::kConfigured, "config"},
    {ReformerAttention::kFull, "full"},
    {ReformerAttention::kLocal, "local"},
    {ReformerAttention::kFullLsh, "full-lsh"},
    {ReformerAttention::kLsh, "lsh"}};

}  // namespace

ReformerAttention ParseAttention(std::string_view name) {
  if (name.empty()) return ReformerAttention::kConfigured;
  for (const auto& [attention, known] : kAttentions) {
    if (name == known) return attention;
  }
  Fail(ErrorCode::kUsage, "attention: '{}' is unknown; use full, local, lsh, full-lsh or config",
       io::Escape(name));
}

FamilyOptions OptionsOf(const ReformerOptions& options) {
  FamilyOptions given;
  for (const auto& [attention, name] : kAttentions) {
    if (options.attention == attention && attention != ReformerAttention::kConfigured) {
      given.Set("attention", std::string(name));
    }
  }
  if (options.num_hashes != 0) given.Set("num-hashes", options.num_hashes);
  if (!options.lm_bias) given.Set("lm-bias", false);
  if (options.strict) given.Set("strict", true);
  return given;
}

ModelInfo PublicInfo(const TextModelInfo& info, std::string_view family) {
  ModelInfo shown;
  shown.family = family;
  shown.title = info.title;
  shown.class_name = info.class_name;
  shown.head = info.head;
  shown.labels = info.labels;
  shown.problem = info.problem;
  shown.width = info.width;
  shown.vocabulary = info.vocab_size;
  shown.pad_token = info.pad_token;
  shown.longest = info.longest;
  shown.global_tokens = info.global_tokens;
  if (info.global.kind != GlobalRule::Kind::kAuto) shown.global_rule = info.global.Name();
  shown.causal = info.causal;
  return shown;
}

}  // namespace longspan
