#include "text/tokenizer_settings.h"

#include <algorithm>
#include <unordered_set>

#include "base/errors.h"
#include "base/parse_number.h"
#include "io/json.h"
#include "io/paths.h"
#include "longspan/files.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_limits.h"

namespace longspan::text {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

SettingsFile FileIn(const fs::path& file) {
  return {io::Exists(file) ? ReadTokenizerJsonFile(file) : json::object(),
          io::Escape(file.native(), 4096)};
}

std::optional<bool> OptionalBool(const json& object, std::string_view field,
                                 const std::string& source) {
  if (io::IsNullOrAbsent(object, field)) return std::nullopt;
  return io::GetBool(object, field, std::nullopt, source);
}

// "<mask>", or an object with flags.
AddedToken TokenIn(const json& value, const std::string& where) {
  if (value.is_object()) return AddedTokenOf(value, false, where);
  Check(value.is_string() && value.get_ref<const std::string&>().size() <= kLongestToken,
        ErrorCode::kFormat, "{}: must be a token of at most {} bytes", where, kLongestToken);
  AddedToken token;
  token.content = value.get<std::string>();
  return token;
}

// Roles that no file before this one has given.
void ReadRoles(const json& object, const std::string& source, TokenizerSettings& settings) {
  for (const Role& role : kRoles) {
    if (io::IsNullOrAbsent(object, role.name)) continue;
    const json& value = object[std::string(role.name)];
    AddedToken token = TokenIn(value, fmt::format("{}: {}", source, role.name));
    token.id = -1;
    token.special = true;
    settings.roles.try_emplace(std::string(role.name), std::move(token), value.is_object());
  }
  if (io::IsNullOrAbsent(object, "additional_special_tokens")) return;
  const json& list = object["additional_special_tokens"];
  const std::string where = source + ": additional_special_tokens";
  Check(list.is_array() && list.size() <= kMostAddedTokens, ErrorCode::kFormat,
        "{} must be a list of at most {} tokens", where, kMostAddedTokens);
  auto& more = settings.more_special;
  std::unordered_set<std::string> known;
  for (const AddedToken& token : more) known.insert(token.content);
  for (const json& value : list) {
    AddedToken token = TokenIn(value, where);
    token.id = -1;
    token.special = true;
    if (known.insert(token.content).second) more.push_back(std::move(token));
  }
}

std::int32_t IdOf(const json& value, const std::string& where) {
  const bool fits = value.is_number_integer() && value >= 0 && value <= kMostVocabularyEntries;
  Check(fits, ErrorCode::kFormat, "{}: must be an integer in [0, {}]", where,
        kMostVocabularyEntries);
  return value.get<std::int32_t>();
}

// added_tokens_decoder: {"50264": {"content": "<mask>", ...}, ...}
void ReadAddedDecoder(const json& config, const std::string& source, TokenizerSettings& settings) {
  if (io::IsNullOrAbsent(config, "added_tokens_decoder")) return;
  const json& table = config["added_tokens_decoder"];
  const std::string where = source + ": added_tokens_decoder";
  Check(table.is_object() && table.size() <= kMostAddedTokens, ErrorCode::kFormat,
        "{} must be an object of at most {} tokens", where, kMostAddedTokens);
  for (const auto& [key, value] : table.items()) {
    const auto id = ParseNumber<std::int32_t>(key);
    Check(id && *id >= 0 && *id <= kMostVocabularyEntries, ErrorCode::kFormat,
          "{}: \"{}\" is no id in [0, {}]", where, io::Escape(key), kMostVocabularyEntries);
    AddedToken token = AddedTokenOf(value, false, where);
    token.id = *id;
    settings.added.push_back(std::move(token));
  }
}

// added_tokens.json: {"<x>": 50265, ...}; what added_tokens_decoder has is there with its flags.
void ReadAddedTokens(const SettingsFile& file, TokenizerSettings& settings) {
  const auto& [table, source] = file;
  Check(table.size() <= kMostAddedTokens, ErrorCode::kFormat, "{}: {} tokens, at most {} are read",
        source, table.size(), kMostAddedTokens);
  std::unordered_set<std::string> known;
  for (const AddedToken& token : settings.added) known.insert(token.content);
  for (const auto& [content, value] : table.items()) {
    AddedToken token = TokenIn(json(content), source);
    token.id = IdOf(value, fmt::format("{}: \"{}\"", source, io::Escape(content)));
    token.normalized = true;
    if (known.insert(content).second) settings.added.push_back(std::move(token));
  }
}

}  // namespace

AddedToken AddedTokenOf(const json& object, bool all, std::string_view where) {
  constexpr std::string_view kFields[] = {"id",     "content",    "single_word", "lstrip",
                                          "rstrip", "normalized", "special"};
  AddedToken token;
  token.content = io::GetString(object, "content", io::kRequired, where);
  Check(!token.content.empty() && token.content.size() <= kLongestToken, ErrorCode::kFormat,
        "{}: content has {} bytes, must have 1 to {}", where, token.content.size(), kLongestToken);
  for (const auto& [name, value] : object.items()) {
    Check(!all || std::find(std::begin(kFields), std::end(kFields), name) != std::end(kFields),
          ErrorCode::kFormat, "{}: a field \"{}\" is not known", where, io::Escape(name));
  }
  const auto flag = [&](std::string_view field, bool fallback) {
    return io::GetBool(object, field, all ? std::nullopt : std::optional(fallback), where);
  };
  token.single_word = flag("single_word", false);
  token.lstrip = flag("lstrip", false);
  token.rstrip = flag("rstrip", false);
  token.special = flag("special", false);
  token.normalized = flag("normalized", !token.special);
  return token;
}

TokenizerSettings SettingsOf(const SettingsFile& special_tokens_map,
                             const SettingsFile& config_file, const SettingsFile& added_tokens) {
  for (const SettingsFile* file : {&special_tokens_map, &config_file, &added_tokens}) {
    io::CheckObject(file->object, file->source);
  }
  TokenizerSettings settings;
  ReadRoles(special_tokens_map.object, special_tokens_map.source, settings);
  const auto& [config, source] = config_file;
  ReadRoles(config, source, settings);
  ReadAddedDecoder(config, source, settings);
  ReadAddedTokens(added_tokens, settings);
  std::string name = io::GetOptionalString(config, "tokenizer_class", source).value_or("");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  settings.tokenizer_class = name;
  const auto longest = io::GetOptionalFloat(config, "model_max_length", 1.0, 1e300, source);
  if (longest && *longest <= limits::kNoLongestRow) settings.longest = static_cast<idx_t>(*longest);
  settings.prefix_space = OptionalBool(config, "add_prefix_space", source);
  settings.lower_case = OptionalBool(config, "do_lower_case", source);
  settings.strip_accents = OptionalBool(config, "strip_accents", source);
  settings.space_cjk = OptionalBool(config, "tokenize_chinese_chars", source);
  settings.trim_offsets = OptionalBool(config, "trim_offsets", source);
  settings.add_bos = OptionalBool(config, "add_bos_token", source);
  settings.plain_words =
      OptionalBool(config, "do_basic_tokenize", source).value_or(true) &&
      (io::IsNullOrAbsent(config, "never_split") || config["never_split"].empty());
  return settings;
}

TokenizerSettings ReadTokenizerSettings(const fs::path& directory) {
  return SettingsOf(FileIn(directory / "special_tokens_map.json"),
                    FileIn(directory / "tokenizer_config.json"),
                    FileIn(directory / "added_tokens.json"));
}

}  // namespace longspan::text
