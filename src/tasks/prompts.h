// Prompts: what a model wants to stand before a text ("query: ").
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

struct Prompts {
  std::map<std::string, std::string> texts;  // by name
  std::optional<std::string> default_name;   // one of them: stands before every text
  std::string source;                        // the file, for messages
};

// `prompts` and `default_prompt_name` of config_sentence_transformers.json, which messages call
// `source`. kFormat for a default name that no prompt has.
Prompts ReadPrompts(const nlohmann::json& config, const std::string& source);

// kUsage lists the names.
const std::string& PromptNamed(const Prompts& prompts, std::string_view name);

}  // namespace longspan
