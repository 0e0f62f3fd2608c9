#include "tasks/prompts.h"

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan {
namespace {

// "passage, query"; of very many the first ones.
std::string NamesOf(const Prompts& prompts) {
  constexpr int kMostShown = 20;
  std::string names;
  int shown = 0;
  for (const auto& [name, text] : prompts.texts) {
    if (shown++ == kMostShown) return names + ", ...";
    names += (names.empty() ? "" : ", ") + io::Escape(name);
  }
  return names;
}

}  // namespace

Prompts ReadPrompts(const nlohmann::json& config, const std::string& source) {
  Prompts prompts;
  prompts.source = source;
  if (!io::IsNullOrAbsent(config, "prompts")) {
    const nlohmann::json& texts = config["prompts"];
    Check(texts.is_object() && texts.size() <= limits::kMostPrompts, ErrorCode::kFormat,
          "{}: prompts is no object of at most {} texts", prompts.source, limits::kMostPrompts);
    for (const auto& [name, text] : texts.items()) {
      // null: a name that the model was given without a text.
      Check(text.is_string() || text.is_null(), ErrorCode::kFormat, "{}: prompt '{}' is no text",
            prompts.source, io::Escape(name));
      const std::string value = text.is_string() ? text.get<std::string>() : "";
      Check(value.size() <= limits::kMostPromptBytes, ErrorCode::kFormat,
            "{}: prompt '{}' has {} bytes, more than {}", prompts.source, io::Escape(name),
            value.size(), limits::kMostPromptBytes);
      prompts.texts[name] = value;
    }
  }
  prompts.default_name = io::GetOptionalString(config, "default_prompt_name", prompts.source);
  if (prompts.default_name && prompts.texts.count(*prompts.default_name) == 0) {
    Fail(ErrorCode::kFormat, "{}: default_prompt_name '{}' is none of its prompts ({})",
         prompts.source, io::Escape(*prompts.default_name), NamesOf(prompts));
  }
  return prompts;
}

const std::string& PromptNamed(const Prompts& prompts, std::string_view name) {
  const auto found = prompts.texts.find(std::string(name));
  if (found != prompts.texts.end()) return found->second;
  Check(!prompts.texts.empty(), ErrorCode::kUsage,
        "prompt-name: '{}': this model has no prompts; give the text itself with --prompt TEXT",
        io::Escape(name));
  Fail(ErrorCode::kUsage, "prompt-name: '{}' is unknown; this model has {}", io::Escape(name),
       NamesOf(prompts));
}

}  // namespace longspan
