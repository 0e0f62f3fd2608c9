// What lies beside a vocabulary: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/tokenizer.h"
#include "text/added_tokens.h"

namespace longspan::text {

// A special token's name in these files, and its id.
struct Role {
  std::string_view name;  // "cls_token"
  std::optional<std::int32_t> SpecialIds::*id;
};
inline constexpr Role kRoles[] = {
    {"bos_token", &SpecialIds::bos},   {"eos_token", &SpecialIds::eos},
    {"unk_token", &SpecialIds::unk},   {"sep_token", &SpecialIds::sep},
    {"pad_token", &SpecialIds::pad},   {"cls_token", &SpecialIds::cls},
    {"mask_token", &SpecialIds::mask},
};

// {"content": ..., "lstrip": ..., ...}; flags that are absent are false, `normalized` is true for a
// token that is not special. `all`: every flag must be there and no other field, but "id".
AddedToken AddedTokenOf(const nlohmann::json& object, bool all, std::string_view where);

struct TokenizerSettings {
  std::string tokenizer_class;   // without "Fast"; empty: not told
  std::optional<idx_t> longest;  // model_max_length; a number above limits::kNoLongestRow: none
  // By the role's name. `id` is -1 where only `added` or the vocabulary knows it, and the second is
  // whether the file gave flags with the token.
  std::map<std::string, std::pair<AddedToken, bool>, std::less<>> roles;
  std::vector<AddedToken> added;         // with their ids
  std::vector<AddedToken> more_special;  // additional_special_tokens, without
  std::optional<bool> prefix_space, lower_case, strip_accents, space_cjk, trim_offsets, add_bos;
  bool plain_words = true;  // no never_split, no do_basic_tokenize false
};

// The three files as parsed; an absent one is an empty object. `source` begins messages about it.
struct SettingsFile {
  nlohmann::json object;
  std::string source;
};
TokenizerSettings SettingsOf(const SettingsFile& special_tokens_map, const SettingsFile& config,
                             const SettingsFile& added_tokens);

// Every one of the files may be absent; kFormat names file, field and value.
TokenizerSettings ReadTokenizerSettings(const std::filesystem::path& directory);

}  // namespace longspan::text
