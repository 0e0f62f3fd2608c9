// Reads the longest text from the files of sentence-transformers.
#pragma once

#include <filesystem>
#include <optional>

namespace longspan {

// sentence_bert_config.json of a folder, or the file of another family's name that older versions
// wrote (sentence_roberta_config.json): the first one in the package's order, then by name.
std::optional<std::filesystem::path> FindSentenceConfig(const std::filesystem::path& folder);

}  // namespace longspan
