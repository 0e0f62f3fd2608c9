// Reads the longest text from the files of sentence-transformers.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "longspan/types.h"

namespace longspan {

// sentence_bert_config.json of a folder, or the file of another family's name that older versions
// wrote (sentence_roberta_config.json): the first one in the package's order, then by name.
std::optional<std::filesystem::path> FindSentenceConfig(const std::filesystem::path& folder);

// Its longest text in tokens; nothing where it names none. `source` begins messages. kFormat.
std::optional<idx_t> SentenceTokens(const nlohmann::json& config, const std::string& source);

}  // namespace longspan
